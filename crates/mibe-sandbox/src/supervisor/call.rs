//! System calls by what they mean.

use super::identity::Change;
use super::notification::Request;

/// The file that a call names.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// Directory descriptor, `AT_FDCWD`, or (without path) the file itself.
    pub(super) dir: i32,
    /// Address of the path.
    pub(super) path: Option<u64>,
    /// Whether a symlink at its end is followed.
    pub(super) follow: bool,
    /// Whether an empty path means the descriptor itself.
    pub(super) empty: bool,
}

impl At {
    fn new(dir: u64, path: u64, follow: bool) -> Self {
        Self {
            dir: dir as i32,
            path: Some(path),
            follow,
            empty: false,
        }
    }

    fn flags(dir: u64, path: u64, flags: u64) -> Self {
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW as u64 == 0;
        Self {
            empty: flags & libc::AT_EMPTY_PATH as u64 != 0,
            ..Self::new(dir, path, follow)
        }
    }

    fn descriptor(fd: u64) -> Self {
        Self {
            dir: fd as i32,
            path: None,
            follow: true,
            empty: true,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn here(path: u64, follow: bool) -> Self {
        Self::new(libc::AT_FDCWD as u64, path, follow)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    SetXattr {
        name: u64,
    },
    Stat {
        at: At,
        buffer: u64,
    },
    Statx {
        at: At,
        mask: u32,
        buffer: (u64, i32),
    },
    Chown {
        at: At,
        uid: u32,
        gid: u32,
    },
    Mknod {
        at: At,
        mode: u32,
        dev: u64,
    },
    Mkdir {
        at: At,
        mode: u32,
    },
    Symlink {
        target: u64,
        at: At,
    },
    Open {
        at: At,
        flags: u64,
        mode: u64,
    },
    Openat2 {
        at: At,
        how: u64,
        size: u64,
    },
    Exec {
        at: At,
    },
    Identity(Change),
}

impl Call {
    pub(super) fn decode(request: &Request) -> Option<Self> {
        let a = request.arguments;
        let call = match request.number {
            libc::SYS_setxattr | libc::SYS_lsetxattr | libc::SYS_fsetxattr => {
                Self::SetXattr { name: a[1] }
            }
            libc::SYS_newfstatat => Self::Stat {
                at: At::flags(a[0], a[1], a[3]),
                buffer: a[2],
            },
            libc::SYS_fstat => Self::Stat {
                at: At::descriptor(a[0]),
                buffer: a[1],
            },
            libc::SYS_statx => Self::Statx {
                at: At::flags(a[0], a[1], a[2]),
                mask: a[3] as u32,
                buffer: (a[4], a[2] as i32),
            },
            libc::SYS_fchown => Self::Chown {
                at: At::descriptor(a[0]),
                uid: a[1] as u32,
                gid: a[2] as u32,
            },
            libc::SYS_fchownat => Self::Chown {
                at: At::flags(a[0], a[1], a[4]),
                uid: a[2] as u32,
                gid: a[3] as u32,
            },
            libc::SYS_mknodat => Self::Mknod {
                at: At::new(a[0], a[1], false),
                mode: a[2] as u32,
                dev: a[3],
            },
            libc::SYS_mkdirat => Self::Mkdir {
                at: At::new(a[0], a[1], false),
                mode: a[2] as u32,
            },
            libc::SYS_symlinkat => Self::Symlink {
                target: a[0],
                at: At::new(a[1], a[2], false),
            },
            // Flags and mode are C ints: what the upper halves hold is no one's business.
            libc::SYS_openat => Self::Open {
                at: At::new(a[0], a[1], true),
                flags: u64::from(a[2] as u32),
                mode: u64::from(a[3] as u32),
            },
            libc::SYS_execve => Self::Exec {
                at: At::new(libc::AT_FDCWD as u64, a[0], true),
            },
            libc::SYS_execveat => Self::Exec {
                at: At::flags(a[0], a[1], a[4]),
            },
            libc::SYS_openat2 => Self::Openat2 {
                at: At::new(a[0], a[1], true),
                how: a[2],
                size: a[3],
            },
            _ => {
                return Change::decode(request)
                    .map(Self::Identity)
                    .or_else(|| Self::decode_old(request));
            }
        };
        Some(call)
    }

    /// The calls that newer machines no longer have.
    #[cfg(target_arch = "x86_64")]
    fn decode_old(request: &Request) -> Option<Self> {
        let a = request.arguments;
        let call = match request.number {
            libc::SYS_stat => Self::Stat {
                at: At::here(a[0], true),
                buffer: a[1],
            },
            libc::SYS_lstat => Self::Stat {
                at: At::here(a[0], false),
                buffer: a[1],
            },
            libc::SYS_chown => Self::Chown {
                at: At::here(a[0], true),
                uid: a[1] as u32,
                gid: a[2] as u32,
            },
            libc::SYS_lchown => Self::Chown {
                at: At::here(a[0], false),
                uid: a[1] as u32,
                gid: a[2] as u32,
            },
            libc::SYS_mknod => Self::Mknod {
                at: At::here(a[0], false),
                mode: a[1] as u32,
                dev: a[2],
            },
            libc::SYS_mkdir => Self::Mkdir {
                at: At::here(a[0], false),
                mode: a[1] as u32,
            },
            libc::SYS_symlink => Self::Symlink {
                target: a[0],
                at: At::here(a[1], false),
            },
            libc::SYS_open => Self::Open {
                at: At::here(a[0], true),
                flags: u64::from(a[1] as u32),
                mode: u64::from(a[2] as u32),
            },
            libc::SYS_creat => Self::Open {
                at: At::here(a[0], true),
                flags: (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64,
                mode: u64::from(a[1] as u32),
            },
            _ => return None,
        };
        Some(call)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn decode_old(_request: &Request) -> Option<Self> {
        None
    }
}
