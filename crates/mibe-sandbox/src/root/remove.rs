//! Removing whole directories: of any depth, whatever their modes, never through a symlink or into a mount.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode as Bits, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Root;
use crate::sys;

impl Root {
    /// Removes a directory with all that is in it, or a non-directory. `EXDEV` where something is mounted in it.
    pub fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let found = self.find(path)?.named(Errno::BUSY)?;
        remove_tree(found.dir.as_fd(), &found.name)
    }
}

/// Removes `name` in `dir` with all that is in it. Needs descriptors for two levels only, so that no depth is too deep.
pub(crate) fn remove_tree(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut current = enter(dir, name)?;
    // The way down: the name that led into each directory, and where it was entered from.
    let mut way: Vec<(CString, (u32, u32, u64))> = vec![(name.to_owned(), identity(dir)?)];
    loop {
        if let Some(child) = empty_out(&current)? {
            let here = identity(current.as_fd())?;
            current = enter(current.as_fd(), &child)?;
            way.push((child, here));
            continue;
        }
        let Some((name, above)) = way.pop() else {
            return Ok(());
        };
        if way.is_empty() {
            return Ok(rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR)?);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(&current, c"..", flags, Bits::empty())?;
        if identity(parent.as_fd())? != above {
            return Err(io::Error::other(
                "a directory was moved while it was being removed",
            ));
        }
        rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR)?;
        current = parent;
    }
}

/// Removes non-directories and empty directories until a directory that holds something is met: its name.
fn empty_out(dir: &OwnedFd) -> io::Result<Option<CString>> {
    for item in Dir::read_from(dir)? {
        let item = item?;
        let name = item.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR) => match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
                Ok(()) => {}
                Err(_) => return Ok(Some(name.to_owned())),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn enter(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(dir, name, flags, Bits::empty(), resolve) {
        Err(Errno::ACCESS) => {}
        answer => return Ok(answer?),
    }
    // An owner without privileges can't enter a directory of mode 000, but can change that.
    let target = rustix::fs::openat2(dir, name, flags | OFlags::PATH, Bits::empty(), resolve)?;
    rustix::fs::chmod(
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&target)),
        0o700.into(),
    )?;
    Ok(rustix::fs::openat2(
        dir,
        name,
        flags,
        Bits::empty(),
        resolve,
    )?)
}

fn identity(fd: BorrowedFd<'_>) -> io::Result<(u32, u32, u64)> {
    let stat = sys::statx(fd, c"")?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}
