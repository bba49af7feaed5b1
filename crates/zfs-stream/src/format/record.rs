//! The records of a stream (`zfs_ioctl.h`, `dmu_send.c`).
//!
//! A record is a header of [`HEADER`] bytes and, for some types, a payload whose length is a multiple
//! of 8. The header is its type, the length of an nvlist payload (compound BEGINs only) and a
//! union of [`BODY`] bytes whose last 32 hold the checksum of everything before them (in every
//! record but BEGIN).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of a record's header in bytes.
pub const HEADER: usize = 312;
/// Size of a header's union in bytes.
pub const BODY: usize = HEADER - 8;
/// Where in the header the checksum stands.
pub const CHECKSUM_AT: usize = HEADER - 32;

/// What BEGIN starts with (`DMU_BACKUP_MAGIC`).
pub const MAGIC: u64 = 0x0002_F5BA_CBAC;

/// `drr_versioninfo` of a plain stream (`DMU_SUBSTREAM`) whose only feature is that it may hold
/// spill blocks (`DMU_BACKUP_FEATURE_SA_SPILL`, 4, shifted by 2): what 2013's illumos sends
/// for a ZPL 5 file system.
pub const VERSION_SA_SPILL: u64 = 0x11;

/// `drr_type` of BEGIN for a file system (`DMU_OST_ZFS`).
pub const OBJSET_FILESYSTEM: u32 = 2;

/// BEGIN flag: the sender knows which free ranges matter (`DRR_FLAG_FREERECORDS`).
pub const FLAG_FREERECORDS: u32 = 1 << 2;
/// BEGIN flag: an OBJECT with a spill block says so (`DRR_FLAG_SPILL_BLOCK`).
pub const FLAG_SPILL_BLOCK: u32 = 1 << 3;

/// OBJECT flag: a SPILL of the object follows (`DRR_OBJECT_SPILL`).
pub const OBJECT_SPILL: u8 = 1 << 2;

/// WRITE's `drr_checksumtype` for blocks whose checksum isn't sent to dedup by
/// (`ZIO_CHECKSUM_FLETCHER_4`).
pub const CHECKSUM_FLETCHER_4: u8 = 7;

/// Most bytes of `drr_toname`, without its final NUL (`MAXNAMELEN` - 1).
pub const MAX_TO_NAME: usize = 255;

/// Types of records (`dmu_replay_record.drr_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RecordType {
    /// `DRR_BEGIN`
    Begin = 0,
    /// `DRR_OBJECT`
    Object = 1,
    /// `DRR_WRITE`
    Write = 3,
    /// `DRR_END`
    End = 5,
    /// `DRR_SPILL`
    Spill = 7,
}

/// `struct drr_begin`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Begin {
    /// [`MAGIC`]
    pub magic: U64,
    /// 1 (plain) or 2 (compound), and feature flags shifted by 2.
    pub versioninfo: U64,
    /// When the snapshot was made, seconds since 1970.
    pub creation_time: U64,
    /// `dmu_objset_type_t`
    pub objset_type: U32,
    /// `DRR_FLAG_…`
    pub flags: U32,
    /// Guid of the snapshot sent.
    pub to_guid: U64,
    /// Guid of the snapshot it is a change to; 0 for a full stream.
    pub from_guid: U64,
    /// `pool/dataset@snapshot`, NUL-padded.
    pub to_name: [u8; 256],
}

/// `struct drr_object`; the bonus, rounded up to 8 bytes, is the payload.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Object {
    /// Object number.
    pub object: U64,
    /// `dmu_object_type_t`, see [`super::znode::ObjectType`].
    pub object_type: U32,
    /// `dmu_object_type_t` of the bonus; 0 for none.
    pub bonus_type: U32,
    /// Size of the object's blocks in bytes.
    pub block_size: U32,
    /// Length of the bonus in bytes, before rounding.
    pub bonus_length: U32,
    /// 0: inherit.
    pub checksum_type: u8,
    /// 0: inherit.
    pub compress: u8,
    /// Size of the dnode in 512-byte slots; 0 from senders older than large dnodes.
    pub dnode_slots: u8,
    /// [`OBJECT_SPILL`]
    pub flags: u8,
    /// 0 but in raw streams.
    pub raw_bonus_length: U32,
    /// Guid of the snapshot sent.
    pub to_guid: U64,
}

/// `struct drr_write`, up to what plain streams use; the block is the payload.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Write {
    /// Object number.
    pub object: U64,
    /// `dmu_object_type_t` of the object.
    pub object_type: U32,
    /// 0.
    pub pad: U32,
    /// Where in the object, in bytes.
    pub offset: U64,
    /// Length of the payload in bytes.
    pub length: U64,
    /// Guid of the snapshot sent.
    pub to_guid: U64,
    /// [`CHECKSUM_FLETCHER_4`]
    pub checksum_type: u8,
    /// 0: not to be deduplicated.
    pub flags: u8,
    /// 0: not compressed.
    pub compression: u8,
    /// 0.
    pub pad2: [u8; 5],
}

/// `struct drr_spill`, up to what plain streams use; the spill block is the payload.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Spill {
    /// Object number.
    pub object: U64,
    /// Length of the payload in bytes, a multiple of 512.
    pub length: U64,
    /// Guid of the snapshot sent.
    pub to_guid: U64,
}

/// `struct drr_end`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct End {
    /// Checksum of the whole stream before this record.
    pub checksum: [U64; 4],
    /// Guid of the snapshot sent.
    pub to_guid: U64,
}
