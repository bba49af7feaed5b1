//! Reads whole file systems into listings.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use zfs_stream::Kind;
use zfs_stream::read::{Event, Filesystem, Node, ReadError, Snapshot};

fn zeroes(hash: &mut Sha256, mut count: u64) {
    let block = [0; 1 << 12];
    while count > 0 {
        let now = count.min(block.len() as u64);
        hash.update(&block[..now as usize]);
        count -= now;
    }
}

pub fn escape(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            0..=b' ' | b'\\' | 0x7f.. => format!("\\x{byte:02x}"),
            other => char::from(*other).to_string(),
        })
        .collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Digests of the contents of all regular files, by object.
pub fn contents<R: Read>(
    streams: Vec<R>,
    filesystem: &Filesystem,
) -> Result<BTreeMap<u64, String>, ReadError> {
    let mut snapshot = Snapshot::open(streams)?;
    let mut done: BTreeMap<u64, (Sha256, u64)> = filesystem
        .nodes()
        .iter()
        .filter(|node| node.kind == Kind::File)
        .map(|node| (node.object, (Sha256::new(), 0)))
        .collect();
    let mut at = 0;
    while let Some(event) = snapshot.next()? {
        match event {
            Event::Object(dnode) => at = dnode.object,
            Event::Data { offset, bytes } => {
                if let (Some((hash, position)), Some(node)) =
                    (done.get_mut(&at), filesystem.node(at))
                {
                    if offset >= node.size {
                        continue;
                    }
                    zeroes(hash, offset - *position);
                    let count = (bytes.len() as u64).min(node.size - offset);
                    hash.update(&bytes[..count as usize]);
                    *position = offset + count;
                }
            }
            Event::Spill(_) => {}
        }
    }
    Ok(done
        .into_iter()
        .map(|(object, (mut hash, position))| {
            let size = filesystem.node(object).unwrap().size;
            zeroes(&mut hash, size - position);
            (object, hex(&hash.finalize()))
        })
        .collect())
}

pub fn type_letter(node: &Node) -> char {
    match node.kind {
        Kind::File => 'f',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    }
}

/// A file of the samples' folder, unpacked.
pub fn sample(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/samples")
        .join(format!("{name}.xz"));
    let file =
        std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    liblzma::read::XzDecoder::new(file)
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}
