//! The ZFS stream of a build machine's file system: what it is to say, and what came of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base_image::ChainFiles;

#[cfg(feature = "local")]
pub use crate::local::zonepath::capture;

/// What the stream is to say of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaptureOptions {
    /// Name of the snapshot in the stream ("mibe/hello-lx@final"); receivers rename it.
    pub snapshot: String,
    /// Seconds since 1970: the snapshot's time, and the latest time of any file in it.
    pub epoch: i64,
    /// What the stream is to be a change to; a full one otherwise.
    pub(crate) base: Option<ChainFiles>,
}

/// What was captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// The snapshot's guid, derived from the content.
    pub guid: u64,
    /// SHA-256 of everything in the tree, hexadecimal.
    pub digest: String,
    /// Files, directories, links and the rest, where they were counted.
    pub entries: Option<u64>,
    /// Paths of the first sockets, which no image carries.
    pub sockets: Vec<String>,
    /// What differs from the base, where it was compared with it.
    pub difference: Option<Difference>,
    /// What is known of the disk, where it is one.
    #[serde(default)]
    pub disk: Option<DiskFacts>,
}

/// What is known of the disk of a virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFacts {
    /// What was done to it, for the log.
    pub notes: Vec<String>,
    /// What may not be as it was meant.
    pub warnings: Vec<String>,
    /// Fields of the image's manifest.
    pub fields: Map<String, Value>,
    /// What machines need.
    pub requirements: Map<String, Value>,
    /// Tags of the image.
    pub tags: Map<String, Value>,
    /// The user that cloud-init makes.
    pub default_user: Option<String>,
}

/// How many files differ from the base's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Files that are not in the base.
    pub new: u64,
    /// Files that differ from the base's.
    pub changed: u64,
    /// Files of the base that are no more.
    pub removed: u64,
}
