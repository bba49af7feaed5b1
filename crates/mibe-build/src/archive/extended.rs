//! Extended headers: what comes before a member and changes how it is read (POSIX.1-2024 pax, "pax Extended Header").

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::sparse;

/// Most bytes of records that one member may have.
const RECORDS: usize = 8 << 20;
/// Most extended attributes of one member: more names than Linux lists (XATTR_LIST_MAX).
const XATTRS: usize = 16384;

/// Values that change how a member is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Extended {
    pub path: Option<OsString>,
    pub link: Option<OsString>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
    pub sparse: sparse::Pax,
    /// Bytes of records taken.
    taken: usize,
}

impl Extended {
    /// Takes the records of a pax header; an error says what is wrong with it.
    pub(super) fn read(&mut self, data: &[u8]) -> Result<(), String> {
        self.taken += data.len();
        if self.taken > RECORDS {
            return Err(format!(
                "makes more than {RECORDS} bytes of them for one member"
            ));
        }
        let mut rest = data;
        while !rest.is_empty() && rest[0] != 0 {
            let Record { key, value, after } = record(rest)?;
            rest = after;
            self.set(key, value)
                .ok_or_else(|| format!("has a bad {:?}", super::shown(key)))?;
        }
        Ok(())
    }

    /// Takes the values of a global header, which are for all members: what concerns only one file has no place in it.
    pub(super) fn read_global(&mut self, data: &[u8]) -> Result<(), String> {
        self.taken = 0;
        self.read(data)?;
        self.xattrs.clear();
        self.sparse = sparse::Pax::default();
        Ok(())
    }

    /// Global values fill in what the member's own headers leave open.
    pub(super) fn fill(&mut self, global: &Self) {
        fn one<T: Clone>(own: &mut Option<T>, global: Option<&T>) {
            if own.is_none() {
                *own = global.cloned();
            }
        }
        one(&mut self.path, global.path.as_ref());
        one(&mut self.link, global.link.as_ref());
        one(&mut self.size, global.size.as_ref());
        one(&mut self.uid, global.uid.as_ref());
        one(&mut self.gid, global.gid.as_ref());
        one(&mut self.mtime, global.mtime.as_ref());
    }

    /// Takes a record; `None` if its value is not of its key's form. Unknown keys mean nothing to a root file system, and an
    /// empty value takes back what was said.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(value).ok();
        let name = || (!value.is_empty()).then(|| OsStr::from_bytes(value).to_owned());
        match key {
            b"path" => self.path = name(),
            b"linkpath" => self.link = name(),
            b"size" | b"uid" | b"gid" | b"mtime" if value.is_empty() => match key {
                b"size" => self.size = None,
                b"uid" => self.uid = None,
                b"gid" => self.gid = None,
                _ => self.mtime = None,
            },
            b"size" => self.size = Some(text()?.parse().ok().and_then(super::header::size)?),
            b"uid" => self.uid = Some(text()?.parse().ok()?),
            b"gid" => self.gid = Some(text()?.parse().ok()?),
            b"mtime" => self.mtime = Some(time(text()?)?),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs
                        .insert(OsString::from_vec(decoded(name)), value.to_vec());
                    if self.xattrs.len() > XATTRS {
                        return None;
                    }
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(name, value)?;
                }
            }
        }
        Some(())
    }
}

/// A record of a pax header, and what comes after it.
struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    after: &'a [u8],
}

/// The first record.
fn record(data: &[u8]) -> Result<Record<'_>, &'static str> {
    let space = data
        .iter()
        .take(12)
        .position(|byte| *byte == b' ')
        .ok_or("has a record without a length")?;
    let length: usize = std::str::from_utf8(&data[..space])
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|length| *length > space + 1 && *length <= data.len())
        .ok_or("has a record of a wrong length")?;
    let record = data[space + 1..length]
        .strip_suffix(b"\n")
        .ok_or("has a record without an end")?;
    let equals = record
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or("has a record without a value")?;
    Ok(Record {
        key: &record[..equals],
        value: &record[equals + 1..],
        after: &data[length..],
    })
}

/// The name of an attribute: GNU tar writes `=` and `%` in it as `%3D` and `%25`.
fn decoded(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"%3D") {
            plain.push(b'=');
            rest = after;
        } else if let Some(after) = rest.strip_prefix(b"%25") {
            plain.push(b'%');
            rest = after;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

/// "1350244992.023960108", also negative.
fn time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = seconds.starts_with('-');
    let seconds: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: u32 = digits.parse().ok()?;
    if negative && nanos > 0 {
        Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos))
    } else {
        Some((seconds, nanos))
    }
}
