//! Records, one after the other, with their checksums checked.

use std::io::{self, Read};

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use super::codec;
use super::error::{Place, Problem, ReadError};
use super::header::Header;
use crate::format::fletcher4::Fletcher4;
use crate::format::record::{
    self, CHECKSUM_AT, End, Free, FreeObjects, HEADER, Object, RecordType, Spill, Write,
    WriteEmbedded,
};
use crate::format::{LARGEST_BLOCK, MAX_BLOCK, SECTOR};

/// Bytes that are read at a time.
pub(super) const READ: usize = 512 << 10;
/// Largest bonus: that of a 16 KiB dnode.
const MAX_BONUS: u32 = 16 << 10;

/// A record, without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// An object exists, with what the payload says (its bonus).
    Object {
        object: u64,
        object_type: u32,
        bonus_type: u32,
        block_size: u32,
        bonus_length: u32,
        slots: u8,
        has_spill: bool,
    },
    /// Objects from `first` to before `end` do not.
    FreeObjects { first: u64, end: u64 },
    /// The payload is what stands at `offset` of an object.
    Write { object: u64, offset: u64 },
    /// Zeroes stand from `start` to before `end`.
    Free { object: u64, start: u64, end: u64 },
    /// The payload is the object's spill block.
    Spill { object: u64 },
    /// All is said.
    End,
}

impl Record {
    fn object(&self) -> Option<u64> {
        match *self {
            Record::Object { object, .. }
            | Record::Write { object, .. }
            | Record::Free { object, .. }
            | Record::Spill { object } => Some(object),
            Record::FreeObjects { first, .. } => Some(first),
            Record::End => None,
        }
    }
}

/// What was counted of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of the stream, uncompressed.
    pub bytes: u64,
    /// Records of every type.
    pub records: u64,
    /// OBJECT records.
    pub objects: u64,
    /// WRITE and WRITE_EMBEDDED records.
    pub writes: u64,
    /// Bytes of their blocks, expanded.
    pub written: u64,
    /// FREE records.
    pub frees: u64,
    /// FREEOBJECTS records.
    pub free_objects: u64,
    /// SPILL records.
    pub spills: u64,
}

/// Where the payload of the record at hand is.
#[derive(Debug, Clone, Copy)]
enum Payload {
    /// In the buffer.
    Raw { start: usize, end: usize },
    /// Expanded from there.
    Expanded,
}

/// Reads a stream.
pub(super) struct Records<R> {
    input: R,
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    end: usize,
    pub(super) checksum: Fletcher4,
    /// Of the record at hand.
    place: Place,
    /// Offset of the next record.
    next_offset: u64,
    pub(super) next_record: u64,
    payload: Payload,
    expanded: Vec<u8>,
    pub(super) header: Header,
    pub counts: Counts,
}

/// Reads a stream of any kind to its end, and checks its records and their sums; what they say of files is not looked at.
///
/// # Errors
///
/// It can't be read, is cut short, or a record is wrong.
pub fn whole(input: impl Read) -> Result<(Header, Counts), ReadError> {
    let mut records = Records::open(input, 0)?;
    while !matches!(records.next()?, Record::End) {}
    Ok((records.header.clone(), records.counts))
}

impl<R: Read> Records<R> {
    /// Reads the start of a stream, which is number `stream` of a chain.
    pub fn open(input: R, stream: usize) -> Result<Self, ReadError> {
        let mut records = Self {
            input,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            checksum: Fletcher4::default(),
            place: Place {
                stream,
                ..Place::default()
            },
            next_offset: 0,
            next_record: 0,
            payload: Payload::Expanded,
            expanded: Vec::new(),
            header: Header {
                to_guid: 0,
                from_guid: 0,
                creation_time: 0,
                objset_type: 0,
                flags: 0,
                features: 0,
                to_name: String::new(),
                compound: false,
            },
            counts: Counts::default(),
        };
        records.begin().map_err(|problem| records.error(problem))?;
        Ok(records)
    }

    /// What the stream says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where the record at hand is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// A problem of the record at hand.
    pub fn error(&self, problem: impl Into<Problem>) -> ReadError {
        problem.into().at(self.place)
    }

    /// The payload of the record at hand: the bonus, the block, the spill block.
    pub fn payload(&self) -> &[u8] {
        match self.payload {
            Payload::Raw { start, end } => self.buffer.get(start..end).unwrap_or_default(),
            Payload::Expanded => &self.expanded,
        }
    }

    /// Reads the next record. After END nothing may be read.
    pub fn next(&mut self) -> Result<Record, ReadError> {
        self.place.object = None;
        self.record().map_err(|problem| self.error(problem))
    }

    fn record(&mut self) -> Result<Record, Problem> {
        let header = self.header_bytes()?;
        let record = match record_type(&header) {
            Some(RecordType::Object) => {
                let object: Object = body(&header)?;
                self.place.object = Some(object.object.get());
                self.object(&header, &object)?
            }
            Some(RecordType::FreeObjects) => {
                self.seal(&header)?;
                let free: FreeObjects = body(&header)?;
                self.counts.free_objects += 1;
                let first = free.first.get();
                Record::FreeObjects {
                    first,
                    end: first.saturating_add(free.count.get()),
                }
            }
            Some(RecordType::Write) => {
                let write: Write = body(&header)?;
                self.place.object = Some(write.object.get());
                self.write(&header, &write)?
            }
            Some(RecordType::Free) => {
                self.seal(&header)?;
                let free: Free = body(&header)?;
                self.counts.frees += 1;
                let start = free.offset.get();
                Record::Free {
                    object: free.object.get(),
                    start,
                    end: start.saturating_add(free.length.get()),
                }
            }
            Some(RecordType::Spill) => {
                let spill: Spill = body(&header)?;
                self.place.object = Some(spill.object.get());
                self.spill(&header, &spill)?
            }
            Some(RecordType::WriteEmbedded) => {
                let write: WriteEmbedded = body(&header)?;
                self.place.object = Some(write.object.get());
                self.embedded(&header, &write)?
            }
            Some(RecordType::End) => {
                self.end(&header)?;
                self.finish()?;
                Record::End
            }
            Some(RecordType::WriteByRef) => {
                return Err(Problem::Unsupported(
                    "the stream is deduplicated (`zfs send -D`); send it without -D",
                ));
            }
            Some(RecordType::Begin) => {
                return Err(Problem::Unsupported(
                    "the stream holds several snapshots; send one of them alone, without -I and -R",
                ));
            }
            Some(RecordType::ObjectRange | RecordType::Redact) => {
                return Err(Problem::Unsupported(
                    "the stream is encrypted or redacted, so its content can't be read",
                ));
            }
            None => {
                return Err(Problem::Broken(format!(
                    "there is no record of type {}",
                    u32_at(&header, 0)
                )));
            }
        };
        self.place.object = record.object();
        Ok(record)
    }

    fn object(&mut self, header: &[u8; HEADER], object: &Object) -> Result<Record, Problem> {
        let bonus_length = object.bonus_length.get();
        if bonus_length > MAX_BONUS {
            return Err("the bonus is larger than any dnode".into());
        }
        let block_size = object.block_size.get();
        if block_size == 0
            || !(block_size as usize).is_multiple_of(SECTOR)
            || block_size as usize > LARGEST_BLOCK
        {
            return Err("the block size of an object is impossible".into());
        }
        let length = (bonus_length as usize).next_multiple_of(8);
        self.seal(header)?;
        self.take_payload(length)?;
        if let Payload::Raw { start, .. } = self.payload {
            self.payload = Payload::Raw {
                start,
                end: start + bonus_length as usize,
            };
        }
        self.counts.objects += 1;
        Ok(Record::Object {
            object: object.object.get(),
            object_type: object.object_type.get(),
            bonus_type: object.bonus_type.get(),
            block_size,
            bonus_length,
            slots: object.dnode_slots.max(1),
            has_spill: object.flags & record::OBJECT_SPILL != 0,
        })
    }

    fn write(&mut self, header: &[u8; HEADER], write: &Write) -> Result<Record, Problem> {
        let length = write.length.get();
        let compressed = write.compressed_size.get();
        self.block(header, length, write.compression, compressed)?;
        self.counts.writes += 1;
        self.counts.written += length;
        if write.offset.get().checked_add(length).is_none() {
            return Err("a block lies beyond the end of everything".into());
        }
        Ok(Record::Write {
            object: write.object.get(),
            offset: write.offset.get(),
        })
    }

    fn spill(&mut self, header: &[u8; HEADER], spill: &Spill) -> Result<Record, Problem> {
        let (length, compressed) = (spill.length.get(), spill.compressed_size.get());
        if length > MAX_BLOCK as u64 {
            return Err("a spill block has an impossible length".into());
        }
        self.block(header, length, spill.compression, compressed)?;
        self.counts.spills += 1;
        Ok(Record::Spill {
            object: spill.object.get(),
        })
    }

    /// Takes the payload of a WRITE or SPILL; senders older than compressed streams leave the last two fields zero.
    fn block(
        &mut self,
        header: &[u8; HEADER],
        length: u64,
        compression: u8,
        compressed: u64,
    ) -> Result<(), Problem> {
        if length == 0 || length > LARGEST_BLOCK as u64 || !length.is_multiple_of(8) {
            return Err("a block has an impossible length".into());
        }
        self.seal(header)?;
        if compression == 0 {
            return self.take_payload(length as usize);
        }
        if compressed == 0 || compressed > length || !compressed.is_multiple_of(8) {
            return Err("a compressed block has an impossible length".into());
        }
        self.take_payload(compressed as usize)?;
        self.expand(compression, length as usize)
    }

    fn embedded(
        &mut self,
        header: &[u8; HEADER],
        write: &WriteEmbedded,
    ) -> Result<Record, Problem> {
        let (length, stored) = (write.logical_size.get(), write.physical_size.get());
        if write.embedded_type != record::EMBEDDED_DATA {
            return Err(Problem::Unsupported(
                "an embedded block holds something else than data",
            ));
        }
        if stored as usize > record::MAX_EMBEDDED || length == 0 || length as usize > LARGEST_BLOCK
        {
            return Err("an embedded block has an impossible length".into());
        }
        self.seal(header)?;
        self.take_payload((stored as usize).next_multiple_of(8))?;
        if let Payload::Raw { start, .. } = self.payload {
            self.payload = Payload::Raw {
                start,
                end: start + stored as usize,
            };
        }
        self.expand(write.compression, length as usize)?;
        self.counts.writes += 1;
        self.counts.written += u64::from(length);
        if write.offset.get().checked_add(length.into()).is_none() {
            return Err("a block lies beyond the end of everything".into());
        }
        Ok(Record::Write {
            object: write.object.get(),
            offset: write.offset.get(),
        })
    }

    fn expand(&mut self, compression: u8, length: usize) -> Result<(), Problem> {
        let Payload::Raw { start, end } = self.payload else {
            return Ok(());
        };
        self.expanded.clear();
        self.expanded.resize(length, 0);
        let input = self.buffer.get(start..end).unwrap_or_default();
        codec::expand(compression, input, &mut self.expanded)
            .map_err(|error| Problem::Broken(error.to_string()))?;
        self.payload = Payload::Expanded;
        Ok(())
    }

    /// Checks END, which holds the checksum of all that was before it.
    pub(super) fn end(&mut self, header: &[u8; HEADER]) -> Result<(), Problem> {
        let end: End = body(header)?;
        if end.checksum.map(U64::get) != self.checksum.0 {
            return Err(Problem::Checksum);
        }
        self.seal(header)
    }

    /// Makes sure that nothing comes after END but the end of a compound stream and zeroes.
    fn finish(&mut self) -> Result<(), Problem> {
        if self.header.compound {
            let header = self.header_bytes()?;
            match record_type(&header) {
                Some(RecordType::End) => {}
                Some(RecordType::Begin) => {
                    return Err(Problem::Unsupported(
                        "the stream holds several snapshots or file systems; send one of them alone, without -R",
                    ));
                }
                _ => return Err("a compound stream goes on with something else".into()),
            }
        }
        self.counts.bytes = self.next_offset;
        self.counts.records = self.next_record;
        loop {
            if self.start == self.end && !self.fill()? {
                return Ok(());
            }
            let rest = &self.buffer[self.start..self.end];
            if rest.iter().any(|byte| *byte != 0) {
                return Err("something else follows the end of the stream".into());
            }
            self.consume(self.end - self.start);
        }
    }

    /// The next header, not yet in the checksum.
    pub(super) fn header_bytes(&mut self) -> Result<[u8; HEADER], Problem> {
        self.place.offset = self.next_offset;
        self.place.record = self.next_record;
        self.need(HEADER)?;
        let mut header = [0; HEADER];
        header.copy_from_slice(&self.buffer[self.start..self.start + HEADER]);
        self.consume(HEADER);
        self.next_record += 1;
        Ok(header)
    }

    /// Takes a header into the checksum and checks its own. Senders of before 2014 left it zero.
    fn seal(&mut self, header: &[u8; HEADER]) -> Result<(), Problem> {
        let (head, own) = header.split_at(CHECKSUM_AT);
        self.checksum.update(head);
        if own.iter().any(|byte| *byte != 0) && own != self.checksum.to_bytes() {
            return Err(Problem::Checksum);
        }
        self.checksum.update(own);
        Ok(())
    }

    fn take_payload(&mut self, length: usize) -> Result<(), Problem> {
        self.need(length)?;
        let (start, end) = (self.start, self.start + length);
        self.checksum.update(&self.buffer[start..end]);
        self.payload = Payload::Raw { start, end };
        self.consume(length);
        Ok(())
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        self.next_offset += count as u64;
    }

    /// Makes sure that the next `count` bytes are in the buffer. It grows with what is read, not with what is claimed.
    pub(super) fn need(&mut self, count: usize) -> Result<(), Problem> {
        while self.end - self.start < count {
            if !self.fill()? {
                return Err(Problem::Truncated);
            }
        }
        Ok(())
    }

    /// Reads more; false at the end of the input.
    fn fill(&mut self) -> Result<bool, Problem> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < self.end + READ {
            self.buffer.resize(self.end + READ, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.end += count;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Problem::Input(error)),
            }
        }
    }
}

pub(super) fn u32_at(header: &[u8; HEADER], at: usize) -> u32 {
    header
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

pub(super) fn record_type(header: &[u8; HEADER]) -> Option<RecordType> {
    RecordType::new(u32_at(header, 0))
}

/// What a record's header holds.
pub(super) fn body<T: FromBytes>(header: &[u8; HEADER]) -> Result<T, Problem> {
    match T::read_from_prefix(&header[8..]) {
        Ok((body, _)) => Ok(body),
        Err(_) => Err("a record is cut short".into()),
    }
}
