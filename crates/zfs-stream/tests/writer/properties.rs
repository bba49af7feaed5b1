//! Trees that nobody would think of.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use zfs_stream::{Device, Kind};

use crate::support::{Content, MemTree, round_trip};

/// What an entry is, before it has a place.
#[derive(Debug, Clone)]
enum What {
    Dir,
    File(Content),
    Symlink(Vec<u8>),
    Device(Kind, u32, u32),
    Plain(Kind),
    /// Link to one of the entries before.
    Link(prop::sample::Index),
    /// As many empty files.
    Crowd(u16),
}

#[derive(Debug, Clone)]
struct Entry {
    parent: prop::sample::Index,
    name: Vec<u8>,
    what: What,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

pub fn name(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => b'a'..=b'c', 1 => 1_u8..=255];
    vec(byte, 1..=longest).prop_map(|mut name| {
        for byte in &mut name {
            if *byte == b'/' {
                *byte = b'.';
            }
        }
        if name == b"." || name == b".." {
            name = b"...".to_vec();
        }
        name
    })
}

pub fn content() -> impl Strategy<Value = Content> {
    let block = 128_u64 << 10;
    let near = move |blocks: u64, off: i64| (blocks * block).saturating_add_signed(off);
    let size = prop_oneof![
        0..2000_u64,
        (0..4_u64, -2..3_i64).prop_map(move |(blocks, off)| near(blocks, off)),
        0..600_000_u64,
    ];
    let parts = vec(
        (any::<prop::sample::Index>(), 1..150_000_usize, 1..=255_u8),
        0..4,
    );
    (size, parts, any::<bool>()).prop_map(|(size, parts, mapped)| {
        let mut data = Vec::new();
        let mut end = 0;
        let mut starts: Vec<_> = parts
            .into_iter()
            .filter(|_| size > 0)
            .map(|(start, length, byte)| (start.index(size as usize) as u64, length, byte))
            .collect();
        starts.sort_unstable();
        for (start, length, byte) in starts {
            let start = start.max(end);
            let length = length.min((size - start) as usize);
            if length > 0 {
                data.push((start, vec![byte; length]));
                end = start + length as u64 + 1;
            }
            if end >= size {
                break;
            }
        }
        Content { size, data, mapped }
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![Just(Kind::CharDevice), Just(Kind::BlockDevice)];
    let what = prop_oneof![
        6 => Just(What::Dir),
        6 => content().prop_map(What::File),
        3 => vec(1..=255_u8, 1..400).prop_map(What::Symlink),
        1 => vec(1..=255_u8, 4000..=4095).prop_map(What::Symlink),
        1 => (kind, any::<u32>(), any::<u32>()).prop_map(|(k, a, i)| What::Device(k, a, i)),
        1 => prop_oneof![Just(Kind::Fifo), Just(Kind::Socket)].prop_map(What::Plain),
        4 => any::<prop::sample::Index>().prop_map(What::Link),
        1 => (1..3000_u16).prop_map(What::Crowd),
    ];
    let name = prop_oneof![8 => name(4), 1 => name(60), 1 => vec(b'n'..=b'o', 255..=255)];
    let xattr = (self::name(250), vec(any::<u8>(), 0..3000));
    let xattrs = prop_oneof![6 => Just(Vec::new()), 1 => vec(xattr, 1..6)];
    let mtime = (-10_000_000_000..10_000_000_000_i64, 0..1_000_000_000_u32);
    (
        any::<prop::sample::Index>(),
        name,
        what,
        0..0o10000_u32,
        any::<(u32, u32)>(),
        mtime,
        xattrs,
    )
        .prop_map(|(parent, name, what, mode, owner, mtime, xattrs)| Entry {
            parent,
            name,
            what,
            mode,
            owner,
            mtime,
            xattrs,
        })
}

pub fn tree() -> impl Strategy<Value = MemTree> {
    (vec(entry(), 0..60), any::<bool>(), any::<Option<bool>>()).prop_map(build)
}

fn build((entries, reversed, identities): (Vec<Entry>, bool, Option<bool>)) -> MemTree {
    let mut tree = MemTree::new();
    (tree.reversed, tree.identities) = (reversed, identities);
    let mut directories = vec![PathBuf::new()];
    let mut others: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let directory = entry.parent.get(&directories).clone();
        let path = directory.join(OsStr::from_bytes(&entry.name));
        if tree.contains(&path) {
            continue;
        }
        match entry.what {
            What::Dir => {
                directories.push(path.clone());
                tree.dir(&path);
            }
            What::Link(original) => {
                // Attributes and all of the original.
                if !others.is_empty() {
                    tree.link(&path, original.get(&others));
                    others.push(path);
                }
                continue;
            }
            What::Crowd(count) => {
                tree.dir(&path);
                for number in 0..count {
                    tree.file(path.join(format!("{number}")), Content::default());
                }
            }
            What::File(content) => {
                tree.file(&path, content);
            }
            What::Symlink(target) => {
                tree.symlink(&path, target);
            }
            What::Device(kind, major, minor) => {
                tree.add(&path, kind).metadata.device = Device { major, minor };
            }
            What::Plain(kind) => {
                tree.add(&path, kind);
            }
        }
        let metadata = &mut tree.node(&path).metadata;
        (metadata.uid, metadata.gid) = entry.owner;
        (metadata.mode, metadata.mtime) = (entry.mode, entry.mtime);
        let kind = metadata.kind;
        for (name, value) in entry.xattrs {
            if !tree
                .node(&path)
                .xattrs
                .iter()
                .any(|(other, _)| *other == name)
            {
                tree.xattr(&path, &name, &value);
            }
        }
        if !matches!(kind, Kind::Directory | Kind::Socket) {
            others.push(path);
        }
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_tree(mut trees in vec(tree(), 6..=6)) {
        round_trip(&mut trees);
    }
}
