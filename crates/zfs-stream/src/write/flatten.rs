//! Makes one full stream of a chain.

use std::io::{Read, Write};

use super::output::{Records, Sealer};
use super::records::{NewObject, RecordWriter};
use super::{BATCH, WriteError};
use crate::format::MAX_BLOCK;
use crate::format::record::{
    Begin, FLAG_FREERECORDS, FLAG_SPILL_BLOCK, MAGIC, MAX_TO_NAME, SUBSTREAM, VERSION_SA_SPILL,
    feature,
};
use crate::format::sa::MAX_BONUS;
use crate::read::{Event, Problem, ReadError, Snapshot};

/// What a flattened stream holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flattened {
    /// Length of the stream in bytes.
    pub stream_bytes: u64,
    /// Objects, files and others.
    pub objects: u64,
    /// Bytes of blocks.
    pub written: u64,
}

/// Writes the snapshot that a chain amounts to as one full stream, with all that ZFS keeps of it: the same objects, ACLs and
/// the guid, so that what is a change to the snapshot is one to the flattened stream as well.
///
/// Blocks larger than 128 KiB, which older systems don't take, are written as several; compressed and embedded ones as they
/// are without that. Called again and again with the bytes written, `progress` may say how far it is.
///
/// # Errors
///
/// A stream of the chain is damaged, has dnodes that only newer systems take, or `out` could not be written.
pub fn flatten<R: Read, W: Write>(
    mut snapshot: Snapshot<R>,
    out: W,
    progress: &mut dyn FnMut(u64),
) -> Result<Flattened, FlattenError> {
    let header = snapshot.header();
    let mut to_name = [0; 256];
    let name = &header.to_name.as_bytes()[..header.to_name.len().min(MAX_TO_NAME)];
    to_name[..name.len()].copy_from_slice(name);
    let has_spills = header.features & feature::SA_SPILL != 0;
    // Only streams that all say which objects have a spill block make one that does.
    let says_spills = snapshot
        .headers()
        .all(|header| header.flags & FLAG_SPILL_BLOCK != 0);
    let begin = Begin {
        magic: MAGIC.into(),
        versioninfo: if has_spills {
            VERSION_SA_SPILL
        } else {
            SUBSTREAM
        }
        .into(),
        creation_time: header.creation_time.into(),
        objset_type: header.objset_type.into(),
        flags: (FLAG_FREERECORDS | if says_spills { FLAG_SPILL_BLOCK } else { 0 }).into(),
        to_guid: header.to_guid.into(),
        from_guid: 0.into(),
        to_name,
    };
    let mut writer = RecordWriter::new(Sealer::new(out), Records::new(BATCH), &begin);
    let mut flattened = Flattened::default();
    let mut blocks = Blocks::default();
    loop {
        let bytes = match snapshot.next()? {
            None => break,
            Some(Event::Object(dnode)) => {
                blocks.finish(&mut writer)?;
                blocks.start(dnode.object, dnode.object_type, dnode.block_size);
                flattened.objects += 1;
                if dnode.bonus.len() <= MAX_BONUS {
                    writer.object(&NewObject {
                        number: dnode.object,
                        object_type: dnode.object_type,
                        block_size: blocks.size,
                        bonus: (dnode.bonus_type != 0).then_some((dnode.bonus_type, &dnode.bonus)),
                        has_spill: says_spills && dnode.has_spill,
                    })?;
                    continue;
                }
                return Err(snapshot
                    .error(Problem::Unsupported(
                        "the metadata of a file is larger than older systems take (a large dnode), so the stream can't be flattened into one for them",
                    ))
                    .into());
            }
            Some(Event::Data { offset, bytes }) => {
                blocks.data(offset, bytes, &mut writer)?;
                bytes.len()
            }
            Some(Event::Spill(bytes)) => {
                blocks.finish(&mut writer)?;
                writer.spill(blocks.object, bytes)?;
                bytes.len()
            }
        };
        flattened.written += bytes as u64;
        progress(flattened.written);
    }
    blocks.finish(&mut writer)?;
    flattened.stream_bytes = writer.finish()?;
    Ok(flattened)
}

/// Why a chain could not be flattened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlattenError {
    /// A stream of the chain could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stream could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Puts whole blocks together out of runs of bytes.
#[derive(Default)]
struct Blocks {
    object: u64,
    object_type: u32,
    size: usize,
    block: Vec<u8>,
    number: u64,
}

impl Blocks {
    fn start(&mut self, object: u64, object_type: u32, block_size: u32) {
        self.object = object;
        self.object_type = object_type;
        self.size = (block_size as usize).min(MAX_BLOCK);
        self.block.clear();
        self.number = 0;
    }

    fn data<W: Write>(
        &mut self,
        mut offset: u64,
        mut bytes: &[u8],
        writer: &mut RecordWriter<Sealer<W>>,
    ) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let number = offset / self.size as u64;
            if number != self.number {
                self.finish(writer)?;
                self.number = number;
            }
            let at = (offset % self.size as u64) as usize;
            let (now, rest) = bytes.split_at(bytes.len().min(self.size - at));
            self.block.resize(at, 0);
            self.block.extend_from_slice(now);
            offset += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Writes the block at hand, if there is one.
    fn finish<W: Write>(&mut self, writer: &mut RecordWriter<Sealer<W>>) -> Result<(), WriteError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let offset = self.number * self.size as u64;
        writer.block((self.object, self.object_type), offset, self.size, |to| {
            let (data, rest) = to.split_at_mut(self.block.len());
            data.copy_from_slice(&self.block);
            rest.fill(0);
            Ok(())
        })?;
        self.block.clear();
        Ok(())
    }
}
