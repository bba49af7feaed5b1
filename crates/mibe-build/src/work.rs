//! File work in the tree of a build machine: what a builder carries out without any program of the tree.
//!
//! A [`Work`] is data, so that it can be sent to where the tree is: the local builder hands it to a
//! process inside the sandbox's namespaces.

use std::path::PathBuf;

#[cfg(feature = "local")]
use serde::{Deserialize, Serialize};

use crate::lay;
use crate::packages::PackageManager;

#[cfg(feature = "local")]
pub use crate::local::perform::perform;

/// One piece of file work.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "local", derive(Serialize, Deserialize))]
pub enum Work {
    /// Finds out what the tree is; changes nothing.
    Inspect,
    /// Makes the tree fit to build in: no service starts, and no udev comes into a zone.
    Prepare(Guest),
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
    /// Undoes [`Work::Prepare`] and makes the tree fit to be an image. Nothing runs in the machine after it.
    Finalise(Guest),
}

/// What kind of machine a tree is the root of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "local", derive(Serialize, Deserialize))]
pub enum Guest {
    /// A zone.
    Zone,
    /// A virtual machine with its own kernel.
    Machine,
}

impl Work {
    /// The work in words, for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Inspect => "look at the tree",
            Self::Prepare(_) => "prepare the tree",
            Self::Lay { .. } => "lay copy/ over the tree",
            Self::Write(_) => "write files",
            Self::Remove(_) => "remove a file",
            Self::Finalise(_) => "finalise the tree",
        }
    }
}

/// A file to write.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "local", derive(Serialize, Deserialize))]
pub struct NewFile {
    /// Path inside the tree.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// The whole content.
    #[cfg_attr(feature = "local", serde(with = "base64_bytes"))]
    pub content: Vec<u8>,
}

/// JSON has no bytes; an array of numbers would take a hundred times the memory.
#[cfg(feature = "local")]
pub(crate) mod base64_bytes {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "local", derive(Serialize, Deserialize))]
pub struct WorkReport {
    /// Of [`Work::Inspect`]: the package manager of the tree.
    pub package_manager: Option<PackageManager>,
    /// Of [`Work::Inspect`]: the distribution, for people.
    pub distribution: String,
    /// Of [`Work::Finalise`].
    pub finalised: Report,
}

/// What was done to the tree, in words for the log and for the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "local", derive(Serialize, Deserialize))]
pub struct Report {
    /// The distribution the tree holds, as its os-release names it ("Debian GNU/Linux 12 (bookworm)").
    pub distribution: String,
    /// Ordinary things that were done; they go to the log.
    pub notes: Vec<String>,
    /// Things that the author of the repository should know; they are shown.
    pub warnings: Vec<String>,
}

impl Report {
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }
}
