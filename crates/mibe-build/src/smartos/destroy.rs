//! Takes a build machine away from its host, as the builder does and `mibe clean`.
//!
//! Whatever is there, in whatever state: looked at anew in every round, until neither the VM nor its dataset is left. Nothing is
//! destroyed that does not say of itself that it is of this build, but what has not been given the words yet.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mibe_host::{Host, Input};
use serde_json::{Map, Value};

use super::spec::BUILD_KEY;
use super::tools::{Asked, Tools, text};
use crate::error::BuildError;
use crate::journal::ZoneEntry;

/// The property of a dataset that says what build it is of, once the zone's own metadata is gone.
pub(crate) const BUILD_PROPERTY: &str = BUILD_KEY;

/// How long what makes the machine is waited for, where it may run on behind a lost connection.
const CREATION: Duration = Duration::from_secs(300);

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Pauses before the rounds: a dataset may be busy for a moment, a connection be lost for longer.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(9),
];

/// Takes the machine of the build `id` away from `host`; says whether anything of it was there. `created` says that what makes it
/// has ended. Each command may take `timeout`.
///
/// # Errors
///
/// It is still there, or nothing can be said of it.
pub fn destroy(
    host: &Arc<dyn Host>,
    zone: &ZoneEntry,
    id: &str,
    created: bool,
    timeout: Duration,
) -> Result<bool, BuildError> {
    // Nothing ends this but its own end: what is left behind is what nobody wants.
    let never = Arc::new(AtomicBool::new(false));
    let tools = Tools::new(Arc::clone(host), never, timeout);
    let mut found = false;
    let mut last = None;
    for pause in PAUSES {
        std::thread::sleep(pause);
        let mut round = || {
            same_machine(&tools, zone)?;
            if !created {
                wait_for_creation(&tools)?;
            }
            round(&tools, zone, id, &mut found)
        };
        match round() {
            Ok(()) => return Ok(found),
            Err(error @ BuildError::Host { .. }) => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(BuildError::Cancelled))
}

/// What a name leads to may be another machine than the one of the build, which has nothing of it and so would say that all is gone.
fn same_machine(tools: &Tools, zone: &ZoneEntry) -> Result<(), BuildError> {
    let Some(wanted) = &zone.machine else {
        return Ok(());
    };
    match tools.machine()? {
        Some(found) if found != *wanted => Err(BuildError::host(
            format!(
                "{} is another machine now ({found}) than the one that the VM {} was made on ({wanted})",
                tools.title(),
                zone.uuid
            ),
            &["clean up where the name leads to the machine of the build"],
        )),
        _ => Ok(()),
    }
}

/// A `vmadm create` may make the machine after it was looked for.
fn wait_for_creation(tools: &Tools) -> Result<(), BuildError> {
    let until = Instant::now() + CREATION;
    loop {
        // Of the global zone alone: other zones may run one of that name, and for long.
        let argv = ["ps", "-z", "global", "-o", "args"];
        let printed = tools.call(&argv, Input::Nothing, tools.timeout())?;
        let runs = text(&printed).lines().any(|line| {
            let mut words = line.split_whitespace();
            words.any(|word| word.rsplit('/').next() == Some("vmadm"))
                && words.next() == Some("create")
        });
        if !runs {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(BuildError::host(
                format!(
                    "a vmadm create on {} still runs, and may be of this build",
                    tools.title()
                ),
                &["run `mibe clean` when it has ended"],
            ));
        }
        std::thread::sleep(LOOK);
    }
}

/// Looks at what is there, takes it away, and looks again.
fn round(tools: &Tools, zone: &ZoneEntry, id: &str, found: &mut bool) -> Result<(), BuildError> {
    if let Some(vm) = tools.vm(&zone.uuid)? {
        *found = true;
        let of_dataset = tools.property(&zone.dataset, BUILD_PROPERTY)?;
        ours(tools, &vm, of_dataset.as_deref(), id)?;
        let argv = ["vmadm", "delete", &zone.uuid];
        let deleted = tools.ask(&argv, Input::Nothing, tools.timeout())?;
        if tools.vm(&zone.uuid)?.is_some() {
            return Err(match deleted {
                Asked::Refused(error) => error,
                Asked::Answered(_) => still_there(tools, &format!("the VM {}", zone.uuid)),
            });
        }
    }
    // The zone is gone, or never was. What its processes' cores go to lies beside it, and is mounted in it (VM.js).
    let cores = zone.dataset.replacen('/', "/cores/", 1);
    let cores = tools.property(&cores, "name")?.map(|_| cores).into_iter();
    let dataset = tools.property(&zone.dataset, "name")?;
    if dataset.is_some() {
        of_base(tools, zone, id)?;
    }
    for dataset in cores.chain(dataset.map(|_| zone.dataset.clone())) {
        *found = true;
        let argv = ["zfs", "destroy", "-r", &dataset];
        let destroyed = tools.ask(&argv, Input::Nothing, tools.timeout())?;
        if tools.property(&dataset, "name")?.is_some() {
            return Err(match destroyed {
                Asked::Refused(error) => error,
                Asked::Answered(_) => still_there(tools, &dataset),
            });
        }
    }
    if tools.property(&zone.origin, "name")?.is_some() {
        *found = true;
        let argv = ["zfs", "destroy", &zone.origin];
        tools.call(&argv, Input::Nothing, tools.timeout())?;
    }
    Ok(())
}

/// Refuses a dataset that is neither a clone of the build's base nor says that it is of the build: a journal may be wrong, and an
/// image's dataset has a UUID for its name, too.
fn of_base(tools: &Tools, zone: &ZoneEntry, id: &str) -> Result<(), BuildError> {
    if tools.property(&zone.dataset, BUILD_PROPERTY)?.as_deref() == Some(id) {
        return Ok(());
    }
    let origin = tools.property(&zone.dataset, "origin")?;
    let image = |snapshot: &str| snapshot.split('@').next().map(ToOwned::to_owned);
    if origin.as_deref().and_then(image) == image(&zone.origin) {
        return Ok(());
    }
    Err(BuildError::host(
        format!(
            "the dataset {} on {} is not of this build: it is no clone of its base; it is left alone",
            zone.dataset,
            tools.title(),
        ),
        &[],
    ))
}

fn still_there(tools: &Tools, what: &str) -> BuildError {
    BuildError::Command {
        what: format!("{what} on {}", tools.title()),
        how: "is still there".to_owned(),
        said: None,
        hints: Vec::new(),
    }
}

/// Refuses a VM that is not of this build, whatever the journal says.
fn ours(
    tools: &Tools,
    vm: &Map<String, Value>,
    of_dataset: Option<&str>,
    id: &str,
) -> Result<(), BuildError> {
    let tag = vm
        .get("internal_metadata")
        .and_then(|metadata| metadata.get(BUILD_KEY))
        .and_then(Value::as_str);
    let state = vm.get("state").and_then(Value::as_str).unwrap_or_default();
    let is_ours = match tag {
        Some(tag) => tag == id,
        // vmadm writes the metadata late, and a capture takes it out; what runs or was stopped in order without a word is not ours.
        None => of_dataset == Some(id) || !matches!(state, "running" | "stopped"),
    };
    if is_ours {
        return Ok(());
    }
    Err(BuildError::host(
        format!(
            "the VM {} on {} is not of this build: its internal_metadata has no {BUILD_KEY}={id}; it is left alone",
            vm.get("uuid").and_then(Value::as_str).unwrap_or_default(),
            tools.title(),
        ),
        &["if it is to go, delete it there with `vmadm delete`"],
    ))
}
