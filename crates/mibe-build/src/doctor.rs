//! What this host can do, each thing tried for real, each missing one with its remedy.

use std::path::Path;
use std::time::Duration;

use mibe_sandbox::{Agent, Cancel, Sandbox};
use serde::Serialize;

use crate::bootstrap::download::{Fetcher, Patience};
use crate::bootstrap::mirror::Mirror;
use crate::bootstrap::release::{Keyring, Release};
use crate::local::MODES;
use crate::paths::Paths;

/// Space that a build of a usual Debian image needs at most: a base, a build machine and the image.
const ROOM: u64 = 4 << 30;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works.
    Works,
    /// It does not, and a build can do without it.
    Lacks,
    /// It does not, and no build can do without it.
    Missing,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was tried.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it, where there is something to do.
    pub remedy: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, status: Status, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            status,
            found: found.into(),
            remedy: None,
        }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Looks at this host; changes nothing but for folders of mibe's own.
pub fn examine(paths: &Paths, agent: &Agent) -> Vec<Check> {
    let machines = paths.machines();
    let mut checks = vec![
        folder("folder for the journal", &paths.journal(), "XDG_STATE_HOME"),
        folder("folder for build machines", &machines, "XDG_CACHE_HOME"),
    ];
    if checks[1].status == Status::Works {
        // A clean-up elsewhere must not take what is tried here for remnants; without the lock that is unlikely enough.
        let _in_use = paths.use_cache();
        checks.extend(modes(agent, &machines));
        checks.push(space("space for build machines", &machines));
    }
    checks.push(space("space here, for images", Path::new(".")));
    checks.extend(debian());
    checks.extend(disks());
    checks
}

fn folder(name: &str, folder: &Path, variable: &str) -> Check {
    let written = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    match written {
        Ok(_) => Check::new(name, Status::Works, folder.display().to_string()),
        Err(error) => Check::new(
            name,
            Status::Missing,
            format!("{}: {error}", folder.display()),
        )
        .remedy(format!(
            "set {variable} to a folder that this user can write"
        )),
    }
}

fn modes(agent: &Agent, machines: &Path) -> Vec<Check> {
    let mut checks: Vec<Check> = MODES
        .into_iter()
        .map(|mode| {
            let name = format!("sandbox {mode}");
            match Sandbox::probe(agent, mode, machines) {
                Ok(()) => Check::new(name, Status::Works, "works"),
                Err(unavailable) => {
                    Check::new(name, Status::Lacks, unavailable.reason).remedy(unavailable.remedy)
                }
            }
        })
        .collect();
    // Where root works, nobody asks for less.
    if checks
        .first()
        .is_some_and(|root| root.status == Status::Works)
    {
        checks.truncate(1);
    }
    // One way in is enough.
    if checks.iter().all(|check| check.status == Status::Lacks) {
        for check in &mut checks {
            check.status = Status::Missing;
        }
    }
    checks
}

fn space(name: &str, folder: &Path) -> Check {
    match rustix::fs::statvfs(folder) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{:.1} GiB free", free as f64 / f64::from(1 << 30));
            if free >= ROOM {
                Check::new(name, Status::Works, found)
            } else {
                Check::new(name, Status::Lacks, found).remedy(format!(
                    "a Debian image may take up to {} GiB; `mibe clean --all` empties the caches",
                    ROOM >> 30
                ))
            }
        }
        Err(error) => Check::new(name, Status::Lacks, format!("unknown: {error}")),
    }
}

/// The programs that disks of virtual machines need.
fn disks() -> Vec<Check> {
    mibe_disk::programs()
        .into_iter()
        .map(|program| {
            let name = program.name;
            match program.path {
                Some(path) => Check::new(name, Status::Works, path.display().to_string()),
                None => Check::new(
                    name,
                    Status::Lacks,
                    format!("not found; it is for {}", program.purpose),
                )
                .remedy(format!("install the package {} of Debian", program.package)),
            }
        })
        .collect()
}

/// The keys, and with them the mirror: neither is needed where bases are archives or directories.
fn debian() -> Vec<Check> {
    let keys = "keys of Debian's archive";
    match Keyring::read(None) {
        Ok(keyring) => vec![
            Check::new(keys, Status::Works, keyring.origin()),
            mirror(&keyring),
        ],
        Err(error) => vec![
            Check::new(keys, Status::Lacks, error.to_string()).remedy(error.hints().join("; ")),
        ],
    }
}

/// Where `debian:SUITE` would come from: whether it answers, with something that the keys have signed.
fn mirror(keyring: &Keyring) -> Check {
    let name = "Debian mirror";
    let mirror = Mirror::of("bookworm", None);
    let Some(source) = mirror.sources.first() else {
        return Check::new(name, Status::Lacks, "none is known")
            .remedy("name one with --mirror when you build");
    };
    let found = format!("{}, from {}", source.url, mirror.origin);
    // Somebody waits for the answer.
    let patience = Patience {
        connect: Duration::from_secs(5),
        silence: Duration::from_secs(10),
        pause: Duration::from_millis(200),
        ..Patience::default()
    };
    let fetcher = Fetcher::with_patience(mirror.proxy.as_deref(), Cancel::default(), patience);
    match Release::fetch(&fetcher, source, keyring) {
        Ok(Some(_)) => Check::new(name, Status::Works, found),
        Ok(None) => Check::new(name, Status::Lacks, format!("{found}: it has no bookworm"))
            .remedy("name another with --mirror when you build"),
        Err(error) => {
            Check::new(name, Status::Lacks, error.to_string()).remedy(error.hints().join("; "))
        }
    }
}
