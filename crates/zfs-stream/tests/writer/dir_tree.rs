//! A directory of this machine.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use zfs_stream::{DirTree, write_filesystem};

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
