//! Volumes: what real OpenZFS receives hashes to the disk that was written.

use std::io;
use std::ops::Range;

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use zfs_stream::{Disk, StreamOptions, WriteError, write_volume};

use crate::support::oracle;

/// A disk in memory: what its ranges say is data, and what the bytes are.
struct Memory {
    bytes: Vec<u8>,
    ranges: Vec<Range<u64>>,
    reads: u64,
}

impl Disk for Memory {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn next_data(&mut self, from: u64) -> io::Result<Option<Range<u64>>> {
        let ranges = self.ranges.iter();
        Ok(ranges
            .filter(|range| range.end > from)
            .min_by_key(|range| range.start)
            .cloned())
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reads += buffer.len() as u64;
        let start = offset as usize;
        buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
        Ok(())
    }
}

fn options() -> StreamOptions {
    StreamOptions {
        to_name: "mibe/disk@final".into(),
        to_guid: 0x1234_5678_9ABC_DEF1,
        creation_time: 1_700_000_000,
    }
}

/// A disk of `size` bytes with noise at `places`.
fn disk(size: u64, places: &[(u64, u64)]) -> Memory {
    let mut bytes = vec![0; size as usize];
    let mut state = 1_u32;
    for &(start, length) in places {
        for byte in &mut bytes[start as usize..(start + length) as usize] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
    }
    let ranges = places.iter().map(|&(start, length)| start..start + length);
    Memory {
        bytes,
        ranges: ranges.collect(),
        reads: 0,
    }
}

fn stream(disk: &mut Memory, block_size: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let summary = write_volume(disk, block_size, &mut out, &options(), &mut |_| {}).unwrap();
    assert_eq!(summary.stream_bytes, out.len() as u64);
    out
}

/// What real OpenZFS says of a received volume: size, block size, allocated bytes, SHA-256.
fn received(stream: &[u8]) -> (u64, u64, u64, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    std::fs::write(&path, stream).unwrap();
    let output = std::process::Command::new(oracle::tool("zrecv"))
        .arg("-r")
        .arg(&path)
        .output();
    let output = output.expect("the oracle can't be run");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("zvol "));
    let line = line.unwrap_or_else(|| {
        panic!(
            "no volume: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    let column = |name: &str| {
        let found = line
            .split(' ')
            .find_map(|column| column.strip_prefix(name)?.strip_prefix('='));
        found
            .unwrap_or_else(|| panic!("no {name} in {line}"))
            .to_owned()
    };
    (
        column("size").parse().unwrap(),
        column("volblocksize").parse().unwrap(),
        column("alloc512").parse::<u64>().unwrap() * 512,
        column("sha256"),
    )
}

#[test]
fn disks_are_received_as_they_were() {
    let places = [
        (0, 512),
        (40_000, 1),
        (1 << 20, 100_000),
        ((4 << 20) - 512, 512),
    ];
    for block_size in [512, 4096, 8192, 65536, 131_072] {
        let mut disk = disk(4 << 20, &places);
        let stream = stream(&mut disk, block_size);
        let (size, volblocksize, allocated, sha256) = received(&stream);
        assert_eq!((size, volblocksize), (4 << 20, u64::from(block_size)));
        assert_eq!(sha256, hex(&Sha256::digest(&disk.bytes)));
        // What is no data is neither read nor stored.
        assert!(
            disk.reads < 100_000 + 8 * u64::from(block_size),
            "{}",
            disk.reads
        );
        assert!(allocated < 1 << 20, "{allocated}");
        oracle::dump(&stream);
    }
}

/// 16 TiB of nothing and a block at either end.
struct Vast;
impl Disk for Vast {
    fn size(&self) -> u64 {
        16 << 40
    }
    fn next_data(&mut self, from: u64) -> io::Result<Option<Range<u64>>> {
        let last = self.size() - 1;
        Ok(match from {
            0 => Some(0..1),
            from if from <= last => Some(last..last + 1),
            _ => None,
        })
    }
    fn read(&mut self, _: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.fill(7);
        Ok(())
    }
}

#[test]
fn an_empty_disk_and_one_of_terabytes() {
    let (size, _, _, sha256) = received(&stream(&mut disk(1 << 20, &[]), 8192));
    assert_eq!(size, 1 << 20);
    assert_eq!(sha256, hex(&Sha256::digest(vec![0; 1 << 20])));

    let mut out = Vec::new();
    write_volume(&mut Vast, 8192, &mut out, &options(), &mut |_| {}).unwrap();
    assert!(out.len() < 32 << 10, "{}", out.len());
    oracle::dump(&out);
}

#[test]
fn zeroes_said_to_be_data_change_nothing() {
    let places = [(8192, 10_000)];
    let expected = stream(&mut disk(1 << 20, &places), 8192);
    let mut all = disk(1 << 20, &places);
    all.ranges.clear();
    all.ranges.push(0..1 << 20);
    assert!(stream(&mut all, 8192) == expected);
    let mut cut = disk(1 << 20, &places);
    cut.ranges = (8192..18_192)
        .step_by(700)
        .map(|start| start..(start + 700).min(18_192))
        .collect();
    assert!(stream(&mut cut, 8192) == expected);
}

#[test]
fn sizes_that_make_no_volume() {
    for (size, block_size) in [
        (0, 8192),
        (8191, 8192),
        (12 << 10, 8192),
        (1 << 20, 0),
        (1 << 20, 256),
        (1 << 20, 12_288),
        (1 << 20, 1 << 18),
    ] {
        let written = write_volume(
            &mut disk(size, &[]),
            block_size,
            io::sink(),
            &options(),
            &mut |_| {},
        );
        assert!(
            matches!(written, Err(WriteError::Options(_))),
            "{size} {block_size}"
        );
    }
}

struct Failing(bool);
impl Disk for Failing {
    fn size(&self) -> u64 {
        1 << 20
    }
    fn next_data(&mut self, _: u64) -> io::Result<Option<Range<u64>>> {
        Ok(Some(0..8192))
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> io::Result<()> {
        if self.0 {
            Err(io::Error::other("bad sector"))
        } else {
            Ok(())
        }
    }
}

#[test]
fn a_disk_that_fails_or_lies() {
    let error = write_volume(
        &mut Failing(true),
        8192,
        io::sink(),
        &options(),
        &mut |_| {},
    )
    .unwrap_err();
    assert!(error.to_string().contains("bad sector"), "{error}");
    // Always the same range: an error, and no endless loop.
    assert!(
        write_volume(
            &mut Failing(false),
            8192,
            io::sink(),
            &options(),
            &mut |_| {}
        )
        .is_err()
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_places(places in proptest::collection::vec((0_u64..1 << 19, 1_u64..40_000), 0..12), shift in 9_u32..18) {
        let mut disk = disk(1 << 20, &places);
        let stream = stream(&mut disk, 1 << shift);
        prop_assert_eq!(received(&stream).3, hex(&Sha256::digest(&disk.bytes)));
    }
}
