//! The resolv.conf of a run: seen inside, never in the tree.
//!
//! It is bound over what /etc/resolv.conf leads to. A link into /run (systemd-resolved's) leads into a tmpfs of the
//! run, where the file is simply made. Where the tree has no file at all an empty one is needed to bind
//! over; the file [`MARK`] in the sandbox directory names it before it is made, so that the agent, or
//! after a kill the next one, takes it away again.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use crate::order::{Failure, Stage};
use crate::{Command, Kind, Root};

const MARK: &std::ffi::CStr = c"resolv-made";
const ETC: &str = "/etc/resolv.conf";

/// Shows the command's resolv.conf. `root` is the tree with everything mounted in it.
pub(crate) fn show(root: &Root, dir: &OwnedFd, command: &Command) -> Result<(), Failure> {
    if command.resolv_conf.is_empty() {
        return Ok(());
    }
    let stage = "provide /etc/resolv.conf";
    let target = root.resolve_missing(Path::new(ETC)).stage(stage)?;
    let on_tmpfs = target.starts_with("/run")
        || target.starts_with("/dev")
        || (command.tmp_tmpfs && target.starts_with("/tmp"));
    if on_tmpfs {
        if let Some(parent) = target.parent() {
            root.create_dir_all(parent, 0o755).stage(stage)?;
        }
        return root
            .write(&target, 0o644, &command.resolv_conf)
            .stage(stage);
    }
    match root.metadata(&target) {
        Ok(metadata) if metadata.kind == Kind::File => {}
        Ok(_) => {
            return Err(Failure::new(
                stage,
                format!("{} in the tree is not a file", target.display()),
            ));
        }
        // A tree without /etc has no C library either that would look for it.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && !parent_exists(root, &target).stage(stage)? =>
        {
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            mark(dir, &target).stage(stage)?;
            root.create(&target, 0o644)
                .stage(format!("{stage}: make {} in the tree", target.display()))?;
        }
        Err(error) => return Err(error).stage(stage),
    }
    // The content lives on the tmpfs of /dev, nameless once it is bound.
    let hidden = Path::new("/dev/.resolv.conf");
    root.write(hidden, 0o644, &command.resolv_conf)
        .stage(stage)?;
    let (from, to) = (
        root.handle_fd(hidden).stage(stage)?,
        root.handle_fd(&target).stage(stage)?,
    );
    rustix::mount::mount_bind(proc_path(&from), proc_path(&to)).stage(stage)?;
    root.remove_file(hidden).stage(stage)
}

fn parent_exists(root: &Root, path: &Path) -> io::Result<bool> {
    path.parent()
        .map_or(Ok(false), |parent| root.exists(parent))
}

fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn mark(dir: &OwnedFd, target: &Path) -> io::Result<()> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, MARK, flags, 0o600.into())?;
    rustix::io::write(&file, target.as_os_str().as_bytes())?;
    Ok(())
}

/// Takes the empty file away that an earlier run made.
pub(crate) fn tidy(root: &Root, dir: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, MARK, flags, 0o600.into()) {
        Err(Errno::NOENT) => return Ok(()),
        answer => answer?,
    };
    let mut path = vec![0; libc::PATH_MAX as usize];
    let length = rustix::io::read(&file, &mut path)?;
    path.truncate(length);
    let target = PathBuf::from(OsString::from_vec(path));
    match root.metadata(&target) {
        // What is not empty is not what we made.
        Ok(metadata) if metadata.kind == Kind::File && metadata.size == 0 => {
            root.remove_file(&target)?;
        }
        Ok(_) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) => {}
        Err(error) => return Err(error),
    }
    Ok(rustix::fs::unlinkat(dir, MARK, AtFlags::empty())?)
}
