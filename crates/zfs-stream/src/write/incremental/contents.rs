//! Contents of regular files, compared with the base's.

use std::io::{Read, Write};

use super::super::WriteError;
use super::super::file::{Contents, block_size};
use super::super::output::Sealer;
use super::super::records::RecordWriter;
use super::wanted::Wanted;
use super::{Announcement, Incremental};
use crate::format::znode::ObjectType;
use crate::read::{Dnode, Event, Node, Snapshot};
use crate::tree::{Metadata, Tree};

/// A regular file of the base and of the tree.
struct Comparison<'a, T: Tree, W> {
    contents: Option<Contents<'a, T>>,
    out: &'a mut RecordWriter<Sealer<W>>,
    announcement: &'a mut Announcement,
    dnode: &'a Dnode,
    block_size: usize,
    /// Number of blocks of the file in the tree.
    count: u64,
    /// The first block that was not compared yet.
    next: u64,
    /// A block of the base that is being put together.
    block: Vec<u8>,
    number: u64,
    /// The block of the tree.
    wanted: Vec<u8>,
    /// Whether the base has data after the end.
    has_more: bool,
    written: u64,
}

impl<T: Tree, W: Write> Comparison<'_, T, W> {
    /// Takes data of the base.
    fn data(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let number = offset / self.block_size as u64;
            if number != self.number {
                self.block_is_complete()?;
                self.number = number;
            }
            let at = (offset % self.block_size as u64) as usize;
            let (now, rest) = bytes.split_at(bytes.len().min(self.block_size - at));
            self.block.resize(at, 0);
            self.block.extend_from_slice(now);
            offset += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    fn block_is_complete(&mut self) -> Result<(), WriteError> {
        if self.block.is_empty() {
            return Ok(());
        }
        if self.number >= self.count {
            self.has_more = true;
            self.block.clear();
            return Ok(());
        }
        self.write_up_to(self.number)?;
        self.block.resize(self.block_size, 0);
        let start = self.number * self.block_size as u64;
        self.wanted.resize(self.block_size, 0);
        if self.next_data(self.number)? > self.number {
            self.wanted.fill(0);
        } else if let Some(contents) = &mut self.contents {
            contents.fill(start, &mut self.wanted)?;
        }
        self.next = self.number + 1;
        if self.wanted != self.block {
            self.announcement
                .make(self.dnode.block_size, self.dnode, self.out)?;
            if self.wanted.iter().all(|byte| *byte == 0) {
                self.out.free(
                    self.announcement.object,
                    start,
                    start + self.block_size as u64,
                )?;
            } else {
                self.write(start)?;
            }
        }
        self.block.clear();
        Ok(())
    }

    /// Writes `self.wanted`.
    fn write(&mut self, start: u64) -> Result<(), WriteError> {
        let id = (self.announcement.object, ObjectType::File.number());
        let wanted = &self.wanted;
        self.written += wanted.len() as u64;
        self.out.block(id, start, self.block_size, |block| {
            block.copy_from_slice(wanted);
            Ok(())
        })
    }

    /// The next block that may have data, from `number` on.
    fn next_data(&mut self, number: u64) -> Result<u64, WriteError> {
        let Some(contents) = &mut self.contents else {
            return Ok(self.count);
        };
        contents.find_data(number * self.block_size as u64)?;
        Ok((contents.next_data() / self.block_size as u64).max(number))
    }

    /// Writes blocks before `end`, where the base has none.
    fn write_up_to(&mut self, end: u64) -> Result<(), WriteError> {
        while self.next < end {
            let next = self.next_data(self.next)?;
            if next > self.next {
                self.next = next.min(end);
                continue;
            }
            let start = self.next * self.block_size as u64;
            self.wanted.resize(self.block_size, 0);
            if let Some(contents) = &mut self.contents {
                contents.fill(start, &mut self.wanted)?;
            }
            if self.wanted.iter().any(|byte| *byte != 0) {
                self.announcement
                    .make(self.dnode.block_size, self.dnode, self.out)?;
                self.write(start)?;
            }
            self.next += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64, WriteError> {
        self.block_is_complete()?;
        self.write_up_to(self.count)?;
        if let Some(contents) = self.contents {
            contents.expect_end()?;
        }
        if self.has_more {
            self.announcement
                .make(self.dnode.block_size, self.dnode, self.out)?;
            let end = self.count * self.block_size as u64;
            self.out.free(self.announcement.object, end, u64::MAX)?;
        }
        Ok(self.written)
    }
}

impl<T: Tree, W: Write> Incremental<'_, T, W> {
    /// Writes what changed of a regular file. Returns whether there is another object, which `dnode` then is.
    pub(super) fn kept_contents<R: Read>(
        &mut self,
        index: u32,
        node: &Node,
        wanted: Wanted<T::File>,
        dnode: &mut Dnode,
        snapshot: &mut Snapshot<R>,
    ) -> Result<bool, WriteError> {
        let old_block_size = dnode.block_size as usize;
        let size = wanted.metadata.size;
        // A file of one block has one as large as it needs; one of several keeps its size of blocks.
        let fits = node.size > u64::from(dnode.block_size) || size <= u64::from(dnode.block_size);
        let mut announcement = self.pack(dnode.object, ObjectType::File, &wanted);
        // Whatever comes of it, what is to be freed before comes before.
        self.flush()?;
        if !fits && block_size(size) != old_block_size {
            announcement.make(block_size(size) as u32, dnode, &mut self.out)?;
            self.out.free(dnode.object, 0, u64::MAX)?;
            if let Some(opened) = wanted.file {
                self.new_contents(index, opened, &wanted.metadata, block_size(size))?;
            }
            announcement.finish(&mut self.out)?;
            self.summary.changed += 1;
            return Ok(super::next_object(snapshot, dnode)?);
        }
        if wanted.differs {
            announcement.make(dnode.block_size, dnode, &mut self.out)?;
        }
        let path = self.scan.path(index);
        let base = dnode.clone();
        let mut comparison = Comparison {
            contents: wanted
                .file
                .filter(|_| size > 0)
                .map(|file| Contents::new(&mut *self.tree, &path, file, &wanted.metadata)),
            out: &mut self.out,
            announcement: &mut announcement,
            dnode: &base,
            block_size: old_block_size,
            count: size.div_ceil(old_block_size as u64),
            next: 0,
            block: Vec::new(),
            number: 0,
            wanted: Vec::new(),
            has_more: false,
            written: 0,
        };
        let mut more = false;
        while let Some(event) = snapshot.next()? {
            match event {
                Event::Object(next) => {
                    dnode.clone_from(next);
                    more = true;
                    break;
                }
                Event::Data { offset, bytes } => comparison.data(offset, bytes)?,
                Event::Spill(_) => {}
            }
        }
        self.summary.written += comparison.finish()?;
        self.summary.changed += u64::from(announcement.is_made);
        announcement.finish(&mut self.out)?;
        self.progress.done = self.progress.done.saturating_add(size);
        (self.report)(self.progress);
        Ok(more)
    }

    /// Writes all blocks of a regular file that is not empty.
    pub(super) fn new_contents(
        &mut self,
        index: u32,
        opened: T::File,
        metadata: &Metadata,
        block_size: usize,
    ) -> Result<(), WriteError> {
        let path = self.scan.path(index);
        let object = self.scan.files[index as usize].object;
        let id = (object, ObjectType::File.number());
        let size = block_size as u64;
        let count = metadata.size.div_ceil(size);
        let mut contents = Contents::new(&mut *self.tree, &path, opened, metadata);
        let mut number = 0;
        while number < count {
            contents.find_data(number * size)?;
            let next = contents.next_data() / size;
            if next > number {
                number = next.min(count);
                continue;
            }
            let start = number * size;
            self.out
                .block(id, start, block_size, |block| contents.fill(start, block))?;
            self.summary.written += size;
            number += 1;
        }
        contents.expect_end()?;
        self.progress.done = self.progress.done.saturating_add(metadata.size);
        (self.report)(self.progress);
        Ok(())
    }
}
