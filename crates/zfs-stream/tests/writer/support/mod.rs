//! What the tests of the writer share: a tree in memory, and the oracle (real OpenZFS in user space).

pub mod memory;
pub mod oracle;

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use zfs_stream::{Kind, StreamOptions, Tree, write_filesystem};

pub use memory::{Content, Fault, MemTree};
pub use oracle::{Filesystem, receive};

/// The options most tests use.
pub fn options() -> StreamOptions {
    StreamOptions {
        to_name: "zones/image@final".to_owned(),
        to_guid: 0x0123_4567_89ab_cdef,
        creation_time: 1_700_000_000,
    }
}

/// A tree as a stream.
pub fn stream_of<T: Tree>(tree: &mut T) -> Vec<u8> {
    let mut stream = Vec::new();
    let summary = write_filesystem(tree, &mut stream, &options(), &mut |_| {}).unwrap();
    assert_eq!(summary.stream_bytes, stream.len() as u64);
    stream
}

/// Writes trees, has the real thing receive them, and compares every column of every entry.
pub fn round_trip(trees: &mut [MemTree]) -> Vec<Filesystem> {
    let streams: Vec<_> = trees.iter_mut().map(stream_of).collect();
    let received = receive(&streams);
    assert_eq!(received.len(), trees.len());
    for (tree, filesystem) in trees.iter().zip(&received) {
        filesystem.expect(&tree.listing());
    }
    received
}

/// A name as the oracle prints it.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if matches!(byte, 0..=b' ' | b'\\' | 0x7f..=0xff) {
            write!(text, "\\x{byte:02x}").unwrap();
        } else {
            text.push(char::from(*byte));
        }
    }
    text
}

pub fn sha256(data: &[u8]) -> String {
    Sha256::digest(data)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

pub fn letter(kind: Kind) -> char {
    match kind {
        Kind::File => 'f',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    }
}

/// The path of an entry as the oracle prints it.
pub fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    format!("/{}", escape(path.as_os_str().as_bytes()))
}
