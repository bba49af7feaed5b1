//! The listener's protocol (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const RECEIVE: u64 = 0xC050_2100;
const SEND: u64 = 0xC018_2101;
const ID_VALID: u64 = 0x4008_2102;
const ADD_FD: u64 = 0x4018_2103;
const SET_FLAGS: u64 = 0x4008_2104;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`
const SYNC_WAKE_UP: u64 = 1;

/// A system call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) id: u64,
    /// The thread, as PID 1 sees it.
    pub(super) pid: u32,
    pub(super) number: libc::c_long,
    pub(super) arguments: [u64; 6],
}

/// What becomes of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// The kernel does it.
    Continue,
    /// It returns this.
    Value(i64),
    /// It fails.
    Error(i32),
    /// It returns a new descriptor of this file.
    File { fd: OwnedFd, close_on_exec: bool },
}

/// The kernel's structures; it may know larger ones than we, and wants theirs.
#[derive(Debug)]
pub(super) struct Buffers {
    request: Vec<u64>,
    response: Vec<u64>,
}

impl Buffers {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut sizes: libc::seccomp_notif_sizes = unsafe { std::mem::zeroed() };
        // SAFETY: the structure outlives the call.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_GET_NOTIF_SIZES,
                0,
                &raw mut sizes,
            )
        };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        let words = |kernel: u16, ours: usize| usize::from(kernel).max(ours).div_ceil(8);
        Ok(Self {
            request: vec![0; words(sizes.seccomp_notif, size_of::<libc::seccomp_notif>())],
            response: vec![
                0;
                words(
                    sizes.seccomp_notif_resp,
                    size_of::<libc::seccomp_notif_resp>()
                )
            ],
        })
    }

    /// The next request; `None` when its process died before we came.
    pub(super) fn receive(&mut self, listener: &OwnedFd) -> io::Result<Option<Request>> {
        self.request.fill(0);
        // SAFETY: the buffer is zeroed, aligned, and at least as large as the kernel's structure.
        let answer = unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                RECEIVE as _,
                self.request.as_mut_ptr(),
            )
        };
        if answer < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENOENT | libc::EINTR) => Ok(None),
                _ => Err(error),
            };
        }
        // SAFETY: the buffer is larger than the structure, aligned for u64, and any bytes are a valid value.
        let request = unsafe { &*self.request.as_ptr().cast::<libc::seccomp_notif>() };
        Ok(Some(Request {
            id: request.id,
            pid: request.pid,
            number: request.data.nr.into(),
            arguments: request.data.args,
        }))
    }

    /// Sends the answer; that the process died meanwhile is no error.
    pub(super) fn send(
        &mut self,
        listener: &OwnedFd,
        request: &Request,
        answer: Answer,
    ) -> io::Result<()> {
        let (value, error, flags) = match answer {
            Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Answer::Value(value) => (value, 0, 0),
            Answer::Error(errno) => (0, -errno, 0),
            Answer::File { fd, close_on_exec } => {
                match add_fd(listener, request, &fd, close_on_exec) {
                    Ok(()) => return Ok(()),
                    Err(error) => (0, -error.raw_os_error().unwrap_or(libc::EIO), 0),
                }
            }
        };
        self.response.fill(0);
        // SAFETY: the buffer is larger than the structure, aligned for u64, and any bytes are a valid value.
        let response = unsafe {
            &mut *self
                .response
                .as_mut_ptr()
                .cast::<libc::seccomp_notif_resp>()
        };
        (response.id, response.val, response.error, response.flags) =
            (request.id, value, error, flags);
        // SAFETY: the buffer is at least as large as the kernel's structure and outlives the call.
        let answer =
            unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, self.response.as_mut_ptr()) };
        if answer < 0 {
            let error = io::Error::last_os_error();
            if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Gives the process a descriptor and answers its call with that, in one.
fn add_fd(
    listener: &OwnedFd,
    request: &Request,
    fd: &OwnedFd,
    close_on_exec: bool,
) -> io::Result<()> {
    let order = libc::seccomp_notif_addfd {
        id: request.id,
        flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
        srcfd: fd.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: if close_on_exec {
            libc::O_CLOEXEC as u32
        } else {
            0
        },
    };
    // SAFETY: the structure outlives the call, which only reads it.
    let answer = unsafe { libc::ioctl(listener.as_raw_fd(), ADD_FD as _, &raw const order) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

pub(super) fn is_valid(listener: &OwnedFd, request: &Request) -> bool {
    let id = request.id;
    // SAFETY: the id outlives the call, which only reads it.
    unsafe { libc::ioctl(listener.as_raw_fd(), ID_VALID as _, &raw const id) == 0 }
}

/// Has the caller and the supervisor take turns on one CPU (Linux 6.6): a third of the cost of a call. Older kernels
/// refuse, which does no harm.
pub(super) fn hand_over_cpu(listener: &OwnedFd) {
    // SAFETY: the argument is a plain value.
    unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) };
}

/// Reads from a process's memory; how much could be read.
pub(super) fn read_memory(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: buffer.len(),
    };
    // SAFETY: the local part is a live buffer of that length; the remote one is checked by the kernel.
    let answer =
        unsafe { libc::process_vm_readv(pid as i32, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Writes to a process's memory, all or an error.
pub(super) fn write_memory(pid: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: the local part is a live buffer of that length, only read; the remote one is checked by the kernel.
    let answer = unsafe {
        libc::process_vm_writev(pid as i32, &raw const local, 1, &raw const remote, 1, 0)
    };
    match usize::try_from(answer) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// The soft and hard limit of another process that carries its fake credentials; sets the soft one.
pub(super) fn carrier(pid: u32, new: Option<libc::rlimit64>) -> io::Result<libc::rlimit64> {
    let mut old = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both pointers are null or to live structures.
    let answer = unsafe { libc::prlimit64(pid as i32, libc::RLIMIT_MSGQUEUE, new, &raw mut old) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(old)
    }
}

/// The kernel's answer to `fstat`, owner and kind still to be put right.
pub(super) fn kernel_stat(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the structure outlives the call; the path is an empty NUL-terminated string.
    let answer = unsafe {
        libc::fstatat(
            fd.as_raw_fd(),
            c"".as_ptr(),
            &raw mut stat,
            libc::AT_EMPTY_PATH,
        )
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(stat)
    }
}

/// The kernel's answer to `statx` with the caller's mask and flags.
pub(super) fn kernel_statx(fd: BorrowedFd<'_>, flags: i32, mask: u32) -> io::Result<libc::statx> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | (flags & libc::AT_STATX_SYNC_TYPE);
    // SAFETY: the structure outlives the call; the path is an empty NUL-terminated string.
    let answer = unsafe { libc::statx(fd.as_raw_fd(), c"".as_ptr(), flags, mask, &raw mut stat) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(stat)
    }
}

/// The bytes of a plain structure of the kernel's.
///
/// # Safety
/// `T` must have been wholly initialised, padding included (zeroed first).
pub(super) unsafe fn bytes_of<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: by the contract every byte is initialised; the slice borrows the value.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}
