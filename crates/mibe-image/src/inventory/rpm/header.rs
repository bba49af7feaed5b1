//! The header of a package (rpm's `lib/header.c`): an index of tags, and the data they lead to, big-endian.

use super::super::text;
use super::{Damage, MAX_HEADER, Package, number};

const NAME: usize = 1000;
const VERSION: usize = 1001;
const RELEASE: usize = 1002;
const EPOCH: usize = 1003;
const SIZE: usize = 1009;
const ARCH: usize = 1022;
const LONG_SIZE: usize = 5009;

const INT32: usize = 4;
const INT64: usize = 5;
const STRING: usize = 6;

/// Size in bytes of an entry of the index: tag, type, offset, count.
const ENTRY: usize = 16;

struct Header<'a> {
    index: &'a [[u8; ENTRY]],
    data: &'a [u8],
}

impl Header<'_> {
    /// Type and data of a tag.
    fn find(&self, wanted: usize) -> Option<(usize, &[u8])> {
        self.index.iter().find_map(|entry| {
            let field = |number_: usize| number(entry, 4 * number_, u32::from_be_bytes);
            (field(0)? == wanted).then_some(())?;
            Some((field(1)?, self.data.get(field(2)?..)?))
        })
    }

    fn string(&self, tag: usize) -> Option<String> {
        let (STRING, data) = self.find(tag)? else {
            return None;
        };
        let end = data.iter().position(|byte| *byte == 0)?;
        Some(text(&data[..end]))
    }

    fn number(&self, tag: usize) -> Option<u64> {
        let (kind, data) = self.find(tag)?;
        match kind {
            INT32 => number(data, 0, u32::from_be_bytes).map(|number| number as u64),
            INT64 => Some(u64::from_be_bytes(data.get(..8)?.try_into().ok()?)),
            _ => None,
        }
    }
}

/// Name (with architecture) and the rest of a package; `None` for a blob that is none.
pub(super) fn package(blob: &[u8]) -> Result<Option<(String, Package)>, Damage> {
    let damaged = "the header of a package is damaged";
    let count = number(blob, 0, u32::from_be_bytes).ok_or(damaged)?;
    let length = number(blob, 4, u32::from_be_bytes).ok_or(damaged)?;
    let index = count.checked_mul(ENTRY).filter(|size| *size <= MAX_HEADER);
    let index = index.ok_or(damaged)?;
    let data = blob.get(8 + index..).and_then(|data| data.get(..length));
    let (entries, _) = blob.get(8..8 + index).ok_or(damaged)?.as_chunks();
    let header = Header {
        index: entries,
        data: data.ok_or(damaged)?,
    };
    let (Some(name), Some(version)) = (header.string(NAME), header.string(VERSION)) else {
        return Ok(None);
    };
    let mut full = version;
    if let Some(epoch) = header.number(EPOCH) {
        full = format!("{epoch}:{full}");
    }
    if let Some(release) = header.string(RELEASE) {
        full = format!("{full}-{release}");
    }
    let name = match header.string(ARCH) {
        Some(architecture) => format!("{name}.{architecture}"),
        None => name,
    };
    let package = Package {
        version: full,
        size: header.number(LONG_SIZE).or_else(|| header.number(SIZE)),
    };
    Ok(Some((name, package)))
}
