//! Reads tar archives: ustar, GNU and pax (POSIX.1-2024 pax, "ustar Interchange Format"; GNU tar manual, "Tar Internals").

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::ArchiveError;
use super::extended::Extended;
use super::header::{BLOCK, Header};
use super::sparse;

/// Longest extension header that is read into memory: names, link targets, attributes, maps of sparse files.
const EXTENSION: u64 = 4 << 20;

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
            name: super::shown(self.name.as_bytes()),
            offset: self.offset,
            reason: reason.to_string(),
        }
    }
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
        let mut extended = Extended::default();
        let mut announced = None;
        loop {
            self.skip()?;
            let start = self.offset;
            let Some(header) = self.header()? else {
                return match announced {
                    None => Ok(None),
                    Some(offset) => Err(ArchiveError::Damaged {
                        offset,
                        reason: "an extension header without a member".to_owned(),
                    }),
                };
            };
            let size = || {
                header.size().ok_or_else(|| ArchiveError::Damaged {
                    offset: start,
                    reason: "a header with a bad size".to_owned(),
                })
            };
            let damaged = |reason: String| ArchiveError::Damaged {
                offset: start,
                reason: format!("a pax header {reason}"),
            };
            match header.kind() {
                b'L' => extended.path = Some(self.long_name(size()?)?),
                b'K' => extended.link = Some(self.long_name(size()?)?),
                b'x' | b'X' => {
                    let data = self.small(size()?)?;
                    extended.read(&data).map_err(damaged)?;
                }
                b'g' => {
                    let data = self.small(size()?)?;
                    self.global.read_global(&data).map_err(damaged)?;
                    continue;
                }
                // A volume label.
                b'V' => {
                    self.body(size()?);
                    continue;
                }
                _ => {
                    extended.fill(&self.global);
                    return self.member(&header, start, extended).map(Some);
                }
            }
            announced = Some(start);
        }
    }

    /// Reads to the end of the input: only there a decompressor knows whether all that it gave was right.
    ///
    /// # Errors
    ///
    /// The input is damaged after the archive's end.
    pub fn finish(mut self) -> Result<(), ArchiveError> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.offset += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.damaged(error.to_string())),
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
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut bytes = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 && self.offset > 0 => return Ok(None),
                Ok(0) => return Err(self.damaged("it ends where a header should be")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.damaged(error.to_string())),
            }
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let Some(header) = Header::new(&bytes) else {
            return Err(self.damaged(if self.offset == 0 {
                "it is not a tar archive"
            } else {
                "a header has a wrong checksum"
            }));
        };
        self.offset += BLOCK as u64;
        Ok(Some(header))
    }

    /// The body of an extension header, read whole.
    fn small(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > EXTENSION {
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

    fn member(
        &mut self,
        header: &Header,
        start: u64,
        extended: Extended,
    ) -> Result<Member, ArchiveError> {
        let bad = |name: &str| ArchiveError::Damaged {
            offset: start,
            reason: format!("a header with a bad {name}"),
        };
        let name = extended.path.unwrap_or_else(|| header.name());
        let kind = match header.kind() {
            // Old archives mark directories by the name alone.
            b'0' | 0 | b'7' if name.as_bytes().ends_with(b"/") => MemberKind::Directory,
            b'0' | 0 | b'7' | b'S' => MemberKind::File,
            b'1' => MemberKind::HardLink,
            b'2' => MemberKind::Symlink,
            b'3' => MemberKind::Char,
            b'4' => MemberKind::Block,
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            other => {
                return Err(ArchiveError::Member {
                    name: super::shown(name.as_bytes()),
                    offset: start,
                    reason: format!("a member of the unknown type {:?}", char::from(other)),
                });
            }
        };
        // POSIX lets other kinds have a size that says nothing of a body, but for a hard link's in a pax header.
        let size = match kind {
            MemberKind::File => match extended.size {
                Some(size) => size,
                None => header.size().ok_or_else(|| bad("size"))?,
            },
            MemberKind::HardLink => extended.size.unwrap_or(0),
            _ => 0,
        };
        self.body(size);
        let mut member = Member {
            name,
            link: extended.link.unwrap_or_else(|| header.link()),
            kind,
            mode: header.mode().ok_or_else(|| bad("mode"))?,
            uid: match extended.uid {
                Some(uid) => uid,
                None => header.uid().ok_or_else(|| bad("uid"))?,
            },
            gid: match extended.gid {
                Some(gid) => gid,
                None => header.gid().ok_or_else(|| bad("gid"))?,
            },
            mtime: match extended.mtime {
                Some(mtime) => mtime,
                None => (header.mtime().ok_or_else(|| bad("time"))?, 0),
            },
            device: (0, 0),
            size,
            xattrs: extended.xattrs.into_iter().collect(),
            offset: start,
            map: None,
        };
        if matches!(kind, MemberKind::Char | MemberKind::Block) {
            member.device = header
                .device()
                .ok_or_else(|| member.error("the device numbers are none"))?;
        }
        self.sparse(header, extended.sparse, &mut member)?;
        Ok(member)
    }

    /// Reads the map of a sparse file, in any of GNU tar's formats.
    fn sparse(
        &mut self,
        header: &Header,
        pax: sparse::Pax,
        member: &mut Member,
    ) -> Result<(), ArchiveError> {
        let stored = member.size;
        let (map, size) = if header.kind() == b'S' {
            if !header.is_gnu() {
                return Err(member.error("a sparse file in an archive that is not GNU's"));
            }
            let Some(size) = header.real_size() else {
                return Err(member.error("a sparse file with a bad size"));
            };
            let mut map = Vec::new();
            let (entries, mut more) = header.sparse();
            sparse::old(entries, &mut map).map_err(|reason| member.error(reason))?;
            while more {
                // 21 entries, and whether there is one more.
                let mut block = [0; BLOCK];
                self.exact(&mut block)?;
                sparse::old(&block[..504], &mut map).map_err(|reason| member.error(reason))?;
                more = block[504] != 0;
            }
            (map, size)
        } else if pax.is_sparse() && member.kind == MemberKind::File {
            if let Some(name) = pax.name() {
                member.name = name;
            }
            let size = pax.real_size();
            let map = pax
                .map(|block: &mut [u8; BLOCK]| {
                    let Some(left) = self.remaining.checked_sub(BLOCK as u64) else {
                        return Err(member.error("a sparse map that is longer than the data"));
                    };
                    self.exact(block)?;
                    self.remaining = left;
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
