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

/// `drr_type` of BEGIN for a volume (`DMU_OST_ZVOL`).
pub const OBJSET_VOLUME: u32 = 3;

/// BEGIN flag: the snapshot it is a change to is the origin of a clone (`DRR_FLAG_CLONE`).
pub const FLAG_CLONE: u32 = 1;
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
    /// `DRR_FREEOBJECTS`
    FreeObjects = 2,
    /// `DRR_WRITE`
    Write = 3,
    /// `DRR_FREE`
    Free = 4,
    /// `DRR_END`
    End = 5,
    /// `DRR_WRITE_BYREF`: deduplicated streams.
    WriteByRef = 6,
    /// `DRR_SPILL`
    Spill = 7,
    /// `DRR_WRITE_EMBEDDED`
    WriteEmbedded = 8,
    /// `DRR_OBJECT_RANGE`: raw streams.
    ObjectRange = 9,
    /// `DRR_REDACT`: redacted streams.
    Redact = 10,
}

impl RecordType {
    /// The type of a number.
    pub fn new(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Begin,
            1 => Self::Object,
            2 => Self::FreeObjects,
            3 => Self::Write,
            4 => Self::Free,
            5 => Self::End,
            6 => Self::WriteByRef,
            7 => Self::Spill,
            8 => Self::WriteEmbedded,
            9 => Self::ObjectRange,
            10 => Self::Redact,
            _ => return None,
        })
    }
}

/// Features of a stream, `drr_versioninfo` shifted right by 2 (`DMU_BACKUP_FEATURE_…`, `zfs_ioctl.h`).
pub mod feature {
    /// Records refer to blocks sent before.
    pub const DEDUP: u64 = 1;
    /// The same, with properties.
    pub const DEDUP_PROPERTIES: u64 = 1 << 1;
    /// May hold spill blocks.
    pub const SA_SPILL: u64 = 1 << 2;
    /// May hold WRITE_EMBEDDED records.
    pub const EMBED_DATA: u64 = 1 << 16;
    /// Embedded blocks may be compressed with lz4.
    pub const LZ4: u64 = 1 << 17;
    /// Blocks may be larger than 128 KiB.
    pub const LARGE_BLOCKS: u64 = 1 << 19;
    /// Goes on where another was interrupted.
    pub const RESUMING: u64 = 1 << 20;
    /// Leaves parts out by intent.
    pub const REDACTED: u64 = 1 << 21;
    /// Blocks may be compressed.
    pub const COMPRESSED: u64 = 1 << 22;
    /// Dnodes may be larger than 512 bytes.
    pub const LARGE_DNODE: u64 = 1 << 23;
    /// Encrypted, as it is on disk.
    pub const RAW: u64 = 1 << 24;
    /// Blocks may be compressed with zstd.
    pub const ZSTD: u64 = 1 << 25;
    /// Holds of snapshots come with it.
    pub const HOLDS: u64 = 1 << 26;
    /// Changed to larger blocks since the snapshot it is a change to.
    pub const SWITCH_TO_LARGE_BLOCKS: u64 = 1 << 27;
    /// Names may be longer than 255 bytes.
    pub const LONG_NAME: u64 = 1 << 28;
    /// Microzaps may be larger than 128 KiB.
    pub const LARGE_MICROZAP: u64 = 1 << 29;

    /// Those that the reader takes.
    pub const READABLE: u64 = SA_SPILL
        | EMBED_DATA
        | LZ4
        | LARGE_BLOCKS
        | COMPRESSED
        | LARGE_DNODE
        | ZSTD
        | HOLDS
        | LARGE_MICROZAP;
}

/// `drr_versioninfo & 3` of a plain stream (`DMU_SUBSTREAM`).
pub const SUBSTREAM: u64 = 1;
/// `drr_versioninfo & 3` of what `zfs send -p` and `-R` begin with (`DMU_COMPOUNDSTREAM`).
pub const COMPOUND: u64 = 2;

/// `drr_etype` of an embedded block of data (`BP_EMBEDDED_TYPE_DATA`).
pub const EMBEDDED_DATA: u8 = 0;
/// Most bytes of an embedded block as stored (`BPE_PAYLOAD_SIZE`).
pub const MAX_EMBEDDED: usize = 112;

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

/// `struct drr_write`, up to what raw streams use; the block is the payload.
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
    /// `enum zio_compress`; 0: not compressed.
    pub compression: u8,
    /// 0.
    pub pad2: [u8; 5],
    /// What it would be deduplicated by (`ddt_key_t`).
    pub key: [U64; 5],
    /// Length of the payload in bytes, if it is compressed.
    pub compressed_size: U64,
}

/// `struct drr_write_embedded`; the payload, rounded up to 8 bytes, is what the block pointer held.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct WriteEmbedded {
    /// Object number.
    pub object: U64,
    /// Where in the object, in bytes.
    pub offset: U64,
    /// Length of the block in bytes, as large as the object's blocks.
    pub length: U64,
    /// Guid of the snapshot sent.
    pub to_guid: U64,
    /// `enum zio_compress`
    pub compression: u8,
    /// [`EMBEDDED_DATA`]
    pub embedded_type: u8,
    /// 0.
    pub pad: [u8; 6],
    /// Length of the block in bytes.
    pub logical_size: U32,
    /// Length of the payload in bytes, before rounding; at most [`MAX_EMBEDDED`].
    pub physical_size: U32,
}

/// `struct drr_free`: zeroes, or no blocks at all.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Free {
    /// Object number.
    pub object: U64,
    /// First byte.
    pub offset: U64,
    /// Number of bytes; all ones for the rest of the object.
    pub length: U64,
    /// Guid of the snapshot sent.
    pub to_guid: U64,
}

/// `struct drr_freeobjects`: objects that don't exist.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FreeObjects {
    /// First object.
    pub first: U64,
    /// Number of objects.
    pub count: U64,
    /// Guid of the snapshot sent.
    pub to_guid: U64,
}

/// `struct drr_spill`, up to what raw streams use; the spill block is the payload.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Spill {
    /// Object number.
    pub object: U64,
    /// Length of the spill block in bytes, a multiple of 512.
    pub length: U64,
    /// Guid of the snapshot sent.
    pub to_guid: U64,
    /// `DRR_SPILL_…`
    pub flags: u8,
    /// `enum zio_compress`; 0: not compressed.
    pub compression: u8,
    /// 0.
    pub pad: [u8; 6],
    /// Length of the payload in bytes, if it is compressed.
    pub compressed_size: U64,
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
