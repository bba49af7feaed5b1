//! The seam of the build: what a builder must be able to do, so that the steps are written once.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use mibe_host::Outcome;

use crate::base::BaseRef;
use crate::base_image::BaseImage;
use crate::capture::{CaptureOptions, Captured};
use crate::error::BuildError;
use crate::journal::{Entry, Record};
use crate::plan::Plan;
use crate::work::{Work, WorkReport};

/// What a base turned out to be once it was there.
#[derive(Clone, Debug)]
pub struct ResolvedBase {
    /// As the recipe or the user named it.
    pub reference: BaseRef,
    /// Name and version for people and for /etc/product ("debian bookworm 12.11").
    pub title: String,
    /// The image, if it is one of this machine.
    pub image: Option<BaseImage>,
    /// What was decided on the way, for the log.
    pub notes: Vec<String>,
}

/// A command to run in a build machine.
#[derive(Clone, Debug)]
pub struct Script {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Variables beside the clean environment that every command gets.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory inside the machine.
    pub cwd: String,
    /// How long it may take.
    pub timeout: Duration,
}

/// Provides build machines.
pub trait Builder {
    /// The builder's name, as `--builder` takes it.
    fn name(&self) -> &'static str;

    /// Makes the plan's base available where the machine will be (downloads, bootstraps, imports) and says what it is, and
    /// refuses what can't be built there. What the machine is known by goes into `entry`, which will be written to the journal.
    /// What programs print meanwhile goes to `output` as it comes.
    fn resolve(
        &mut self,
        plan: &Plan,
        entry: &mut Entry,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ResolvedBase, BuildError>;

    /// Makes a build machine from a base that [`Builder::resolve`] returned. `record` was written to the journal
    /// before; the machine makes nothing that the record does not name.
    fn create(
        &mut self,
        base: &ResolvedBase,
        record: &mut Record,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Box<dyn Machine>, BuildError>;

    /// Where to look into the machine that a [`Builder::create`] which failed has left, if there is one worth it.
    fn remains(&self) -> Option<String>;

    /// Takes away what a [`Builder::create`] that failed has left of the machine of `entry`. An error: something is left.
    fn abandon(&mut self, entry: &Entry) -> Result<(), BuildError>;

    /// Whether what fetches packages is tried once more when it fails: the machine's network may be younger than the machine.
    fn fetches_again(&self) -> bool;
}

/// How a command ended, as in "customize exited with status 1"; `timeout` is what it was given.
pub(crate) fn outcome_in_words(outcome: Outcome, timeout: Duration) -> String {
    match outcome {
        Outcome::Exited(status) => format!("exited with status {status}"),
        Outcome::Signaled(signal) => format!("was killed by signal {signal}"),
        Outcome::TimedOut => format!("took longer than {} s", timeout.as_secs()),
        Outcome::Cancelled => "was interrupted".to_owned(),
    }
}

/// A build machine.
pub trait Machine {
    /// Runs a command; all that it prints goes to `output` as it comes.
    fn run(
        &mut self,
        script: &Script,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Outcome, BuildError>;

    /// Does file work in the machine's tree, without any program of the tree.
    fn work(&mut self, work: &Work) -> Result<WorkReport, BuildError>;

    /// Writes the machine's file system as a ZFS stream.
    fn capture(
        &mut self,
        options: &CaptureOptions,
        out: &mut dyn Write,
    ) -> Result<Captured, BuildError>;

    /// Where to look into the machine while it is kept, in words.
    fn place(&self) -> String;

    /// Takes the machine away, wholly.
    fn destroy(self: Box<Self>) -> Result<(), BuildError>;
}
