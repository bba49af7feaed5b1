//! Writes a tree as a tar archive: ustar headers with pax records where ustar can't say it, members in the order of their names,
//! so that equal trees make equal archives.

use std::collections::HashMap;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mibe_sandbox::{Kind, Metadata, Root};

use super::ArchiveError;

const BLOCK: u64 = 512;
/// What the octal fields of ustar hold at most.
const USTAR_ID: u32 = 0o7_777_777;
const USTAR_SIZE: u64 = 0o77_777_777_777;

/// Writes `root` to `out`, no time later than `latest` (seconds since 1970); returns how many members. Sockets are left out.
///
/// # Errors
///
/// A file could not be read, changed while it was read, or `out` could not be written.
pub fn pack(root: &Root, out: impl Write, latest: i64) -> Result<u64, ArchiveError> {
    let mut packer = Packer {
        root,
        out,
        latest,
        links: HashMap::new(),
        count: 0,
    };
    let top = root
        .metadata(Path::new(""))
        .map_err(|source| failed(Path::new(""), source))?;
    packer.member(Path::new(""), &top)?;
    packer.directory(Path::new(""))?;
    packer
        .out
        .write_all(&[0; 2 * BLOCK as usize])
        .and_then(|()| packer.out.flush())
        .map_err(write_failed)?;
    Ok(packer.count)
}

fn failed(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Io {
        action: "read",
        path: format!("/{}", path.display()),
        source,
    }
}

fn write_failed(source: io::Error) -> ArchiveError {
    ArchiveError::Io {
        action: "write",
        path: "the archive".to_owned(),
        source,
    }
}

struct Packer<'a, W> {
    root: &'a Root,
    out: W,
    latest: i64,
    /// First names of files with several, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    count: u64,
}

impl<W: Write> Packer<'_, W> {
    fn directory(&mut self, path: &Path) -> Result<(), ArchiveError> {
        let entries = self
            .root
            .read_dir(path)
            .map_err(|source| failed(path, source))?;
        for entry in entries {
            let path = path.join(&entry.name);
            self.member(&path, &entry.metadata)?;
            if entry.metadata.kind == Kind::Dir {
                self.directory(&path)?;
            }
        }
        Ok(())
    }

    fn member(&mut self, path: &Path, metadata: &Metadata) -> Result<(), ArchiveError> {
        if metadata.kind == Kind::Socket {
            return Ok(());
        }
        self.count += 1;
        let mut name = b"./".to_vec();
        name.extend_from_slice(path.as_os_str().as_bytes());
        if metadata.kind == Kind::Dir && name.last() != Some(&b'/') {
            name.push(b'/');
        }
        let mut link = Vec::new();
        let mut kind = entry_type(metadata.kind);
        if metadata.kind != Kind::Dir && metadata.nlink > 1 {
            match self.links.entry((metadata.dev, metadata.ino)) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    kind = tar::EntryType::Link;
                    link.extend_from_slice(b"./");
                    link.extend_from_slice(first.get().as_os_str().as_bytes());
                }
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(path.to_owned());
                }
            }
        }
        if kind == tar::EntryType::Symlink {
            let target = self
                .root
                .read_link(path)
                .map_err(|source| failed(path, source))?;
            link = target.into_os_string().as_bytes().to_vec();
        }
        let size = if kind == tar::EntryType::Regular {
            metadata.size
        } else {
            0
        };
        self.header(path, metadata, kind, size, &name, &link)?;
        if kind == tar::EntryType::Regular {
            self.content(path, size)?;
        }
        Ok(())
    }

    fn header(
        &mut self,
        path: &Path,
        metadata: &Metadata,
        kind: tar::EntryType,
        size: u64,
        name: &[u8],
        link: &[u8],
    ) -> Result<(), ArchiveError> {
        let mut records = Vec::new();
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(metadata.mode);
        field(
            &mut header.as_mut_bytes()[..100],
            name,
            "path",
            &mut records,
        );
        field(
            &mut header.as_mut_bytes()[157..257],
            link,
            "linkpath",
            &mut records,
        );
        for (key, id) in [("uid", metadata.uid), ("gid", metadata.gid)] {
            if id > USTAR_ID {
                record(&mut records, key.as_bytes(), id.to_string().as_bytes());
            }
        }
        header.set_uid(metadata.uid.min(USTAR_ID).into());
        header.set_gid(metadata.gid.min(USTAR_ID).into());
        if size > USTAR_SIZE {
            record(&mut records, b"size", size.to_string().as_bytes());
        }
        header.set_size(size.min(USTAR_SIZE));
        let (seconds, nanos) = if metadata.mtime.0 >= self.latest {
            (self.latest, 0)
        } else {
            metadata.mtime
        };
        if nanos != 0 || seconds < 0 {
            record(&mut records, b"mtime", time(seconds, nanos).as_bytes());
        }
        header.set_mtime(seconds.max(0).cast_unsigned());
        if matches!(metadata.kind, Kind::Char | Kind::Block) {
            let numbers = header
                .set_device_major(metadata.rdev.0)
                .and_then(|()| header.set_device_minor(metadata.rdev.1));
            numbers.map_err(|source| failed(path, source))?;
        }
        if matches!(kind, tar::EntryType::Regular | tar::EntryType::Directory) {
            let xattrs = self
                .root
                .xattrs(path)
                .map_err(|source| failed(path, source))?;
            for (name, value) in xattrs {
                record(&mut records, &xattr_key(name.as_bytes()), &value);
            }
        }
        header.set_cksum();
        if !records.is_empty() {
            let mut extension = tar::Header::new_ustar();
            extension.set_entry_type(tar::EntryType::XHeader);
            extension.as_mut_bytes()[..9].copy_from_slice(b"PaxHeader");
            extension.set_mode(0o644);
            extension.set_uid(0);
            extension.set_gid(0);
            extension.set_mtime(0);
            extension.set_size(records.len() as u64);
            extension.set_cksum();
            self.put(extension.as_bytes())?;
            self.put(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.put(header.as_bytes())
    }

    fn content(&mut self, path: &Path, size: u64) -> Result<(), ArchiveError> {
        let mut file = self
            .root
            .open(path)
            .map_err(|source| failed(path, source))?;
        let mut buffer = vec![0; 1 << 17];
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left.min(buffer.len() as u64)).unwrap_or(buffer.len());
            let count = file
                .read(&mut buffer[..want])
                .map_err(|source| failed(path, source))?;
            if count == 0 {
                let source = io::Error::other("it became shorter while it was read");
                return Err(failed(path, source));
            }
            self.put(&buffer[..count])?;
            left -= count as u64;
        }
        self.pad(size)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.out.write_all(bytes).map_err(write_failed)
    }

    fn pad(&mut self, size: u64) -> Result<(), ArchiveError> {
        let padding = size.wrapping_neg() % BLOCK;
        self.put(&[0; BLOCK as usize][..padding as usize])
    }
}

fn entry_type(kind: Kind) -> tar::EntryType {
    match kind {
        Kind::Dir => tar::EntryType::Directory,
        Kind::Symlink => tar::EntryType::Symlink,
        Kind::Char => tar::EntryType::Char,
        Kind::Block => tar::EntryType::Block,
        Kind::Fifo => tar::EntryType::Fifo,
        // Sockets were left out before.
        Kind::File | Kind::Socket => tar::EntryType::Regular,
    }
}

/// Puts a value into a field of a header, or into a record where it does not fit.
fn field(field: &mut [u8], value: &[u8], key: &str, records: &mut Vec<u8>) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
    if value.len() > field.len() {
        // Else a pax reader may take it for UTF-8, and change or refuse it.
        if std::str::from_utf8(value).is_err() {
            record(records, b"hdrcharset", b"BINARY");
        }
        record(records, key.as_bytes(), value);
    }
}

/// A pax record: its own length, a space, key, equals sign, value, line end.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The key of an attribute; `=` and `%` in its name are written as GNU tar does it.
fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            _ => key.push(*byte),
        }
    }
    key
}

/// A time as pax has it; a fraction before 1970 counts towards zero.
fn time(seconds: i64, nanos: u32) -> String {
    let text = if seconds < 0 && nanos > 0 {
        let whole = seconds + 1;
        let sign = if whole == 0 { "-" } else { "" };
        format!("{sign}{whole}.{:09}", 1_000_000_000 - nanos)
    } else {
        format!("{seconds}.{nanos:09}")
    };
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        _ => text.trim_end_matches('0').to_owned(),
    }
}
