//! Puts records together in batches.

use zerocopy::IntoBytes;

use super::WriteError;
use super::output::{Output, Records};
use crate::format::SECTOR;
use crate::format::record::{self, Begin, End, HEADER, Object, RecordType, Spill, Write};

/// Writes records, one after the other.
pub(super) struct RecordWriter<O> {
    output: O,
    records: Records,
    to_guid: u64,
    /// Bytes sent to the output.
    sent: u64,
}

/// An object to be announced.
pub(super) struct NewObject<'a> {
    pub number: u64,
    /// `dmu_object_type_t`
    pub object_type: u32,
    pub block_size: usize,
    /// Type and bytes of the bonus.
    pub bonus: Option<(u32, &'a [u8])>,
    pub has_spill: bool,
}

impl<O: Output> RecordWriter<O> {
    /// Starts a stream; `records` is the first to be sent.
    pub fn new(output: O, records: Records, begin: &Begin) -> Self {
        let mut writer = Self {
            output,
            records,
            to_guid: begin.to_guid.get(),
            sent: 0,
        };
        writer.header(RecordType::Begin, begin.as_bytes());
        writer.records.push(HEADER);
        writer
    }

    /// Announces an object.
    pub fn object(&mut self, new: &NewObject<'_>) -> Result<(), WriteError> {
        let (bonus_type, bonus) = new.bonus.unwrap_or((0, &[]));
        let body = Object {
            object: new.number.into(),
            object_type: new.object_type.into(),
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
        (object, object_type): (u64, u32),
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
            object_type: object_type.into(),
            pad: 0.into(),
            offset: offset.into(),
            length: (size as u64).into(),
            to_guid: self.to_guid.into(),
            checksum_type: record::CHECKSUM_FLETCHER_4,
            flags: 0,
            compression: 0,
            pad2: [0; 5],
            key: [0.into(); 5],
            compressed_size: 0.into(),
        };
        self.header(RecordType::Write, body.as_bytes());
        self.seal(size)
    }

    /// Makes zeroes of the bytes of an object from `start` to before `end`; [`u64::MAX`] is the end of everything.
    pub fn free(&mut self, object: u64, start: u64, end: u64) -> Result<(), WriteError> {
        let length = if end == u64::MAX { end } else { end - start };
        let body = record::Free {
            object: object.into(),
            offset: start.into(),
            length: length.into(),
            to_guid: self.to_guid.into(),
        };
        self.header(RecordType::Free, body.as_bytes());
        self.seal(0)
    }

    /// Says that objects from `first` to before `end` are no more.
    pub fn free_objects(&mut self, first: u64, end: u64) -> Result<(), WriteError> {
        let body = record::FreeObjects {
            first: first.into(),
            count: (end - first).into(),
            to_guid: self.to_guid.into(),
        };
        self.header(RecordType::FreeObjects, body.as_bytes());
        self.seal(0)
    }

    /// Writes the spill block of an object.
    pub fn spill(&mut self, object: u64, data: &[u8]) -> Result<(), WriteError> {
        let length = data.len().next_multiple_of(SECTOR);
        let body = Spill {
            object: object.into(),
            length: (length as u64).into(),
            to_guid: self.to_guid.into(),
            flags: 0,
            compression: 0,
            pad: [0; 6],
            compressed_size: 0.into(),
        };
        self.header(RecordType::Spill, body.as_bytes());
        fill_from(self.payload(length), data);
        self.seal(length)
    }

    /// Ends the stream; returns its length in bytes.
    pub fn finish(mut self) -> Result<u64, WriteError> {
        let body = End {
            // Known to the output only.
            checksum: [0.into(); 4],
            to_guid: self.to_guid.into(),
        };
        self.header(RecordType::End, body.as_bytes());
        self.records.push(HEADER);
        self.send()?;
        Ok(self.sent)
    }

    /// Puts the header of the next record in its place.
    fn header(&mut self, record_type: RecordType, body: &[u8]) {
        let header = &mut self.records.next()[..HEADER];
        header[..4].copy_from_slice(&(record_type as u32).to_le_bytes());
        header[4..8].fill(0);
        fill_from(&mut header[8..], body);
    }

    /// Where the payload of the next record goes.
    fn payload(&mut self, length: usize) -> &mut [u8] {
        &mut self.records.next()[HEADER..HEADER + length]
    }

    /// Makes the next record, of that much payload, the last one.
    fn seal(&mut self, payload: usize) -> Result<(), WriteError> {
        self.records.push(HEADER + payload);
        if self.records.is_full() {
            self.send()
        } else {
            Ok(())
        }
    }

    fn send(&mut self) -> Result<(), WriteError> {
        self.sent += self.records.filled() as u64;
        self.output.send(&mut self.records)
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
