//! `mibe clean`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mibe_build::BuildError;
use mibe_build::clean::{Caches, CleanOptions, Means, clean};
use mibe_build::journal::ZoneEntry;
use mibe_build::paths::Paths;
use mibe_host::Host;
#[cfg(feature = "local")]
use mibe_sandbox::Agent;

use crate::cli::Clean;
use crate::commands::build::smartos;
use crate::error::{CommandError, Kind};
use crate::site::Site;
use crate::{output, units};

/// A host by its name and ssh's arguments: the same name may lead elsewhere with others.
type Key = (Option<String>, Vec<String>);

/// A host, or why it does not answer.
type Connected = Result<Arc<dyn Host>, String>;

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
    let settings = Site::find()?.settings;
    let timeout = settings
        .number("smartos.timeout_command")
        .unwrap_or(smartos::COMMAND);
    // One connection for all machines of a host; one that does not answer is asked once.
    let hosts: RefCell<HashMap<Key, Connected>> = RefCell::default();
    let connect = |zone: &ZoneEntry| -> Result<Option<Arc<dyn Host>>, BuildError> {
        let mut hosts = hosts.borrow_mut();
        let key = (zone.host.clone(), zone.ssh_arguments.clone());
        let connected = hosts.entry(key).or_insert_with(|| {
            smartos::connect(zone.host.as_deref(), &zone.ssh_arguments)
                .map_err(|error| error.to_string())
        });
        match connected {
            Ok(host) => Ok(Some(Arc::clone(host))),
            Err(message) => Err(BuildError::host(message.clone(), &[])),
        }
    };
    #[cfg(feature = "local")]
    let agent = Agent::current();
    let means = Means {
        #[cfg(feature = "local")]
        agent: &agent,
        connect: &connect,
        timeout: Duration::from_secs(timeout),
    };
    let cleaned = clean(&Paths::of_user()?, &means, options)?;
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
