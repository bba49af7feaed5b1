//! ZAP objects, read block by block as they come.

use std::collections::BTreeMap;

use zerocopy::FromBytes;

use super::error::Problem;
use crate::format::zap::{
    ARRAY_BYTES, ArrayChunk, BLOCK_HEADER, BLOCK_LEAF, BLOCK_MICRO, CHAIN_END, CHUNK, EntryChunk,
    FatHeader, LEAF_MAGIC, LeafHeader, MAGIC, MICRO_ENTRY, MicroEntry, MicroHeader, hash,
};

/// Largest table of pointers that is taken, in bytes: enough for some hundred million entries.
const MAX_TABLE: u64 = 64 << 20;
/// Most bytes of a name, with its NUL (`ZAP_MAXNAMELEN_NEW`).
const MAX_NAME: u16 = 1024;
/// Smallest blocks of a fat ZAP whose parts have room (`FZAP_MIN_BLOCKSHIFT` is 10).
const MIN_FAT_BLOCK: usize = 1 << 10;
/// `zap_flags` of tables that are not searched by the hash of text (`ZAP_FLAG_HASH64`, `_UINT64_KEY`, `_PRE_HASHED_KEY`).
const ODD_KEYS: u64 = 0x7;

/// Entries of a ZAP, in no order.
#[derive(Debug, Default)]
pub(super) struct Zap {
    names: Vec<u8>,
    values: Vec<u64>,
    entries: Vec<Entry>,
    /// Not 0 where names that differ may be the same.
    pub normalization: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    name: usize,
    name_length: u16,
    values: usize,
    count: u16,
}

impl Zap {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u64])> {
        self.entries.iter().map(|entry| {
            let name = entry.name..entry.name + usize::from(entry.name_length);
            let values = entry.values..entry.values + usize::from(entry.count);
            (
                self.names.get(name).unwrap_or_default(),
                self.values.get(values).unwrap_or_default(),
            )
        })
    }

    /// The value of an entry that is one number.
    pub fn number(&self, name: &[u8]) -> Option<u64> {
        self.iter()
            .find(|(other, _)| *other == name)
            .and_then(|(_, values)| values.first().copied())
    }

    fn push(&mut self, name: &[u8], values: impl Iterator<Item = u64>) {
        let (name_start, values_start) = (self.names.len(), self.values.len());
        self.names.extend_from_slice(name);
        self.values.extend(values);
        self.entries.push(Entry {
            name: name_start,
            name_length: name.len() as u16,
            values: values_start,
            count: (self.values.len() - values_start) as u16,
        });
    }
}

/// Takes the data of a ZAP object.
#[derive(Debug)]
pub(super) struct ZapReader {
    /// The block that is being put together, and where it is.
    block: Vec<u8>,
    number: u64,
    block_size: usize,
    zap: Zap,
    fat: Option<Fat>,
    is_empty: bool,
}

#[derive(Debug)]
struct Fat {
    header: FatHeader,
    /// The pointers, if they are in the header's block.
    embedded: Vec<u8>,
    /// Blocks of pointers.
    table: BTreeMap<u64, Vec<u8>>,
    leaves: BTreeMap<u64, Leaf>,
}

#[derive(Debug)]
struct Leaf {
    prefix: u64,
    prefix_length: u32,
    /// Its entries among all.
    first: usize,
    end: usize,
}

impl ZapReader {
    /// For an object of blocks of this size.
    pub fn new(block_size: u32) -> Self {
        Self {
            block: Vec::new(),
            number: 0,
            block_size: block_size as usize,
            zap: Zap::default(),
            fat: None,
            is_empty: true,
        }
    }

    /// Takes data; offsets must ascend.
    pub fn data(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Problem> {
        let size = self.block_size as u64;
        while !bytes.is_empty() {
            let number = offset / size;
            if number != self.number {
                self.block_is_complete()?;
                self.number = number;
            }
            let at = (offset % size) as usize;
            let (now, rest) = bytes.split_at(bytes.len().min(self.block_size - at));
            if at < self.block.len() {
                return Err("data of a ZAP overlaps".into());
            }
            self.block.resize(at, 0);
            self.block.extend_from_slice(now);
            offset += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// The entries, after all data.
    pub fn finish(mut self) -> Result<Zap, Problem> {
        self.block_is_complete()?;
        if let Some(fat) = &self.fat {
            fat.finish(self.block_size, &mut self.zap)?;
        }
        Ok(self.zap)
    }

    fn block_is_complete(&mut self) -> Result<(), Problem> {
        if self.block.is_empty() {
            return Ok(());
        }
        let mut block = std::mem::take(&mut self.block);
        block.resize(self.block_size, 0);
        let result = self.take(&block);
        block.clear();
        self.block = block;
        self.is_empty = false;
        result
    }

    fn take(&mut self, block: &[u8]) -> Result<(), Problem> {
        match (&mut self.fat, self.number) {
            (None, 0) => {
                if !self.is_empty {
                    return Err("a ZAP has two first blocks".into());
                }
                match word(block, 0) {
                    BLOCK_MICRO => micro(block, &mut self.zap),
                    BLOCK_HEADER => {
                        self.fat = Some(Fat::new(block, &mut self.zap)?);
                        Ok(())
                    }
                    _ => Err("this is no ZAP: its first block is of an unknown kind".into()),
                }
            }
            (None, _) => Err("a ZAP has no first block, or is a microzap of several".into()),
            (Some(fat), number) => fat.take(number, block, &mut self.zap),
        }
    }
}

/// The 64-bit number at an offset, or 0 beyond the end.
fn word(block: &[u8], at: usize) -> u64 {
    block
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// Reads a structure from its bytes.
fn view<T: FromBytes>(bytes: &[u8]) -> Result<T, Problem> {
    match T::read_from_prefix(bytes) {
        Ok((value, _)) => Ok(value),
        Err(_) => Err("a ZAP's block is too small".into()),
    }
}

fn micro(block: &[u8], zap: &mut Zap) -> Result<(), Problem> {
    let header: MicroHeader = view(block)?;
    zap.normalization = header.normalization.get();
    let (slots, _) = block.as_chunks::<MICRO_ENTRY>();
    for slot in slots.iter().skip(1) {
        let entry: MicroEntry = view(slot)?;
        let length = entry.name.iter().position(|byte| *byte == 0);
        match length {
            Some(0) => {}
            Some(length) => zap.push(&entry.name[..length], [entry.value.get()].into_iter()),
            None => return Err("a name in a microzap has no end".into()),
        }
    }
    Ok(())
}

impl Fat {
    fn new(block: &[u8], zap: &mut Zap) -> Result<Self, Problem> {
        if block.len() < MIN_FAT_BLOCK || !block.len().is_power_of_two() {
            return Err("a fat ZAP has blocks of an impossible size".into());
        }
        let header: FatHeader = view(block)?;
        if header.magic.get() != MAGIC {
            return Err("a fat ZAP has not its magic number".into());
        }
        zap.normalization = header.normalization.get();
        let pointers = 8_u64
            .checked_shl(u32::try_from(header.table_shift.get()).unwrap_or(u32::MAX))
            .filter(|size| *size <= MAX_TABLE)
            .ok_or("a fat ZAP has too large a table")?;
        let is_embedded = header.table_block.get() == 0;
        let room = if is_embedded {
            block.len() as u64 / 2
        } else {
            header.table_blocks.get().saturating_mul(block.len() as u64)
        };
        if pointers > room || (!is_embedded && room > MAX_TABLE) {
            return Err("a fat ZAP's table has not the size it should have".into());
        }
        Ok(Self {
            header,
            embedded: if is_embedded {
                block[block.len() / 2..].to_vec()
            } else {
                Vec::new()
            },
            table: BTreeMap::new(),
            leaves: BTreeMap::new(),
        })
    }

    fn take(&mut self, number: u64, block: &[u8], zap: &mut Zap) -> Result<(), Problem> {
        let header = &self.header;
        let within =
            |first: u64, count: u64| first != 0 && number >= first && number - first < count;
        let count = header.table_blocks.get();
        if within(header.table_block.get(), count) {
            self.table.insert(number, block.to_vec());
            return Ok(());
        }
        // A larger table that was being filled, and what is not in use.
        if within(header.table_next.get(), count.max(1).saturating_mul(2))
            || number >= header.free_block.get()
        {
            return Ok(());
        }
        let first = zap.len();
        let mut leaf = read_leaf(block, header, zap)?;
        (leaf.first, leaf.end) = (first, zap.len());
        self.leaves.insert(number, leaf);
        Ok(())
    }

    /// Makes sure that every pointer leads to the leaf it should lead to, and leaves out leaves that none leads to.
    fn finish(&self, block_size: usize, zap: &mut Zap) -> Result<(), Problem> {
        let shift = self.header.table_shift.get() as u32;
        let mut used = std::collections::BTreeSet::new();
        for index in 0..1_u64 << shift {
            let at = index * 8;
            let pointer = if self.header.table_block.get() == 0 {
                word(&self.embedded, at as usize)
            } else {
                let block = self.header.table_block.get() + at / block_size as u64;
                let block = self.table.get(&block).map(Vec::as_slice);
                word(block.unwrap_or_default(), at as usize % block_size)
            };
            let leaf = self
                .leaves
                .get(&pointer)
                .ok_or("a fat ZAP's table leads to a leaf that is not there")?;
            let fits = leaf.prefix_length <= shift
                && index.checked_shr(shift - leaf.prefix_length).unwrap_or(0) == leaf.prefix;
            if !fits {
                return Err("a fat ZAP's table leads to a wrong leaf".into());
            }
            used.insert(pointer);
        }
        if used.len() < self.leaves.len() {
            let mut entries = Vec::new();
            for number in used {
                if let Some(leaf) = self.leaves.get(&number) {
                    entries.extend_from_slice(
                        zap.entries.get(leaf.first..leaf.end).unwrap_or_default(),
                    );
                }
            }
            zap.entries = entries;
        }
        if zap.len() as u64 != self.header.entries.get() {
            return Err("a fat ZAP has not as many entries as it says".into());
        }
        Ok(())
    }
}

/// The chunks of a leaf; each may be in one place only, so that there is an end to following them.
struct Chunks<'a> {
    chunks: &'a [[u8; CHUNK]],
    seen: Vec<bool>,
}

impl Chunks<'_> {
    fn get(&mut self, number: u16) -> Result<&[u8; CHUNK], Problem> {
        let index = usize::from(number);
        match (self.chunks.get(index), self.seen.get_mut(index)) {
            (Some(chunk), Some(seen)) if !*seen => {
                *seen = true;
                Ok(chunk)
            }
            (Some(_), _) => Err("a leaf of a ZAP uses a chunk twice".into()),
            _ => Err("a leaf of a ZAP leads to a chunk that is not there".into()),
        }
    }

    /// Appends `length` bytes of the chain that starts at a chunk.
    fn array(&mut self, mut number: u16, length: usize, to: &mut Vec<u8>) -> Result<(), Problem> {
        let mut left = length;
        while left > 0 {
            let chunk: ArrayChunk = view(self.get(number)?)?;
            if chunk.chunk_type != ArrayChunk::TYPE {
                return Err("a leaf of a ZAP leads to a chunk of the wrong kind".into());
            }
            let now = left.min(ARRAY_BYTES);
            to.extend_from_slice(&chunk.bytes[..now]);
            left -= now;
            number = chunk.next.get();
        }
        Ok(())
    }
}

fn read_leaf(block: &[u8], zap_header: &FatHeader, zap: &mut Zap) -> Result<Leaf, Problem> {
    let header: LeafHeader = view(block)?;
    if header.block_type.get() != BLOCK_LEAF || header.magic.get() != LEAF_MAGIC {
        return Err("a block of a fat ZAP is no leaf".into());
    }
    let prefix_length = u32::from(header.prefix_length.get());
    if prefix_length > 63 {
        return Err("a leaf of a ZAP has an impossible prefix".into());
    }
    let buckets = block.len() / 32;
    let start = size_of::<LeafHeader>();
    let (Some(heads), Some(chunks)) = (
        block.get(start..start + 2 * buckets),
        block.get(start + 2 * buckets..),
    ) else {
        return Err("a leaf of a ZAP is too small".into());
    };
    let (chunks, _) = chunks.as_chunks::<CHUNK>();
    let mut chunks = Chunks {
        chunks,
        seen: vec![false; chunks.len()],
    };
    let has_text_keys = zap_header.flags.get() & ODD_KEYS == 0;
    let checks_hashes = has_text_keys && zap_header.normalization.get() == 0;
    let (mut name, mut value) = (Vec::new(), Vec::new());
    let mut count = 0_u16;
    let (heads, _) = heads.as_chunks::<2>();
    for head in heads {
        let mut next = u16::from_le_bytes(*head);
        while next != CHAIN_END {
            let entry: EntryChunk = view(chunks.get(next)?)?;
            if entry.chunk_type != EntryChunk::TYPE {
                return Err("a leaf of a ZAP leads to a chunk of the wrong kind".into());
            }
            next = entry.next.get();
            count = count.wrapping_add(1);
            let (size, integers) = (entry.integer_size, entry.value_count.get());
            if !matches!(size, 1 | 2 | 4 | 8) || entry.name_length.get() > MAX_NAME {
                return Err("an entry of a ZAP has an impossible shape".into());
            }
            name.clear();
            chunks.array(
                entry.name_chunk.get(),
                entry.name_length.get().into(),
                &mut name,
            )?;
            if name.pop() != Some(0) || name.contains(&0) {
                return Err("a name in a ZAP has no end, or ends early".into());
            }
            value.clear();
            let length = usize::from(size) * usize::from(integers);
            chunks.array(entry.value_chunk.get(), length, &mut value)?;
            if checks_hashes && entry.hash.get() != hash(&name, zap_header.salt.get()) {
                return Err(
                    "an entry of a ZAP is not where its name belongs: its hash is wrong".into(),
                );
            }
            if prefix_length > 0 && entry.hash.get() >> (64 - prefix_length) != header.prefix.get()
            {
                return Err("an entry of a ZAP is in the wrong leaf".into());
            }
            let numbers = value.chunks(size.into()).map(|bytes| {
                bytes
                    .iter()
                    .fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
            });
            zap.push(&name, numbers);
        }
    }
    if count != header.entries.get() {
        return Err("a leaf of a ZAP has not as many entries as it says".into());
    }
    Ok(Leaf {
        prefix: header.prefix.get(),
        prefix_length,
        first: 0,
        end: 0,
    })
}
