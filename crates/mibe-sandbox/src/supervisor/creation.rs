//! Calls that make an entry. The kernel does them for root; the supervisor does where the entry gets another
//! owner (a process with other credentials) or group (a set-gid directory), and where it is a device node.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags};

use super::Supervisor;
use super::call::At;
use super::notification::{Answer, Request};
use super::task::Task;
use crate::ledger::{Device, Owner, Place};
use crate::{Kind, Mode, sys};

/// The flags of an open that makes an unnamed file.
const TMPFILE: u64 = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u64;

/// Number of the capability, as in <linux/capability.h>.
const CAP_MKNOD: u32 = 27;

impl Supervisor {
    /// The owner of what a process makes in `dir`; `None` when that is root:root, as the kernel will have it.
    fn maker(&self, task: &Task, dir: &OwnedFd) -> io::Result<Option<(u32, u32)>> {
        let credentials = self.table.of(task);
        let (uid, mut gid) = (credentials.user.files, credentials.group.files);
        let place = Place::of(dir.as_fd());
        if u32::from(place.stat()?.stx_mode) & libc::S_ISGID != 0 {
            gid = self
                .ledger
                .lookup_quick(place)?
                .map_or(0, |owner| owner.gid);
        }
        Ok(((uid, gid) != (0, 0)).then_some((uid, gid)))
    }

    /// Does something with the process's umask instead of ours.
    fn masked<T>(task: &Task, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let ours = rustix::process::umask(task.umask()?.into());
        let answer = act();
        rustix::process::umask(ours);
        answer
    }

    fn own(&mut self, dir: &OwnedFd, name: &CStr, owner: (u32, u32)) -> io::Result<()> {
        let place = Place {
            dir: dir.as_fd(),
            name,
        };
        let stat = place.stat()?;
        self.ledger.record(
            place,
            &stat,
            Owner {
                uid: owner.0,
                gid: owner.1,
                device: None,
            },
        )
    }

    pub(super) fn mkdir(
        &mut self,
        request: &Request,
        task: &Task,
        at: At,
        mode: u32,
    ) -> io::Result<Answer> {
        let Ok((dir, name)) = task.parent(at) else {
            return Ok(Answer::Continue);
        };
        let Some(owner) = self.maker(task, &dir)? else {
            return Ok(Answer::Continue);
        };
        self.still_valid(request)?;
        Self::masked(task, || {
            Ok(rustix::fs::mkdirat(&dir, &name, (mode & 0o7777).into())?)
        })?;
        self.own(&dir, &name, owner)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn symlink(
        &mut self,
        request: &Request,
        task: &Task,
        target: u64,
        at: At,
    ) -> io::Result<Answer> {
        let Ok((dir, name)) = task.parent(at) else {
            return Ok(Answer::Continue);
        };
        let Some(owner) = self.maker(task, &dir)? else {
            return Ok(Answer::Continue);
        };
        let target = task.string(target, libc::PATH_MAX as usize)?;
        self.still_valid(request)?;
        rustix::fs::symlinkat(&target, &dir, &name)?;
        self.own(&dir, &name, owner)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn mknod(
        &mut self,
        request: &Request,
        task: &Task,
        at: At,
        mode: u32,
        dev: u64,
    ) -> io::Result<Answer> {
        let kind = if mode & libc::S_IFMT == 0 {
            Kind::File
        } else {
            Kind::from_mode(mode)
        };
        let Ok((dir, name)) = task.parent(at) else {
            return Ok(Answer::Continue);
        };
        // In mode subuid owners are real and only devices come here.
        let owner = if self.mode == Mode::Single {
            self.maker(task, &dir)?
        } else {
            None
        };
        if matches!(kind, Kind::Char | Kind::Block) {
            let may = match self.mode {
                Mode::Single => self.table.of(task).powers,
                _ => task.is_capable(CAP_MKNOD)?,
            };
            if !may {
                return Ok(Answer::Error(libc::EPERM));
            }
            self.still_valid(request)?;
            let (uid, gid) = owner.unwrap_or_default();
            // The call's device number is 32 bits in the kernel's coding.
            let dev = u64::from(dev as u32);
            let device = Device {
                kind,
                major: libc::major(dev),
                minor: libc::minor(dev),
            };
            let owner = Owner {
                uid,
                gid,
                device: Some(device),
            };
            let place = Place {
                dir: dir.as_fd(),
                name: &name,
            };
            Self::masked(task, || self.ledger.placeholder(place, mode, owner))?;
            return Ok(Answer::Value(0));
        }
        let Some(owner) = owner else {
            return Ok(Answer::Continue);
        };
        self.still_valid(request)?;
        let file_type = FileType::from_raw_mode(kind.to_mode());
        Self::masked(task, || {
            Ok(rustix::fs::mknodat(
                &dir,
                &name,
                file_type,
                (mode & 0o7777).into(),
                0,
            )?)
        })?;
        self.own(&dir, &name, owner)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn openat2(
        &mut self,
        request: &Request,
        task: &Task,
        at: At,
        how: u64,
        size: u64,
    ) -> io::Result<Answer> {
        let mut words = [[0u8; 8]; 3];
        if size < 24 {
            return Ok(Answer::Continue);
        }
        task.read(how, words.as_flattened_mut())?;
        let [flags, mode, resolve] = words.map(u64::from_ne_bytes);
        // A caller with rules of its own for the way there gets the kernel's answer; what it makes is root's.
        if resolve != 0 || flags & (libc::O_CREAT as u64 | TMPFILE) == 0 {
            return Ok(Answer::Continue);
        }
        self.open(request, task, at, flags, mode)
    }

    /// An open that may make a file. What is there already, the kernel opens.
    pub(super) fn open(
        &mut self,
        request: &Request,
        task: &Task,
        at: At,
        flags: u64,
        mode: u64,
    ) -> io::Result<Answer> {
        let unnamed = flags & TMPFILE != 0;
        let Ok(path) = task.path(at) else {
            return Ok(Answer::Continue);
        };
        let Ok(start) = task.start(at.dir, &path) else {
            return Ok(Answer::Continue);
        };
        let dir = if unnamed {
            start.open(OFlags::PATH | OFlags::DIRECTORY, 0)
        } else {
            start.parent().map(|p| p.0)
        };
        let Ok(dir) = dir else {
            return Ok(Answer::Continue);
        };
        let Some(owner) = self.maker(task, &dir)? else {
            return Ok(Answer::Continue);
        };
        if !unnamed {
            let follow = if flags & (libc::O_NOFOLLOW | libc::O_EXCL) as u64 == 0 {
                OFlags::empty()
            } else {
                OFlags::NOFOLLOW
            };
            match start.open(OFlags::PATH | follow, 0) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                _ => return Ok(Answer::Continue),
            }
        }
        self.still_valid(request)?;
        let open_flags = OFlags::from_bits_retain((flags & !(libc::O_CLOEXEC as u64)) as u32);
        let fd = Self::masked(task, || start.open(open_flags, mode as u32 & 0o7777))?;
        let stat = sys::statx(fd.as_fd(), c"")?;
        let owner = Owner {
            uid: owner.0,
            gid: owner.1,
            device: None,
        };
        self.ledger.record(Place::of(fd.as_fd()), &stat, owner)?;
        Ok(Answer::File {
            fd,
            close_on_exec: flags & libc::O_CLOEXEC as u64 != 0,
        })
    }
}
