//! The seccomp filter of a command: which system calls are refused, and which go to the supervisor.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::Mode;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xC000_00B7;

/// x32 calls carry this bit on x86_64.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

// `setxattrat` (Linux 6.13), newer than libc knows.
const SYS_SETXATTRAT: libc::c_long = 463;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
#[cfg(target_arch = "x86_64")]
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offset of the low half of an argument in `struct seccomp_data` (both machines are little-endian).
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

struct Program(Vec<libc::sock_filter>);

impl Program {
    fn op(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.0.push(libc::sock_filter { code, jt, jf, k });
    }

    /// The body runs for one system call; if it does not return, the next rule is tried with the number loaded.
    fn rule(&mut self, number: libc::c_long, body: impl FnOnce(&mut Self)) {
        let at = self.0.len();
        self.op(EQUAL, number as u32, 0, 0);
        body(self);
        let skip = (self.0.len() - at - 1) as u8;
        if let Some(jump) = self.0.get_mut(at) {
            jump.jf = skip;
        }
    }

    fn refuse(&mut self, number: libc::c_long, errno: i32) {
        self.rule(number, |p| {
            p.op(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0);
        });
    }

    fn notify(&mut self, number: libc::c_long) {
        self.rule(number, |p| p.op(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0));
    }

    /// To the supervisor if any of these bits is set in an argument.
    fn notify_if(&mut self, number: libc::c_long, index: u32, bits: u32) {
        self.rule(number, |p| {
            p.op(LOAD, argument(index), 0, 0);
            p.op(ANY_BIT, bits, 0, 1);
            p.op(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0);
            p.op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
        });
    }

    /// To the supervisor if the first argument is one of these.
    fn notify_first(&mut self, number: libc::c_long, values: &[i32]) {
        self.rule(number, |p| {
            p.op(LOAD, argument(0), 0, 0);
            for (index, value) in values.iter().enumerate() {
                p.op(EQUAL, *value as u32, (values.len() - index) as u8, 0);
            }
            p.op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
            p.op(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0);
        });
    }

    /// To the supervisor if an argument is the mode of a device node.
    fn notify_devices(&mut self, number: libc::c_long, index: u32) {
        self.rule(number, |p| {
            p.op(LOAD, argument(index), 0, 0);
            p.op(AND, libc::S_IFMT, 0, 0);
            p.op(EQUAL, libc::S_IFCHR, 2, 0);
            p.op(EQUAL, libc::S_IFBLK, 1, 0);
            p.op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
            p.op(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0);
        });
    }

    /// Succeeds without effect when the argument `index` names the limit that carries fake credentials and
    /// the argument `value` is not null.
    fn keep_limit(&mut self, number: libc::c_long, index: u32, value: u32) {
        self.rule(number, |p| {
            p.op(LOAD, argument(index), 0, 0);
            p.op(EQUAL, libc::RLIMIT_MSGQUEUE, 1, 0);
            p.op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
            p.op(LOAD, argument(value), 0, 0);
            p.op(EQUAL, 0, 0, 3);
            p.op(LOAD, argument(value) + 4, 0, 0);
            p.op(EQUAL, 0, 0, 1);
            p.op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
            p.op(RETURN, libc::SECCOMP_RET_ERRNO, 0, 0);
        });
    }
}

fn program(mode: Mode) -> Program {
    let mut p = Program(Vec::new());
    p.op(LOAD, 4, 0, 0);
    // Other instruction sets (i386 on x86_64, arm on aarch64) would pass by everything below.
    p.op(EQUAL, NATIVE, 1, 0);
    p.op(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32, 0, 0);
    p.op(LOAD, 0, 0, 0);
    #[cfg(target_arch = "x86_64")]
    {
        p.op(AT_LEAST, X32, 0, 1);
        p.op(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32, 0, 0);
    }
    // io_uring does file work past any filter; keyrings would outlive the run.
    for number in [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        SYS_SETXATTRAT,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
    ] {
        p.refuse(number, libc::ENOSYS);
    }
    // The name is behind a pointer.
    for number in [libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr] {
        p.notify(number);
    }
    match mode {
        Mode::Root => {}
        Mode::Subuid => {
            p.notify_devices(libc::SYS_mknodat, 2);
            #[cfg(target_arch = "x86_64")]
            p.notify_devices(libc::SYS_mknod, 1);
        }
        Mode::Single => single(&mut p),
    }
    p.op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    p
}

fn single(p: &mut Program) {
    p.keep_limit(libc::SYS_prlimit64, 1, 2);
    p.keep_limit(libc::SYS_setrlimit, 0, 1);
    let creating = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32;
    p.notify_if(libc::SYS_openat, 2, creating);
    p.notify_first(
        libc::SYS_prctl,
        &[libc::PR_SET_KEEPCAPS, libc::PR_SET_SECUREBITS],
    );
    #[cfg(target_arch = "x86_64")]
    {
        p.notify_if(libc::SYS_open, 1, creating);
        for number in [
            libc::SYS_creat,
            libc::SYS_stat,
            libc::SYS_lstat,
            libc::SYS_chown,
            libc::SYS_lchown,
            libc::SYS_mknod,
            libc::SYS_mkdir,
            libc::SYS_symlink,
        ] {
            p.notify(number);
        }
    }
    for number in [
        libc::SYS_newfstatat,
        libc::SYS_fstat,
        libc::SYS_statx,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_mknodat,
        libc::SYS_mkdirat,
        libc::SYS_symlinkat,
        libc::SYS_openat2,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_setreuid,
        libc::SYS_setregid,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_setfsuid,
        libc::SYS_setfsgid,
        libc::SYS_setgroups,
        libc::SYS_getuid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getegid,
        libc::SYS_getresuid,
        libc::SYS_getresgid,
        libc::SYS_getgroups,
    ] {
        p.notify(number);
    }
}

/// Installs the filter on this thread (which must hold `CAP_SYS_ADMIN` in its user namespace) and all it will
/// start; the descriptor that notifications are read from.
pub(crate) fn install(mode: Mode) -> io::Result<OwnedFd> {
    let mut program = program(mode);
    let header = libc::sock_fprog {
        len: program.0.len() as u16,
        filter: program.0.as_mut_ptr(),
    };
    // After the supervisor took a call only a fatal signal interrupts it (5.19), so that no call is done twice.
    let killable =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let mut error = io::Error::other("no flags");
    for flags in [killable, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER] {
        // SAFETY: `header` and the instructions it points to outlive the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const header,
            )
        };
        if fd >= 0 {
            // SAFETY: the kernel has just given us this descriptor, which nobody else knows.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        }
        error = io::Error::last_os_error();
    }
    Err(error)
}
