//! A directory of this machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use zfs_stream::{DirTree, Kind, Tree as _, write_filesystem};

use crate::support::{escape, options, receive, sha256, shown, stream_of};

/// What the oracle should print of a directory, by lstat and read.
fn listing(root: &Path) -> BTreeMap<String, String> {
    let mut listing = BTreeMap::new();
    let mut links = BTreeMap::<_, u64>::new();
    let mut pending = vec![Path::new("").to_owned()];
    let mut all = Vec::new();
    while let Some(path) = pending.pop() {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full).unwrap();
        *links.entry(metadata.ino()).or_default() += 1;
        if metadata.is_dir() {
            let entries = fs::read_dir(&full).unwrap();
            pending.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
        }
        all.push((path, full, metadata));
    }
    for (path, full, metadata) in all {
        let (mut nlink, mut size, mut more) = (links[&metadata.ino()], 0, String::new());
        let letter = match metadata.mode() >> 12 {
            0o01 => 'p',
            0o04 => {
                let kinds: Vec<_> = fs::read_dir(&full)
                    .unwrap()
                    .map(|entry| fs::symlink_metadata(entry.unwrap().path()).unwrap())
                    .filter(|entry| entry.mode() >> 12 != 0o14)
                    .collect();
                size = kinds.len() as u64 + 2;
                nlink = kinds.iter().filter(|kind| kind.is_dir()).count() as u64 + 2;
                'd'
            }
            0o10 => {
                size = metadata.size();
                more = format!(" sha256={}", sha256(&fs::read(&full).unwrap()));
                'f'
            }
            0o12 => {
                use std::os::unix::ffi::OsStrExt as _;
                let target = fs::read_link(&full).unwrap();
                size = metadata.size();
                more = format!(" target={}", escape(target.as_os_str().as_bytes()));
                'l'
            }
            _ => continue,
        };
        let shown = shown(&path);
        let line = format!(
            "{letter} {shown} mode={:04o} uid={} gid={} nlink={nlink} size={size} mtime={}.{:09}{more}",
            metadata.mode() & 0o7777,
            metadata.uid(),
            metadata.gid(),
            metadata.mtime() as u64,
            metadata.mtime_nsec(),
        );
        listing.insert(shown, line);
    }
    listing
}

#[test]
fn everything_an_ordinary_user_can_make() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/file"), b"hello").unwrap();
    fs::write(root.join("a/empty"), b"").unwrap();
    fs::write(root.join("a/large"), vec![5; 400_000]).unwrap();
    fs::hard_link(root.join("a/file"), root.join("a/b/link")).unwrap();
    fs::hard_link(root.join("a/file"), root.join("0")).unwrap();
    let outside = tempfile::tempdir_in(root.parent().unwrap()).unwrap();
    fs::hard_link(root.join("a/large"), outside.path().join("large")).unwrap();
    symlink("a/file", root.join("to-file")).unwrap();
    symlink("t".repeat(1000), root.join("long")).unwrap();
    fs::set_permissions(root.join("a/empty"), Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(root.join("a/b"), Permissions::from_mode(0o1770)).unwrap();
    let old = std::time::UNIX_EPOCH - std::time::Duration::new(1_000_000_000, 5);
    File::options()
        .write(true)
        .open(root.join("0"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("a/socket")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 33).unwrap();
    sparse.write_all_at(b"middle", (1 << 32) - 3).unwrap();
    // Reading it for the expected digest would take too long.
    let cut = 1 << 24;
    sparse.write_all_at(b"start", 70_000).unwrap();
    let stream = stream_of(&mut DirTree::new(root).unwrap());
    assert!(
        stream.len() < 2_000_000,
        "holes were sent: {}",
        stream.len()
    );
    sparse.set_len(cut).unwrap();

    let mut tree = DirTree::new(root).unwrap();
    let mut stream = Vec::new();
    let summary = write_filesystem(&mut tree, &mut stream, &options(), &mut |_| {}).unwrap();
    assert_eq!(summary.sockets.count, 1);
    assert_eq!(summary.sockets.first, [Path::new("a/socket")]);
    receive(&[stream])[0].expect(&listing(root));
}

#[test]
fn paths_longer_than_the_system_takes() {
    let directory = tempfile::tempdir().unwrap();
    let name = "n".repeat(200);
    // Made from below, by moving what is there into a new directory.
    for depth in 0..100 {
        let (new, old) = (directory.path().join("new"), directory.path().join(&name));
        fs::create_dir(&new).unwrap();
        if depth == 0 {
            fs::write(new.join("file"), b"deep down").unwrap();
        } else {
            fs::rename(&old, new.join(&name)).unwrap();
        }
        fs::rename(new, old).unwrap();
    }
    let stream = stream_of(&mut DirTree::new(directory.path()).unwrap());
    let received = &receive(&[stream])[0];
    let deepest = format!("{}/file", format!("/{name}").repeat(100));
    assert_eq!(received.raw(&deepest, "blksz"), "512");
    // Nothing else could remove it by its path either.
    for _ in 0..100 {
        let (top, below) = (directory.path().join(&name), directory.path().join("below"));
        if top.join(&name).exists() {
            fs::rename(top.join(&name), &below).unwrap();
            fs::remove_dir(&top).unwrap();
            fs::rename(below, top).unwrap();
        }
    }
}

#[test]
fn user_attributes() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"x").unwrap();
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(&file, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("user.small", b"value");
    set("user.large", &[9; 3000]);
    let stream = stream_of(&mut DirTree::new(directory.path()).unwrap());
    let received = &receive(&[stream])[0];
    assert_eq!(received.raw("/file<xattr>/user.large", "blksz"), "3072");
    assert_eq!(received.raw("/file<xattr>/user.small", "blksz"), "512");
}

/// Attributes that need more room than is tried at first, by name and by value, and those of a directory and an
/// empty file.
#[test]
fn attributes_of_all_lengths() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let root = directory.path();
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("file"), b"content").unwrap();
    let lengths = [0, 1, 255, 256, 257, 1000];
    let name = |length: usize| format!("user.{}{length}", "n".repeat(100));
    for path in ["dir", "empty", "file"] {
        for length in lengths {
            let (path, value) = (root.join(path), vec![7; length]);
            rustix::fs::setxattr(&path, name(length), &value, rustix::fs::XattrFlags::empty())
                .unwrap();
        }
    }
    let mut tree = DirTree::new(root).unwrap();
    let expected: Vec<_> = lengths
        .iter()
        .map(|length| (OsString::from(name(*length)), vec![7; *length]))
        .collect();
    let sorted = |mut xattrs: Vec<(OsString, Vec<u8>)>| {
        xattrs.sort_by_key(|(_, value)| value.len());
        xattrs
    };
    for path in ["dir", "empty", "file"].map(Path::new) {
        assert_eq!(sorted(tree.xattrs(path).unwrap()), expected, "{path:?}");
        if path != Path::new("dir") {
            let mut file = tree.open(path).unwrap();
            let xattrs = tree.xattrs_of(&mut file, path).unwrap();
            assert_eq!(sorted(xattrs), expected, "{path:?}");
        }
    }
    let received = &receive(&[stream_of(&mut tree)])[0];
    for path in ["dir", "empty", "file"] {
        let path = format!("/{path}<xattr>/{}", name(1000));
        assert_eq!(received.raw(&path, "blksz"), "1024");
    }
}

#[test]
fn opening_what_was_a_regular_file() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("dir/file"), b"content").unwrap();
    symlink("dir/file", root.join("link")).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    let mut tree = DirTree::new(root).unwrap();
    let (metadata, file) = tree.open_regular(Path::new("dir/file")).unwrap();
    assert_eq!((metadata.kind, metadata.size), (Kind::File, 7));
    let mut content = String::new();
    file.unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "content");
    for (path, kind) in [
        ("dir", Kind::Directory),
        ("link", Kind::Symlink),
        ("fifo", Kind::Fifo),
    ] {
        let (metadata, file) = tree.open_regular(Path::new(path)).unwrap();
        assert_eq!(metadata.kind, kind, "{path}");
        assert!(file.is_none(), "{path}");
    }
    let error = tree.open_regular(Path::new("dir/none")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn paths_stay_in_the_tree() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("a/b")).unwrap();
    fs::create_dir(directory.path().join("tree")).unwrap();
    fs::create_dir_all(directory.path().join("tree/a/b")).unwrap();
    symlink("../a", directory.path().join("tree/out")).unwrap();
    let mut tree = DirTree::new(&directory.path().join("tree")).unwrap();
    for path in ["", "a", "a/b"] {
        assert!(tree.metadata(Path::new(path)).is_ok(), "{path}");
        assert!(tree.read_dir(Path::new(path)).is_ok(), "{path}");
    }
    for path in [
        "..",
        "../a",
        "a/..",
        "a/../a",
        "a/b/../../../a",
        ".",
        "a/.",
        "a//b",
        "/",
        "/etc",
        "/etc/passwd",
        "a/",
    ] {
        for result in [
            tree.metadata(Path::new(path)).map(drop),
            tree.read_dir(Path::new(path)).map(drop),
            tree.xattrs(Path::new(path)).map(drop),
            tree.open_regular(Path::new(path)).map(drop),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }
    for path in ["out/b", "out"] {
        assert!(tree.read_dir(Path::new(path)).is_err(), "{path}");
    }
    assert!(tree.metadata(Path::new("out/b")).is_err());
    assert!(tree.metadata(Path::new("out")).is_ok());
}
