//! Contents of regular files.

use std::io::{self, Read as _};
use std::path::Path;

use super::filesystem::Filesystem;
use super::output::Output;
use super::{At as _, WriteError};
use crate::format::znode::ObjectType;
use crate::format::{MAX_BLOCK, SECTOR};
use crate::tree::{DataRange, Metadata, Tree};

/// Size in bytes of the blocks of a file: one block that just holds it, or blocks of 128 KiB.
pub(super) fn block_size(size: u64) -> usize {
    usize::try_from(size)
        .unwrap_or(MAX_BLOCK)
        .next_multiple_of(SECTOR)
        .clamp(SECTOR, MAX_BLOCK)
}

/// Size of block that holds `size` bytes, without arithmetic overflow.
fn blocks(size: u64, block_size: usize) -> u64 {
    size.div_ceil(block_size as u64)
}

/// A regular file being read from start to end.
pub(super) struct Contents<'a, T: Tree> {
    tree: &'a mut T,
    path: &'a Path,
    file: T::File,
    size: u64,
    /// The range being read or the next one; data is read up to its end.
    data: DataRange,
    /// Whether the tree must be asked where data lies.
    sparse: bool,
    /// Whether the last read gave less than it had room for, as it does at the end of a file.
    ended: bool,
}

impl<'a, T: Tree> Contents<'a, T> {
    /// An open file at its start.
    pub(super) fn new(tree: &'a mut T, path: &'a Path, file: T::File, metadata: &Metadata) -> Self {
        let end = if metadata.sparse { 0 } else { u64::MAX };
        Self {
            tree,
            path,
            file,
            size: metadata.size,
            data: DataRange { start: 0, end },
            sparse: metadata.sparse,
            ended: false,
        }
    }

    /// Where the next data is that was found last.
    pub(super) fn next_data(&self) -> u64 {
        self.data.start
    }

    /// Fills a block from `start` on; what lies beyond the end of the file becomes zeroes.
    pub(super) fn fill(&mut self, start: u64, block: &mut [u8]) -> Result<(), WriteError> {
        let length = usize::try_from(self.size - start)
            .unwrap_or(MAX_BLOCK)
            .min(block.len());
        let end = start + length as u64;
        if !self.sparse {
            return self.fill_through(length, block);
        }
        block[length..].fill(0);
        let mut at = start;
        while at < end {
            self.find_data(at)?;
            let from = self.data.start.clamp(at, end);
            let to = self.data.end.clamp(from, end);
            let (gap, rest) = block[(at - start) as usize..].split_at_mut((from - at) as usize);
            gap.fill(0);
            self.read(&mut rest[..(to - from) as usize])?;
            at = to;
        }
        Ok(())
    }

    /// Fills a block with the next `length` bytes. It asks for the whole block, so that most files need no read of
    /// their own to see that they end where they should.
    fn fill_through(&mut self, length: usize, block: &mut [u8]) -> Result<(), WriteError> {
        let mut filled = 0;
        while filled < length {
            let rest = block.get_mut(filled..).unwrap_or_default();
            let room = rest.len();
            match self.file.read(rest) {
                Ok(0) => return Err(changed(self.path, "shrank")),
                Ok(count) => {
                    filled += count;
                    self.ended = count < room;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).at("read", self.path),
            }
        }
        if filled > length {
            return Err(changed(self.path, "grew"));
        }
        block[length..].fill(0);
        Ok(())
    }

    /// Makes `self.data` the range that holds `at`, or the next one after it.
    pub(super) fn find_data(&mut self, at: u64) -> Result<(), WriteError> {
        if at < self.data.end {
            return Ok(());
        }
        let found = self
            .tree
            .next_data(&mut self.file, at)
            .at("look for holes in", self.path)?;
        // A range that is empty or lies before would have us read the same bytes for ever.
        self.data = match found {
            Some(range) if range.start >= at && range.end > range.start => range,
            None => DataRange {
                start: u64::MAX,
                end: u64::MAX,
            },
            Some(_) => {
                let source = io::Error::other("the map of its data makes no sense");
                return Err(source).at("look for holes in", self.path);
            }
        };
        Ok(())
    }

    fn read(&mut self, mut to: &mut [u8]) -> Result<(), WriteError> {
        while !to.is_empty() {
            match self.file.read(to) {
                Ok(0) => return Err(changed(self.path, "shrank")),
                Ok(count) => to = to.get_mut(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).at("read", self.path),
            }
        }
        Ok(())
    }

    /// Makes sure that the file has no more than it had.
    pub(super) fn expect_end(mut self) -> Result<(), WriteError> {
        if self.sparse {
            // Where its data ends the file needn't.
            let size = self.tree.metadata(self.path).at("read", self.path)?.size;
            return match size.cmp(&self.size) {
                std::cmp::Ordering::Less => Err(changed(self.path, "shrank")),
                std::cmp::Ordering::Equal => Ok(()),
                std::cmp::Ordering::Greater => Err(changed(self.path, "grew")),
            };
        }
        if self.ended {
            return Ok(());
        }
        match self.read(&mut [0]) {
            Ok(()) => Err(changed(self.path, "grew")),
            Err(WriteError::Changed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn changed(path: &Path, what: &'static str) -> WriteError {
    WriteError::Changed {
        path: path.to_owned(),
        what,
    }
}

impl<T: Tree, O: Output> Filesystem<'_, T, O> {
    /// Writes the blocks of a regular file that is not empty.
    pub(super) fn contents(
        &mut self,
        object: u64,
        file: T::File,
        metadata: &Metadata,
    ) -> Result<(), WriteError> {
        let mut contents = Contents::new(&mut *self.tree, &self.path, file, metadata);
        let block_size = block_size(metadata.size);
        let count = blocks(metadata.size, block_size);
        let mut block = 0;
        let before = self.progress.done;
        while block < count {
            let start = block * block_size as u64;
            contents.find_data(start)?;
            let next = contents.next_data() / block_size as u64;
            if next > block {
                block = next.min(count);
            } else {
                self.out.block(
                    (object, ObjectType::File.number()),
                    start,
                    block_size,
                    |to| contents.fill(start, to),
                )?;
                block += 1;
            }
            let done = (block * block_size as u64).min(metadata.size);
            self.progress.done = before.saturating_add(done);
            (self.report)(self.progress);
        }
        contents.expect_end()
    }
}
