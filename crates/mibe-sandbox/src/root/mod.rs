//! The tree of a sandbox as a job sees it: reading.

mod change;
mod remove;

pub(crate) use remove::remove_tree;

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Dir, Mode as Bits, OFlags, ResolveFlags, Statx};
use rustix::io::Errno;

use crate::ledger::{self, Ledger, Place};
use crate::{Entry, Kind, Metadata, Mode};

/// As many symlinks as the kernel follows in one path.
const MAX_LINKS: usize = 40;
/// The longest value of an attribute (`XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 65536;

/// The tree of a sandbox as seen by a job. Every path is resolved inside it: a leading slash means the root of the
/// tree, `..` and absolute symlinks stay in it (`openat2` with `RESOLVE_IN_ROOT` for the parent), and the last
/// component is never followed. Owners and device nodes are the image's: where the file system can't hold
/// them, the sandbox's ledger does.
///
/// Functions that make something give it to root:root, set the exact mode whatever the umask, and
/// replace what was there unless it is a directory (`EISDIR`/`EEXIST`).
#[derive(Debug)]
pub struct Root {
    mode: Mode,
    top: OwnedFd,
    ledger: Mutex<Ledger>,
}

/// A place found; owns its directory.
struct Found {
    dir: OwnedFd,
    /// Empty: the directory itself (the root of the tree, or a path that ends in `..`).
    name: CString,
}

impl Found {
    fn place(&self) -> Place<'_> {
        Place {
            dir: self.dir.as_fd(),
            name: &self.name,
        }
    }

    /// For what needs a name: making, renaming, removing.
    fn named(self, otherwise: Errno) -> io::Result<Self> {
        if self.name.is_empty() {
            Err(otherwise.into())
        } else {
            Ok(self)
        }
    }
}

impl Root {
    /// The tree `root` in the sandbox directory `dir`.
    pub(crate) fn new(mode: Mode, dir: impl AsFd) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::openat(dir.as_fd(), c"root", flags, Bits::empty())?;
        let ledger = Mutex::new(Ledger::open(mode, dir.as_fd(), "/proc/")?);
        Ok(Self { mode, top, ledger })
    }

    /// How the sandbox gets its ownership.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // The ledger is consistent between any two of its statements.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens inside the tree, symlinks followed but for `NOFOLLOW`.
    fn open_inside(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = match path.as_os_str().as_bytes() {
            b"" => OsStr::new("."),
            _ => path.as_os_str(),
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(
                &self.top,
                relative,
                flags | OFlags::CLOEXEC,
                Bits::empty(),
                resolve,
            ) {
                // A rename elsewhere made the kernel unsure of a `..`.
                Err(Errno::AGAIN) => {}
                answer => return Ok(answer?),
            }
        }
    }

    fn find(&self, path: &Path) -> io::Result<Found> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        match path.components().next_back() {
            Some(Component::Normal(name)) => {
                let parent = path.parent().unwrap_or(Path::new(""));
                Ok(Found {
                    dir: self.open_inside(parent, directory)?,
                    name: CString::new(name.as_bytes())?,
                })
            }
            _ => Ok(Found {
                dir: self.open_inside(path, directory)?,
                name: CString::default(),
            }),
        }
    }

    fn describe(&self, place: Place<'_>, stat: &Statx) -> io::Result<Metadata> {
        let mut metadata = from_statx(stat);
        if let Some(owner) = self.ledger().lookup(place, stat)? {
            if self.mode == Mode::Single {
                (metadata.uid, metadata.gid) = (owner.uid, owner.gid);
            }
            if let Some(device) = owner.device {
                metadata.kind = device.kind;
                metadata.rdev = (device.major, device.minor);
                (metadata.size, metadata.blocks) = (0, 0);
            }
        }
        Ok(metadata)
    }

    /// What is at `path`; a symlink is not followed.
    pub fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let found = self.find(path)?;
        let stat = found.place().stat()?;
        self.describe(found.place(), &stat)
    }

    /// Whether something is at `path` (a dangling symlink is something).
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The entries of a directory, sorted by the bytes of their names. `ENOTDIR` on a symlink to one.
    pub fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let dir = self.open_dir(path)?;
        let mut entries = Vec::new();
        for item in Dir::read_from(&dir)? {
            let item = item?;
            let name = item.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let place = Place {
                dir: dir.as_fd(),
                name,
            };
            let stat = place.stat()?;
            let metadata = self.describe(place, &stat)?;
            entries.push(Entry {
                name: OsString::from_vec(name.to_bytes().to_vec()),
                metadata,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn open_dir(&self, path: &Path) -> io::Result<OwnedFd> {
        let found = self.find(path)?;
        let name = if found.name.is_empty() {
            c"."
        } else {
            found.name.as_c_str()
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&found.dir, name, flags, Bits::empty())?)
    }

    /// The target of a symlink, as it is written. `EINVAL` on anything else.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let found = self.find(path)?.named(Errno::INVAL)?;
        let target = rustix::fs::readlinkat(&found.dir, &found.name, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Opens a regular file for reading. `ELOOP` on a symlink, `EISDIR` on a directory, `ENXIO` on the rest.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let found = self.find(path)?.named(Errno::ISDIR)?;
        let stat = found.place().stat()?;
        match self.describe(found.place(), &stat)?.kind {
            Kind::File => {}
            Kind::Dir => return Err(Errno::ISDIR.into()),
            Kind::Symlink => return Err(Errno::LOOP.into()),
            _ => return Err(Errno::NXIO.into()),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(
            &found.dir,
            &found.name,
            flags,
            Bits::empty(),
        )?))
    }

    /// The whole of a regular file; `EFBIG` when it has more than `limit` bytes.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open(path)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            Err(Errno::FBIG.into())
        } else {
            Ok(content)
        }
    }

    /// The `user.*` attributes without the ledger's own, sorted by name; empty for symlinks and special files.
    pub fn xattrs(&self, path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        let found = self.find(path)?;
        if !matches!(
            Kind::from_mode(found.place().stat()?.stx_mode.into()),
            Kind::File | Kind::Dir
        ) {
            return Ok(Vec::new());
        }
        let target = Self::handle(&found)?;
        user_xattrs(
            |list| rustix::fs::listxattr(target.as_str(), list),
            |name, value| rustix::fs::getxattr(target.as_str(), name, value),
        )
    }

    /// The same of a file that [`Root::open`] opened.
    pub fn xattrs_of(&self, file: &File) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        user_xattrs(
            |list| rustix::fs::flistxattr(file, list),
            |name, value| rustix::fs::fgetxattr(file, name, value),
        )
    }

    /// A path in /proc that reaches the very inode (not a symlink), for calls that know no descriptors.
    fn handle(found: &Found) -> io::Result<Handle> {
        let fd = if found.name.is_empty() {
            found.dir.try_clone()?
        } else {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&found.dir, &found.name, flags, Bits::empty())?
        };
        if Kind::from_mode(Place::of(fd.as_fd()).stat()?.stx_mode.into()) == Kind::Symlink {
            return Err(Errno::LOOP.into());
        }
        Ok(Handle {
            path: format!("/proc/self/fd/{}", fd.as_raw_fd()),
            fd,
        })
    }

    /// A descriptor (`O_PATH`) of what is at `path`, not followed, mounts on it included.
    pub(crate) fn handle_fd(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(Self::handle(&self.find(path)?)?.fd)
    }

    /// Where `path` leads when every symlink in it, the last included, is followed inside the tree: an absolute
    /// path (from the root of the tree) without symlinks, `.` and `..`. `ENOENT` when it leads nowhere.
    pub fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let end = self.resolve_missing(path)?;
        self.metadata(&end)?;
        Ok(end)
    }

    /// The same, but the path may lead to what does not exist.
    pub(crate) fn resolve_missing(&self, path: &Path) -> io::Result<PathBuf> {
        let mut pending: Vec<OsString> = path
            .components()
            .rev()
            .map(|c| c.as_os_str().to_owned())
            .collect();
        let mut end = PathBuf::from("/");
        let mut links = 0;
        while let Some(component) = pending.pop() {
            match component.as_bytes() {
                b"/" => end = PathBuf::from("/"),
                b"." => {}
                b".." => drop(end.pop()),
                _ => {
                    let next = end.join(&component);
                    match self.read_link(&next) {
                        Ok(target) => {
                            links += 1;
                            if links > MAX_LINKS {
                                return Err(Errno::LOOP.into());
                            }
                            pending.extend(
                                target.components().rev().map(|c| c.as_os_str().to_owned()),
                            );
                        }
                        Err(error) if is(&error, Errno::INVAL) || is(&error, Errno::NOENT) => {
                            end = next;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(end)
    }
}

/// An inode's path in /proc, valid as long as this lives.
struct Handle {
    path: String,
    fd: OwnedFd,
}

impl Handle {
    fn as_str(&self) -> &str {
        &self.path
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn from_statx(stat: &Statx) -> Metadata {
    let kind = Kind::from_mode(stat.stx_mode.into());
    let rdev = match kind {
        Kind::Char | Kind::Block => (stat.stx_rdev_major, stat.stx_rdev_minor),
        _ => (0, 0),
    };
    Metadata {
        kind,
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        nlink: stat.stx_nlink.into(),
        size: stat.stx_size,
        mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        rdev,
        dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        ino: stat.stx_ino,
        blocks: stat.stx_blocks,
    }
}

/// The `user.*` attributes without the ledger's own, sorted by name.
fn user_xattrs(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    // Most files have none, or the ledger's alone, which costs no memory to find out.
    let mut few = [0; 256];
    let names = match list(&mut few) {
        Ok(length) => few[..length].to_vec(),
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            let mut names = vec![0; XATTR_MAX];
            let length = list(&mut names)?;
            names.truncate(length);
            names
        }
        Err(error) => return Err(error.into()),
    };
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        if !name.starts_with(b"user.") || name.starts_with(ledger::PREFIX) {
            continue;
        }
        let mut value = vec![0; XATTR_MAX];
        let length = get(name, &mut value)?;
        value.truncate(length);
        attributes.push((OsString::from_vec(name.to_vec()), value));
    }
    attributes.sort();
    Ok(attributes)
}
