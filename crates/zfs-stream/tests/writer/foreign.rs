//! Incremental streams against bases that a kernel's `zfs send` sent.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;

use zfs_stream::read::{Event, Filesystem, NoContents, Snapshot};
use zfs_stream::{BaseSnapshot, Kind, flatten, write_incremental};

use crate::support::{Content, MemTree, options, receive, stream_of};

fn sample(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/samples/{name}.zfs.xz"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    liblzma::read::XzDecoder::new(file)
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

fn open(streams: &[Vec<u8>]) -> Snapshot<&[u8]> {
    Snapshot::open(streams.iter().map(Vec::as_slice)).unwrap()
}

/// The tree that a chain amounts to.
fn tree_of(streams: &[Vec<u8>], files: &Filesystem) -> MemTree {
    let mut contents: BTreeMap<u64, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
    let (mut snapshot, mut at) = (open(streams), 0);
    while let Some(event) = snapshot.next().unwrap() {
        match event {
            Event::Object(dnode) => at = dnode.object,
            Event::Data { offset, bytes } => contents
                .entry(at)
                .or_default()
                .push((offset, bytes.to_vec())),
            Event::Spill(_) => {}
        }
    }
    let mut tree = MemTree::new();
    let mut links = BTreeMap::new();
    files
        .walk::<()>(b"", &mut |path, node| {
            let path = Path::new(OsStr::from_bytes(path)).to_owned();
            if let Some(first) = links.get(&node.object) {
                tree.link(&path, first);
                return Ok(());
            }
            if node.kind == Kind::File {
                let mut bytes = vec![0; node.size as usize];
                for (offset, data) in contents.remove(&node.object).unwrap_or_default() {
                    let start = (offset as usize).min(bytes.len());
                    let end = (start + data.len()).min(bytes.len());
                    bytes[start..end].copy_from_slice(&data[..end - start]);
                }
                tree.file(&path, Content::dense(bytes));
            } else if !path.as_os_str().is_empty() {
                tree.add(&path, node.kind);
            }
            let new = tree.node(&path);
            new.metadata.mode = node.mode.into();
            (new.metadata.uid, new.metadata.gid) = (node.uid as u32, node.gid as u32);
            new.metadata.mtime = (node.mtime, node.mtime_nanoseconds);
            new.metadata.device = node.device();
            new.target = node.target().to_vec();
            for xattr in files.xattrs(node) {
                tree.xattr(&path, xattr.name, xattr.value.unwrap());
            }
            if node.kind != Kind::Directory {
                links.insert(node.object, path);
            }
            Ok(())
        })
        .unwrap();
    tree
}

/// What zrecv lists with Linux' device numbers is compared with what we say in illumos'.
fn without_devices(listing: BTreeMap<String, String>) -> BTreeMap<String, String> {
    listing
        .into_iter()
        .map(|(path, line)| (path, line.split(" rdev=").next().unwrap().to_owned()))
        .collect()
}

fn check(names: &[&str]) {
    let mut streams: Vec<Vec<u8>> = names.iter().map(|name| sample(name)).collect();
    let files = Filesystem::read(&mut open(&streams), &mut NoContents).unwrap();
    let mut tree = tree_of(&streams, &files);

    // Nothing to do is nothing done, whoever wrote the base; sockets are left out.
    let sockets = files
        .nodes()
        .iter()
        .filter(|node| node.kind == Kind::Socket)
        .count() as u64;
    let (_, summary) = write(&streams, &files, &mut tree);
    assert_eq!((summary.new, summary.removed), (0, sockets));
    assert!(summary.changed <= sockets, "{summary:?}");

    for path in tree.paths() {
        if tree.kind(&path) == Kind::Symlink {
            tree.edit(&path, |node| node.target.push(b'x'));
        }
    }
    tree.edit("etc/motd", |node| {
        let mut bytes = node.content.bytes();
        bytes.resize(bytes.len() + 200_000, b'!');
        node.metadata.size = bytes.len() as u64;
        node.metadata.mode = 0o600;
        node.content = Rc::new(Content::dense(bytes));
    });
    tree.xattr("etc", b"user.new", b"new");
    tree.remove("usr/bin");
    tree.file("usr/bin", Content::dense(b"a file now".to_vec()));
    for number in 0..500 {
        tree.file(format!("etc/new {number}"), Content::dense(vec![1; number]));
    }
    let (stream, summary) = write(&streams, &files, &mut tree);
    assert!(
        summary.new >= 500 && summary.changed > 1 && summary.removed > 0,
        "{summary:?}"
    );
    streams.push(stream);
    let mut flat = Vec::new();
    flatten(open(&streams), &mut flat, &mut |_| {}).unwrap();
    streams.push(flat);
    let received = receive(&streams);
    let expected = without_devices(tree.listing());
    for filesystem in &received[received.len() - 2..] {
        filesystem.without_devices().expect_but_hidden(&expected);
    }
}

fn write(
    streams: &[Vec<u8>],
    files: &Filesystem,
    tree: &mut MemTree,
) -> (Vec<u8>, zfs_stream::IncrementalSummary) {
    let mut stream = Vec::new();
    let base = BaseSnapshot {
        files,
        snapshot: open(streams),
        directory: b"",
        foreign: &|_| false,
    };
    let summary = write_incremental(base, tree, &mut stream, &options(), &mut |_| {}).unwrap();
    (stream, summary)
}

#[test]
fn of_attributes_in_directories() {
    check(&["v5xd-full"]);
    check(&["v5xd-full", "v5xd-incr"]);
}

/// What is written, read and written again is the same, byte for byte.
#[test]
fn written_read_and_written_again() {
    let mut tree = crate::incremental::some_tree();
    for number in 0..3000 {
        tree.file(
            format!("etc/file {number}"),
            Content::dense(vec![7; number]),
        );
    }
    let stream = stream_of(&mut tree);
    let streams = [stream];
    let files = Filesystem::read(&mut open(&streams), &mut NoContents).unwrap();
    let again = stream_of(&mut tree_of(&streams, &files));
    assert!(again == streams[0], "another stream comes of it");
}
