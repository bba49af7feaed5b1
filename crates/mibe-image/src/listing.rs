//! Files of an image as `mibe image files` tells them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use zfs_stream::Kind;
use zfs_stream::read::{Filesystem, NoContents, Node};

use crate::chain::Chain;
use crate::error::Error;
use crate::file::hex;

/// A file, as one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileEntry {
    /// From the image's root, with `/` at its start; see [`escape`].
    pub path: String,
    /// `file`, `directory`, `symlink`, `block`, `char`, `fifo`, `socket`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Permissions, set-uid, set-gid and sticky bits, four octal digits.
    pub mode: String,
    /// Owner. Numbers over 32 bits are of other domains (FUIDs).
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Hard links; of a directory, subdirectories plus two.
    pub nlink: u32,
    /// Bytes; of a directory, entries plus two.
    pub size: u64,
    /// When it was last changed: seconds since 1970, a point, nine digits.
    pub mtime: String,
    /// Target of a symbolic link, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Device number: `MAJOR,MINOR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdev: Option<String>,
    /// Extended attributes: names, escaped, and values in hexadecimal; `null` for values of more than 64 KiB.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, Option<String>>,
    /// SHA-256 of the content, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl FileEntry {
    /// The entry of a file at a path without `/` at its start.
    pub fn new(files: &Filesystem, path: &[u8], node: &Node) -> Self {
        let is_device = matches!(node.kind, Kind::CharDevice | Kind::BlockDevice);
        Self {
            path: format!("/{}", escape(path)),
            kind: kind(node.kind),
            mode: format!("{:04o}", node.mode),
            uid: node.uid,
            gid: node.gid,
            nlink: node.links,
            size: node.size,
            mtime: format!("{}.{:09}", node.mtime, node.mtime_nanoseconds),
            target: (node.kind == Kind::Symlink).then(|| escape(node.target())),
            rdev: is_device.then(|| {
                let device = node.device();
                format!("{},{}", device.major, device.minor)
            }),
            xattrs: files
                .xattrs(node)
                .iter()
                .map(|xattr| (escape(xattr.name), xattr.value.map(hex)))
                .collect(),
            sha256: None,
        }
    }
}

/// Hands over the files of an image, each folder before what is in it, until `take` has had enough and says `false`.
///
/// # Errors
///
/// The image can't be read, or is the disk of a virtual machine.
pub fn list(chain: &Chain, take: &mut dyn FnMut(FileEntry) -> bool) -> Result<(), Error> {
    let files = chain.files(&mut NoContents)?;
    // What ends it early is no error.
    let _ = files.walk(b"", &mut |path, node| {
        if take(FileEntry::new(&files, path, node)) {
            Ok(())
        } else {
            Err(())
        }
    });
    Ok(())
}

/// The word for a type of file.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::BlockDevice => "block",
        Kind::CharDevice => "char",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
    }
}

/// Bytes as text: what is not UTF-8, control characters and backslashes as `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || character == '\\' {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\x{byte:02x}");
                }
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The bytes that [`escape`] made a text of; `None` where a backslash does not begin `\xNN`.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        if *first != b'\\' {
            bytes.push(*first);
            rest = more;
            continue;
        }
        let [b'x', high, low, more @ ..] = more else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
        rest = more;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn odd_names_are_readable() {
        assert_eq!(escape("a b é".as_bytes()), "a b é");
        assert_eq!(escape(b"\xff\n\\x"), "\\xff\\x0a\\x5cx");
        assert_eq!(unescape("\\"), None);
        assert_eq!(unescape("\\xg0"), None);
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unescape(&escape(&name)), Some(name));
        }
    }
}
