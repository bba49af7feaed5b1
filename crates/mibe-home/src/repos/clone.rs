//! Clones: whole at their final place, or not there at all.

use std::fs::{self, File};
use std::io;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::HomeError;
use crate::repos::git::{Failure, Git, Kind, Limits, Until};
use crate::repos::list::Entry;
use crate::repos::outcome::Outcome;

/// Folder below `repos/` in which clones grow. What is in it belongs to a clone under way, or to one that was killed.
const GROWING: &str = ".mibe-clone";

/// A growing clone's lock may not be taken yet when its file is this young.
const YOUNG: Duration = Duration::from_secs(60);

/// Clones an entry of the list into `repos`.
pub fn clone(git: &Git, entry: &Entry, repos: &Utf8Path, limits: Limits<'_>) -> Outcome {
    let name = entry.name.as_str();
    let target = repos.join(name);
    if target.symlink_metadata().is_ok() {
        return if target.join(".git").exists() {
            Outcome::good(name, "there", "already; untouched")
        } else {
            Outcome::bad(
                name,
                "in the way",
                format!("{target} is there, and is no git repository"),
                "move it away, or give the entry another folder name",
            )
        };
    }
    let until = limits.start();
    let mut tried = attempt(git, entry, &entry.url, repos, &until);
    // Some servers know no suffix, and the list names no URL.
    if let (Err(failure), Some(without)) = (&tried, entry.url.strip_suffix(".git"))
        && failure.kind == Kind::NotFound
        && entry.suffixed
    {
        tried = match attempt(git, entry, without, repos, &until) {
            Err(second) if second.kind == Kind::NotFound => tried,
            other => other,
        };
    }
    match tried {
        Ok(()) => Outcome::good(name, "cloned", entry.reference.clone().unwrap_or_default()),
        Err(failure) => Outcome::failure(name, &failure),
    }
}

/// Removes what killed clones left below `repos`; living ones hold their locks.
///
/// # Errors
///
/// The folder of growing clones can't be read.
pub fn clean(repos: &Utf8Path) -> Result<(), HomeError> {
    let growing = repos.join(GROWING);
    let entries = match growing.read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(HomeError::io("read", &growing)(error)),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension() != Some("lock") {
            continue;
        }
        let young = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| SystemTime::now().duration_since(time).unwrap_or_default() < YOUNG);
        let Ok(lock) = File::open(path) else { continue };
        if young || lock.try_lock().is_err() {
            continue;
        }
        let folder = path.with_extension("");
        let _ = fs::remove_dir_all(&folder);
        // A git that outlived mibe may still write there: what can't be removed now is tried again by the next clone,
        // which knows it by its lock.
        if folder.symlink_metadata().is_err() {
            let _ = fs::remove_file(path);
        }
    }
    let _ = fs::remove_dir(&growing);
    Ok(())
}

/// A folder in which a clone grows, gone with this value.
struct Growing {
    folder: Utf8PathBuf,
    lock: Utf8PathBuf,
    _locked: File,
}

impl Growing {
    fn new(repos: &Utf8Path, name: &str) -> io::Result<Self> {
        let growing = repos.join(GROWING);
        for number in 0..u32::MAX {
            // Another clone that ends may remove the empty folder in between.
            fs::create_dir_all(&growing)?;
            let folder = growing.join(format!("{name}-{}-{number}", std::process::id()));
            let lock =
                folder.with_file_name(format!("{}.lock", folder.file_name().unwrap_or(name)));
            match File::options().write(true).create_new(true).open(&lock) {
                Ok(file) => {
                    file.lock()?;
                    return Ok(Self {
                        folder,
                        lock,
                        _locked: file,
                    });
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("no free name for a growing clone"))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        // After success the folder is at its final place already.
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_file(&self.lock);
        if let Some(growing) = self.folder.parent() {
            // Only the last one finds it empty.
            let _ = fs::remove_dir(growing);
        }
    }
}

fn attempt(
    git: &Git,
    entry: &Entry,
    url: &str,
    repos: &Utf8Path,
    until: &Until<'_>,
) -> Result<(), Failure> {
    let local = |action: &str, error: &io::Error| Failure {
        kind: Kind::Other,
        message: format!("can't {action}: {error}"),
    };
    let growing = Growing::new(repos, &entry.name)
        .map_err(|error| local("make a folder in repos/", &error))?;
    let folder = growing.folder.as_path();
    let mut arguments = vec!["clone", "--quiet"];
    if entry.reference.is_some() {
        arguments.push("--no-checkout");
    }
    arguments.extend(["--", url, folder.as_str()]);
    git.must(arguments, None, until)?;
    if let Some(reference) = &entry.reference {
        // A branch of the server becomes a local one; a tag or a commit is detached.
        git.must(
            ["checkout", "--quiet", reference, "--"],
            Some(folder),
            until,
        )?;
    }
    if folder.join(".gitmodules").exists() {
        git.must(
            ["submodule", "--quiet", "update", "--init", "--recursive"],
            Some(folder),
            until,
        )?;
    }
    let target = repos.join(&entry.name);
    rename(folder, &target).map_err(|error| local(&format!("make {target}"), &error))
}

/// Renames, unless something is there.
fn rename(from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(
            CWD,
            from.as_std_path(),
            CWD,
            to.as_std_path(),
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => return Ok(()),
            // Not every file system can.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if to.symlink_metadata().is_ok() {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    fs::rename(from, to)
}
