//! `zfs send` streams with no ZFS present.
//!
//! [`write_filesystem`] (and, on two processors, [`write_filesystem_threaded`]) turns any [`Tree`] (for one, a
//! `DirTree`: a directory of this machine, on Linux)
//! into a full stream of a ZPL version 5 file system that every illumos since 2013 and every
//! OpenZFS receives: blocks of at most 128 KiB, 512-byte dnodes, nothing compressed or embedded,
//! no feature but spill blocks.
//!
//! [`write_volume`] turns any [`Disk`] into a full stream of a volume.
//!
//! [`read::Snapshot`] reads a full stream and the incremental ones that follow it, whoever sent them, as one;
//! [`read::Filesystem`] and [`read::Volume`] say what is in it, [`flatten`] makes one full stream of it, and [`write_incremental`] a stream of
//! what changes it to another tree.
//!
//! The crate is laid out so that what is known of the format ([`mod@format`]) is said once, for the
//! writer and for readers. It knows nothing of images and never prints.

#[cfg(target_os = "linux")]
mod dir_tree;
pub mod format;
pub mod read;
mod tree;
mod write;

#[cfg(target_os = "linux")]
pub use dir_tree::DirTree;
pub use tree::{DataRange, Device, DirEntry, Identity, Kind, LeftOut, Metadata, Tree};
pub use write::{
    BaseSnapshot, Disk, FlattenError, Flattened, IncrementalSummary, Progress, StreamOptions,
    Summary, VolumeSummary, WriteError, flatten, write_filesystem, write_filesystem_threaded,
    write_incremental, write_volume,
};
