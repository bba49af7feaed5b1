//! What libraries tell of their work while they do it.
//!
//! The command line draws the events, or writes them as JSON lines under [`VERSION`].

use serde::{Deserialize, Serialize};

/// Version of [`Event`]'s JSON; it grows when a reader of the old form could misread the new one.
pub const VERSION: u32 = 1;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A step began.
    StepStarted {
        /// Its name, unique within a build.
        step: String,
    },
    /// A step is done.
    StepFinished {
        /// Its name.
        step: String,
        /// How long it took.
        milliseconds: u64,
    },
    /// A step failed; the error comes by another way too.
    StepFailed {
        /// Its name.
        step: String,
        /// What went wrong.
        message: String,
        /// How long it took.
        milliseconds: u64,
    },
    /// How far a step is.
    Bytes {
        /// Its name.
        step: String,
        /// Bytes done so far.
        done: u64,
        /// Bytes there will be, where known.
        total: Option<u64>,
    },
    /// A line that a program of the build printed.
    Log {
        /// The step that runs the program.
        step: String,
        /// The line without its end.
        line: String,
    },
    /// Something worth knowing.
    Message {
        /// One line.
        text: String,
    },
    /// Something that may not be as it was meant.
    Warning {
        /// One line.
        text: String,
        /// What to do about it.
        advice: Option<String>,
    },
}

/// Takes events, from any thread; it must not block for long and can't fail.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// Takes events and does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn event(&self, _: Event) {}
}
