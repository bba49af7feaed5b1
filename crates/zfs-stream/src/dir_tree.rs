//! A directory of this machine as a tree.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::tree::{DataRange, Device, DirEntry, Identity, Kind, LeftOut, Metadata, Tree};

/// Open directories kept for the paths below them.
const MAX_OPEN: usize = 64;

/// Most bytes of an attribute's value, and of the names of all a file has (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const MAX_XATTR: usize = 64 << 10;

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
    fn directory(&mut self, path: &[u8]) -> io::Result<&OwnedFd> {
        let below = |length: usize, open: &[u8]| {
            path.len() >= length
                && path[..length] == open[..length]
                && matches!(path.get(length), None | Some(b'/'))
        };
        while let Some((length, _)) = self.open.last() {
            if below(*length, &self.open_path) {
                break;
            }
            self.open.pop();
        }
        let mut at = self.open.last().map_or(0, |(length, _)| *length);
        self.open_path.truncate(at);
        let mut rest = match &path[at..] {
            [] => None,
            [b'/', rest @ ..] if at > 0 => Some(rest),
            rest => Some(rest),
        };
        // Name by name: the whole path may be too long, or lead through a symbolic link.
        while let Some(names) = rest {
            let slash = names.iter().position(|byte| *byte == b'/');
            let name = proper_name(&names[..slash.unwrap_or(names.len())])?;
            rest = slash.map(|slash| &names[slash + 1..]);
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
    fn place<'a>(&mut self, path: &'a Path) -> io::Result<(&OwnedFd, &'a [u8])> {
        let path = path.as_os_str().as_bytes();
        if path.is_empty() {
            return Ok((&self.root, b"."));
        }
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            // An absolute path has no parent here, nor a proper name before its first slash.
            Some(0) => return Err(improper()),
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&[][..], path),
        };
        let name = proper_name(name)?;
        Ok((self.directory(parent)?, name))
    }
}

/// A name, unless it would lead elsewhere than to an entry.
fn proper_name(name: &[u8]) -> io::Result<&[u8]> {
    match name {
        b"" | b"." | b".." => Err(improper()),
        name => Ok(name),
    }
}

fn improper() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a path in the tree")
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
        self.directory(path.as_os_str().as_bytes())?;
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

    fn open_regular(&mut self, path: &Path) -> io::Result<(Metadata, Option<File>)> {
        // The descriptor tells of the very file that will be read, and without another search.
        match self.open(path) {
            Ok(file) => {
                let metadata = metadata_of(&rustix::fs::fstat(&file)?)?;
                let file = (metadata.kind == Kind::File).then_some(file);
                Ok((metadata, file))
            }
            Err(error) => {
                // It may be empty, so that it needs not be readable, or another kind of file by now.
                let metadata = self.metadata(path)?;
                if metadata.kind == Kind::File && metadata.size > 0 {
                    Err(error)
                } else {
                    Ok((metadata, None))
                }
            }
        }
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
        // Most are of directories, which are listed next and stay open.
        if let Ok(directory) = self.directory(path.as_os_str().as_bytes()) {
            let directory = directory.as_fd();
            let (names, others) = user_names(|names| rustix::fs::flistxattr(directory, names))?;
            let get = |name: &[u8], value: &mut [u8]| rustix::fs::fgetxattr(directory, name, value);
            let xattrs = values(names, get)?;
            return Ok(self.noting(path, others, xattrs));
        }
        let (directory, name) = self.place(path)?;
        // There is no listxattrat, but a directory can be named by its descriptor.
        let by_name = proc_path(directory, name)?;
        let (names, others) = user_names(|names| rustix::fs::llistxattr(&by_name, names))?;
        let xattrs = values(names, |name, value| {
            rustix::fs::lgetxattr(&by_name, name, value)
        })?;
        Ok(self.noting(path, others, xattrs))
    }

    fn xattrs_of(&mut self, file: &mut File, path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        let (names, others) = user_names(|names| rustix::fs::flistxattr(&*file, names))?;
        let xattrs = values(names, |name, value| {
            rustix::fs::fgetxattr(&*file, name, value)
        })?;
        Ok(self.noting(path, others, xattrs))
    }
}

impl DirTree {
    /// Notes a file that has attributes which are left out.
    fn noting<X>(&mut self, path: &Path, others: bool, xattrs: X) -> X {
        if others {
            self.other_xattrs.add(|| path.to_owned());
        }
        xattrs
    }
}

/// Names of attributes in the `user.` namespace, and whether there are others.
fn user_names(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<(Vec<OsString>, bool)> {
    // The kernel allocates as much as it is given room for, every time, and hardly any file has any.
    let mut small = [0; 256];
    let mut large = Vec::new();
    let listed = match list(&mut small) {
        Ok(length) => small.get(..length),
        Err(Errno::RANGE) => {
            large.resize(MAX_XATTR, 0);
            let length = list(&mut large)?;
            large.get(..length)
        }
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM) => None,
        Err(error) => return Err(error.into()),
    };
    let mut users = Vec::new();
    let mut others = false;
    for name in listed
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name.starts_with(b"user.") {
            users.push(OsStr::from_bytes(name).to_owned());
        } else {
            others = true;
        }
    }
    Ok((users, others))
}

/// Attributes of these names with their values, which `get` reads.
fn values(
    names: Vec<OsString>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let with_value = |name: OsString| {
        let mut value = vec![0; 256];
        let mut length = get(name.as_bytes(), &mut value);
        if length == Err(Errno::RANGE) {
            value.resize(MAX_XATTR, 0);
            length = get(name.as_bytes(), &mut value);
        }
        value.truncate(length?);
        value.shrink_to_fit();
        Ok((name, value))
    };
    names.into_iter().map(with_value).collect()
}

fn proc_path(directory: &OwnedFd, name: &[u8]) -> io::Result<CString> {
    use std::os::fd::AsRawFd as _;
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
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
