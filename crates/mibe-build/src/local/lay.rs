//! Lays a repository's `copy/` over a tree of this host.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mibe_sandbox::{Kind, Root};
use rustix::fs::OFlags;

use crate::lay::{Entry, EntryKind};

/// Why an entry could not be laid.
#[derive(Debug, thiserror::Error)]
pub enum LayError {
    /// An operation failed on this host or in the tree.
    #[error("copy/{}: {action}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The entry.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The image has something of another kind there.
    #[error("copy/{}: the image has {there} at /{}, which a {ours} can't replace", path.display(), path.display())]
    Kinds {
        /// The entry.
        path: PathBuf,
        /// What the entry is.
        ours: &'static str,
        /// What stands there.
        there: &'static str,
    },
}

/// Lays `entries` of the host folder `source` over `root`; parents come before their children. All files get the time
/// `mtime`, in seconds since 1970.
pub fn lay(root: &Root, source: &Path, entries: &[Entry], mtime: i64) -> Result<(), LayError> {
    for entry in entries {
        match &entry.kind {
            EntryKind::Directory => lay_directory(root, entry)?,
            EntryKind::File => lay_file(root, source, entry, mtime)?,
            EntryKind::Symlink(target) => {
                clear(root, entry, "symlink")?;
                root.symlink(target, &entry.path)
                    .map_err(failed("link", entry))?;
            }
        }
    }
    Ok(())
}

fn lay_directory(root: &Root, entry: &Entry) -> Result<(), LayError> {
    let there = root
        .resolve(&entry.path)
        .and_then(|path| root.metadata(&path));
    match there {
        Ok(metadata) if metadata.kind == Kind::Dir => Ok(()),
        Ok(_) => Err(LayError::Kinds {
            path: entry.path.clone(),
            ours: "directory",
            there: "a file",
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if root.metadata(&entry.path).is_ok() {
                return Err(LayError::Kinds {
                    path: entry.path.clone(),
                    ours: "directory",
                    there: "a dangling link",
                });
            }
            root.create_dir(&entry.path, entry.mode)
                .map_err(failed("make the directory", entry))
        }
        Err(error) => Err(failed("look at", entry)(error)),
    }
}

fn lay_file(root: &Root, source: &Path, entry: &Entry, mtime: i64) -> Result<(), LayError> {
    clear(root, entry, "file")?;
    let from = source.join(&entry.path);
    let mut from = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(from)
        .map_err(failed("read", entry))?;
    let metadata = from.metadata().map_err(failed("read", entry))?;
    if !metadata.is_file() {
        return Err(failed("read", entry)(io::Error::other(
            "changed its kind since the repository was read",
        )));
    }
    let mut to = root
        .create(&entry.path, entry.mode)
        .map_err(failed("write", entry))?;
    io::copy(&mut from, &mut to).map_err(failed("write", entry))?;
    drop(to);
    // Writing as anyone but root of the machine has cleared the set-uid bits.
    root.chmod(&entry.path, entry.mode)
        .map_err(failed("set the mode of", entry))?;
    root.set_mtime(&entry.path, mtime, 0)
        .map_err(failed("set the time of", entry))
}

/// Takes away what a file or link is about to replace; a directory stays and is an error.
fn clear(root: &Root, entry: &Entry, ours: &'static str) -> Result<(), LayError> {
    match root.metadata(&entry.path) {
        Ok(metadata) if metadata.kind == Kind::Dir => Err(LayError::Kinds {
            path: entry.path.clone(),
            ours,
            there: "a directory",
        }),
        Ok(_) => root
            .remove_file(&entry.path)
            .map_err(failed("replace", entry)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("look at", entry)(error)),
    }
}

fn failed<'a>(action: &'static str, entry: &'a Entry) -> impl FnOnce(io::Error) -> LayError + 'a {
    move |source| LayError::Io {
        action,
        path: entry.path.clone(),
        source,
    }
}
