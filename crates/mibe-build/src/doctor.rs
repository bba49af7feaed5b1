//! What this host can do, each thing tried for real, each missing one with its remedy.

use std::path::Path;

use mibe_sandbox::{Agent, Sandbox};
use serde::Serialize;

use crate::bootstrap::mirror::Mirror;
use crate::bootstrap::release::Keyring;
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
    let mut checks = vec![folder(&machines)];
    if checks[0].status == Status::Works {
        checks.extend(modes(agent, &machines));
        checks.push(space("space for build machines", &machines));
    }
    checks.push(space("space here, for images", Path::new(".")));
    checks.push(keyring());
    checks.push(mirror());
    checks
}

fn folder(machines: &Path) -> Check {
    let name = "folder for build machines";
    match std::fs::create_dir_all(machines) {
        Ok(()) => Check::new(name, Status::Works, machines.display().to_string()),
        Err(error) => Check::new(
            name,
            Status::Missing,
            format!("{}: {error}", machines.display()),
        )
        .remedy("set XDG_CACHE_HOME to a folder that this user can write"),
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

fn keyring() -> Check {
    let name = "keys of Debian's archive";
    match Keyring::read(None) {
        Ok(keyring) => Check::new(name, Status::Works, keyring.origin()),
        Err(error) => {
            Check::new(name, Status::Lacks, error.to_string()).remedy(error.hints().join("; "))
        }
    }
}

/// Where `debian:SUITE` would come from; nothing is fetched.
fn mirror() -> Check {
    let mirror = Mirror::of("bookworm", None);
    let url = mirror
        .sources
        .first()
        .map_or("none", |source| source.url.as_str());
    Check::new(
        "Debian mirror",
        Status::Works,
        format!("{url}, from {}", mirror.origin),
    )
}
