//! What is known of the stream and of the objects in it.
//!
//! The authority is the source of illumos and OpenZFS; every item names the header or file its fact
//! comes from. Integers are little-endian throughout: a stream is in its sender's byte order, and
//! every machine that sends images today is little-endian.

pub mod acl;
pub mod fletcher4;
pub mod record;
pub mod sa;
pub mod zap;
pub mod znode;

/// Size in bytes of a sector, the unit that block sizes are multiples of (`SPA_MINBLOCKSIZE`).
pub const SECTOR: usize = 512;

/// Largest block, in bytes, that every ZFS takes (`SPA_OLD_MAXBLOCKSIZE`); also the record size of
/// the file systems written here.
pub const MAX_BLOCK: usize = 128 << 10;

/// Largest block of all, in bytes (`SPA_MAXBLOCKSIZE`); read, never written.
pub const LARGEST_BLOCK: usize = 16 << 20;
