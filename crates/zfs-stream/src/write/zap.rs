//! Lays out ZAP objects whose entries are all known: micro if they fit, else fat.
//!
//! A fat ZAP is written from its entries sorted by hash, leaf by leaf, so that none but the leaf at hand is
//! in memory, however large the directory.

use zerocopy::IntoBytes;

use super::WriteError;
use super::output::Output;
use super::records::RecordWriter;
use crate::format::zap::{
    ARRAY_BYTES, ArrayChunk, BLOCK_HEADER, BLOCK_LEAF, BLOCK_MICRO, CHAIN_END, CHUNK,
    EMBEDDED_SHIFT, EntryChunk, FAT_BLOCK, FAT_SHIFT, FatHeader, HASH_BITS, LEAF_BUCKETS,
    LEAF_BUCKETS_SHIFT, LEAF_CHUNKS, LEAF_MAGIC, LeafHeader, MAGIC, MICRO_ENTRY, MICRO_MAX_NAME,
    MicroEntry, MicroHeader, hash,
};
use crate::format::{MAX_BLOCK, SECTOR};

/// Chunks left free in every leaf, so that the first entry added later doesn't split it
/// (`ZAP_LEAF_LOW_WATER`).
const SPARE_CHUNKS: usize = 20;

/// Longest prefix of a leaf, so that the table of pointers has at most 32 MiB. Names would have to be
/// chosen for their hashes to need more: a million entries need about 15.
const MAX_TABLE_SHIFT: u32 = 22;

/// A value: integers of one size, big-endian.
pub(super) struct Value<'a> {
    pub integer_size: u8,
    pub bytes: &'a [u8],
}

/// Entries of a ZAP.
///
/// Entries are known by the handles they were added by.
pub(super) trait Source {
    /// Name of an entry.
    fn name(&self, handle: u32) -> &[u8];
    /// Value of an entry in a microzap.
    fn number(&self, entry: &Entry) -> u64;
    /// Calls `with` with the value of an entry in a fat ZAP; its length is
    /// [`Source::value_length`].
    fn value(&self, entry: &Entry, with: &mut dyn FnMut(Value<'_>)) {
        with(Value {
            integer_size: 8,
            bytes: &self.number(entry).to_be_bytes(),
        });
    }
    /// Length of a value in bytes.
    fn value_length(&self, _handle: u32) -> usize {
        8
    }
    /// Whether values are plain numbers, so that a microzap will do.
    fn may_be_micro(&self) -> bool {
        true
    }
}

/// An entry to be laid out: 12 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Top bits of the hash.
    hash: u32,
    /// What the source knows it by.
    pub handle: u32,
    /// What else the source wants to know.
    pub rank: u32,
}

/// A ZAP ready to be written.
pub(super) struct Zap {
    salt: u64,
    entries: Vec<Entry>,
    form: Form,
}

enum Form {
    /// Size of the block in bytes.
    Micro(usize),
    Fat(Fat),
}

struct Fat {
    leaves: Vec<Leaf>,
    /// log2 of the number of pointers.
    shift: u32,
}

/// Its prefix is that of its first entry... or of none: leaves may be empty.
struct Leaf {
    prefix: u32,
    prefix_length: u32,
    /// End of its entries among all.
    end: u32,
}

/// The names can't be laid out: too many of them have the same hash.
#[derive(Debug)]
pub(super) struct Collision;

impl Zap {
    /// Lays out `entries` (handle and rank), which must be in an order that depends on nothing but their
    /// names, and whose names must differ.
    pub fn new(
        source: &impl Source,
        salt: u64,
        entries: impl Iterator<Item = (u32, u32)>,
    ) -> Result<Self, Collision> {
        let mut short = true;
        let mut entries: Vec<Entry> = entries
            .map(|(handle, rank)| {
                let name = source.name(handle);
                short &= name.len() <= MICRO_MAX_NAME;
                Entry {
                    hash: (hash(name, salt) >> 32) as u32,
                    handle,
                    rank,
                }
            })
            .collect();
        let micro_size = (entries.len().max(1) + 1) * MICRO_ENTRY;
        let form = if short && micro_size <= MAX_BLOCK && source.may_be_micro() {
            Form::Micro(micro_size.next_multiple_of(SECTOR))
        } else {
            // Stable, so that the collision numbers follow the order of names.
            entries.sort_by_key(|entry| entry.hash);
            Form::Fat(Fat::split(source, &entries)?)
        };
        Ok(Self {
            salt,
            entries,
            form,
        })
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Size in bytes of the object's blocks.
    pub fn block_size(&self) -> usize {
        match self.form {
            Form::Micro(size) => size,
            Form::Fat(_) => FAT_BLOCK,
        }
    }

    /// Writes the object's blocks.
    pub fn write<O: Output>(
        &self,
        source: &impl Source,
        object: (u64, u32),
        out: &mut RecordWriter<O>,
    ) -> Result<(), WriteError> {
        match &self.form {
            Form::Micro(size) => out.block(object, 0, *size, |block| {
                self.fill_micro(source, block);
                Ok(())
            }),
            Form::Fat(fat) => self.write_fat(fat, source, object, out),
        }
    }

    fn fill_micro(&self, source: &impl Source, block: &mut [u8]) {
        let header = MicroHeader {
            block_type: BLOCK_MICRO.into(),
            salt: self.salt.into(),
            normalization: 0.into(),
            pad: [0.into(); 5],
        };
        block.fill(0);
        let (slots, _) = block.as_chunks_mut::<MICRO_ENTRY>();
        let Some((first, slots)) = slots.split_first_mut() else {
            return;
        };
        first.copy_from_slice(header.as_bytes());
        let mut by_hash: Vec<u32> = (0..self.entries.len() as u32).collect();
        by_hash.sort_by_key(|index| self.entries[*index as usize].hash);
        let mut last = (None, 0);
        for index in by_hash {
            let (entry, slot) = (&self.entries[index as usize], &mut slots[index as usize]);
            let collision = number_collision(&mut last, entry.hash);
            let mut name = [0; MICRO_MAX_NAME + 1];
            let bytes = source.name(entry.handle);
            name[..bytes.len()].copy_from_slice(bytes);
            let entry = MicroEntry {
                value: source.number(entry).into(),
                collision: collision.into(),
                pad: 0.into(),
                name,
            };
            slot.copy_from_slice(entry.as_bytes());
        }
    }

    fn write_fat<O: Output>(
        &self,
        fat: &Fat,
        source: &impl Source,
        object: (u64, u32),
        out: &mut RecordWriter<O>,
    ) -> Result<(), WriteError> {
        let embedded = fat.shift == EMBEDDED_SHIFT;
        let table_blocks = if embedded {
            0
        } else {
            8 << fat.shift >> FAT_SHIFT
        };
        let first_leaf = 1 + table_blocks;
        let header = FatHeader {
            block_type: BLOCK_HEADER.into(),
            magic: MAGIC.into(),
            table_block: u64::from(!embedded).into(),
            table_blocks: table_blocks.into(),
            table_shift: u64::from(fat.shift).into(),
            table_next: 0.into(),
            table_copied: 0.into(),
            free_block: (first_leaf + fat.leaves.len() as u64).into(),
            leaves: (fat.leaves.len() as u64).into(),
            entries: (self.entries.len() as u64).into(),
            salt: self.salt.into(),
            normalization: 0.into(),
            flags: 0.into(),
        };
        let mut pointers = fat.pointers(first_leaf);
        out.block(object, 0, FAT_BLOCK, |block| {
            block.fill(0);
            let header = header.as_bytes();
            block[..header.len()].copy_from_slice(header);
            if embedded {
                fill_table(&mut block[FAT_BLOCK / 2..], &mut pointers);
            }
            Ok(())
        })?;
        let offset = |block: u64| block << FAT_SHIFT;
        for block in 1..first_leaf {
            out.block(object, offset(block), FAT_BLOCK, |block| {
                fill_table(block, &mut pointers);
                Ok(())
            })?;
        }
        let mut start = 0;
        // Equal hashes are never in two leaves, so collisions can be counted leaf by leaf.
        for (leaf, number) in fat.leaves.iter().zip(first_leaf..) {
            let entries = &self.entries[start..leaf.end as usize];
            start = leaf.end as usize;
            out.block(object, offset(number), FAT_BLOCK, |block| {
                LeafBuilder::new(block).build(leaf, entries, source);
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// How many entries before had the same hash, given entries in the order of their hashes.
fn number_collision(last: &mut (Option<u32>, u32), hash: u32) -> u32 {
    *last = if last.0 == Some(hash) {
        (Some(hash), last.1 + 1)
    } else {
        (Some(hash), 0)
    };
    last.1
}

fn fill_table(bytes: &mut [u8], pointers: &mut impl Iterator<Item = u64>) {
    let (slots, _) = bytes.as_chunks_mut::<8>();
    for (slot, pointer) in slots.iter_mut().zip(pointers) {
        *slot = pointer.to_le_bytes();
    }
}

impl Fat {
    /// Divides sorted entries among leaves.
    fn split(source: &impl Source, entries: &[Entry]) -> Result<Self, Collision> {
        let mut leaves = Vec::new();
        // Halves yet to be looked at, the next one last: prefix, its length, end of its entries.
        let mut pending = vec![(0, 0, entries.len())];
        let mut start = 0;
        while let Some((prefix, prefix_length, end)) = pending.pop() {
            let mut room = LEAF_CHUNKS - SPARE_CHUNKS;
            let fits = entries[start..end].iter().all(|entry| {
                let chunks = 1
                    + (source.name(entry.handle).len() + 1).div_ceil(ARRAY_BYTES)
                    + source.value_length(entry.handle).div_ceil(ARRAY_BYTES);
                let fits = chunks <= room;
                room = room.saturating_sub(chunks);
                fits
            });
            if fits {
                leaves.push(Leaf {
                    prefix,
                    prefix_length,
                    end: end as u32,
                });
                start = end;
                continue;
            }
            if prefix_length == MAX_TABLE_SHIFT {
                return Err(Collision);
            }
            let bit = 1 << (31 - prefix_length);
            let middle = start + entries[start..end].partition_point(|entry| entry.hash & bit == 0);
            pending.push((prefix << 1 | 1, prefix_length + 1, end));
            pending.push((prefix << 1, prefix_length + 1, middle));
        }
        let shift = leaves
            .iter()
            .map(|leaf| leaf.prefix_length)
            .max()
            .unwrap_or(0);
        Ok(Self {
            leaves,
            shift: shift.max(EMBEDDED_SHIFT),
        })
    }

    /// The table of pointers: for every prefix of `shift` bits its leaf's block.
    fn pointers(&self, first_leaf: u64) -> impl Iterator<Item = u64> {
        self.leaves
            .iter()
            .zip(first_leaf..)
            .flat_map(|(leaf, block)| {
                std::iter::repeat_n(block, 1 << (self.shift - leaf.prefix_length))
            })
    }
}

/// Fills a leaf's block.
struct LeafBuilder<'a> {
    header: &'a mut [u8],
    buckets: &'a mut [[u8; 2]],
    chunks: &'a mut [[u8; CHUNK]],
    used: usize,
}

impl<'a> LeafBuilder<'a> {
    fn new(block: &'a mut [u8]) -> Self {
        let (header, rest) = block.split_at_mut(size_of::<LeafHeader>());
        let (buckets, chunks) = rest.split_at_mut(2 * LEAF_BUCKETS);
        Self {
            header,
            buckets: buckets.as_chunks_mut().0,
            chunks: chunks.as_chunks_mut().0,
            used: 0,
        }
    }

    fn build(mut self, leaf: &Leaf, entries: &[Entry], source: &impl Source) {
        self.buckets.fill(CHAIN_END.to_le_bytes());
        let mut last = (None, 0);
        for entry in entries {
            let collision = number_collision(&mut last, entry.hash);
            let at = self.used;
            self.used += 1;
            let name = source.name(entry.handle);
            let name_chunk = self.array(name.iter().copied().chain([0]), name.len() + 1);
            let (mut value_chunk, mut integer_size, mut value_count) = (CHAIN_END, 8, 0);
            source.value(entry, &mut |value| {
                integer_size = value.integer_size;
                value_count = (value.bytes.len() / usize::from(integer_size)) as u16;
                value_chunk = self.array(value.bytes.iter().copied(), value.bytes.len());
            });
            let bucket = entry.hash << leaf.prefix_length >> (32 - LEAF_BUCKETS_SHIFT);
            let bucket = &mut self.buckets[bucket as usize];
            let chunk = EntryChunk {
                chunk_type: EntryChunk::TYPE,
                integer_size,
                next: u16::from_le_bytes(*bucket).into(),
                name_chunk: name_chunk.into(),
                name_length: (name.len() as u16 + 1).into(),
                value_chunk: value_chunk.into(),
                value_count: value_count.into(),
                collision: collision.into(),
                hash: (u64::from(entry.hash) << 32).into(),
            };
            self.chunks[at].copy_from_slice(chunk.as_bytes());
            *bucket = (at as u16).to_le_bytes();
        }
        let free_list = self.used as u16;
        let free = LEAF_CHUNKS - self.used;
        for at in self.used..LEAF_CHUNKS {
            let next = if at + 1 < LEAF_CHUNKS {
                at as u16 + 1
            } else {
                CHAIN_END
            };
            self.put(at, ArrayChunk::FREE, [0; ARRAY_BYTES], next);
        }
        let header = LeafHeader {
            block_type: BLOCK_LEAF.into(),
            pad: 0.into(),
            prefix: u64::from(leaf.prefix).into(),
            magic: LEAF_MAGIC.into(),
            free: (free as u16).into(),
            entries: (entries.len() as u16).into(),
            prefix_length: (leaf.prefix_length as u16).into(),
            free_list: free_list.into(),
            flags: 0,
            pad2: [0; 11],
        };
        self.header.copy_from_slice(header.as_bytes());
    }

    /// Puts bytes into a chain of chunks and returns the first.
    fn array(&mut self, mut bytes: impl Iterator<Item = u8>, length: usize) -> u16 {
        let first = self.used;
        let count = length.div_ceil(ARRAY_BYTES);
        for at in first..first + count {
            let mut part = [0; ARRAY_BYTES];
            for (to, from) in part.iter_mut().zip(&mut bytes) {
                *to = from;
            }
            let next = if at + 1 < first + count {
                at as u16 + 1
            } else {
                CHAIN_END
            };
            self.put(at, ArrayChunk::TYPE, part, next);
        }
        self.used += count;
        first as u16
    }

    fn put(&mut self, at: usize, chunk_type: u8, bytes: [u8; ARRAY_BYTES], next: u16) {
        let chunk = ArrayChunk {
            chunk_type,
            bytes,
            next: next.into(),
        };
        self.chunks[at].copy_from_slice(chunk.as_bytes());
    }
}

const _: () = assert!(MAX_TABLE_SHIFT <= HASH_BITS && HASH_BITS <= 32);
