//! The tree of a sandbox as a job sees it: changing.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode as Bits, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags,
};
use rustix::io::Errno;

use super::{Found, Root, is};
use crate::ledger::{self, Device, Owner, Place};
use crate::{Kind, Mode};

impl Root {
    /// Sets a `user.*` attribute of a regular file or directory. `EOPNOTSUPP` for any other name: capabilities
    /// and ACLs have no place in an image.
    pub fn set_xattr(&self, path: &Path, name: &OsStr, value: &[u8]) -> io::Result<()> {
        if !name.as_bytes().starts_with(b"user.") || name.as_bytes().starts_with(ledger::PREFIX) {
            return Err(Errno::OPNOTSUPP.into());
        }
        let target = Self::handle(&self.find(path)?)?;
        Ok(rustix::fs::setxattr(
            target.as_str(),
            name.as_bytes(),
            value,
            XattrFlags::empty(),
        )?)
    }

    /// Takes away a non-directory so that something new can have its name.
    fn vacate(found: &Found) -> io::Result<()> {
        match rustix::fs::unlinkat(&found.dir, &found.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What was just made belongs to root:root, also in a set-gid directory.
    fn claim(&self, place: Place<'_>) -> io::Result<()> {
        if self.mode != Mode::Single {
            let stat = place.stat()?;
            if stat.stx_uid != 0 || stat.stx_gid != 0 {
                crate::sys::chown(place.dir, place.name, Some(0), Some(0))?;
            }
        }
        Ok(())
    }

    /// Makes an empty regular file, root:root, of exactly `mode` (07777), opened for reading and writing. A
    /// non-directory of that name is replaced: nothing is ever written through a link.
    pub fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        let found = self.find(path)?.named(Errno::ISDIR)?;
        Self::vacate(&found)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&found.dir, &found.name, flags, 0o600.into())?;
        self.claim(Place::of(fd.as_fd()))?;
        rustix::fs::fchmod(&fd, (mode & 0o7777).into())?;
        Ok(File::from(fd))
    }

    /// Makes an empty regular file that nobody but its maker can open, until [`Root::dress`] gives it all it lacks: where there
    /// are many files, calls by path for each of its traits would take most of the time.
    pub fn create_bare(&self, path: &Path) -> io::Result<File> {
        let found = self.find(path)?.named(Errno::ISDIR)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || rustix::fs::openat(&found.dir, &found.name, flags, 0o600.into());
        let fd = match make() {
            Err(Errno::EXIST) => {
                Self::vacate(&found)?;
                make()
            }
            made => made,
        };
        Ok(File::from(fd?))
    }

    /// Gives a file of [`Root::create_bare`] its owner, exactly these permission bits (07777) and the time of its last change.
    pub fn dress(
        &self,
        file: &File,
        (uid, gid): (u32, u32),
        mode: u32,
        mtime: (i64, u32),
    ) -> io::Result<()> {
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::INVAL.into());
        }
        let place = Place::of(file.as_fd());
        // What was just made is root's in a ledger; elsewhere it is its maker's, or the group's of a set-gid directory.
        let is_theirs = if self.mode == Mode::Single {
            (uid, gid) == (0, 0)
        } else {
            let stat = place.stat()?;
            (stat.stx_uid, stat.stx_gid) == (uid, gid)
        };
        if !is_theirs {
            self.ledger().chown(place, Some(uid), Some(gid))?;
        }
        rustix::fs::fchmod(file, (mode & 0o7777).into())?;
        Ok(rustix::fs::futimens(file, &modified(mtime))?)
    }

    /// [`Root::create`] and its whole content.
    pub fn write(&self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        self.create(path, mode)?.write_all(content)?;
        // A write by anyone but a privileged process clears set-uid bits.
        if mode & 0o6000 == 0 {
            Ok(())
        } else {
            self.chmod(path, mode)
        }
    }

    /// Makes a directory, root:root, of exactly `mode`. `EEXIST` when the name is taken.
    pub fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let found = self.find(path)?.named(Errno::EXIST)?;
        self.make_dir(&found, mode)
    }

    fn make_dir(&self, found: &Found, mode: u32) -> io::Result<()> {
        rustix::fs::mkdirat(&found.dir, &found.name, 0o700.into())?;
        let dir = self.open_made(found)?;
        self.claim(Place::of(dir.as_fd()))?;
        Ok(rustix::fs::fchmod(&dir, (mode & 0o7777).into())?)
    }

    #[allow(clippy::unused_self)]
    fn open_made(&self, found: &Found) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(
            &found.dir,
            &found.name,
            flags,
            Bits::empty(),
        )?)
    }

    /// Makes a directory and those above it that are missing, root:root, of exactly `mode`. Existing ones keep
    /// theirs; symlinks to directories are followed inside the tree.
    pub fn create_dir_all(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mut above = PathBuf::from("/");
        for component in path.components() {
            match component {
                Component::Normal(name) => above.push(name),
                // The kernel resolves it against the real parent, symlinks and all.
                Component::ParentDir => above.push(".."),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            }
            match self.open_inside(&above, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(_) => {}
                Err(error) if is(&error, Errno::NOENT) => {
                    let found = self.find(&above)?.named(Errno::EXIST)?;
                    self.make_dir(&found, mode)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes a symlink, root:root.
    pub fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let found = self.find(path)?.named(Errno::EXIST)?;
        Self::vacate(&found)?;
        rustix::fs::symlinkat(target, &found.dir, &found.name)?;
        self.claim(found.place())
    }

    /// Gives an existing non-directory (a symlink itself, not its target) a second name.
    pub fn hard_link(&self, existing: &Path, path: &Path) -> io::Result<()> {
        let from = self.find(existing)?.named(Errno::PERM)?;
        let to = self.find(path)?.named(Errno::EXIST)?;
        let source = from.place().stat()?;
        if let Ok(target) = to.place().stat() {
            let id = |s: &rustix::fs::Statx| (s.stx_dev_major, s.stx_dev_minor, s.stx_ino);
            if id(&source) == id(&target) {
                return Ok(());
            }
        }
        if Kind::from_mode(source.stx_mode.into()) == Kind::Dir {
            return Err(Errno::PERM.into());
        }
        Self::vacate(&to)?;
        Ok(rustix::fs::linkat(
            &from.dir,
            &from.name,
            &to.dir,
            &to.name,
            AtFlags::empty(),
        )?)
    }

    /// Makes a device node, fifo, socket or empty regular file of exactly `mode` (with its `S_IFMT` bits), root:root.
    /// Where the kernel refuses device nodes, a placeholder and the ledger stand for them.
    pub fn mknod(&self, path: &Path, mode: u32, major: u32, minor: u32) -> io::Result<()> {
        let kind = Kind::from_mode(mode);
        let found = self.find(path)?.named(Errno::EXIST)?;
        if matches!(kind, Kind::Dir | Kind::Symlink) {
            return Err(Errno::INVAL.into());
        }
        Self::vacate(&found)?;
        let device = matches!(kind, Kind::Char | Kind::Block);
        if device && self.mode != Mode::Root {
            let owner = Owner {
                device: Some(Device { kind, major, minor }),
                ..Owner::default()
            };
            self.ledger().placeholder(found.place(), 0o600, owner)?;
        } else {
            let file_type = FileType::from_raw_mode(mode);
            let dev = if device {
                rustix::fs::makedev(major, minor)
            } else {
                0
            };
            rustix::fs::mknodat(&found.dir, &found.name, file_type, 0o600.into(), dev)?;
        }
        self.claim(found.place())?;
        Self::set_mode(&found, mode)
    }

    /// Changes the owner, never following a symlink. As everywhere on Linux this clears the set-uid bit
    /// (and the set-gid bit where the group may execute) of anything but a directory: call it before [`Root::chmod`].
    pub fn chown(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::INVAL.into());
        }
        let found = self.find(path)?;
        self.ledger().chown(found.place(), Some(uid), Some(gid))
    }

    /// Sets exactly these permission bits (07777). `ELOOP` on a symlink, which has none.
    pub fn chmod(&self, path: &Path, mode: u32) -> io::Result<()> {
        Self::set_mode(&self.find(path)?, mode)
    }

    fn set_mode(found: &Found, mode: u32) -> io::Result<()> {
        let target = Self::handle(found)?;
        Ok(rustix::fs::chmod(target.as_str(), (mode & 0o7777).into())?)
    }

    /// Sets the time of the last change, of a symlink itself too: seconds since 1970 and nanoseconds below 10⁹.
    pub fn set_mtime(&self, path: &Path, seconds: i64, nanos: u32) -> io::Result<()> {
        let found = self.find(path)?;
        let times = modified((seconds, nanos));
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        if found.name.is_empty() {
            // The kernel takes no O_PATH descriptor here.
            let fd = rustix::fs::openat(
                &found.dir,
                c".",
                OFlags::RDONLY | OFlags::CLOEXEC,
                Bits::empty(),
            )?;
            return Ok(rustix::fs::futimens(&fd, &times)?);
        }
        Ok(rustix::fs::utimensat(
            &found.dir,
            &found.name,
            &times,
            flags & AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Renames, replacing a non-directory (or an empty directory by a directory).
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (
            self.find(from)?.named(Errno::BUSY)?,
            self.find(to)?.named(Errno::BUSY)?,
        );
        Ok(rustix::fs::renameat(
            &from.dir, &from.name, &to.dir, &to.name,
        )?)
    }

    /// Removes a non-directory.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        let found = self.find(path)?.named(Errno::ISDIR)?;
        Ok(rustix::fs::unlinkat(
            &found.dir,
            &found.name,
            AtFlags::empty(),
        )?)
    }
}

/// A time of last change, and none of last access.
fn modified((seconds, nanos): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanos.into(),
        },
    }
}
