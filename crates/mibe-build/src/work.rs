//! File work in the tree of a build machine: what a builder carries out without any program of the tree.
//!
//! A [`Work`] is data, so that it can be sent to where the tree is: the local builder hands it to a
//! process inside the sandbox's namespaces.

use std::path::{Path, PathBuf};

use mibe_sandbox::{Kind, Root};
use serde::{Deserialize, Serialize};

use crate::finalise::{self, Report};
use crate::lay;
use crate::packages::{PackageManager, SCRATCH};

/// One piece of file work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Work {
    /// Finds out what the tree is; changes nothing.
    Inspect,
    /// Makes the tree fit to build in: no service starts, no udev comes in.
    Prepare,
    /// Lays the entries of a repository's copy/ over the tree.
    Lay {
        /// The folder copy/ on this host.
        source: PathBuf,
        /// What of it, parents first.
        entries: Vec<lay::Entry>,
        /// The time of all files, seconds since 1970: that of a checkout says nothing and differs from clone to clone.
        mtime: i64,
    },
    /// Writes root-owned files.
    Write(Vec<NewFile>),
    /// Removes a path, whatever stands there.
    Remove(PathBuf),
    /// Undoes [`Work::Prepare`] and makes the tree fit to be an LX image.
    FinaliseLx,
}

impl Work {
    /// The work in words, for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Inspect => "look at the tree",
            Self::Prepare => "prepare the tree",
            Self::Lay { .. } => "lay copy/ over the tree",
            Self::Write(_) => "write files",
            Self::Remove(_) => "remove a file",
            Self::FinaliseLx => "finalise the tree",
        }
    }
}

/// A file to write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewFile {
    /// Path inside the tree.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// The whole content.
    #[serde(with = "base64_bytes")]
    pub content: Vec<u8>,
}

/// JSON has no bytes; an array of numbers would take a hundred times the memory.
mod base64_bytes {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkReport {
    /// Of [`Work::Inspect`]: the package manager of the tree.
    pub package_manager: Option<PackageManager>,
    /// Of [`Work::Inspect`]: the distribution, for people.
    pub distribution: String,
    /// Of [`Work::FinaliseLx`].
    pub finalised: Report,
}

/// Denies the start of services while packages are installed (invoke-rc.d's policy layer); 101 is "forbidden".
const POLICY: &[u8] = b"#!/bin/sh\nexit 101\n";
const POLICY_PATH: &str = "usr/sbin/policy-rc.d";
const POLICY_SAVED: &str = "usr/sbin/policy-rc.d.mibe-saved";

const PIN_PATH: &str = "etc/apt/preferences.d/mibe-lx";
const PIN: &[u8] = b"Explanation: udev does not work in an LX zone (laid in by mibe)\nPackage: udev\nPin: release *\nPin-Priority: -1\n";

/// Carries out `work` in `root`; an error names the path.
pub fn perform(root: &Root, work: &Work) -> Result<WorkReport, String> {
    let mut report = WorkReport::default();
    match work {
        Work::Inspect => {
            report.package_manager = PackageManager::of(root);
            report.distribution = finalise::Distribution::of(root).pretty_name;
        }
        Work::Prepare => prepare(root)?,
        Work::Lay {
            source,
            entries,
            mtime,
        } => {
            lay::lay(root, source, entries, *mtime).map_err(|error| error.to_string())?;
        }
        Work::Write(files) => {
            for file in files {
                if let Some(parent) = file.path.parent() {
                    root.create_dir_all(parent, 0o755)
                        .map_err(named("make", parent))?;
                }
                root.write(&file.path, file.mode, &file.content)
                    .map_err(named("write", &file.path))?;
            }
        }
        Work::Remove(path) => remove(root, path)?,
        Work::FinaliseLx => {
            restore(root)?;
            report.finalised = finalise::finalise_lx(root).map_err(|error| error.to_string())?;
        }
    }
    Ok(report)
}

fn prepare(root: &Root) -> Result<(), String> {
    if root.metadata(Path::new("usr/sbin")).is_ok() {
        if root.metadata(Path::new(POLICY_PATH)).is_ok()
            && root.metadata(Path::new(POLICY_SAVED)).is_err()
        {
            root.rename(Path::new(POLICY_PATH), Path::new(POLICY_SAVED))
                .map_err(named("rename", Path::new(POLICY_PATH)))?;
        }
        root.write(Path::new(POLICY_PATH), 0o755, POLICY)
            .map_err(named("write", Path::new(POLICY_PATH)))?;
    }
    if root.metadata(Path::new("etc/apt/preferences.d")).is_ok() {
        root.write(Path::new(PIN_PATH), 0o644, PIN)
            .map_err(named("write", Path::new(PIN_PATH)))?;
    }
    Ok(())
}

fn restore(root: &Root) -> Result<(), String> {
    remove(root, Path::new(SCRATCH))?;
    let ours = root
        .read(Path::new(POLICY_PATH), 1 << 16)
        .is_ok_and(|content| content == POLICY);
    if ours {
        remove(root, Path::new(POLICY_PATH))?;
    }
    if root.metadata(Path::new(POLICY_SAVED)).is_ok() {
        if root.metadata(Path::new(POLICY_PATH)).is_ok() {
            // The build laid in one of its own: it stays, the base's goes.
            remove(root, Path::new(POLICY_SAVED))?;
        } else {
            root.rename(Path::new(POLICY_SAVED), Path::new(POLICY_PATH))
                .map_err(named("rename", Path::new(POLICY_SAVED)))?;
        }
    }
    Ok(())
}

fn remove(root: &Root, path: &Path) -> Result<(), String> {
    match root.metadata(path) {
        Ok(metadata) if metadata.kind == Kind::Dir => {
            root.remove_dir_all(path).map_err(named("remove", path))
        }
        Ok(_) => root.remove_file(path).map_err(named("remove", path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(named("remove", path)(error)),
    }
}

fn named<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> String + 'a {
    move |error| format!("{action} /{} in the image: {error}", path.display())
}
