//! Why nothing can be said of a command.

use std::io;

/// A command could not be run, or how it ended is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The program could not be started here.
    #[error("can't start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The host can't be reached, or doesn't let us in.
    #[error("can't connect to {host}: {message}")]
    Connect {
        /// The host.
        host: String,
        /// What ssh says.
        message: String,
    },
    /// The connection ended while the command ran: it may have ended well, badly, or run on.
    #[error("lost the connection to {host} while `{command}` ran: {message}")]
    Lost {
        /// The host.
        host: String,
        /// The command.
        command: String,
        /// What ssh says.
        message: String,
    },
    /// Something of this machine failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}
