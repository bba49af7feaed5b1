//! ZAP objects: the tables directories and the master node are kept in (`zap_impl.h`,
//! `zap_leaf.h`).
//!
//! A *microzap* is one block of 64-byte entries: names of at most [`MICRO_MAX_NAME`] bytes, one 64-bit value
//! each. A *fat* ZAP is an extensible hash table of [`FAT_BLOCK`]-byte blocks: a header, a table of pointers
//! (in the header's second half while it is small enough) and leaves that hold entries in
//! chained chunks of [`CHUNK`] bytes.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First word of a microzap's block (`ZBT_MICRO`).
pub const BLOCK_MICRO: u64 = (1 << 63) + 3;
/// First word of a fat ZAP's first block (`ZBT_HEADER`).
pub const BLOCK_HEADER: u64 = (1 << 63) + 1;
/// First word of a leaf (`ZBT_LEAF`).
pub const BLOCK_LEAF: u64 = 1 << 63;
/// `ZAP_MAGIC`
pub const MAGIC: u64 = 0x2_F52A_B2AB;
/// `ZAP_LEAF_MAGIC`
pub const LEAF_MAGIC: u32 = 0x2AB_1EAF;

/// Most bytes of a microzap entry's name (`MZAP_NAME_LEN` - 1).
pub const MICRO_MAX_NAME: usize = 49;
/// Size in bytes of a microzap's entry, and of its header (`MZAP_ENT_LEN`).
pub const MICRO_ENTRY: usize = 64;

/// log2 of [`FAT_BLOCK`] (`fzap_default_block_shift`).
pub const FAT_SHIFT: u32 = 14;
/// Size in bytes of a fat ZAP's blocks.
pub const FAT_BLOCK: usize = 1 << FAT_SHIFT;
/// log2 of the number of pointers that fit in the header (`ZAP_EMBEDDED_PTRTBL_SHIFT`).
pub const EMBEDDED_SHIFT: u32 = FAT_SHIFT - 4;
/// Number of buckets a leaf has (`ZAP_LEAF_HASH_NUMENTRIES`).
pub const LEAF_BUCKETS: usize = 1 << LEAF_BUCKETS_SHIFT;
/// log2 of [`LEAF_BUCKETS`].
pub const LEAF_BUCKETS_SHIFT: u32 = FAT_SHIFT - 5;
/// Size in bytes of a leaf's chunks (`ZAP_LEAF_CHUNKSIZE`).
pub const CHUNK: usize = 24;
/// Number of chunks in a leaf (`ZAP_LEAF_NUMCHUNKS`).
pub const LEAF_CHUNKS: usize = (FAT_BLOCK - 2 * LEAF_BUCKETS) / CHUNK - 2;
/// Bytes of a name or value in a chunk (`ZAP_LEAF_ARRAY_BYTES`).
pub const ARRAY_BYTES: usize = CHUNK - 3;
/// End of a chain of chunks (`CHAIN_END`).
pub const CHAIN_END: u16 = 0xFFFF;

/// Number of bits of a name's hash that count, from the top (`zap_hashbits`).
pub const HASH_BITS: u32 = 28;

/// Header of a microzap (`mzap_phys_t`).
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MicroHeader {
    /// [`BLOCK_MICRO`]
    pub block_type: U64,
    /// What hashes start from; never 0.
    pub salt: U64,
    /// 0: names are not normalised.
    pub normalization: U64,
    /// 0.
    pub pad: [U64; 5],
}

/// Entry of a microzap (`mzap_ent_phys_t`); free if the name is empty.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MicroEntry {
    /// The value.
    pub value: U64,
    /// Tells entries of the same hash apart.
    pub collision: U32,
    /// 0.
    pub pad: U16,
    /// NUL-padded, with at least one NUL.
    pub name: [u8; MICRO_MAX_NAME + 1],
}

/// Header of a fat ZAP (`zap_phys_t`), at the start of its first block.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FatHeader {
    /// [`BLOCK_HEADER`]
    pub block_type: U64,
    /// [`MAGIC`]
    pub magic: U64,
    /// First block of the pointer table; 0 while it is in the header.
    pub table_block: U64,
    /// Number of blocks of the pointer table; 0 while it is in the header.
    pub table_blocks: U64,
    /// log2 of the number of pointers.
    pub table_shift: U64,
    /// 0 unless the table is being grown.
    pub table_next: U64,
    /// 0 unless the table is being grown.
    pub table_copied: U64,
    /// First block not in use.
    pub free_block: U64,
    /// Number of leaves.
    pub leaves: U64,
    /// Number of entries.
    pub entries: U64,
    /// What hashes start from; never 0.
    pub salt: U64,
    /// 0: names are not normalised.
    pub normalization: U64,
    /// 0.
    pub flags: U64,
}

/// Header of a leaf (`zap_leaf_header`), followed by [`LEAF_BUCKETS`] 16-bit chunk numbers and the chunks.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LeafHeader {
    /// [`BLOCK_LEAF`]
    pub block_type: U64,
    /// 0.
    pub pad: U64,
    /// The top bits of the hash of every entry here.
    pub prefix: U64,
    /// [`LEAF_MAGIC`]
    pub magic: U32,
    /// Number of free chunks.
    pub free: U16,
    /// Number of entries.
    pub entries: U16,
    /// Length of the prefix in bits.
    pub prefix_length: U16,
    /// First free chunk, or [`CHAIN_END`].
    pub free_list: U16,
    /// 0.
    pub flags: u8,
    /// 0.
    pub pad2: [u8; 11],
}

/// Chunk that an entry starts from (`zap_leaf_entry`).
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EntryChunk {
    /// [`EntryChunk::TYPE`]
    pub chunk_type: u8,
    /// Size of the value's integers in bytes: 1, 2, 4 or 8.
    pub integer_size: u8,
    /// Next entry of the same bucket, or [`CHAIN_END`].
    pub next: U16,
    /// First chunk of the name.
    pub name_chunk: U16,
    /// Bytes of the name, with its final NUL.
    pub name_length: U16,
    /// First chunk of the value.
    pub value_chunk: U16,
    /// Number of integers of the value.
    pub value_count: U16,
    /// Tells entries of the same hash apart.
    pub collision: U32,
    /// The name's hash.
    pub hash: U64,
}

impl EntryChunk {
    /// `ZAP_CHUNK_ENTRY`
    pub const TYPE: u8 = 252;
}

/// Chunk that holds a part of a name or (big-endian) value (`zap_leaf_array`), or none
/// (`zap_leaf_free`).
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ArrayChunk {
    /// [`ArrayChunk::TYPE`] or [`ArrayChunk::FREE`]
    pub chunk_type: u8,
    /// The bytes.
    pub bytes: [u8; ARRAY_BYTES],
    /// Chunk with what follows, or [`CHAIN_END`].
    pub next: U16,
}

impl ArrayChunk {
    /// `ZAP_CHUNK_ARRAY`
    pub const TYPE: u8 = 251;
    /// `ZAP_CHUNK_FREE`
    pub const FREE: u8 = 253;
}

/// ECMA-182's polynomial, reflected (`ZFS_CRC64_POLY`).
const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

static CRC: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 0 { 0 } else { POLYNOMIAL };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Hash of `name` (without its NUL) in a ZAP of this salt: [`HASH_BITS`] bits at the top, zeroes below
/// (`zap_hash`).
pub fn hash(name: &[u8], salt: u64) -> u64 {
    let crc = name.iter().fold(salt, |crc, byte| {
        crc >> 8 ^ CRC[usize::from(crc as u8 ^ byte)]
    });
    crc & !(u64::MAX >> HASH_BITS)
}
