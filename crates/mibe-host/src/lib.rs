//! Runs commands on a *host*: this machine, or one behind ssh.
//!
//! A [`Host`] is the seam between the builders and where their commands run, so that a global zone may be here or elsewhere, and so
//! that a test can stand another host there. [`process`] is below it: one process of this machine with its output, its time and its
//! end.

mod command;
mod error;
mod local;
pub mod process;
mod quote;
mod ssh;

pub use command::{Command, Input, Outcome, Stream};
pub use error::HostError;
pub use local::LocalHost;
pub use quote::{quote, quote_all};
pub use ssh::{SshHost, SshOptions};

use std::sync::atomic::AtomicBool;

/// Where commands run.
pub trait Host: Send + Sync {
    /// What people call it ("this machine", "root@headnode").
    fn title(&self) -> &str;

    /// Runs a command to its end; `output` gets what it prints as it comes.
    ///
    /// When it takes too long, or `cancel` is raised, it is ended there with all that it started in its process group.
    ///
    /// # Errors
    ///
    /// It could not be started, or nothing can be said of how it ended: the connection was lost. An exit status other than 0 is
    /// none.
    fn run(
        &self,
        command: Command,
        cancel: &AtomicBool,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Outcome, HostError>;
}

/// What a short command printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// How it ended.
    pub outcome: Outcome,
    /// Standard output, at most [`PRINTED`] bytes of its beginning.
    pub stdout: Vec<u8>,
    /// Standard error, likewise.
    pub stderr: Vec<u8>,
}

/// Bytes of a stream that [`Printed`] keeps: lists of thousands of datasets fit.
pub const PRINTED: usize = 16 << 20;

/// Runs a command whose output is wanted whole.
///
/// # Errors
///
/// As [`Host::run`].
pub fn printed(
    host: &dyn Host,
    command: Command,
    cancel: &AtomicBool,
) -> Result<Printed, HostError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let outcome = host.run(command, cancel, &mut |stream, bytes| {
        let kept = match stream {
            Stream::Out => &mut stdout,
            Stream::Err => &mut stderr,
        };
        let room = PRINTED.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    })?;
    Ok(Printed {
        outcome,
        stdout,
        stderr,
    })
}
