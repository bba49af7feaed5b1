//! Tells what a build is doing: to whoever watches, and to its log.

use std::time::Instant;

use mibe_image::progress::{Event, Progress};

use crate::error::BuildError;
use crate::log::BuildLog;

/// Both ends of what a build tells.
pub(crate) struct Reporter<'a> {
    pub progress: &'a dyn Progress,
    pub log: BuildLog,
    step: String,
    started: Instant,
}

impl<'a> Reporter<'a> {
    pub fn new(progress: &'a dyn Progress, log: BuildLog) -> Self {
        Self {
            progress,
            log,
            step: String::new(),
            started: Instant::now(),
        }
    }

    /// Tells that a step begins.
    pub fn start(&mut self, name: &str) {
        name.clone_into(&mut self.step);
        self.started = Instant::now();
        self.log.section(name);
        self.progress.event(Event::StepStarted {
            step: name.to_owned(),
        });
    }

    /// Tells how the step that began last ended, and how long it took.
    pub fn end<T>(&mut self, result: &Result<T, BuildError>) {
        let milliseconds = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let step = self.step.clone();
        match result {
            Ok(_) => {
                self.log.note(&format!("{step} done in {milliseconds} ms"));
                self.progress
                    .event(Event::StepFinished { step, milliseconds });
            }
            Err(error) => {
                let message = error.to_string();
                self.log.note(&format!("{step} failed: {message}"));
                self.progress.event(Event::StepFailed {
                    step,
                    message,
                    milliseconds,
                });
            }
        }
    }

    /// Output of a script.
    pub fn output(&mut self, bytes: &[u8]) {
        let (progress, step) = (self.progress, &self.step);
        self.log.output(bytes, |line| {
            progress.event(Event::Log {
                step: step.clone(),
                line: line.to_owned(),
            });
        });
    }

    /// How far the step at hand is.
    pub fn bytes(&self, done: u64, total: Option<u64>) {
        self.progress.event(Event::Bytes {
            step: self.step.clone(),
            done,
            total,
        });
    }

    /// Something worth knowing.
    pub fn message(&mut self, text: &str) {
        self.log.note(text);
        self.progress.event(Event::Message {
            text: text.to_owned(),
        });
    }

    /// A build machine that stays to be looked into.
    pub fn kept(&mut self, place: &str) {
        self.message(&format!(
            "the build machine is kept: {place}; `mibe clean` destroys it"
        ));
    }

    /// A build machine that is left.
    pub fn left(&mut self, why: &BuildError) {
        self.warning(&format!(
            "the build machine could not be destroyed ({why}); `mibe clean` tries again"
        ));
    }

    /// Something that may be wrong.
    pub fn warning(&mut self, text: &str) {
        self.log.note(&format!("warning: {text}"));
        self.progress.event(Event::Warning {
            text: text.to_owned(),
            advice: None,
        });
    }
}
