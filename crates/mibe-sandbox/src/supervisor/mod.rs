//! Answers the system calls that the filter hands over. It runs in PID 1, which has the powers of the sandbox's
//! root and /proc as its working directory.

mod call;
mod creation;
mod credentials;
mod files;
mod identity;
mod notification;
mod task;

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::Mode;
use crate::ledger::{self, Ledger};
use call::Call;
use credentials::Table;
use notification::{Answer, Request};
use task::Task;

/// The longest name of an attribute (`XATTR_NAME_MAX`) and its NUL.
const XATTR_NAME: usize = 256;

/// The state behind the answers.
#[derive(Debug)]
pub(crate) struct Supervisor {
    mode: Mode,
    listener: OwnedFd,
    ledger: Ledger,
    table: Table,
    buffers: notification::Buffers,
}

impl Supervisor {
    pub(crate) fn new(mode: Mode, listener: OwnedFd, ledger: Ledger) -> io::Result<Self> {
        notification::hand_over_cpu(&listener);
        Ok(Self {
            mode,
            listener,
            ledger,
            table: Table::default(),
            buffers: notification::Buffers::new()?,
        })
    }

    pub(crate) fn listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// Answers one call. Errors are those of the listener; what fails in a call is its answer.
    pub(crate) fn answer(&mut self) -> io::Result<()> {
        let Some(request) = self.buffers.receive(&self.listener)? else {
            return Ok(());
        };
        let answer = match self.decide(&request) {
            Ok(answer) => answer,
            Err(error) => Answer::Error(error.raw_os_error().unwrap_or(libc::EIO)),
        };
        self.buffers.send(&self.listener, &request, answer)
    }

    fn decide(&mut self, request: &Request) -> io::Result<Answer> {
        let Some(call) = Call::decode(request) else {
            return Ok(Answer::Continue);
        };
        let task = Task::new(request.pid);
        match call {
            Call::SetXattr { name } => set_xattr(&task, name),
            Call::Stat { at, buffer } => self.stat(&task, at, buffer),
            Call::Statx { at, mask, buffer } => self.statx(&task, at, mask, buffer),
            Call::Chown { at, uid, gid } => self.chown(request, &task, at, uid, gid),
            Call::Mknod { at, mode, dev } => self.mknod(request, &task, at, mode, dev),
            Call::Mkdir { at, mode } => self.mkdir(request, &task, at, mode),
            Call::Symlink { target, at } => self.symlink(request, &task, target, at),
            Call::Open { at, flags, mode } => self.open(request, &task, at, flags, mode),
            Call::Openat2 { at, how, size } => self.openat2(request, &task, at, how, size),
            Call::Exec { at } => self.exec(&task, at),
            Call::Identity(change) => self.identity(&task, change),
        }
    }

    /// Whether the request still stands: its process id has not gone to another process meanwhile.
    fn still_valid(&self, request: &Request) -> io::Result<()> {
        if notification::is_valid(&self.listener, request) {
            Ok(())
        } else {
            Err(Errno::SRCH.into())
        }
    }
}

/// Capabilities and ACLs have no place in an image; `EOPNOTSUPP` lets programs fall back to plain modes.
fn set_xattr(task: &Task, name: u64) -> io::Result<Answer> {
    let name: CString = task.string(name, XATTR_NAME)?;
    let name = name.to_bytes();
    if name == b"security.capability" || name.starts_with(b"system.posix_acl_") {
        return Ok(Answer::Error(libc::EOPNOTSUPP));
    }
    // A tool that copies all attributes of a file has met the ledger's: it keeps its own books.
    if name.starts_with(ledger::PREFIX) {
        return Ok(Answer::Value(0));
    }
    Ok(Answer::Continue)
}
