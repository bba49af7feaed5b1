//! Puts records together in one large buffer, checksums them and writes them out.

use std::io;

use zerocopy::IntoBytes;

use super::WriteError;
use crate::format::fletcher4::Fletcher4;
use crate::format::record::{self, Begin, End, HEADER, Object, RecordType, Spill, Write};
use crate::format::znode::ObjectType;
use crate::format::{MAX_BLOCK, SECTOR};

/// The buffer is written out when it holds this much.
const FLUSH_AT: usize = 64 << 10;

/// Longest record: a header and a block.
const MAX_RECORD: usize = HEADER + MAX_BLOCK;

/// Writes records, each checksummed into the one running checksum of the stream.
pub(super) struct RecordWriter<W> {
    out: W,
    /// Room for a record beyond what it takes to be written out.
    buffer: Box<[u8]>,
    /// How much of the buffer is to be written out.
    filled: usize,
    checksum: Fletcher4,
    to_guid: u64,
    written: u64,
}

/// An object to be announced.
pub(super) struct NewObject<'a> {
    pub number: u64,
    pub object_type: ObjectType,
    pub block_size: usize,
    /// Type and bytes of the bonus.
    pub bonus: Option<(u32, &'a [u8])>,
    pub has_spill: bool,
}

impl<W: io::Write> RecordWriter<W> {
    /// Starts a stream.
    pub fn new(out: W, begin: &Begin) -> Self {
        let mut writer = Self {
            out,
            buffer: vec![0; FLUSH_AT + MAX_RECORD].into_boxed_slice(),
            filled: 0,
            checksum: Fletcher4::default(),
            to_guid: begin.to_guid.get(),
            written: 0,
        };
        // BEGIN alone has no checksum of its own.
        writer.header(RecordType::Begin, begin.as_bytes());
        writer.checksum.update(&writer.buffer[..HEADER]);
        writer.filled = HEADER;
        writer
    }

    /// Announces an object.
    pub fn object(&mut self, new: &NewObject<'_>) -> Result<(), WriteError> {
        let (bonus_type, bonus) = new.bonus.unwrap_or((0, &[]));
        let body = Object {
            object: new.number.into(),
            object_type: (new.object_type as u32).into(),
            bonus_type: bonus_type.into(),
            block_size: (new.block_size as u32).into(),
            bonus_length: (bonus.len() as u32).into(),
            checksum_type: 0,
            compress: 0,
            dnode_slots: 0,
            flags: if new.has_spill {
                record::OBJECT_SPILL
            } else {
                0
            },
            raw_bonus_length: 0.into(),
            to_guid: self.to_guid.into(),
        };
        self.header(RecordType::Object, body.as_bytes());
        let length = bonus.len().next_multiple_of(8);
        fill_from(self.payload(length), bonus);
        self.seal(length)
    }

    /// Writes a block of an object unless it is all zeroes; `fill` must set all of it.
    pub fn block(
        &mut self,
        (object, object_type): (u64, ObjectType),
        offset: u64,
        size: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let block = self.payload(size);
        fill(block)?;
        if is_zero(block) {
            return Ok(());
        }
        let body = Write {
            object: object.into(),
            object_type: (object_type as u32).into(),
            pad: 0.into(),
            offset: offset.into(),
            length: (size as u64).into(),
            to_guid: self.to_guid.into(),
            checksum_type: record::CHECKSUM_FLETCHER_4,
            flags: 0,
            compression: 0,
            pad2: [0; 5],
        };
        self.header(RecordType::Write, body.as_bytes());
        self.seal(size)
    }

    /// Writes the spill block of an object.
    pub fn spill(&mut self, object: u64, data: &[u8]) -> Result<(), WriteError> {
        let length = data.len().next_multiple_of(SECTOR);
        let body = Spill {
            object: object.into(),
            length: (length as u64).into(),
            to_guid: self.to_guid.into(),
        };
        self.header(RecordType::Spill, body.as_bytes());
        fill_from(self.payload(length), data);
        self.seal(length)
    }

    /// Ends the stream and flushes it; returns its length in bytes.
    pub fn finish(mut self) -> Result<u64, WriteError> {
        let body = End {
            checksum: self.checksum.0.map(Into::into),
            to_guid: self.to_guid.into(),
        };
        self.header(RecordType::End, body.as_bytes());
        self.seal(0)?;
        self.flush()?;
        self.out.flush().map_err(WriteError::Output)?;
        Ok(self.written)
    }

    /// Puts the header of the next record in its place.
    fn header(&mut self, record_type: RecordType, body: &[u8]) {
        let header = &mut self.buffer[self.filled..self.filled + HEADER];
        header[..4].copy_from_slice(&(record_type as u32).to_le_bytes());
        header[4..8].fill(0);
        fill_from(&mut header[8..], body);
    }

    /// Where the payload of the next record goes.
    fn payload(&mut self, length: usize) -> &mut [u8] {
        let start = self.filled + HEADER;
        &mut self.buffer[start..start + length]
    }

    /// Checksums the next record, which makes it the last one.
    fn seal(&mut self, payload: usize) -> Result<(), WriteError> {
        let end = self.filled + HEADER + payload;
        let (head, rest) = self.buffer[self.filled..end].split_at_mut(record::CHECKSUM_AT);
        self.checksum.update(head);
        rest[..32].copy_from_slice(&self.checksum.to_bytes());
        self.checksum.update(rest);
        self.filled = end;
        if self.filled < FLUSH_AT {
            Ok(())
        } else {
            self.flush()
        }
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.out
            .write_all(&self.buffer[..self.filled])
            .map_err(WriteError::Output)?;
        self.written += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

/// Sets all of `to`: to what is there, then to zeroes.
fn fill_from(to: &mut [u8], from: &[u8]) {
    let (start, rest) = to.split_at_mut(from.len());
    start.copy_from_slice(from);
    rest.fill(0);
}

fn is_zero(block: &[u8]) -> bool {
    // Most blocks differ from zero early, so look at a little at a time.
    block
        .chunks(256)
        .all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}
