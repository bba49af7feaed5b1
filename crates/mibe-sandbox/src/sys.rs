//! System calls that rustix has no safe face for, and small helpers around those it has.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Statx, StatxFlags, Uid};

/// The longest file handle (`MAX_HANDLE_SZ` of <linux/exportfs.h>).
const HANDLE_MAX: usize = 128;

#[repr(C)]
struct FileHandle {
    bytes: u32,
    kind: i32,
    data: [u8; HANDLE_MAX],
}

fn check(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// `statx` of `name` in `dir`, not followed; of `dir` itself when the name is empty.
pub(crate) fn statx(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    rustix::fs::statx(
        dir,
        name,
        flags,
        StatxFlags::BASIC_STATS | StatxFlags::BTIME,
    )
}

/// `fchownat`, never following; `None` keeps.
pub(crate) fn chown(
    dir: BorrowedFd<'_>,
    name: &CStr,
    uid: Option<u32>,
    gid: Option<u32>,
) -> rustix::io::Result<()> {
    let keep = u32::MAX;
    let uid = uid.filter(|uid| *uid != keep).map(Uid::from_raw);
    let gid = gid.filter(|gid| *gid != keep).map(Gid::from_raw);
    rustix::fs::chownat(
        dir,
        name,
        uid,
        gid,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH,
    )
}

/// The file handle of an inode, generation included; empty where the file system has none.
pub(crate) fn file_handle(dir: BorrowedFd<'_>, name: &CStr) -> Vec<u8> {
    let mut handle = FileHandle {
        bytes: HANDLE_MAX as u32,
        kind: 0,
        data: [0; HANDLE_MAX],
    };
    let mut mount: libc::c_int = 0;
    // SAFETY: `handle` has the layout of `struct file_handle` with room for the `bytes` it states, `name` is
    // NUL-terminated, and all outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            dir.as_raw_fd(),
            name.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    if answer < 0 {
        return Vec::new();
    }
    let mut bytes = handle.kind.to_ne_bytes().to_vec();
    bytes.extend_from_slice(handle.data.get(..handle.bytes as usize).unwrap_or_default());
    bytes
}

/// Leaves namespaces for new ones (`CLONE_NEW*` bits). For single-threaded processes.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: only CLONE_NEW* bits are passed; no memory or descriptor table is unshared.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Forks; `None` in the child. Only agents call it: they have one thread, so the child may do as it likes.
pub(crate) fn fork() -> io::Result<Option<rustix::process::Pid>> {
    // SAFETY: the process has one thread, so no lock can be held by another one at the time of the fork.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok(rustix::process::Pid::from_raw(pid as i32))
}

/// Ends the process without running exit handlers (for forked children).
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: always sound; it does not return.
    unsafe { libc::_exit(status) }
}

/// Adds mount attributes (`MOUNT_ATTR_*`) to the mount that `dir` is the root of.
pub(crate) fn mount_attributes(dir: BorrowedFd<'_>, recursive: bool, set: u64) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure outlives the call and its size is stated.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(answer).map(drop)
}

/// Sets a resource's soft and hard limit.
pub(crate) fn limit(
    resource: rustix::process::Resource,
    current: u64,
    maximum: u64,
) -> io::Result<()> {
    let limit = rustix::process::Rlimit {
        current: Some(current),
        maximum: Some(maximum),
    };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// Brings the loopback device of the network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: plain system call; the descriptor is owned from here on.
    let socket = unsafe {
        let fd =
            check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0).into())?;
        OwnedFd::from_raw_fd(fd as i32)
    };
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *slot = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which outlives the call.
    check(
        unsafe {
            libc::ioctl(
                socket.as_raw_fd(),
                libc::SIOCSIFFLAGS as _,
                &raw const request,
            )
        }
        .into(),
    )
    .map(drop)
}

/// Gives every signal its default action and unblocks all.
pub(crate) fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: setting SIG_DFL installs no handler; numbers that can't be changed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero sigset is made empty before use; the pointers outlive the calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Kills every other process of the pid namespace. For PID 1 of one only.
pub(crate) fn kill_all() {
    if rustix::process::getpid().is_init() {
        // SAFETY: plain system call; as PID 1 of a namespace of its own this reaches that namespace alone.
        unsafe { libc::kill(-1, libc::SIGKILL) };
    }
}
