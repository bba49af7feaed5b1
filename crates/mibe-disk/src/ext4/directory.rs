//! Directories: block after block of entries. Those of hash trees are read the same way, since the tree hides in entries of inode 0.

use std::io;

use super::{Entry, Ext4, FileKind, Inode, flag, le16, le32};
use crate::source::damaged;

/// Largest directory that is read, in bytes: some twenty million names.
const LARGEST: u64 = 1 << 30;

/// Most memory for the names of one: some hundred thousand.
const MOST_NAMES: usize = 64 << 20;

impl Ext4<'_> {
    /// Calls `with` for every name in a directory but `.` and `..`, until it says to stop (`false`).
    ///
    /// # Errors
    ///
    /// The directory is damaged, or `with` failed.
    pub fn for_each_entry(
        &self,
        directory: &Inode,
        with: &mut dyn FnMut(Entry) -> io::Result<bool>,
    ) -> io::Result<()> {
        if directory.kind != FileKind::Directory {
            return Err(damaged(format!(
                "inode {} is no directory",
                directory.number
            )));
        }
        if directory.flags & flag::INLINE != 0 {
            let content = self.inline(directory)?;
            // The number of the directory above, then entries, in two parts.
            let (first, rest) = content.split_at(content.len().min(60));
            if self.entries(directory, first.get(4..).unwrap_or_default(), with)? {
                self.entries(directory, rest, with)?;
            }
            return Ok(());
        }
        if directory.size > LARGEST {
            return Err(damaged(format!(
                "the directory of inode {} says to have {} bytes",
                directory.number, directory.size
            )));
        }
        let mut block = vec![0; self.block_size as usize];
        let mut at = 0;
        while let Some(range) = self.next_data(directory, at)? {
            at = range.start;
            while at + self.block_size <= range.end {
                self.read(directory, at, &mut block)?;
                if !self.entries(directory, &block, with)? {
                    return Ok(());
                }
                at += self.block_size;
            }
            at = at.max(range.end);
        }
        Ok(())
    }

    /// All names in a directory but `.` and `..`, sorted.
    ///
    /// # Errors
    ///
    /// As [`for_each_entry`](Self::for_each_entry), and where there are more of them than memory is for.
    pub fn read_dir(&self, directory: &Inode) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut taken = 0;
        self.for_each_entry(directory, &mut |entry| {
            // The name, and what keeping it takes.
            taken += entry.name.len() + 64;
            if taken > MOST_NAMES {
                return Err(damaged(format!(
                    "the directory of inode {} has more names than can be",
                    directory.number
                )));
            }
            entries.push(entry);
            Ok(true)
        })?;
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// The inode of a name in a directory.
    ///
    /// # Errors
    ///
    /// As [`for_each_entry`](Self::for_each_entry).
    pub fn lookup(&self, directory: &Inode, name: &[u8]) -> io::Result<Option<u32>> {
        let mut found = None;
        self.for_each_entry(directory, &mut |entry| {
            if entry.name == name {
                found = Some(entry.inode);
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// Goes through the entries of a block; whether to go on.
    fn entries(
        &self,
        directory: &Inode,
        block: &[u8],
        with: &mut dyn FnMut(Entry) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let wrong = |at: usize| {
            damaged(format!(
                "the directory of inode {} is damaged at byte {at} of a block",
                directory.number
            ))
        };
        let mut at = 0;
        while at + 8 <= block.len() {
            let inode = le32(block, at);
            let mut length = usize::from(le16(block, at + 4));
            // Blocks of 64 KiB are longer than the field has numbers for.
            if (length == 0xFFFF || length == 0) && block.len() == 1 << 16 {
                length = block.len() - at;
            }
            let name_length = usize::from(block[at + 6]);
            if length < 8 || at + length > block.len() || 8 + name_length > length {
                return Err(wrong(at));
            }
            let name = &block[at + 8..at + 8 + name_length];
            if inode != 0 && !matches!(name, b"." | b"..") {
                if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                    return Err(wrong(at));
                }
                if inode > self.inodes {
                    return Err(wrong(at));
                }
                if !with(Entry {
                    name: name.to_vec(),
                    inode,
                })? {
                    return Ok(false);
                }
            }
            at += length;
        }
        Ok(true)
    }
}
