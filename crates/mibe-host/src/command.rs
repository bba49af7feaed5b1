//! What to run, and how it ended.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::time::Duration;

/// A command: a program and its arguments, with no shell between.
pub struct Command {
    /// Program (found on the host's PATH where it has no slash) and arguments; at least the program.
    pub argv: Vec<OsString>,
    /// What it reads from standard input.
    pub input: Input,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl Command {
    /// A command that reads nothing and may take its time.
    pub fn new<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            input: Input::Nothing,
            timeout: None,
        }
    }

    /// What it reads.
    #[must_use]
    pub fn input(mut self, input: Input) -> Self {
        self.input = input;
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The command as a person would type it.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&crate::quote_all(&self.argv)).into_owned()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown())
    }
}

/// What a command reads from standard input.
pub enum Input {
    /// Nothing at all.
    Nothing,
    /// These bytes.
    Bytes(Vec<u8>),
    /// What comes out of a reader, until its end or the command's.
    Reader(Box<dyn Read + Send>),
}

/// The two streams that a command prints on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with this status.
    Exited(i32),
    /// It was killed by this signal.
    Signaled(i32),
    /// It took too long, and was ended.
    TimedOut,
    /// The flag was raised, and it was ended.
    Cancelled,
}

impl Outcome {
    /// Whether it exited with status 0.
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }
}
