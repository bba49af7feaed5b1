//! What is to change on a disk, on its way from the process that sees the tree to the one that changes the disk: a line of JSON for each change, and behind
//! that of a file its content.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use mibe_disk::DiskError;
use mibe_disk::ext4::edit::{Change, Content, Metadata};
use mibe_disk::scratch::SparseFile;
use serde::{Deserialize, Serialize};

use crate::error::BuildError;

/// Longest line: a path, and attributes of 64 KiB each.
const LONGEST: u64 = 64 << 20;

/// Bytes copied at a time.
const PIECE: usize = 256 << 10;

/// Any bytes, as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bytes(#[serde(with = "crate::work::base64_bytes")] pub Vec<u8>);

/// [`Metadata`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Traits {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub xattrs: Vec<(Bytes, Bytes)>,
}

/// A change; paths count from the root, without a slash before them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Frame {
    Remove(Bytes),
    RemoveDirectory(Bytes),
    Directory(Bytes, Traits),
    /// With so many bytes of content behind it.
    File(Bytes, Traits, u64),
    Symlink(Bytes, Bytes, Traits),
    Node(Bytes, char, (u32, u32), Traits),
    /// A file has another name, the second, and so many then.
    Link(Bytes, Bytes, u32),
    /// With the names of attributes that go; the mode has the kind of the file.
    Metadata(Bytes, Traits, Vec<Bytes>),
    /// There are no more.
    End,
}

/// Writes a frame.
pub(super) fn write(out: &mut dyn Write, frame: &Frame) -> io::Result<()> {
    serde_json::to_writer(&mut *out, frame)?;
    out.write_all(b"\n")
}

/// The changes of all frames, in an order in which they can be made: what goes before what comes, and directories at last, since their times change with
/// what is in them. Contents go into files of `folder`. `None`: they end before their end, and whoever writes them knows why.
pub(super) fn read(input: impl Read, folder: &Path) -> Result<Option<Vec<Change>>, BuildError> {
    let failed = |error: io::Error| BuildError::io("read the changes of", folder)(error);
    let mut input = io::BufReader::with_capacity(PIECE, input);
    let (mut gone, mut come, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = (&mut input)
            .take(LONGEST)
            .read_until(b'\n', &mut line)
            .map_err(failed)?;
        if count == 0 || line.last() != Some(&b'\n') {
            return Ok(None);
        }
        let frame = serde_json::from_slice(&line).map_err(|error| failed(error.into()))?;
        match frame {
            Frame::Remove(path) => gone.push(Change::Remove(path.0)),
            Frame::RemoveDirectory(path) => gone.push(Change::RemoveDirectory(path.0)),
            Frame::Directory(path, traits) => come.push(Change::Directory(path.0, traits.into())),
            Frame::File(path, traits, size) => {
                let file = folder.join(format!("new-{}", come.len()));
                if !content(&mut input, size, &file)? {
                    return Ok(None);
                }
                come.push(Change::File(path.0, Content::File(file), traits.into()));
            }
            Frame::Symlink(path, target, traits) => {
                come.push(Change::Symlink(path.0, target.0, traits.into()));
            }
            Frame::Node(path, kind, device, traits) => {
                come.push(Change::Node(path.0, kind, device, traits.into()));
            }
            Frame::Link(of, path, links) => come.push(Change::Link(of.0, path.0, links)),
            Frame::Metadata(path, traits, removed) => {
                let removed = removed.into_iter().map(|name| name.0).collect();
                seen.push(Change::Metadata(path.0, traits.into(), removed));
            }
            Frame::End => break,
        }
    }
    gone.append(&mut come);
    gone.append(&mut seen);
    Ok(Some(gone))
}

/// Takes a content out of the input, into a file whose zeroes are holes; whether it was whole.
fn content(input: &mut impl Read, size: u64, path: &Path) -> Result<bool, BuildError> {
    let mut file = SparseFile::create(path)?;
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let piece = &mut buffer[..(size - at).min(PIECE as u64) as usize];
        match input.read_exact(piece) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read.map_err(DiskError::io("read the content of", path))?,
        }
        file.write(at, piece)?;
        at += piece.len() as u64;
    }
    file.finish(size)?;
    Ok(true)
}

impl From<Traits> for Metadata {
    fn from(traits: Traits) -> Self {
        Self {
            mode: traits.mode,
            uid: traits.uid,
            gid: traits.gid,
            mtime: traits.mtime,
            xattrs: traits
                .xattrs
                .into_iter()
                .map(|(name, value)| (name.0, value.0))
                .collect(),
        }
    }
}
