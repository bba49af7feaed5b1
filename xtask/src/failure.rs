//! Why a command of xtask ended, and with which exit status.

use std::fmt::Display;

/// What the user reads, and the exit status that goes with it.
#[derive(Debug)]
pub struct Failure {
    /// 1: the work failed; 2: wrong use; 3: this machine can't; or the status of a program that was run.
    pub status: u8,
    /// Empty when a program that was run has said it already.
    pub message: String,
}

impl Failure {
    /// The work failed.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            status: 1,
            message: message.into(),
        }
    }

    /// Wrong use.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            status: 2,
            message: message.into(),
        }
    }

    /// This machine can't.
    pub fn machine(message: impl Into<String>) -> Self {
        Self {
            status: 3,
            message: message.into(),
        }
    }

    /// A program failed and has said why on the terminal.
    pub fn silent(status: u8) -> Self {
        Self {
            status,
            message: String::new(),
        }
    }
}

/// Says what was being done when an error came up.
pub trait Context<T> {
    /// `what` is a clause that the error follows: "can't read FILE".
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{}: {error}", what())))
    }
}
