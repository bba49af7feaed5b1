//! Reads tar archives: ustar, GNU and pax (POSIX.1-2024 pax, "ustar Interchange Format"; GNU tar manual, "Tar Internals").

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::ArchiveError;
use super::sparse;

const BLOCK: usize = 512;
/// Longest name, link target or set of extended attributes that is read into memory.
const EXTENDED: u64 = 1 << 20;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file.
    File,
    /// Another name of a member before it.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A member of an archive.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name as the archive has it.
    pub name: OsString,
    /// Target of a link.
    pub link: OsString,
    /// What it is.
    pub kind: MemberKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds after.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Length of a file's content.
    pub size: u64,
    /// Extended attributes by full name.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    /// Bytes before its header.
    pub offset: u64,
    /// Where the stored data belongs in the file, as (offset, length); all of it at 0 if `None`.
    map: Option<Vec<(u64, u64)>>,
}

impl Member {
    /// An error about this member.
    pub fn error(&self, reason: impl std::fmt::Display) -> ArchiveError {
        ArchiveError::Member {
            name: self.name.to_string_lossy().into_owned(),
            offset: self.offset,
            reason: reason.to_string(),
        }
    }
}

/// Values of pax headers that change how a member is read.
#[derive(Clone, Debug, Default)]
struct Extended {
    path: Option<OsString>,
    link: Option<OsString>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(OsString, Vec<u8>)>,
    sparse: sparse::Pax,
}

/// An archive, read from its start to its end.
pub struct TarReader<R> {
    input: R,
    offset: u64,
    /// Bytes of the member at hand that were not read yet, and the padding after them.
    remaining: u64,
    padding: u64,
    global: Extended,
}

impl<R: Read> TarReader<R> {
    /// An archive that starts where `input` is; decompressed already.
    pub fn new(input: R) -> Self {
        Self {
            input,
            offset: 0,
            remaining: 0,
            padding: 0,
            global: Extended::default(),
        }
    }

    /// The next member, or `None` at the end.
    ///
    /// # Errors
    ///
    /// The archive is damaged or cut short, or holds something of an unknown kind.
    pub fn next_member(&mut self) -> Result<Option<Member>, ArchiveError> {
        let mut extended = self.global.clone();
        loop {
            self.skip()?;
            let start = self.offset;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = extended_size(&header, self.offset)?;
            match header.entry_type().as_byte() {
                b'L' => extended.path = Some(self.long_name(size)?),
                b'K' => extended.link = Some(self.long_name(size)?),
                b'x' | b'X' => {
                    let data = self.small(size)?;
                    Self::pax(&data, start, &mut extended)?;
                }
                b'g' => {
                    let data = self.small(size)?;
                    let mut global = std::mem::take(&mut self.global);
                    Self::pax(&data, start, &mut global)?;
                    self.global = global;
                    extended = self.global.clone();
                }
                // A volume label.
                b'V' => self.body(size),
                kind => return self.member(&header, kind, start, extended).map(Some),
            }
        }
    }

    /// Writes the content of the member at hand; holes of a sparse file are left out.
    ///
    /// # Errors
    ///
    /// The archive is cut short, or `out` can't be written.
    pub fn copy_content(
        &mut self,
        member: &Member,
        out: &mut std::fs::File,
    ) -> Result<(), ArchiveError> {
        use std::io::{Seek as _, SeekFrom};
        let whole = [(0, member.size)];
        let map = member.map.as_deref().unwrap_or(&whole);
        let mut buffer = vec![0; 1 << 16];
        for (offset, length) in map {
            if member.map.is_some() {
                out.seek(SeekFrom::Start(*offset))
                    .map_err(|error| member.error(error))?;
            }
            let mut left = *length;
            while left > 0 {
                let want = usize::try_from(left.min(buffer.len() as u64)).unwrap_or(buffer.len());
                self.exact(&mut buffer[..want])?;
                self.remaining = self.remaining.saturating_sub(want as u64);
                out.write_all(&buffer[..want])
                    .map_err(|error| member.error(format!("write: {error}")))?;
                left -= want as u64;
            }
        }
        if member.map.is_some() {
            out.set_len(member.size)
                .map_err(|error| member.error(error))?;
        }
        Ok(())
    }

    fn damaged(&self, reason: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged {
            offset: self.offset,
            reason: reason.into(),
        }
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged("it ends in the middle of a member"))
            }
            Err(error) => Err(self.damaged(error.to_string())),
        }
    }

    /// Goes on to the next header.
    fn skip(&mut self) -> Result<(), ArchiveError> {
        let mut left = self.remaining.saturating_add(self.padding);
        let mut buffer = [0; 8192];
        while left > 0 {
            let want = usize::try_from(left.min(buffer.len() as u64)).unwrap_or(buffer.len());
            self.exact(&mut buffer[..want])?;
            left -= want as u64;
        }
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    fn body(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// A header with the right checksum; `None` at a block of zeroes or the end of the input between members.
    fn header(&mut self) -> Result<Option<tar::Header>, ArchiveError> {
        let mut header = tar::Header::new_old();
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut header.as_mut_bytes()[filled..]) {
                Ok(0) if filled == 0 && self.offset > 0 => return Ok(None),
                Ok(0) => return Err(self.damaged("it ends where a header should be")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.damaged(error.to_string())),
            }
        }
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The checksum field counts as eight spaces.
        let sum: u32 = bytes
            .iter()
            .enumerate()
            .map(|(index, byte)| {
                if (148..156).contains(&index) {
                    u32::from(b' ')
                } else {
                    u32::from(*byte)
                }
            })
            .sum();
        if header.cksum().ok() != Some(sum) {
            return Err(self.damaged(if self.offset == 0 {
                "it is not a tar archive"
            } else {
                "a header has a wrong checksum"
            }));
        }
        self.offset += BLOCK as u64;
        Ok(Some(header))
    }

    /// The body of an extension header, read whole.
    fn small(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > EXTENDED {
            return Err(self.damaged(format!("an extension header of {size} bytes")));
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        self.body(size);
        self.exact(&mut data)?;
        self.remaining = 0;
        Ok(data)
    }

    fn long_name(&mut self, size: u64) -> Result<OsString, ArchiveError> {
        let mut name = self.small(size)?;
        name.truncate(
            name.iter()
                .position(|byte| *byte == 0)
                .unwrap_or(name.len()),
        );
        Ok(OsString::from_vec(name))
    }

    fn pax(data: &[u8], offset: u64, extended: &mut Extended) -> Result<(), ArchiveError> {
        let damaged = |reason: &str| ArchiveError::Damaged {
            offset,
            reason: format!("a pax header {reason}"),
        };
        let mut rest = data;
        while !rest.is_empty() && rest[0] != 0 {
            let space = rest
                .iter()
                .take(12)
                .position(|byte| *byte == b' ')
                .ok_or_else(|| damaged("has a record without a length"))?;
            let length: usize = std::str::from_utf8(&rest[..space])
                .ok()
                .and_then(|text| text.parse().ok())
                .filter(|length| *length > space + 1 && *length <= rest.len())
                .ok_or_else(|| damaged("has a record of a wrong length"))?;
            let record = &rest[space + 1..length];
            rest = &rest[length..];
            let record = record
                .strip_suffix(b"\n")
                .ok_or_else(|| damaged("has a record without an end"))?;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(|| damaged("has a record without a value"))?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            extended
                .set(key, value)
                .ok_or_else(|| damaged(&format!("has a bad {}", String::from_utf8_lossy(key))))?;
        }
        Ok(())
    }

    fn member(
        &mut self,
        header: &tar::Header,
        kind: u8,
        start: u64,
        extended: Extended,
    ) -> Result<Member, ArchiveError> {
        let field = |value: io::Result<u64>, name: &str| {
            value.map_err(|_| ArchiveError::Damaged {
                offset: start,
                reason: format!("a header with a bad {name}"),
            })
        };
        let id = |value: io::Result<u64>, name: &str| {
            field(value, name).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
        };
        let mut size = match extended.size {
            Some(size) => size,
            None => extended_size(header, start)?,
        };
        let name = match &extended.path {
            Some(path) => path.clone(),
            None => OsStr::from_bytes(&header.path_bytes()).to_owned(),
        };
        let directory_name = name.as_bytes().ends_with(b"/");
        let kind = match kind {
            // Old archives mark directories by the name alone.
            b'0' | 0 | b'7' if directory_name => MemberKind::Directory,
            b'0' | 0 | b'7' | b'S' => MemberKind::File,
            b'1' => MemberKind::HardLink,
            b'2' => MemberKind::Symlink,
            b'3' => MemberKind::Char,
            b'4' => MemberKind::Block,
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            other => {
                return Err(ArchiveError::Member {
                    name: name.to_string_lossy().into_owned(),
                    offset: start,
                    reason: format!("a member of the unknown type {:?}", char::from(other)),
                });
            }
        };
        // POSIX lets other kinds have a size that says nothing of a body.
        if kind != MemberKind::File {
            if !matches!(kind, MemberKind::HardLink) {
                size = 0;
            }
            if kind == MemberKind::HardLink && extended.size.is_none() {
                size = 0;
            }
        }
        self.body(size);
        let mut member = Member {
            name,
            link: match &extended.link {
                Some(link) => link.clone(),
                None => header
                    .link_name_bytes()
                    .map(|link| OsStr::from_bytes(&link).to_owned())
                    .unwrap_or_default(),
            },
            kind,
            mode: (field(header.mode().map(u64::from), "mode")? & 0o7777) as u32,
            uid: match extended.uid {
                Some(uid) => uid,
                None => id(header.uid(), "uid")?,
            },
            gid: match extended.gid {
                Some(gid) => gid,
                None => id(header.gid(), "gid")?,
            },
            mtime: match extended.mtime {
                Some(mtime) => mtime,
                None => (field(header.mtime(), "time")?.cast_signed(), 0),
            },
            device: (
                header.device_major().ok().flatten().unwrap_or(0),
                header.device_minor().ok().flatten().unwrap_or(0),
            ),
            size,
            xattrs: extended.xattrs,
            offset: start,
            map: None,
        };
        self.sparse(header, extended.sparse, &mut member)?;
        Ok(member)
    }

    /// Reads the map of a sparse file, in any of GNU tar's formats.
    fn sparse(
        &mut self,
        header: &tar::Header,
        pax: sparse::Pax,
        member: &mut Member,
    ) -> Result<(), ArchiveError> {
        let stored = member.size;
        let (map, size) = if header.entry_type().as_byte() == b'S' {
            let Some(gnu) = header.as_gnu() else {
                return Err(member.error("a sparse file in an archive that is not GNU's"));
            };
            let size = gnu.real_size().map_err(|error| member.error(error))?;
            let mut map = Vec::new();
            sparse::old(&gnu.sparse, &mut map).map_err(|reason| member.error(reason))?;
            let mut more = gnu.is_extended();
            while more {
                let mut block = tar::GnuExtSparseHeader::new();
                self.exact(block.as_mut_bytes())?;
                sparse::old(&block.sparse, &mut map).map_err(|reason| member.error(reason))?;
                more = block.is_extended();
            }
            (map, size)
        } else if pax.is_sparse() && member.kind == MemberKind::File {
            if let Some(name) = pax.name() {
                member.name = name;
            }
            let size = pax.real_size();
            let map = pax
                .map(|block: &mut [u8; BLOCK]| {
                    self.exact(block)?;
                    self.remaining = self.remaining.saturating_sub(BLOCK as u64);
                    Ok(())
                })
                .map_err(|error| match error {
                    sparse::MapError::Archive(error) => error,
                    sparse::MapError::Invalid(reason) => member.error(reason),
                })?;
            let Some(size) = size else {
                return Err(member.error("a sparse file without a size"));
            };
            (map, size)
        } else {
            return Ok(());
        };
        sparse::check(&map, size, self.remaining.min(stored))
            .map_err(|reason| member.error(reason))?;
        member.size = size;
        member.map = Some(map);
        Ok(())
    }
}

fn extended_size(header: &tar::Header, offset: u64) -> Result<u64, ArchiveError> {
    header
        .entry_size()
        .ok()
        .filter(|size| *size < 1 << 62)
        .ok_or_else(|| ArchiveError::Damaged {
            offset,
            reason: "a header with a bad size".to_owned(),
        })
}

impl Extended {
    /// Takes a record; `None` if its value is not of its key's form. Unknown keys mean nothing to a root file system.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(value).ok();
        match key {
            b"path" => self.path = Some(OsStr::from_bytes(value).to_owned()),
            b"linkpath" => self.link = Some(OsStr::from_bytes(value).to_owned()),
            b"size" => self.size = Some(text()?.parse().ok().filter(|size| *size < 1 << 62)?),
            b"uid" => self.uid = Some(text()?.parse().ok()?),
            b"gid" => self.gid = Some(text()?.parse().ok()?),
            b"mtime" => self.mtime = Some(time(text()?)?),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs
                        .push((OsStr::from_bytes(name).to_owned(), value.to_vec()));
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(name, value)?;
                }
            }
        }
        Some(())
    }
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
