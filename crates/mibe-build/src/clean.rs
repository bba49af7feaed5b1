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
    /// Machines left alone because they were kept on purpose.
    pub kept: Vec<Entry>,
    /// Whether the caches were left alone because a build uses them.
    pub caches_in_use: bool,
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

/// What a clean-up is to do.
#[derive(Clone, Copy, Debug)]
pub struct CleanOptions {
    /// Which caches go.
    pub caches: Caches,
    /// Whether machines go that failed builds were told to keep.
    pub kept: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Cleans up after builds whose process is gone.
///
/// # Errors
///
/// The journal could not be read; failures with single things are in the report.
pub fn clean(paths: &Paths, agent: &Agent, options: CleanOptions) -> Result<Cleaned, BuildError> {
    let mut cleaned = Cleaned::default();
    let leftovers = Journal::new(paths.journal()).leftovers()?;
    cleaned.running = leftovers.running;
    cleaned.failed = leftovers.unreadable;
    for record in leftovers.dead {
        let entry = record.entry.clone();
        if record.kept && !options.kept {
            cleaned.kept.push(entry);
            continue;
        }
        if let Err(reason) = ours(&record, &paths.machines()) {
            cleaned.failed.push((entry.directory, reason));
            continue;
        }
        let partials = unfinished(&record);
        if options.dry_run {
            cleaned.partials.extend(partials);
            cleaned.machines.push(entry);
            continue;
        }
        match destroy(agent, record, &partials) {
            Ok(()) => {
                cleaned.partials.extend(partials);
                cleaned.machines.push(entry);
            }
            Err(error) => cleaned.failed.push((entry.directory, error.to_string())),
        }
    }
    match paths.own_cache()? {
        None => cleaned.caches_in_use = options.caches != Caches::Keep,
        Some(_alone) => {
            remnants(paths, options.dry_run, &mut cleaned);
            if options.caches != Caches::Keep {
                clean_caches(&paths.cache, options, &mut cleaned);
            }
        }
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
    let image = |path: &Path, extensions: [&str; 2]| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_absolute() && extensions.iter().any(|end| name.ends_with(end))
    };
    let strange = record
        .partials
        .iter()
        .find(|path| !(path.is_absolute() && hidden(path)))
        .or(record
            .publication
            .as_ref()
            .map(|image| &image.file)
            .filter(|file| !image(file, [".zfs", ".zfs.gz"])));
    match strange {
        None => Ok(()),
        Some(path) => Err(format!(
            "its journal names {}, which no build makes",
            path.display()
        )),
    }
}

/// Removes what nothing speaks for and nobody uses, as the caches are ours alone: hidden files, which are downloads and
/// journal entries that a kill cut short, and folders in which ways into a sandbox were tried.
fn remnants(paths: &Paths, dry_run: bool, cleaned: &mut Cleaned) {
    let mut found: Vec<PathBuf> = cached_files(&paths.cache)
        .into_iter()
        .map(|(path, _)| path)
        .chain(names(&paths.journal()))
        .filter(|path| hidden(path) && !path.is_dir())
        .collect();
    found.extend(names(&paths.machines()).filter(|path| hidden(path)));
    found.sort();
    for path in found {
        let removed = match (dry_run, path.is_dir()) {
            (true, _) => Ok(()),
            (false, true) => fs::remove_dir_all(&path),
            (false, false) => fs::remove_file(&path),
        };
        match removed {
            Ok(()) => cleaned.partials.push(path),
            Err(error) => cleaned.failed.push((path, error.to_string())),
        }
    }
}

fn names(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
}

fn hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The files of the cache's folders.
fn cached_files(cache: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let mut files: Vec<_> = ["debs", "bases", "lists"]
        .iter()
        .flat_map(|folder| names(&cache.join(folder)))
        .filter_map(|path| Some((path.clone(), fs::symlink_metadata(&path).ok()?)))
        .filter(|(_, metadata)| metadata.is_file())
        .collect();
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
}

/// The files that the build of `record` did not finish: those under a hidden name, and that of an image whose manifest
/// did not get its name any more.
fn unfinished(record: &Record) -> Vec<PathBuf> {
    let there = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
    let image = record
        .publication
        .iter()
        .filter(|image| !there(&image.manifest))
        .map(|image| &image.file);
    record
        .partials
        .iter()
        .chain(image)
        .filter(|path| there(path))
        .cloned()
        .collect()
}

/// Takes away a machine whose process is gone, and strikes it out.
fn destroy(agent: &Agent, record: Record, unfinished: &[PathBuf]) -> Result<(), BuildError> {
    for path in unfinished {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BuildError::io("remove", path)(error));
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

fn clean_caches(cache: &Path, options: CleanOptions, cleaned: &mut Cleaned) {
    for (path, metadata) in cached_files(cache) {
        if hidden(&path) || (options.caches == Caches::Old && !old(&metadata)) {
            continue;
        }
        if !options.dry_run
            && let Err(error) = fs::remove_file(&path)
        {
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
    use crate::journal::Publication;

    fn paths(folder: &Path) -> Paths {
        Paths {
            cache: folder.join("cache"),
            state: folder.join("state"),
        }
    }

    const OPTIONS: CleanOptions = CleanOptions {
        caches: Caches::Keep,
        kept: false,
        dry_run: false,
    };

    fn cleaned(paths: &Paths) -> Cleaned {
        clean(paths, &Agent::current(), OPTIONS).unwrap()
    }

    fn entry(paths: &Paths) -> Entry {
        Entry::new("local", &paths.machines(), "test")
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
            let mut entry = entry(&paths);
            entry.directory = directory;
            drop(journal.begin(entry).unwrap());
        }
        let file = precious.join("file");
        fs::write(&file, "x").unwrap();
        let mut record = journal.begin(entry(&paths)).unwrap();
        record.add_partial(&file).unwrap();
        drop(record);
        let mut record = journal.begin(entry(&paths)).unwrap();
        record
            .publish(Publication {
                file: file.clone(),
                manifest: precious.join("x.json"),
            })
            .unwrap();
        drop(record);

        let cleaned = cleaned(&paths);
        assert_eq!(cleaned.failed.len(), 7, "{cleaned:?}");
        assert!(cleaned.machines.is_empty());
        assert!(file.exists() && precious.join("data").exists() && paths.machines().exists());
    }

    #[test]
    fn a_file_whose_manifest_never_came_goes_and_a_whole_image_stays() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let journal = Journal::new(paths.journal());
        for name in ["half", "whole"] {
            let image = Publication {
                file: folder.path().join(format!("{name}-1.zfs.gz")),
                manifest: folder.path().join(format!("{name}-1.json")),
            };
            fs::write(&image.file, "x").unwrap();
            if name == "whole" {
                fs::write(&image.manifest, "{}").unwrap();
            }
            let mut record = journal.begin(entry(&paths)).unwrap();
            record.publish(image).unwrap();
        }
        assert_eq!(
            cleaned(&paths).partials,
            [folder.path().join("half-1.zfs.gz")]
        );
        assert!(!folder.path().join("half-1.zfs.gz").exists());
        assert!(folder.path().join("whole-1.zfs.gz").exists());
    }

    #[test]
    fn a_kept_machine_goes_only_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let entry = entry(&paths);
        let directory = entry.directory.clone();
        fs::create_dir_all(&directory).unwrap();
        let journal = Journal::new(paths.journal());
        journal.begin(entry).unwrap().keep().unwrap();
        assert_eq!(cleaned(&paths).kept.len(), 1);
        assert!(directory.exists());
        let options = CleanOptions {
            kept: true,
            ..OPTIONS
        };
        let cleaned = clean(&paths, &Agent::current(), options).unwrap();
        assert_eq!(cleaned.machines.len(), 1);
        assert!(!directory.exists());
    }

    #[test]
    fn what_a_kill_left_goes_once_nobody_uses_the_caches() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let debs = paths.cache.join("debs");
        let probe = paths.machines().join(".probe-1-1");
        for folder in [&debs, &probe, &paths.journal()] {
            fs::create_dir_all(folder).unwrap();
        }
        let left = [
            debs.join(".partial-x"),
            paths.journal().join(".entry"),
            probe,
        ];
        File::create(&left[0]).unwrap();
        File::create(&left[1]).unwrap();
        File::create(debs.join("whole.deb")).unwrap();
        let all = CleanOptions {
            caches: Caches::All,
            ..OPTIONS
        };
        let in_use = paths.use_cache().unwrap();
        let cleaned = clean(&paths, &Agent::current(), all).unwrap();
        assert!(cleaned.caches_in_use && cleaned.partials.is_empty());
        assert!(left.iter().all(|path| path.exists()));
        drop(in_use);
        let cleaned = clean(&paths, &Agent::current(), all).unwrap();
        assert_eq!(cleaned.partials.len(), 3);
        assert_eq!(cleaned.caches.len(), 1);
        assert!(!left.iter().any(|path| path.exists()));
    }
}
