//! What a stream says of itself: its BEGIN record.

use std::fmt;
use std::io::{self, Read};

use zfs_stream::format::record::{HEADER, MAGIC, OBJSET_FILESYSTEM, RecordType};

/// `drr_type` of BEGIN for a volume (`DMU_OST_ZVOL`).
const OBJSET_VOLUME: u32 = 3;

/// Bits of `drr_versioninfo` below the feature flags (`DMU_GET_STREAM_HDRTYPE`).
const TYPE_BITS: u64 = 3;
/// The feature flags, after the type (`DMU_GET_FEATUREFLAGS`).
const FEATURE_BITS: u64 = (1 << 30) - 1;
/// The type of a plain stream (`DMU_SUBSTREAM`).
const SUBSTREAM: u64 = 1;
/// The type of a stream of streams, sent with `-p` or `-R` (`DMU_COMPOUNDSTREAM`).
const COMPOUND: u64 = 2;

/// Longest list of properties that is skipped, in bytes: some 10,000 snapshots.
const MOST_PROPERTIES: u64 = 16 << 20;

/// Why a stream's header could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Its bytes could not be read or expanded.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// It is no `zfs send` stream.
    #[error("at byte {offset}: {reason}")]
    Damaged {
        /// Bytes of the expanded stream before the record.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a stream holds (`dmu_objset_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjsetKind {
    /// A file system.
    Filesystem,
    /// A volume.
    Volume,
    /// Something else, by its number.
    Other(u32),
}

impl fmt::Display for ObjsetKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filesystem => out.write_str("filesystem"),
            Self::Volume => out.write_str("volume"),
            Self::Other(number) => write!(out, "kind {number}"),
        }
    }
}

/// What a stream says of itself (`struct drr_begin`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// Guid of the snapshot in it; not 0.
    pub to_guid: u64,
    /// Guid of the snapshot it is a change to; 0 for a full stream.
    pub from_guid: u64,
    /// What it holds.
    pub kind: ObjsetKind,
    /// `pool/dataset@snapshot`, whatever the sender put there: not fit for terminals as it is.
    pub to_name: String,
    /// When the snapshot was made, seconds since 1970.
    pub creation_time: u64,
    /// Feature flags (`DMU_BACKUP_FEATURE_…`).
    pub features: u64,
    /// `DRR_FLAG_…`
    pub flags: u32,
    /// Whether it was sent with `-p` or `-R`. What is told then is of the first stream in it.
    pub compound: bool,
    /// Whether its sender was big-endian.
    pub big_endian: bool,
}

impl StreamHeader {
    /// Reads the header at the start of an expanded stream: its first record, of a compound stream the first three.
    ///
    /// # Errors
    ///
    /// The input can't be read, or is no stream.
    pub fn read(mut input: impl Read) -> Result<Self, HeaderError> {
        let mut offset = 0;
        let first = Record::read(&mut input, &mut offset, None)?;
        let big_endian = first.big_endian;
        let stream_type = first.begin(0)?;
        if stream_type == SUBSTREAM {
            return first.header(0, false);
        }
        if stream_type != COMPOUND {
            return Err(damaged(0, format!("stream type {stream_type} is unknown")));
        }
        let properties = u64::from(first.u32(4));
        if properties > MOST_PROPERTIES {
            let reason = format!("{properties} bytes of properties are too many");
            return Err(damaged(0, reason));
        }
        let skipped = io::copy(&mut input.by_ref().take(properties), &mut io::sink())
            .map_err(HeaderError::Read)?;
        offset += skipped;
        if skipped < properties {
            return Err(damaged(offset, "it ends within its properties".to_owned()));
        }
        let at = offset;
        let end = Record::read(&mut input, &mut offset, Some(big_endian))?;
        if end.u32(0) != RecordType::End as u32 {
            let reason = format!("a record of type {} in place of END", end.u32(0));
            return Err(damaged(at, reason));
        }
        let at = offset;
        let begin = Record::read(&mut input, &mut offset, Some(big_endian))?;
        if begin.u32(0) == RecordType::End as u32 {
            return Err(damaged(at, "there is no stream in it".to_owned()));
        }
        let stream_type = begin.begin(at)?;
        if stream_type != SUBSTREAM {
            let reason = format!("stream type {stream_type} within a compound stream");
            return Err(damaged(at, reason));
        }
        begin.header(at, true)
    }
}

fn damaged(offset: u64, reason: String) -> HeaderError {
    HeaderError::Damaged { offset, reason }
}

/// A record's header, in the byte order of its sender.
struct Record {
    bytes: [u8; HEADER],
    big_endian: bool,
}

impl Record {
    /// Reads a record's header; the byte order of the first is told by its magic.
    fn read(
        input: &mut impl Read,
        offset: &mut u64,
        big_endian: Option<bool>,
    ) -> Result<Self, HeaderError> {
        let mut bytes = [0; HEADER];
        let mut length = 0;
        while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
            match input.read(room) {
                Ok(0) => {
                    let reason = match *offset + length as u64 {
                        0 => "it is empty".to_owned(),
                        whole => format!("it ends after {whole} bytes"),
                    };
                    return Err(damaged(*offset, reason));
                }
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(HeaderError::Read(error)),
            }
        }
        *offset += HEADER as u64;
        let mut record = Self {
            bytes,
            big_endian: big_endian.unwrap_or_default(),
        };
        if big_endian.is_none() {
            record.big_endian = record.u64(8) == MAGIC.swap_bytes();
        }
        Ok(record)
    }

    /// The bytes of a number at a place that is within every record.
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        if let Some(bytes) = self.bytes.get(at..at + N) {
            array.copy_from_slice(bytes);
        }
        array
    }

    fn u32(&self, at: usize) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(self.array(at))
        } else {
            u32::from_le_bytes(self.array(at))
        }
    }

    fn u64(&self, at: usize) -> u64 {
        if self.big_endian {
            u64::from_be_bytes(self.array(at))
        } else {
            u64::from_le_bytes(self.array(at))
        }
    }

    /// Checks that it is a BEGIN and tells its stream's type.
    fn begin(&self, at: u64) -> Result<u64, HeaderError> {
        if self.u64(8) != MAGIC || self.u32(0) != RecordType::Begin as u32 {
            return Err(damaged(at, "no BEGIN record".to_owned()));
        }
        Ok(self.u64(16) & TYPE_BITS)
    }

    /// The fields of a BEGIN (`struct drr_begin`, 8 bytes into the record).
    fn header(&self, at: u64, compound: bool) -> Result<StreamHeader, HeaderError> {
        let to_guid = self.u64(40);
        if to_guid == 0 {
            return Err(damaged(at, "the guid of its snapshot is 0".to_owned()));
        }
        let name = self.bytes.get(56..).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(StreamHeader {
            to_guid,
            from_guid: self.u64(48),
            kind: match self.u32(32) {
                OBJSET_FILESYSTEM => ObjsetKind::Filesystem,
                OBJSET_VOLUME => ObjsetKind::Volume,
                other => ObjsetKind::Other(other),
            },
            to_name: String::from_utf8_lossy(name).into_owned(),
            creation_time: self.u64(24),
            features: self.u64(16) >> 2 & FEATURE_BITS,
            flags: self.u32(36),
            compound,
            big_endian: self.big_endian,
        })
    }
}
