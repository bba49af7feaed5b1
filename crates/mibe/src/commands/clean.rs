//! `mibe clean`.

use mibe_build::clean::{Caches, CleanOptions, clean};
use mibe_build::paths::Paths;
use mibe_sandbox::Agent;

use crate::cli::Clean;
use crate::error::{CommandError, Kind};
use crate::{output, units};

pub fn run(arguments: &Clean) -> Result<(), CommandError> {
    let caches = if arguments.all {
        Caches::All
    } else {
        Caches::Old
    };
    let options = CleanOptions {
        caches,
        kept: true,
        dry_run: arguments.dry_run,
    };
    let cleaned = clean(&Paths::of_user()?, &Agent::current(), options)?;
    let (would, verb) = if arguments.dry_run {
        ("would ", ("destroy", "remove"))
    } else {
        ("", ("destroyed", "removed"))
    };
    for machine in &cleaned.machines {
        output::line(format_args!(
            "{would}{} the build machine {} (of {}, started {})",
            verb.0, machine.id, machine.purpose, machine.started
        ));
    }
    for partial in &cleaned.partials {
        output::line(format_args!("{would}{} {}", verb.1, partial.display()));
    }
    if !cleaned.caches.is_empty() {
        let size = cleaned.caches.iter().map(|(_, size)| size).sum();
        output::line(format_args!(
            "{would}{} {} cached files, {}",
            verb.1,
            cleaned.caches.len(),
            units::bytes(size)
        ));
    }
    for machine in &cleaned.running {
        output::line(format_args!(
            "left alone: the build of {} runs, as process {}",
            machine.purpose, machine.pid
        ));
    }
    if cleaned.caches_in_use {
        output::line("left alone: the caches, which a build uses");
    }
    if cleaned.machines.is_empty() && cleaned.partials.is_empty() && cleaned.caches.is_empty() {
        output::line("nothing to clean");
    }
    if cleaned.failed.is_empty() {
        return Ok(());
    }
    let mut error = CommandError::new(Kind::Failed, "not everything could be cleaned");
    for (path, reason) in &cleaned.failed {
        error = error.cause(format!("{}: {reason}", path.display()));
    }
    Err(error)
}
