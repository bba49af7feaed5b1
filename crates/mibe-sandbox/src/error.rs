//! What can go wrong.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Mode;

/// Why a sandbox call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation of the caller's side failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried ("create", "remove", …).
        action: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The directory already holds something.
    #[error("{} already exists and is not empty; choose another directory or remove it", .0.display())]
    Exists(PathBuf),
    /// The directory is not a sandbox, or its record was damaged.
    #[error("{} is not a sandbox: {reason}", path.display())]
    NotASandbox {
        /// The directory.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// Another process, or another thread of this one, is using the sandbox.
    #[error("{} is in use by another process; wait for it to end", .0.display())]
    Busy(PathBuf),
    /// This machine can't provide the mode.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The agent could not be started.
    #[error("start the sandbox agent {}: {source}", exe.display())]
    Spawn {
        /// The agent's executable.
        exe: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The agent ended without an answer (killed from outside, or a panic); `output` is the end of what it wrote.
    #[error("the sandbox agent ended without an answer ({status}){}", tail(.output))]
    AgentLost {
        /// Its exit status.
        status: String,
        /// The last of its standard error, at most 4 KiB.
        output: String,
    },
    /// The agent could not carry out a step of its order.
    #[error("sandbox: {stage}: {message}")]
    Agent {
        /// The step ("mount /proc", …).
        stage: String,
        /// The system's answer, with advice where there is some.
        message: String,
    },
    /// A job answered with an error of its own.
    #[error("{message}")]
    Job {
        /// The job's name.
        job: String,
        /// The job's own words.
        message: String,
    },
    /// The caller's [`Cancel`](crate::Cancel) flag was raised while a job ran.
    #[error("cancelled")]
    Cancelled,
    /// Arguments or an answer could not be turned into or out of JSON.
    #[error("job {job}: {source}")]
    Json {
        /// The job's name.
        job: String,
        /// Where the JSON is wrong.
        source: serde_json::Error,
    },
    /// The command can't be run as it was given.
    #[error("command: {0}")]
    Command(String),
}

fn tail(output: &str) -> String {
    if output.trim().is_empty() {
        String::new()
    } else {
        format!(": {}", output.trim())
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// A mode that this machine, user or file system can't provide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Unavailable {
    /// The mode that was tried.
    pub mode: Mode,
    /// What failed, in one sentence.
    pub reason: String,
    /// What the user can do about it.
    pub remedy: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sandbox mode {} is not available: {}; {}",
            self.mode, self.reason, self.remedy
        )
    }
}
