//! Root file systems in tar archives and directories: into a [`Root`](mibe_sandbox::Root) and out of it.
//!
//! Archives come from outside, so nothing in them is believed: every length is bounded before memory is taken, names can't
//! leave the tree, and what can't be represented is an error with the member's name and its place in the archive.

mod copy;
mod extended;
mod header;
mod pack;
mod reader;
mod sparse;
mod unpack;

use std::io::Read;
use std::path::Path;

use mibe_image::file;
use mibe_sandbox::Root;

pub use copy::copy_directory;
pub use pack::pack;
pub use reader::{Member, MemberKind, TarReader};
pub use unpack::{Existing, unpack};

/// Why an archive could not be read or laid into a tree.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive itself is damaged, cut short or of an unknown kind.
    #[error("the archive is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Bytes before the place, after decompression.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A member can't be laid into a tree.
    #[error("{name:?} (at byte {offset} of the archive): {reason}")]
    Member {
        /// The member's name.
        name: String,
        /// Bytes before its header, after decompression.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of this host or of the tree.
    #[error("{action} {}: {source}", path.escape_debug())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tree is not a root file system.
    #[error("no root file system: {0}")]
    NoRoot(String),
}

/// The content of an archive, compressed or not: see [`mibe_image::file::decompressed`].
///
/// # Errors
///
/// The first bytes could not be read, or there is no memory for a decoder. Damage is an error when it is read.
pub fn decompressed<'a>(
    input: impl Read + Send + 'a,
) -> Result<file::Decompressed<'a>, ArchiveError> {
    file::decompressed(input).map_err(|error| ArchiveError::Damaged {
        offset: 0,
        reason: error.to_string(),
    })
}

/// A name of an archive for people: not longer than they read. It can hold anything, so show it with `{:?}` only.
fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 256;
    let text = String::from_utf8_lossy(&name[..name.len().min(LONGEST)]).into_owned();
    if name.len() > LONGEST {
        format!("{text}... ({} bytes)", name.len())
    } else {
        text
    }
}

/// Checks that a tree is the root file system of a Linux distribution, as far as a build needs one.
///
/// # Errors
///
/// It has no `etc`, no shell, or nothing that names a distribution.
pub fn check_root(root: &Root) -> Result<(), ArchiveError> {
    let has = |path: &str| {
        root.resolve(Path::new(path))
            .and_then(|path| root.metadata(&path))
            .is_ok()
    };
    let any = |paths: &[&str]| paths.iter().any(|path| has(path));
    if !has("etc") {
        return Err(ArchiveError::NoRoot("there is no etc".to_owned()));
    }
    if !any(&["bin/sh", "usr/bin/sh"]) {
        return Err(ArchiveError::NoRoot("there is no bin/sh".to_owned()));
    }
    if any(&["usr/lib/libc.so.1", "lib/libc.so.1"]) && !has("etc/os-release") {
        return Err(ArchiveError::NoRoot(
            "it is of illumos, and its programs do not run on Linux".to_owned(),
        ));
    }
    let markers = [
        "etc/os-release",
        "usr/lib/os-release",
        "etc/debian_version",
        "etc/redhat-release",
        "etc/alpine-release",
        "etc/void-release",
        "etc/lsb-release",
    ];
    if !any(&markers) {
        return Err(ArchiveError::NoRoot(format!(
            "none of {} names a distribution",
            markers.join(", ")
        )));
    }
    Ok(())
}
