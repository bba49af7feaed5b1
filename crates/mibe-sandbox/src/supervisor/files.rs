//! stat and chown.

use std::io;
use std::os::fd::AsFd;

use super::Supervisor;
use super::call::At;
use super::notification::{Answer, Request, bytes_of, kernel_stat, kernel_statx};
use super::task::Task;
use crate::ledger::{Owner, Place};

impl Supervisor {
    /// The file and what the ledger says of it; `None`: the kernel's own answer is right (or the right error).
    fn ledgered(&self, task: &Task, at: At) -> Option<(std::os::fd::OwnedFd, Owner)> {
        let target = task.target(at).ok()?;
        let owner = self.ledger.lookup_quick(Place::of(target.as_fd())).ok()??;
        Some((target, owner))
    }

    pub(super) fn stat(&self, task: &Task, at: At, buffer: u64) -> io::Result<Answer> {
        let Some((target, owner)) = self.ledgered(task, at) else {
            return Ok(Answer::Continue);
        };
        let mut stat = kernel_stat(target.as_fd())?;
        (stat.st_uid, stat.st_gid) = (owner.uid, owner.gid);
        if let Some(device) = owner.device {
            stat.st_mode = (stat.st_mode & !libc::S_IFMT) | device.kind.to_mode();
            stat.st_rdev = libc::makedev(device.major, device.minor);
            (stat.st_size, stat.st_blocks) = (0, 0);
        }
        // SAFETY: the structure was zeroed before the kernel filled it.
        task.write(buffer, unsafe { bytes_of(&stat) })?;
        Ok(Answer::Value(0))
    }

    pub(super) fn statx(
        &self,
        task: &Task,
        at: At,
        mask: u32,
        buffer: (u64, i32),
    ) -> io::Result<Answer> {
        let Some((target, owner)) = self.ledgered(task, at) else {
            return Ok(Answer::Continue);
        };
        let mut stat = kernel_statx(target.as_fd(), buffer.1, mask)?;
        (stat.stx_uid, stat.stx_gid) = (owner.uid, owner.gid);
        if let Some(device) = owner.device {
            stat.stx_mode = (stat.stx_mode & !(libc::S_IFMT as u16)) | device.kind.to_mode() as u16;
            (stat.stx_rdev_major, stat.stx_rdev_minor) = (device.major, device.minor);
            (stat.stx_size, stat.stx_blocks) = (0, 0);
        }
        // SAFETY: the structure was zeroed before the kernel filled it.
        task.write(buffer.0, unsafe { bytes_of(&stat) })?;
        Ok(Answer::Value(0))
    }

    pub(super) fn chown(
        &mut self,
        request: &Request,
        task: &Task,
        at: At,
        uid: u32,
        gid: u32,
    ) -> io::Result<Answer> {
        let target = task.target(at)?;
        let place = Place::of(target.as_fd());
        let credentials = self.table.of(task);
        if !credentials.powers {
            let owner = self.ledger.lookup_quick(place)?.unwrap_or_default();
            if !credentials.may_chown(owner.uid, owner.gid, uid, gid) {
                return Ok(Answer::Error(libc::EPERM));
            }
        }
        self.still_valid(request)?;
        let keep = |id: u32| (id != u32::MAX).then_some(id);
        self.ledger.chown(place, keep(uid), keep(gid))?;
        Ok(Answer::Value(0))
    }
}
