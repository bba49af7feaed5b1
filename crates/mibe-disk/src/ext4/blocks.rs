//! Where the content of a file is: extents, indirect blocks, the inode itself.

use std::io;

use super::{Ext4, Inode, flag, le16, le32};
use crate::source::{damaged, within};

/// Deepest tree of extents (`EXT4_MAX_EXTENT_DEPTH`).
const DEEPEST: u16 = 5;

/// Longest extent; longer ones are as much less, and without content.
const LONGEST: u16 = 32768;

/// Blocks of a file in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// First block on the disk; `None`: they are zeroes.
    first: Option<u64>,
    /// How many, at least 1.
    blocks: u64,
}

impl Ext4<'_> {
    /// Fills `buffer` with the content of a file from `offset` on; it must not reach beyond the file's end.
    ///
    /// # Errors
    ///
    /// The file is damaged or encrypted, or is not that long.
    pub fn read(&self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        within(offset, buffer.len(), inode.size)?;
        if inode.flags & flag::ENCRYPTED != 0 {
            return Err(damaged(format!("inode {} is encrypted", inode.number)));
        }
        if inode.flags & flag::INLINE != 0 {
            let content = self.inline(inode)?;
            within(offset, buffer.len(), content.len() as u64)?;
            let start = offset as usize;
            buffer.copy_from_slice(&content[start..start + buffer.len()]);
            return Ok(());
        }
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let run = self.run(inode, at / self.block_size)?;
            let inside = at % self.block_size;
            let there = run
                .blocks
                .saturating_mul(self.block_size)
                .saturating_sub(inside);
            let length = there.min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(length);
            match run.first {
                None => now.fill(0),
                Some(first) => {
                    let start = first
                        .checked_mul(self.block_size)
                        .and_then(|start| start.checked_add(inside));
                    let start = start.ok_or_else(|| damaged("a block is nowhere"))?;
                    within(start, length, self.size())?;
                    self.part.read_at(now, start)?;
                }
            }
            at += length as u64;
            rest = later;
        }
        Ok(())
    }

    /// The first bytes of a file at or after `from` that may be anything but zeroes, as a range; `None`: none until its end.
    ///
    /// # Errors
    ///
    /// The file is damaged.
    pub fn next_data(&self, inode: &Inode, from: u64) -> io::Result<Option<std::ops::Range<u64>>> {
        if inode.flags & flag::INLINE != 0 {
            return Ok((from < inode.size).then_some(from..inode.size));
        }
        let mut at = from;
        while at < inode.size {
            let block = at / self.block_size;
            let run = self.run(inode, block)?;
            let end = (block + run.blocks)
                .saturating_mul(self.block_size)
                .min(inode.size);
            if run.first.is_some() {
                return Ok(Some(at..end));
            }
            at = end;
        }
        Ok(None)
    }

    /// The blocks of a file from its block `block` on.
    fn run(&self, inode: &Inode, block: u64) -> io::Result<Run> {
        if inode.flags & flag::EXTENTS != 0 {
            self.extent(inode, block)
        } else {
            self.indirect(inode, block)
        }
    }

    fn extent(&self, inode: &Inode, block: u64) -> io::Result<Run> {
        let wrong = || {
            damaged(format!(
                "the extents of inode {} make no sense",
                inode.number
            ))
        };
        // What is longer than blocks have numbers for would be gone through block by block.
        if block > u64::from(u32::MAX) {
            return Err(wrong());
        }
        let mut node = inode.block.to_vec();
        let mut expected = None;
        // Where the zeroes end in which the block may be: at the next extent.
        let mut next = u64::from(u32::MAX) + 1;
        loop {
            let (magic, entries, depth) = (le16(&node, 0), le16(&node, 2) as usize, le16(&node, 6));
            if magic != 0xF30A
                || depth > DEEPEST
                || expected.is_some_and(|expected| depth != expected)
                || 12 * (entries + 1) > node.len()
            {
                return Err(wrong());
            }
            let start = |index: usize| u64::from(le32(&node, 12 * (index + 1)));
            // The last one that begins at or before the block.
            let after = (0..entries)
                .find(|&index| start(index) > block)
                .unwrap_or(entries);
            if after < entries {
                next = next.min(start(after));
            }
            let hole = Run {
                first: None,
                blocks: next.saturating_sub(block).max(1),
            };
            let Some(index) = after.checked_sub(1) else {
                return Ok(hole);
            };
            let at = 12 * (index + 1);
            if depth > 0 {
                let child = u64::from(le32(&node, at + 4)) | u64::from(le16(&node, at + 8)) << 32;
                self.block(child, &mut node)?;
                expected = Some(depth - 1);
                continue;
            }
            let (length, is_content) = match le16(&node, at + 4) {
                length if length > LONGEST => (length - LONGEST, false),
                length => (length, true),
            };
            let inside = block - start(index);
            let Some(blocks) = u64::from(length)
                .checked_sub(inside)
                .filter(|&blocks| blocks > 0)
            else {
                return Ok(hole);
            };
            let first = u64::from(le32(&node, at + 8)) | u64::from(le16(&node, at + 6)) << 32;
            return Ok(Run {
                first: is_content.then_some(first + inside),
                blocks,
            });
        }
    }

    fn indirect(&self, inode: &Inode, block: u64) -> io::Result<Run> {
        let per_block = self.block_size / 4;
        let (mut level, mut index) = (0, block);
        if index < 12 {
            return Ok(run_of(u64::from(le32(&inode.block, index as usize * 4)), 1));
        }
        index -= 12;
        // Blocks that a block of this level is about.
        let mut covered = per_block;
        while index >= covered {
            index -= covered;
            covered = covered.saturating_mul(per_block);
            level += 1;
            if level > 2 {
                return Err(damaged(format!(
                    "inode {} is longer than it can be",
                    inode.number
                )));
            }
        }
        let mut at = u64::from(le32(&inode.block, (12 + level) * 4));
        let mut node = Vec::new();
        loop {
            if at == 0 {
                return Ok(Run {
                    first: None,
                    blocks: covered - index % covered,
                });
            }
            self.block(at, &mut node)?;
            covered /= per_block;
            at = u64::from(le32(&node, (index / covered) as usize * 4));
            index %= covered;
            if covered == 1 {
                return Ok(run_of(at, 1));
            }
        }
    }

    /// The content that is in the inode: its first 60 bytes, and an attribute with the rest.
    pub(super) fn inline(&self, inode: &Inode) -> io::Result<Vec<u8>> {
        let mut content = inode.block.to_vec();
        if let Some((_, rest)) = self
            .raw_xattrs(inode)?
            .into_iter()
            .find(|(name, _)| name == b"system.data")
        {
            content.extend(rest);
        }
        content.truncate(inode.size as usize);
        Ok(content)
    }
}

fn run_of(first: u64, blocks: u64) -> Run {
    Run {
        first: (first != 0).then_some(first),
        blocks,
    }
}
