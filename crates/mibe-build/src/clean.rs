//! Destroys what interrupted builds left behind, and caches that nobody used for long.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mibe_sandbox::{Agent, Sandbox};

use crate::error::BuildError;
use crate::journal::{Entry, Journal, Record};
use crate::paths::Paths;

/// Caches unused for this long are old.
pub const OLD: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a clean-up did, or would do.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// Build machines destroyed.
    pub machines: Vec<Entry>,
    /// Unfinished files removed.
    pub partials: Vec<PathBuf>,
    /// Cached files removed, with their size in bytes.
    pub caches: Vec<(PathBuf, u64)>,
    /// Machines left alone because their build still runs.
    pub running: Vec<Entry>,
    /// What could not be cleaned, and why.
    pub failed: Vec<(PathBuf, String)>,
}

/// Which caches go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caches {
    /// None.
    Keep,
    /// Those unused for [`OLD`].
    Old,
    /// All.
    All,
}

/// Cleans up after builds whose process is gone; with `dry_run`, only says what it would do.
///
/// # Errors
///
/// The journal could not be read; failures with single things are in the report.
pub fn clean(
    paths: &Paths,
    agent: &Agent,
    caches: Caches,
    dry_run: bool,
) -> Result<Cleaned, BuildError> {
    let mut cleaned = Cleaned::default();
    let leftovers = Journal::new(paths.journal()).leftovers()?;
    cleaned.running = leftovers.running;
    cleaned.failed = leftovers.unreadable;
    for record in leftovers.dead {
        let entry = record.entry.clone();
        if dry_run {
            cleaned.partials.extend(existing(&record));
            cleaned.machines.push(entry);
            continue;
        }
        let partials = existing(&record);
        match destroy(agent, record) {
            Ok(()) => {
                cleaned.partials.extend(partials);
                cleaned.machines.push(entry);
            }
            Err(error) => cleaned.failed.push((entry.directory, error.to_string())),
        }
    }
    // A running build may just be reading what looks old.
    if caches != Caches::Keep && cleaned.running.is_empty() {
        clean_caches(&paths.cache, caches, dry_run, &mut cleaned);
    }
    Ok(cleaned)
}

fn existing(record: &Record) -> Vec<PathBuf> {
    record
        .partials
        .iter()
        .filter(|path| fs::symlink_metadata(path).is_ok())
        .cloned()
        .collect()
}

/// Takes away a machine whose process is gone, and strikes it out.
fn destroy(agent: &Agent, record: Record) -> Result<(), BuildError> {
    for partial in &record.partials {
        match fs::remove_file(partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BuildError::io("remove", partial)(error));
            }
            _ => {}
        }
    }
    let directory = &record.entry.directory;
    if fs::symlink_metadata(directory).is_ok() {
        match Sandbox::open(agent, directory) {
            Ok(sandbox) => sandbox.destroy()?,
            // Killed before the sandbox was set up: nothing in it belongs to anybody else.
            Err(_) => {
                fs::remove_dir_all(directory).map_err(BuildError::io("remove", directory))?;
            }
        }
    }
    record.strike()
}

fn clean_caches(cache: &Path, caches: Caches, dry_run: bool, cleaned: &mut Cleaned) {
    for folder in ["debs", "bases", "lists"] {
        let Ok(entries) = fs::read_dir(cache.join(folder)) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if !metadata.is_file() || (caches == Caches::Old && !old(&metadata)) {
                continue;
            }
            let path = entry.path();
            if !dry_run && let Err(error) = fs::remove_file(&path) {
                cleaned.failed.push((path, error.to_string()));
                continue;
            }
            cleaned.caches.push((path, metadata.len()));
        }
    }
    cleaned.caches.sort();
}

/// Whether a file was neither written nor (where the file system tells) read for long.
fn old(metadata: &fs::Metadata) -> bool {
    let used = [metadata.modified(), metadata.accessed()]
        .into_iter()
        .flatten()
        .max();
    used.and_then(|used| SystemTime::now().duration_since(used).ok())
        .is_some_and(|age| age > OLD)
}
