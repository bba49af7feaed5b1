//! What a command sees around the tree.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode as Bits, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::order::{Failure, Stage};
use crate::{Bind, Command, Mode, Root, resolver, sys};

/// Device nodes of the machine that a command sees.
const NODES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// Links of /dev.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Parts of /proc that act on the machine: read-only for real root.
const READ_ONLY: &[&str] = &["bus", "fs", "irq", "sys", "sysrq-trigger"];
/// Parts of /proc that tell of the machine: hidden from real root.
const HIDDEN: &[&str] = &["kcore", "keys", "timer_list", "kallsyms", "kmsg"];

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Mounts everything in this process's own mount namespace and makes the tree its root. The working directory is the
/// sandbox's; afterwards it is the new root. Nothing in the tree is changed but for mount points
/// that it lacks (dev, proc, run, sys, tmp: made as plain directories).
pub(crate) fn enter(mode: Mode, command: &Command) -> Result<(), Failure> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .stage("make the mounts private")?;
    let dir = open(".", OFlags::RDONLY).stage("open the sandbox directory")?;
    rustix::mount::mount_bind("root", "root").stage("bind the tree")?;
    let tree = open("root", OFlags::PATH).stage("open the tree")?;
    sys::mount_attributes(tree.as_fd(), false, libc::MOUNT_ATTR_NODEV)
        .stage("mount the tree without devices")?;
    let root = Root::new(mode, &dir).stage("open the tree")?;
    rustix::process::fchdir(&tree).stage("enter the tree")?;
    for (name, bits) in [
        ("dev", 0o755),
        ("proc", 0o555),
        ("run", 0o755),
        ("sys", 0o555),
        ("tmp", 0o1777),
    ] {
        mount_point(&tree, &root, name, bits)?;
    }
    mount_proc(mode)?;
    mount_dev(mode)?;
    tmpfs("run", "mode=755")?;
    root.create_dir(Path::new("/run/lock"), 0o1777)
        .stage("make /run/lock")?;
    if command.tmp_tmpfs {
        tmpfs("tmp", "mode=1777")?;
    }
    resolver::show(&root, &dir, command)?;
    for bind in &command.binds {
        show(&root, bind, command.tmp_tmpfs)?;
    }
    rustix::process::pivot_root(".", ".").stage("change the root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).stage("leave the old root")?;
    rustix::process::chdir("/").stage("enter the new root")
}

fn open(path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(
        path,
        flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Bits::empty(),
    )
}

fn mount_point(tree: &OwnedFd, root: &Root, name: &str, bits: u32) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(tree, name, flags, Bits::empty(), resolve) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => root
            .create_dir(Path::new(name), bits)
            .stage(format!("make /{name}")),
        Err(error) => Err(error).stage(format!(
            "mount point /{name} (must be a directory, not a link)"
        )),
    }
}

fn tmpfs(target: &str, options: &str) -> Result<(), Failure> {
    let options = std::ffi::CString::new(options).unwrap_or_default();
    rustix::mount::mount("tmpfs", target, "tmpfs", QUIET, options.as_c_str())
        .stage(format!("mount a tmpfs on /{target}"))
}

fn mount_proc(mode: Mode) -> Result<(), Failure> {
    rustix::mount::mount("proc", "proc", "proc", QUIET | MountFlags::NOEXEC, None)
        .stage("mount /proc")?;
    if mode != Mode::Root {
        return Ok(());
    }
    for name in READ_ONLY {
        let path = format!("proc/{name}");
        match rustix::mount::mount_bind(path.as_str(), path.as_str()) {
            Err(Errno::NOENT) => continue,
            answer => answer.stage(format!("bind /{path}"))?,
        }
        let top = rustix::fs::open(path.as_str(), OFlags::PATH | OFlags::CLOEXEC, Bits::empty())
            .stage(path.as_str())?;
        let set = libc::MOUNT_ATTR_RDONLY
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC;
        sys::mount_attributes(top.as_fd(), false, set).stage(format!("make /{path} read-only"))?;
    }
    for name in HIDDEN {
        match rustix::mount::mount_bind("/dev/null", format!("proc/{name}")) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error).stage(format!("hide /proc/{name}")),
        }
    }
    Ok(())
}

fn mount_dev(mode: Mode) -> Result<(), Failure> {
    rustix::mount::mount(
        "tmpfs",
        "dev",
        "tmpfs",
        MountFlags::NOSUID,
        c"mode=755,size=4m",
    )
    .stage("mount /dev")?;
    for name in NODES {
        let target = format!("dev/{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        drop(
            rustix::fs::open(target.as_str(), flags, 0o666.into())
                .stage(format!("make /{target}"))?,
        );
        rustix::mount::mount_bind(format!("/dev/{name}"), target.as_str())
            .stage(format!("bind /{target}"))?;
    }
    for (name, to) in LINKS {
        rustix::fs::symlink(*to, format!("dev/{name}")).stage(format!("make /dev/{name}"))?;
    }
    for name in ["dev/pts", "dev/shm"] {
        rustix::fs::mkdir(name, 0o755.into()).stage(format!("make /{name}"))?;
    }
    // Group 5 is tty; a single map has no such group.
    let options = if mode == Mode::Single {
        c"newinstance,ptmxmode=0666,mode=620"
    } else {
        c"newinstance,ptmxmode=0666,mode=620,gid=5"
    };
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("devpts", "dev/pts", "devpts", flags, options).stage("mount /dev/pts")?;
    tmpfs("dev/shm", "mode=1777")
}

/// Binds a part of the host. A target on a tmpfs of the run is made; one in the tree must be there.
fn show(root: &Root, bind: &Bind, tmp: bool) -> Result<(), Failure> {
    let stage = format!("bind {} on {}", bind.host.display(), bind.inside.display());
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let source = rustix::fs::open(&bind.host, flags, Bits::empty()).stage(stage.as_str())?;
    let target = root.resolve_missing(&bind.inside).stage(stage.as_str())?;
    let on_tmpfs = target.starts_with("/run") || (tmp && target.starts_with("/tmp"));
    if on_tmpfs && !root.exists(&target).stage(stage.as_str())? {
        let kind = crate::Kind::from_mode(
            sys::statx(source.as_fd(), c"")
                .stage(stage.as_str())?
                .stx_mode
                .into(),
        );
        if kind == crate::Kind::Dir {
            root.create_dir_all(&target, 0o755).stage(stage.as_str())?;
        } else {
            if let Some(parent) = target.parent() {
                root.create_dir_all(parent, 0o755).stage(stage.as_str())?;
            }
            root.create(&target, 0o644).stage(stage.as_str())?;
        }
    }
    let place = root.handle_fd(&target).stage(stage.as_str())?;
    let proc_path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    // Recursive: a user namespace may not take a mount apart from those on top of it.
    rustix::mount::mount_bind_recursive(proc_path(&source), proc_path(&place))
        .stage(stage.as_str())?;
    let top = root.handle_fd(&target).stage(stage.as_str())?;
    let read_only = if bind.writable {
        0
    } else {
        libc::MOUNT_ATTR_RDONLY
    };
    let set = read_only | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
    sys::mount_attributes(top.as_fd(), true, set).stage(stage)
}
