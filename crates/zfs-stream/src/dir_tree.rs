//! A directory of this machine as a tree.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::tree::{DataRange, Device, DirEntry, Identity, Kind, LeftOut, Metadata, Tree};

/// Open directories kept for the paths below them.
const MAX_OPEN: usize = 64;

/// A directory of this machine, read with the rights of this process.
///
/// Symbolic links are never followed, paths may be longer than the system takes in one piece, and holes of
/// sparse files are not read. Mounted file systems below the directory are part of the tree. Of extended
/// attributes those in the `user.` namespace are read; others (capabilities, POSIX ACLs, labels) mean
/// nothing to a receiver and are counted.
#[derive(Debug)]
pub struct DirTree {
    root: OwnedFd,
    /// Open directories, each below the one before: length of the path, directory.
    open: Vec<(usize, OwnedFd)>,
    /// Path of the last of them.
    open_path: Vec<u8>,
    /// For [`Tree::for_each_entry`].
    buffer: Vec<MaybeUninit<u8>>,
    names: Vec<u8>,
    other_xattrs: LeftOut,
}

impl DirTree {
    /// The tree below (and with) a directory.
    pub fn new(root: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: rustix::fs::open(root, flags, Mode::empty())?,
            open: Vec::new(),
            open_path: Vec::new(),
            buffer: vec![MaybeUninit::uninit(); 64 << 10],
            names: vec![0; 64 << 10],
            other_xattrs: LeftOut::default(),
        })
    }

    /// Files with extended attributes outside the `user.` namespace, which are left out. They are noted
    /// whenever a file's attributes are read, which the writer does twice where there are
    /// `user.` ones too.
    pub fn other_xattrs(&self) -> &LeftOut {
        &self.other_xattrs
    }

    /// The directory at `path`, opened.
    fn directory(&mut self, path: &Path) -> io::Result<&OwnedFd> {
        let bytes = path.as_os_str().as_bytes();
        let below = |length: usize, open: &[u8]| {
            bytes.len() >= length
                && bytes[..length] == open[..length]
                && matches!(bytes.get(length), None | Some(b'/'))
        };
        while let Some((length, _)) = self.open.last() {
            if below(*length, &self.open_path) {
                break;
            }
            self.open.pop();
        }
        let mut at = self.open.last().map_or(0, |(length, _)| *length);
        self.open_path.truncate(at);
        // Name by name: the whole path may be too long, or lead through a symbolic link.
        for name in bytes[at..]
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            let directory = self
                .open
                .last()
                .map_or(&self.root, |(_, directory)| directory);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            if at > 0 {
                self.open_path.push(b'/');
            }
            self.open_path.extend_from_slice(name);
            at = self.open_path.len();
            if self.open.len() == MAX_OPEN {
                self.open.remove(0);
            }
            self.open.push((at, directory));
        }
        Ok(self
            .open
            .last()
            .map_or(&self.root, |(_, directory)| directory))
    }

    /// The directory that `path` is in, opened, and its name there; `.` for the root.
    fn place<'a>(&mut self, path: &'a Path) -> io::Result<(&OwnedFd, &'a OsStr)> {
        if path
            .components()
            .any(|part| !matches!(part, Component::Normal(_)))
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a path in the tree",
            ));
        }
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok((self.directory(parent)?, name)),
            _ => Ok((&self.root, OsStr::new("."))),
        }
    }
}

impl Tree for DirTree {
    type File = File;

    fn metadata(&mut self, path: &Path) -> io::Result<Metadata> {
        let (directory, name) = self.place(path)?;
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        metadata_of(&stat)
    }

    fn read_dir(&mut self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        self.for_each_entry(path, &mut |name, kind, identity| {
            entries.push(DirEntry {
                name: name.to_owned(),
                kind,
                identity,
            });
        })?;
        Ok(entries)
    }

    fn for_each_entry(
        &mut self,
        path: &Path,
        each: &mut dyn FnMut(&OsStr, Kind, Option<Identity>),
    ) -> io::Result<()> {
        self.directory(path)?;
        // The directory stays open for what is below it; nobody else reads it, but it may have been read before.
        let directory = self
            .open
            .last()
            .map_or(&self.root, |(_, directory)| directory);
        rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0))?;
        let device = rustix::fs::fstat(directory)?.st_dev;
        let mut entries = RawDir::new(directory, &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = if let Some(kind) = kind_of(entry.file_type()) {
                kind
            } else {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                metadata_of(&rustix::fs::statat(directory, name, flags)?)?.kind
            };
            let identity = Identity {
                device,
                inode: entry.ino(),
            };
            each(OsStr::from_bytes(name.to_bytes()), kind, Some(identity));
        }
        Ok(())
    }

    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf> {
        let (directory, name) = self.place(path)?;
        let target = rustix::fs::readlinkat(directory, name, Vec::with_capacity(256))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    fn open(&mut self, path: &Path) -> io::Result<File> {
        let (directory, name) = self.place(path)?;
        // Without NONBLOCK, a named pipe that took the file's place would have us wait for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(
            directory,
            name,
            flags,
            Mode::empty(),
        )?))
    }

    fn next_data(&mut self, file: &mut File, offset: u64) -> io::Result<Option<DataRange>> {
        let start = match rustix::fs::seek(&*file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // File systems that know no holes.
            Err(Errno::INVAL | Errno::NOTSUP) => {
                file.seek(SeekFrom::Start(offset))?;
                return Ok(Some(DataRange {
                    start: offset,
                    end: u64::MAX,
                }));
            }
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&*file, rustix::fs::SeekFrom::Hole(start))?;
        file.seek(SeekFrom::Start(start))?;
        Ok(Some(DataRange { start, end }))
    }

    fn xattrs(&mut self, path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        let (directory, name) = self.place(path)?;
        // There is no listxattrat, but a directory can be named by its descriptor.
        let by_name = proc_path(directory, name)?;
        let listed = rustix::fs::llistxattr(&by_name, &mut self.names[..]);
        self.user_xattrs(path, listed, |name, value| {
            rustix::fs::lgetxattr(&by_name, name, value)
        })
    }

    fn xattrs_of(&mut self, file: &mut File, path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        let listed = rustix::fs::flistxattr(&*file, &mut self.names[..]);
        self.user_xattrs(path, listed, |name, value| {
            rustix::fs::fgetxattr(&*file, name, value)
        })
    }
}

impl DirTree {
    /// The attributes of which `listed` bytes of names are in `self.names`; `get` reads the value of one.
    fn user_xattrs(
        &mut self,
        path: &Path,
        listed: rustix::io::Result<usize>,
        get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
    ) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        let length = match listed {
            Ok(length) => length,
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut xattrs = Vec::new();
        let mut others = false;
        for name in self.names[..length]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            if !name.starts_with(b"user.") {
                others = true;
                continue;
            }
            let mut value = vec![0; 64 << 10];
            let length = get(name, &mut value[..])?;
            value.truncate(length);
            value.shrink_to_fit();
            xattrs.push((OsStr::from_bytes(name).to_owned(), value));
        }
        if others {
            self.other_xattrs.add(|| path.to_owned());
        }
        Ok(xattrs)
    }
}

fn proc_path(directory: &OwnedFd, name: &OsStr) -> io::Result<CString> {
    use std::os::fd::AsRawFd as _;
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    Ok(CString::new(path)?)
}

fn kind_of(file_type: FileType) -> Option<Kind> {
    Some(match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::Unknown => return None,
    })
}

fn metadata_of(stat: &Stat) -> io::Result<Metadata> {
    let kind = kind_of(FileType::from_raw_mode(stat.st_mode))
        .ok_or_else(|| io::Error::other("it is of a kind that nothing is known of"))?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    Ok(Metadata {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: stat.st_nlink,
        size,
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        device: Device {
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
        },
        identity: Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        },
        sparse: u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512)
            < size,
        has_xattrs: matches!(kind, Kind::File | Kind::Directory),
    })
}
