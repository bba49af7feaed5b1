//! How a stream begins.

use std::io::Read;

use super::error::Problem;
use super::records::{READ, Records, body, record_type, u32_at};
use crate::format::fletcher4::Fletcher4;
use crate::format::record::{self, Begin, MAGIC, RecordType, feature};

/// Largest payload of BEGIN that is taken (an nvlist of properties); it is skipped, not kept.
const MAX_BEGIN_PAYLOAD: u64 = 64 << 20;

/// What a stream says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Guid of the snapshot sent.
    pub to_guid: u64,
    /// Guid of the snapshot it is a change to; 0 for a full stream.
    pub from_guid: u64,
    /// When the snapshot was made, seconds since 1970.
    pub creation_time: u64,
    /// `dmu_objset_type_t`: [`record::OBJSET_FILESYSTEM`] or [`record::OBJSET_VOLUME`].
    pub objset_type: u32,
    /// `DRR_FLAG_…`
    pub flags: u32,
    /// `DMU_BACKUP_FEATURE_…`, see [`feature`].
    pub features: u64,
    /// `pool/dataset@snapshot`; bytes that are not UTF-8 are replaced.
    pub to_name: String,
    /// Whether it came inside a compound stream (`zfs send -p` or `-R`).
    pub compound: bool,
}

impl<R: Read> Records<R> {
    /// Reads BEGIN, and what a compound stream has before it.
    pub(super) fn begin(&mut self) -> Result<(), Problem> {
        let mut begin = self.read_begin()?;
        let compound = begin.versioninfo.get() & 3 == record::COMPOUND;
        if compound {
            let header = self.header_bytes()?;
            if record_type(&header) != Some(RecordType::End) {
                return Err("a compound stream does not begin with its own END".into());
            }
            self.end(&header)?;
            self.checksum = Fletcher4::default();
            begin = self.read_begin()?;
        }
        let features = begin.versioninfo.get() >> 2;
        self.header = Header {
            to_guid: begin.to_guid.get(),
            from_guid: begin.from_guid.get(),
            creation_time: begin.creation_time.get(),
            objset_type: begin.objset_type.get(),
            flags: begin.flags.get(),
            features,
            to_name: text(&begin.to_name),
            compound,
        };
        if begin.versioninfo.get() & 3 != record::SUBSTREAM {
            return Err("BEGIN is neither of a plain nor of a compound stream".into());
        }
        for (bit, why) in [
            (
                feature::RAW,
                "the stream is encrypted (`zfs send -w`), so its content can't be read; send it without -w",
            ),
            (
                feature::RESUMING,
                "the stream is the rest of an interrupted one (`zfs send -t`); send it again from its start",
            ),
            (
                feature::REDACTED,
                "the stream is redacted: parts of its files are missing by intent; send it without --redact",
            ),
            (
                feature::DEDUP,
                "the stream is deduplicated (`zfs send -D`); send it without -D",
            ),
        ] {
            if features & bit != 0 {
                return Err(Problem::Unsupported(why));
            }
        }
        if features & !feature::READABLE != 0 {
            return Err(Problem::Broken(format!(
                "the stream has features that this version does not know: {:#x}",
                features & !feature::READABLE
            )));
        }
        Ok(())
    }

    /// Reads a BEGIN record and skips its payload.
    fn read_begin(&mut self) -> Result<Begin, Problem> {
        let first = self.next_record == 0;
        let header = match self.header_bytes() {
            Err(Problem::Truncated) if first => return Err(Problem::NotAStream),
            header => header?,
        };
        let not_one = || {
            if first {
                Problem::NotAStream
            } else {
                "BEGIN is missing".into()
            }
        };
        let begin: Begin = body(&header)?;
        if record_type(&header) != Some(RecordType::Begin) || begin.magic.get() != MAGIC {
            let swapped = begin.magic.get().swap_bytes() == MAGIC;
            return Err(if swapped {
                Problem::Unsupported(
                    "the stream was sent by a big-endian machine (SPARC), which is not supported",
                )
            } else {
                not_one()
            });
        }
        self.checksum.update(&header);
        let length = u64::from(u32_at(&header, 4));
        if length > MAX_BEGIN_PAYLOAD || !length.is_multiple_of(4) {
            return Err("BEGIN has a payload of an impossible length".into());
        }
        let mut left = length as usize;
        while left > 0 {
            let part = left.min(READ);
            self.need(part)?;
            self.checksum
                .update(&self.buffer[self.start..self.start + part]);
            self.consume(part);
            left -= part;
        }
        Ok(begin)
    }
}

/// Text up to its NUL.
fn text(bytes: &[u8]) -> String {
    let length = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..length.unwrap_or(bytes.len())]).into_owned()
}
