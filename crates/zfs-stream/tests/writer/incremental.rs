//! Incremental streams, received by real OpenZFS on top of their base: the tree that comes out must be the tree captured.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;
use zfs_stream::read::{Filesystem, NoContents, Snapshot};
use zfs_stream::{
    BaseSnapshot, IncrementalSummary, Kind, StreamOptions, flatten, write_incremental,
};

use crate::properties;
use crate::support::{Content, MemTree, options, receive, stream_of};

fn incremental(
    base: &[&[u8]],
    directory: &[u8],
    tree: &mut MemTree,
) -> (Vec<u8>, IncrementalSummary) {
    let mut first = Snapshot::open(base.iter().copied()).unwrap();
    let files = Filesystem::read(&mut first, &mut NoContents).unwrap();
    let mut stream = Vec::new();
    let options = StreamOptions {
        to_guid: 0xfeed_f00d + base.len() as u64,
        ..options()
    };
    let base = BaseSnapshot {
        files: &files,
        snapshot: Snapshot::open(base.iter().copied()).unwrap(),
        directory,
        foreign: &|_| false,
    };
    let summary = write_incremental(base, tree, &mut stream, &options, &mut |_| {}).unwrap();
    assert_eq!(summary.stream_bytes, stream.len() as u64);
    (stream, summary)
}

/// Writes the change from one tree to the next and the next, and has all received, and what is flattened of them.
fn chain(trees: &mut [MemTree]) -> Vec<IncrementalSummary> {
    let mut streams = vec![stream_of(&mut trees[0])];
    let mut summaries = Vec::new();
    for tree in &mut trees[1..] {
        let base: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
        let (stream, summary) = incremental(&base, b"", tree);
        streams.push(stream);
        summaries.push(summary);
    }
    let all = streams.iter().map(Vec::as_slice);
    let mut flat = Vec::new();
    let flattened = flatten(Snapshot::open(all).unwrap(), &mut flat, &mut |_| {}).unwrap();
    assert_eq!(flattened.stream_bytes, flat.len() as u64);
    streams.push(flat);
    let received = receive(&streams);
    for (tree, filesystem) in trees.iter().zip(&received) {
        filesystem.expect_but_hidden(&tree.listing());
    }
    let last = trees.last().unwrap().listing();
    received.last().unwrap().expect_but_hidden(&last);
    summaries
}

pub fn some_tree() -> MemTree {
    let mut tree = MemTree::new();
    tree.dir("etc");
    tree.file(
        "etc/hosts",
        Content::dense(b"127.0.0.1 localhost\n".to_vec()),
    );
    tree.file("etc/passwd", Content::dense(vec![b'p'; 3000]));
    tree.dir("usr");
    tree.file(
        "usr/large",
        Content::dense((0..1_000_000_u32).map(|n| (n / 7) as u8 | 1).collect()),
    );
    tree.file(
        "usr/holes",
        Content::sparse(2 << 20, vec![(0, vec![1; 10]), (1 << 20, vec![2; 4000])]),
    );
    tree.symlink("usr/link", "large");
    tree.symlink("usr/long", vec![b'l'; 900]);
    tree.link("usr/hard", "etc/hosts");
    tree.xattr("etc/passwd", b"user.a", b"value");
    tree
}

#[test]
fn nothing_changed() {
    let tree = some_tree();
    let summaries = chain(&mut [tree.clone(), tree]);
    assert_eq!(
        (summaries[0].changed, summaries[0].new, summaries[0].removed),
        (0, 0, 0)
    );
    assert_eq!(summaries[0].stream_bytes, 2 * 312);
}

#[test]
fn only_changed_blocks_travel() {
    let base = some_tree();
    let mut tree = base.clone();
    tree.edit("usr/large", |node| {
        let mut bytes = node.content.bytes();
        bytes[300_000] ^= 0xff;
        node.content = Rc::new(Content::dense(bytes));
    });
    let summaries = chain(&mut [base, tree]);
    assert_eq!(summaries[0].written, 128 << 10);
    assert_eq!(summaries[0].changed, 1);
}

#[test]
fn files_change_in_every_way() {
    let mut trees = vec![some_tree()];
    let mut change = |edit: &dyn Fn(&mut MemTree)| {
        let mut tree = trees.last().unwrap().clone();
        edit(&mut tree);
        trees.push(tree);
    };
    let set = |bytes: Vec<u8>| {
        let content = Rc::new(Content::dense(bytes));
        move |node: &mut crate::support::memory::Node| {
            node.content = Rc::clone(&content);
            node.metadata.size = content.size;
            node.metadata.sparse = false;
        }
    };
    // From one block to more, to another one, to none, and back; holes punched and filled.
    change(&|tree| tree.edit("etc/passwd", set(vec![b'q'; 200_000])));
    change(&|tree| tree.edit("etc/passwd", set(vec![b'q'; 100_000])));
    change(&|tree| tree.edit("etc/passwd", set(vec![b'r'; 400_000])));
    change(&|tree| tree.edit("etc/passwd", set(Vec::new())));
    change(&|tree| tree.edit("etc/passwd", set(vec![b's'; 70_000])));
    change(&|tree| {
        tree.edit("usr/large", |node| {
            let mut bytes = node.content.bytes();
            bytes[200_000..600_000].fill(0);
            node.content = Rc::new(Content::dense(bytes));
        });
    });
    change(&|tree| {
        tree.edit(
            "usr/holes",
            set((0..2 << 20).map(|n| (n % 251) as u8).collect()),
        );
    });
    change(&|tree| {
        tree.edit("usr/holes", |node| {
            node.content = Rc::new(Content::sparse(3 << 20, vec![(2_900_000, vec![9; 5])]));
            node.metadata.size = 3 << 20;
            node.metadata.sparse = true;
        });
    });
    // Kinds, links and metadata.
    change(&|tree| {
        tree.remove("etc/hosts");
        tree.dir("etc/hosts");
        tree.file("etc/hosts/x", Content::dense(b"x".to_vec()));
    });
    change(&|tree| {
        tree.remove("etc/hosts");
        tree.link("etc/hosts", "usr/large");
    });
    change(&|tree| tree.rename("usr", "opt"));
    change(&|tree| {
        tree.node("opt/link").target = vec![b'm'; 2000];
        tree.node("opt/long").target = b"short".to_vec();
        tree.edit("etc/passwd", |node| {
            node.metadata.mode = 0o4751;
            node.metadata.uid = 77;
            node.xattrs = vec![(b"user.b".to_vec(), vec![7; 70_000])];
        });
    });
    change(&|tree| {
        tree.edit("etc/passwd", |node| node.xattrs.clear());
        tree.dir("many");
        for number in 0..10_000 {
            tree.file(format!("many/file number {number}"), Content::default());
        }
    });
    change(&|tree| {
        for number in 0..9_990 {
            tree.remove(format!("many/file number {number}"));
        }
    });
    chain(&mut trees);
}

/// A tree takes the place of one directory; what is beside it stays.
#[test]
fn directories_of_a_base() {
    let mut base = MemTree::new();
    base.dir("cores").metadata.mode = 0o1777;
    base.file("beside", Content::dense(b"stays".to_vec()));
    base.dir("root");
    base.file("root/goes", Content::dense(b"goes".to_vec()));
    base.file("root/stays", Content::dense(b"stays".to_vec()));
    let mut tree = MemTree::new();
    tree.file("stays", Content::dense(b"stays".to_vec()));
    tree.file("new", Content::dense(b"new".to_vec()));
    let full = stream_of(&mut base);
    let (stream, summary) = incremental(&[&full], b"root", &mut tree);
    assert_eq!((summary.new, summary.removed, summary.changed), (1, 1, 1));
    base.remove("root/goes");
    base.file("root/new", Content::dense(b"new".to_vec()));
    let received = receive(&[full, stream]);
    received[1].expect(&base.listing());
}

#[derive(Debug, Clone)]
enum Edit {
    Remove,
    Rename(prop::sample::Index, Vec<u8>),
    Content(Content),
    Byte(prop::sample::Index),
    Truncate(prop::sample::Index),
    Chmod(u32),
    Chown(u32, u32),
    Touch(i64, u32),
    Target(Vec<u8>),
    Xattr(Vec<u8>, Vec<u8>),
    Link(prop::sample::Index, Vec<u8>),
    Replace(bool),
    File(Vec<u8>, Content),
    Crowd(u16),
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => Just(Edit::Remove),
        3 => (index(), properties::name(40)).prop_map(|(to, name)| Edit::Rename(to, name)),
        3 => properties::content().prop_map(Edit::Content),
        3 => index().prop_map(Edit::Byte),
        2 => index().prop_map(Edit::Truncate),
        2 => (0..0o10000_u32).prop_map(Edit::Chmod),
        1 => any::<(u32, u32)>().prop_map(|(uid, gid)| Edit::Chown(uid, gid)),
        1 => (-9_000_000_000..9_000_000_000_i64, 0..1_000_000_000_u32).prop_map(|(s, n)| Edit::Touch(s, n)),
        2 => vec(1..=255_u8, 1..600).prop_map(Edit::Target),
        2 => (properties::name(60), vec(any::<u8>(), 0..3000)).prop_map(|(name, value)| Edit::Xattr(name, value)),
        2 => (index(), properties::name(4)).prop_map(|(to, name)| Edit::Link(to, name)),
        2 => any::<bool>().prop_map(Edit::Replace),
        2 => (properties::name(60), properties::content()).prop_map(|(name, content)| Edit::File(name, content)),
        1 => (1..3000_u16).prop_map(Edit::Crowd),
    ]
}

/// Carries an edit out at some path, if it makes sense there.
fn apply(tree: &mut MemTree, at: prop::sample::Index, edit: &Edit) {
    use std::os::unix::ffi::OsStrExt as _;
    let name = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let paths = tree.paths();
    let path = at.get(&paths).clone();
    let is_root = path == Path::new("");
    let kind = tree.node(&path).metadata.kind;
    let directories: Vec<PathBuf> = paths
        .iter()
        .filter(|path| tree.kind(path) == Kind::Directory)
        .cloned()
        .collect();
    let resize = |node: &mut crate::support::memory::Node, content: Content| {
        node.metadata.size = content.size;
        node.metadata.sparse = content.mapped;
        node.content = Rc::new(content);
    };
    match edit {
        Edit::Remove if !is_root => tree.remove(&path),
        Edit::Rename(to, new) if !is_root => {
            let to = to.get(&directories);
            let new = to.join(name(new));
            if !to.starts_with(&path) && !tree.contains(&new) {
                tree.rename(&path, &new);
            }
        }
        Edit::Content(content) if kind == Kind::File => {
            tree.edit(&path, |node| resize(node, content.clone()));
        }
        Edit::Byte(at) if kind == Kind::File && tree.node(&path).metadata.size > 0 => {
            tree.edit(&path, |node| {
                let mut bytes = node.content.bytes();
                *at.get_mut(&mut bytes) ^= 0x55;
                resize(node, Content::dense(bytes));
            });
        }
        Edit::Truncate(at) if kind == Kind::File && tree.node(&path).metadata.size > 0 => {
            tree.edit(&path, |node| {
                let mut bytes = node.content.bytes();
                bytes.truncate(at.index(bytes.len()));
                resize(node, Content::dense(bytes));
            });
        }
        Edit::Chmod(mode) => tree.edit(&path, |node| node.metadata.mode = *mode),
        Edit::Chown(uid, gid) => {
            tree.edit(&path, |node| {
                (node.metadata.uid, node.metadata.gid) = (*uid, *gid);
            });
        }
        Edit::Touch(seconds, nanoseconds) => {
            tree.edit(&path, |node| node.metadata.mtime = (*seconds, *nanoseconds));
        }
        Edit::Target(target) if kind == Kind::Symlink => {
            tree.edit(&path, |node| node.target.clone_from(target));
        }
        Edit::Xattr(name, value) if kind != Kind::Socket => tree.edit(&path, |node| {
            node.xattrs.retain(|(other, _)| other != name);
            node.xattrs.push((name.clone(), value.clone()));
            node.metadata.has_xattrs = true;
        }),
        Edit::Link(to, new) if !matches!(kind, Kind::Directory | Kind::Socket) => {
            let new = to.get(&directories).join(name(new));
            if !tree.contains(&new) {
                tree.link(&new, &path);
            }
        }
        Edit::Replace(by_file) if !is_root => {
            tree.remove(&path);
            if *by_file {
                tree.file(&path, Content::dense(b"in its place".to_vec()));
            } else {
                tree.dir(&path);
                tree.symlink(path.join("inside"), "elsewhere");
            }
        }
        Edit::File(new, content) if kind == Kind::Directory => {
            let path = path.join(name(new));
            if !tree.contains(&path) {
                tree.file(&path, content.clone());
            }
        }
        Edit::Crowd(count) if kind == Kind::Directory => {
            for number in 0..*count {
                let path = path.join(format!("crowd {number}"));
                if !tree.contains(&path) {
                    tree.file(&path, Content::default());
                }
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20,
        max_shrink_iters: 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_edits(
        base in properties::tree(),
        rounds in vec(vec((any::<prop::sample::Index>(), edit()), 0..25), 1..4),
    ) {
        let mut trees = vec![base];
        for edits in rounds {
            let mut tree = trees[trees.len() - 1].clone();
            for (at, edit) in &edits {
                apply(&mut tree, *at, edit);
            }
            trees.push(tree);
        }
        chain(&mut trees);
    }
}
