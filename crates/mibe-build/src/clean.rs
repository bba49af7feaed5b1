//! Destroys what interrupted builds left behind, and caches that nobody used for long.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mibe_host::Host;
#[cfg(feature = "local")]
use mibe_sandbox::{Agent, Sandbox};

use crate::disk::{WORKSHOP, remove_folder};
use crate::error::BuildError;
use crate::journal::{Entry, Journal, Record, ZoneEntry};
use crate::paths::Paths;
use crate::smartos::destroy;

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
    /// Machines left alone because their host is not to be asked now.
    pub elsewhere: Vec<Entry>,
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

/// Connects to the host of a zone; `None`: it is not to be asked now.
pub type Connect<'a> = dyn Fn(&ZoneEntry) -> Result<Option<Arc<dyn Host>>, BuildError> + 'a;

/// The ways to build machines.
pub struct Means<'a> {
    /// What serves as agent of sandboxes.
    #[cfg(feature = "local")]
    pub agent: &'a Agent,
    /// To the hosts of zones.
    pub connect: &'a Connect<'a>,
    /// How long a command of a host may take.
    pub timeout: Duration,
}

/// Cleans up after builds whose process is gone.
///
/// # Errors
///
/// The journal could not be read; failures with single things are in the report.
pub fn clean(
    paths: &Paths,
    means: &Means<'_>,
    options: CleanOptions,
) -> Result<Cleaned, BuildError> {
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
            cleaned.failed.push((named(&entry), reason));
            continue;
        }
        let partials = unfinished(&record);
        if options.dry_run {
            cleaned.partials.extend(partials);
            cleaned.machines.push(entry);
            continue;
        }
        match take_away(means, record, &partials) {
            Ok(true) => {
                cleaned.partials.extend(partials);
                cleaned.machines.push(entry);
            }
            Ok(false) => cleaned.elsewhere.push(entry),
            Err(error) => cleaned.failed.push((named(&entry), error.to_string())),
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

/// What a machine is called where something is wrong with it.
fn named(entry: &Entry) -> PathBuf {
    match &entry.zone {
        Some(zone) => PathBuf::from(format!(
            "{}:{}",
            zone.host.as_deref().unwrap_or("this machine"),
            zone.uuid
        )),
        None => entry.directory.clone(),
    }
}

/// Whether a record names only what a build makes: a folder of build machines, hidden files. A journal that was
/// damaged, or moved here from elsewhere, must not destroy anything else.
fn ours(record: &Record, machines: &Path) -> Result<(), String> {
    let directory = &record.entry.directory;
    if let Some(zone) = &record.entry.zone {
        let uuid = uuid::Uuid::try_parse(&zone.uuid).is_ok() && zone.uuid.len() == 36;
        let of_pool = zone
            .dataset
            .strip_suffix(&format!("/{}", zone.uuid))
            .is_some_and(|pool| {
                !pool.is_empty() && !pool.starts_with('-') && !pool.contains(['/', '@', ' '])
            });
        let of_base =
            zone.origin.ends_with(&format!("@{}", zone.uuid)) && !zone.origin.starts_with('-');
        if !uuid || !of_pool || !of_base {
            return Err("it is no VM that a build makes".to_owned());
        }
    }
    // A name, and neither "." nor "..", which file_name() does not give.
    else if directory.file_name().is_none() || directory.parent() != Some(machines) {
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
    let mut files: Vec<_> = ["debs", "bases", "lists", "disks"]
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

/// Takes away a machine whose process is gone, and strikes it out; says no where its host is not to be asked now.
fn take_away(
    means: &Means<'_>,
    record: Record,
    unfinished: &[PathBuf],
) -> Result<bool, BuildError> {
    for path in unfinished {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BuildError::io("remove", path)(error));
            }
            _ => {}
        }
    }
    if let Some(zone) = &record.entry.zone {
        let Some(host) = (means.connect)(zone)? else {
            return Ok(false);
        };
        destroy::destroy(&host, zone, &record.entry.id, record.created, means.timeout)?;
        return record.strike().map(|()| true);
    }
    let directory = &record.entry.directory;
    if record.entry.builder == WORKSHOP {
        remove_folder(directory)?;
    } else {
        sandbox(means, directory)?;
    }
    record.strike().map(|()| true)
}

/// Takes away a folder that was a sandbox.
fn sandbox(means: &Means<'_>, directory: &Path) -> Result<(), BuildError> {
    #[cfg(not(feature = "local"))]
    let _ = means;
    if fs::symlink_metadata(directory).is_ok() {
        #[cfg(not(feature = "local"))]
        return Err(BuildError::host(
            "this mibe has no sandboxes, and one is left",
            &["clean with the mibe that made it"],
        ));
        #[cfg(feature = "local")]
        match Sandbox::open(means.agent, directory) {
            Ok(sandbox) => sandbox.destroy()?,
            // Killed before the sandbox was set up: nothing in it belongs to anybody else.
            Err(_) => {
                fs::remove_dir_all(directory).map_err(BuildError::io("remove", directory))?;
            }
        }
    }
    Ok(())
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

#[cfg(all(test, feature = "local"))]
#[path = "clean_tests.rs"]
mod tests;
