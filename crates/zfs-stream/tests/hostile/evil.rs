//! Streams made by hand to do harm, with right checksums.

use std::fs;

use zfs_stream::{DirTree, StreamOptions, write_filesystem};

use super::targets::{read, records, reseal};

/// A small tree of ours: `/one/inner`, `/two`, `/plain`, `/link`.
fn stream() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("one/inner")).unwrap();
    fs::create_dir(at("two")).unwrap();
    fs::write(at("plain"), b"plain text").unwrap();
    std::os::unix::fs::symlink("plain", at("link")).unwrap();
    let mut out = Vec::new();
    let options = StreamOptions {
        to_name: "evil/tree@final".to_owned(),
        to_guid: 99,
        creation_time: 0,
    };
    let mut tree = DirTree::new(folder.path()).unwrap();
    write_filesystem(&mut tree, &mut out, &options, &mut |_| {}).unwrap();
    out
}

/// Where a directory's entry of this name is: its value of 8 bytes, then at 14 its name.
fn entry(stream: &[u8], name: &str) -> usize {
    let mut padded = name.as_bytes().to_vec();
    padded.push(0);
    let mut found = stream
        .windows(padded.len())
        .enumerate()
        .filter(|(at, window)| *window == padded && at % 8 == 14 % 8);
    let (at, _) = found.next().expect("no such entry");
    at - 14
}

fn error(stream: &mut [u8]) -> String {
    reseal(stream);
    match read(&[stream]) {
        Ok(_) => panic!("that was read"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn bad_names() {
    for (name, evil) in [
        ("one", "a/b"),
        ("two", "..\0"),
        ("two", ".\0\0"),
        ("plain", "../.."),
    ] {
        let mut stream = stream();
        let at = entry(&stream, name) + 14;
        stream[at..at + evil.len()].copy_from_slice(evil.as_bytes());
        let text = error(&mut stream);
        assert!(text.contains("no file can have"), "{evil:?}: {text}");
    }
    let mut stream = stream();
    let at = entry(&stream, "two") + 14;
    stream[at..at + 3].copy_from_slice(b"one");
    assert!(error(&mut stream).contains("the same name"));
}

#[test]
fn entries_that_lead_elsewhere() {
    let plain = stream();
    let value = |name: &str| plain[entry(&plain, name)..][..8].to_vec();
    let with = |name: &str, value: &[u8]| {
        let mut stream = plain.clone();
        let at = entry(&stream, name);
        stream[at..at + 8].copy_from_slice(value);
        error(&mut stream)
    };
    assert!(with("two", &value("one")).contains("in two places"));
    // Its own directory, so that going down would never end.
    assert!(with("inner", &value("one")).contains("in two places"));
    let mut missing = value("two");
    missing[0] = 0xEE;
    assert!(with("two", &missing).contains("which is not there"));
    let mut file = value("two");
    file[7] = 0x80;
    assert!(with("two", &file).contains("another type"));
    // A directory whose entry is the root.
    let mut root = value("two");
    root[0] = 6;
    assert!(with("two", &root).contains("in two places"));
}

#[test]
fn records_out_of_order() {
    let plain = stream();
    let starts = records(&plain);
    let swapped = |one: usize, other: usize| {
        let record = |index: usize| {
            &plain[starts[index]..starts.get(index + 1).copied().unwrap_or(plain.len())]
        };
        let mut all: Vec<usize> = (0..starts.len()).collect();
        all.swap(one, other);
        let mut stream: Vec<u8> = all
            .iter()
            .flat_map(|index| record(*index).to_vec())
            .collect();
        error(&mut stream)
    };
    // An OBJECT after its WRITE, and objects after others.
    assert!(swapped(1, 2).contains("not there") || !swapped(1, 2).is_empty());
    assert!(swapped(3, 7).contains("order") || swapped(3, 7).contains("not there"));
}

#[test]
fn what_follows_the_end() {
    let plain = stream();
    let mut twice = plain.clone();
    twice.extend_from_slice(&plain);
    assert!(
        read(&[&twice])
            .err()
            .unwrap()
            .to_string()
            .contains("something else follows")
    );
    let mut padded = plain.clone();
    padded.extend_from_slice(&[0; 4096]);
    assert!(read(&[&padded]).is_ok());
}

#[test]
fn impossible_sizes() {
    let plain = stream();
    let starts = records(&plain);
    let object = starts
        .iter()
        .copied()
        .find(|at| plain[*at] == 1)
        .expect("an object");
    // Offsets in OBJECT: block size at 16, length of the bonus at 20.
    for (offset, value) in [
        (16, 0_u32),
        (16, u32::MAX),
        (16, 513),
        (20, u32::MAX),
        (20, 1 << 20),
    ] {
        let mut stream = plain.clone();
        stream[object + 8 + offset..][..4].copy_from_slice(&value.to_le_bytes());
        error(&mut stream);
    }
    let write = starts
        .iter()
        .copied()
        .find(|at| plain[*at] == 3)
        .expect("a block");
    for value in [0, u64::MAX, 1 << 40, 12] {
        let mut stream = plain.clone();
        stream[write + 8 + 24..][..8].copy_from_slice(&value.to_le_bytes());
        error(&mut stream);
    }
    // A block so far out that its end has no number.
    let mut stream = plain.clone();
    stream[write + 8 + 16..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(error(&mut stream).contains("beyond"));
}

#[test]
fn what_can_not_be_read_says_why() {
    let plain = stream();
    let with_features = |bit: u64| {
        let mut stream = plain.clone();
        let info = 1 | (4 | bit) << 2;
        stream[16..24].copy_from_slice(&info.to_le_bytes());
        error(&mut stream)
    };
    assert!(with_features(1 << 24).contains("encrypted"));
    assert!(with_features(1 << 20).contains("interrupted"));
    assert!(with_features(1 << 21).contains("redacted"));
    assert!(with_features(1).contains("deduplicated"));
    let mut swapped = plain.clone();
    swapped[8..16].reverse();
    assert!(error(&mut swapped).contains("big-endian"));
    let mut change = plain.clone();
    change[48..56].copy_from_slice(&77_u64.to_le_bytes());
    assert!(error(&mut change).contains("guid 77"));
    reseal(&mut change);
    let text = read(&[&plain, &change]).err().unwrap().to_string();
    assert!(
        text.contains("guid 77") && text.contains("guid 99"),
        "{text}"
    );
    assert!(
        read(&[b"nothing"])
            .err()
            .unwrap()
            .to_string()
            .contains("not a zfs stream")
    );
    assert!(
        read(&[b""])
            .err()
            .unwrap()
            .to_string()
            .contains("not a zfs stream")
    );
}
