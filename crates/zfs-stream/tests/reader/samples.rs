//! Streams of a kernel's `zfs send` against what `find`, `sha256sum`, `stat` and `getfattr` said of the mounted file system.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use zfs_stream::Kind;
use zfs_stream::read::{Filesystem, NoContents, Snapshot, Volume};

use crate::support::{contents, escape, hex, sample, type_letter};

struct Seen {
    filesystem: Filesystem,
    digests: BTreeMap<u64, String>,
}

fn read(streams: &[&str]) -> Seen {
    let streams: Vec<Vec<u8>> = streams
        .iter()
        .map(|name| sample(&format!("{name}.zfs")))
        .collect();
    let all = || streams.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let mut snapshot = Snapshot::open(all()).unwrap();
    let filesystem =
        Filesystem::read(&mut snapshot, &mut NoContents).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(filesystem.findings, Vec::<String>::new());
    let digests = contents(all(), &filesystem).unwrap();
    Seen {
        filesystem,
        digests,
    }
}

/// Compares a sample's listings with what is read.
fn check(streams: &[&str], listing: &str) {
    let seen = read(streams);
    let filesystem = &seen.filesystem;
    let mut found = BTreeMap::new();
    let mut digests = BTreeMap::new();
    let mut devices = BTreeMap::new();
    let mut xattrs = BTreeMap::new();
    filesystem
        .walk::<()>(b"", &mut |path, node| {
            let path = escape(path);
            // The kernel has a number of its own for the root.
            let object = if path.is_empty() { 0 } else { node.object };
            found.insert(
                path.clone(),
                format!(
                    "{} {:o} {} {} {} {} {}.{:09}0 {object} {}",
                    type_letter(node),
                    node.mode,
                    node.uid,
                    node.gid,
                    node.links,
                    node.size,
                    node.mtime,
                    node.mtime_nanoseconds,
                    escape(node.target()),
                ),
            );
            if node.kind == Kind::File {
                digests.insert(path.clone(), seen.digests[&node.object].clone());
            }
            if matches!(node.kind, Kind::CharDevice | Kind::BlockDevice) {
                let device = node.device();
                devices.insert(
                    path.clone(),
                    format!("{:x}:{:x}", device.major, device.minor),
                );
            }
            for xattr in filesystem.xattrs(node) {
                let key = format!("{path} {}", escape(xattr.name));
                xattrs.insert(key, format!("0x{}", hex(xattr.value.unwrap())));
            }
            Ok(())
        })
        .unwrap();
    same("files", &found, &expected_files(listing));
    same("contents", &digests, &expected_digests(listing));
    same("devices", &devices, &expected_devices(listing));
    same("xattrs", &xattrs, &expected_xattrs(listing));
}

fn same(what: &str, found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    for (path, line) in expected {
        assert_eq!(found.get(path), Some(line), "{what} of {path:?}");
    }
    for path in found.keys() {
        assert!(
            expected.contains_key(path),
            "{what} of {path:?} should not be there"
        );
    }
}

fn expected_files(listing: &str) -> BTreeMap<String, String> {
    let list = sample(&format!("{listing}.find0"));
    let mut expected = BTreeMap::new();
    for line in list
        .split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
    {
        let columns: Vec<String> = line.splitn(11, |byte| *byte == b'\t').map(escape).collect();
        let [
            kind,
            path,
            mode,
            uid,
            gid,
            links,
            size,
            mtime,
            object,
            _,
            target,
        ] = &columns[..]
        else {
            panic!("{columns:?}");
        };
        let object = if path.is_empty() { "0" } else { object };
        expected.insert(
            path.clone(),
            format!("{kind} {mode} {uid} {gid} {links} {size} {mtime} {object} {target}"),
        );
    }
    assert!(expected.len() > 20, "the listing is too short to be true");
    expected
}

fn expected_digests(listing: &str) -> BTreeMap<String, String> {
    let list = sample(&format!("{listing}.sha256z"));
    list.split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (digest, path) = line.split_at(64);
            let path = path.strip_prefix(b"  ./").unwrap();
            (escape(path), String::from_utf8(digest.to_vec()).unwrap())
        })
        .collect()
}

fn expected_devices(listing: &str) -> BTreeMap<String, String> {
    String::from_utf8(sample(&format!("{listing}.rdev")))
        .unwrap()
        .lines()
        .map(|line| {
            let (path, device) = line.rsplit_once(' ').unwrap();
            (path.trim_start_matches("./").to_owned(), device.to_owned())
        })
        .collect()
}

fn expected_xattrs(listing: &str) -> BTreeMap<String, String> {
    let mut path = String::new();
    let mut expected = BTreeMap::new();
    for line in String::from_utf8(sample(&format!("{listing}.xattr")))
        .unwrap()
        .lines()
    {
        if let Some(file) = line.strip_prefix("# file: ") {
            file.clone_into(&mut path);
        } else if let Some((name, value)) = line.split_once('=') {
            expected.insert(format!("{path} {name}"), value.to_owned());
        }
    }
    expected
}

#[test]
fn version_5() {
    check(&["v5-full"], "v5-full");
    check(&["v5-full", "v5-incr"], "v5-incr");
}

#[test]
fn small_records() {
    check(&["v5r4k-full"], "v5r4k-full");
    check(&["v5r4k-full", "v5r4k-incr"], "v5r4k-incr");
}

#[test]
fn attributes_in_directories() {
    check(&["v5xd-full"], "v5xd-full");
    check(&["v5xd-full", "v5xd-incr"], "v5xd-incr");
}

#[test]
fn version_3() {
    check(&["v3-full"], "v3-full");
    check(&["v3-full", "v3-incr"], "v3-incr");
}

#[test]
fn clones() {
    check(&["v5-full", "child-incr-on-v5"], "child");
}

#[test]
fn large_blocks() {
    check(&["m1-L-full"], "m1-full");
}

#[test]
fn compound() {
    check(&["v3-p-full"], "v3-full");
}

/// Content of a volume: object 1, as long as object 2 says.
#[test]
fn volumes() {
    for (streams, name) in [
        (&["z8-full"][..], "z8-full"),
        (&["z8-full", "z8-incr"], "z8-incr"),
    ] {
        let streams = streams
            .iter()
            .map(|name| sample(&format!("{name}.zfs")))
            .collect::<Vec<_>>();
        let mut snapshot = Snapshot::open(streams.iter().map(Vec::as_slice)).unwrap();
        let mut disk = vec![0; 48 << 20];
        let volume = Volume::read(&mut snapshot, &mut |offset, bytes| {
            disk[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        assert_eq!((volume.size, volume.block_size), (48 << 20, 8192));
        let expected = String::from_utf8(sample(&format!("{name}.sha256"))).unwrap();
        assert_eq!(hex(&Sha256::digest(&disk)), expected[..64]);
    }
}
