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

/// A hidden file in the cache that was not written to for this long is a download whose process was killed:
/// the longest wait for a server is a minute.
const STALE: Duration = Duration::from_secs(3600);

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
        if let Err(reason) = ours(&record, &paths.machines()) {
            cleaned.failed.push((entry.directory, reason));
            continue;
        }
        match destroy(agent, record) {
            Ok(()) => {
                cleaned.partials.extend(partials);
                cleaned.machines.push(entry);
            }
            Err(error) => cleaned.failed.push((entry.directory, error.to_string())),
        }
    }
    stale_downloads(&paths.cache, dry_run, &mut cleaned);
    // A running build may just be reading what looks old.
    if caches != Caches::Keep && cleaned.running.is_empty() {
        clean_caches(&paths.cache, caches, dry_run, &mut cleaned);
    }
    Ok(cleaned)
}

/// Whether a record names only what a build makes: a folder of build machines, hidden files. A journal that was
/// damaged, or moved here from elsewhere, must not destroy anything else.
fn ours(record: &Record, machines: &Path) -> Result<(), String> {
    let directory = &record.entry.directory;
    // A name, and neither "." nor "..", which file_name() does not give.
    if directory.file_name().is_none() || directory.parent() != Some(machines) {
        return Err(format!(
            "it is not in {}, where build machines are; if it is one, made with another XDG_CACHE_HOME, set that",
            machines.display()
        ));
    }
    let possible = |path: &PathBuf| path.is_absolute() && hidden(path);
    match record.partials.iter().find(|path| !possible(path)) {
        None => Ok(()),
        Some(path) => Err(format!(
            "its journal names {}, which no build makes",
            path.display()
        )),
    }
}

/// Removes what killed downloads left: hidden files that nobody writes to any more.
fn stale_downloads(cache: &Path, dry_run: bool, cleaned: &mut Cleaned) {
    for (path, metadata) in cached_files(cache) {
        let stale = metadata
            .modified()
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok())
            .is_some_and(|age| age > STALE);
        if !stale || !hidden(&path) {
            continue;
        }
        if !dry_run && let Err(error) = fs::remove_file(&path) {
            cleaned.failed.push((path, error.to_string()));
            continue;
        }
        cleaned.partials.push(path);
    }
}

fn hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The files of the cache's folders.
fn cached_files(cache: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let mut files: Vec<_> = ["debs", "bases", "lists"]
        .iter()
        .filter_map(|folder| fs::read_dir(cache.join(folder)).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .filter(|(_, metadata)| metadata.is_file())
        .collect();
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
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
    for (path, metadata) in cached_files(cache) {
        if hidden(&path) || (caches == Caches::Old && !old(&metadata)) {
            continue;
        }
        if !dry_run && let Err(error) = fs::remove_file(&path) {
            cleaned.failed.push((path, error.to_string()));
            continue;
        }
        cleaned.caches.push((path, metadata.len()));
    }
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn paths(folder: &Path) -> Paths {
        Paths {
            cache: folder.join("cache"),
            state: folder.join("state"),
        }
    }

    fn cleaned(paths: &Paths) -> Cleaned {
        clean(paths, &Agent::current(), Caches::Keep, false).unwrap()
    }

    #[test]
    fn a_journal_that_names_other_things_destroys_none() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let precious = folder.path().join("precious");
        fs::create_dir_all(precious.join("data")).unwrap();
        fs::create_dir_all(paths.machines()).unwrap();
        let journal = Journal::new(paths.journal());
        for directory in [
            precious.clone(),
            paths.machines().join(".."),
            paths.machines(),
            PathBuf::from("/"),
            paths.machines().join("x/../../../precious"),
        ] {
            let mut entry = Entry::new("local", &paths.machines(), "test");
            entry.directory = directory;
            drop(journal.begin(entry).unwrap());
        }
        let file = precious.join("file");
        fs::write(&file, "x").unwrap();
        let mut record = journal
            .begin(Entry::new("local", &paths.machines(), "test"))
            .unwrap();
        record.add_partial(&file).unwrap();
        drop(record);

        let cleaned = cleaned(&paths);
        assert_eq!(cleaned.failed.len(), 6, "{cleaned:?}");
        assert!(cleaned.machines.is_empty());
        assert!(file.exists() && precious.join("data").exists() && paths.machines().exists());
    }

    #[test]
    fn only_hidden_files_that_nobody_writes_are_left_downloads() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let debs = paths.cache.join("debs");
        fs::create_dir_all(&debs).unwrap();
        let long_ago = SystemTime::now() - STALE * 2;
        for name in [".partial-old", ".partial-new", "whole.deb"] {
            let file = File::create(debs.join(name)).unwrap();
            if !name.ends_with("new") {
                file.set_modified(long_ago).unwrap();
            }
        }
        assert_eq!(cleaned(&paths).partials, [debs.join(".partial-old")]);
        assert!(!debs.join(".partial-old").exists());
        assert!(debs.join(".partial-new").exists() && debs.join("whole.deb").exists());
    }
}
