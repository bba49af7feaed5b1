//! A repository's `copy/` as it is laid over the tree of a build machine.
//!
//! Everything becomes root:root. Directories that stand already keep their mode and owner, and a link to a directory is
//! followed, inside the tree alone; a file or link of copy/ replaces what stands at its place, never writes through it.

use std::path::PathBuf;

#[cfg(feature = "local")]
use mibe_sandbox::path_bytes;
#[cfg(feature = "local")]
use serde::{Deserialize, Serialize};

#[cfg(feature = "local")]
pub use crate::local::lay::{LayError, lay};

/// An entry of `copy/`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "local", derive(Serialize, Deserialize))]
pub struct Entry {
    /// Path below copy/, which is the path in the image.
    #[cfg_attr(feature = "local", serde(with = "path_bytes"))]
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits as they are to be in the image.
    pub mode: u32,
}

/// What an entry of `copy/` is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "local", derive(Serialize, Deserialize))]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link with its target.
    Symlink(#[cfg_attr(feature = "local", serde(with = "path_bytes"))] PathBuf),
}

/// The bits that an entry keeps: a checkout under umask 002 has the same image as one under 022.
pub fn image_mode(mode: u32) -> u32 {
    mode & 0o7755
}
