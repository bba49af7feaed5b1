//! Compressed archives: made by the real programs, in several parts, cut short, with something after them, with bits flipped.

use std::fs;
use std::process::{Command, Stdio};

use crate::forge::Forge;
use crate::world::{Case, World, run, text};

pub const CASES: &[Case] = &[
    ("every compressor", compressors),
    ("streams of several parts", parts),
    ("streams cut short", cut),
    ("streams with something after them", trailing),
    ("streams with a flipped bit", flipped),
    ("the end of an archive", ends),
    ("bombs", bombs),
];

/// Program, options, and what its files are called.
const COMPRESSORS: &[(&str, &[&str])] = &[
    ("gzip", &["-9"]),
    ("bzip2", &[]),
    ("xz", &["-0"]),
    ("xz", &["-0", "--check=crc32", "--block-size=4096"]),
    ("xz", &["--check=none", "--x86", "--lzma2=dict=64MiB"]),
    ("zstd", &["-q"]),
    ("zstd", &["-q", "--rsyncable", "-1"]),
    ("zstd", &["-q", "--no-check"]),
    ("pzstd", &["-q"]),
    // A window of 128 MiB: the most that zstd itself takes without being told to.
    ("zstd", &["-q", "--long=27"]),
];

fn sample() -> Vec<u8> {
    let noise: Vec<u8> = (0_u32..200_000)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    Forge::default()
        .directory("etc/")
        .file("etc/noise", &noise)
        .file("etc/zeroes", &[0; 100_000])
        .symlink("link", "etc")
        .end()
}

pub fn compress(world: &World, program: &str, options: &[&str], data: &[u8]) -> Vec<u8> {
    let path = world.path("plain");
    fs::write(&path, data).unwrap();
    let mut arguments = options.to_vec();
    arguments.extend(["-c", text(&path)]);
    run(program, &arguments)
}

/// Compressed by all of them.
fn all(world: &World, data: &[u8]) -> Vec<(String, Vec<u8>)> {
    COMPRESSORS
        .iter()
        .map(|(program, options)| {
            (
                format!("{program} {options:?}"),
                compress(world, program, options, data),
            )
        })
        .collect()
}

fn compressors() {
    let mut world = World::new();
    let plain = sample();
    world.unpack_bytes(&plain).ok();
    let list = world.list();
    for (what, bytes) in all(&world, &plain) {
        let outcome = world.unpack_bytes(&bytes);
        assert_eq!(outcome.kind, "ok", "{what}: {}", outcome.text);
        assert_eq!(world.list()[1..], list[1..], "{what}");
    }
}

/// gzip, bzip2, xz and zstd streams can follow each other.
fn parts() {
    let mut world = World::new();
    let plain = sample();
    world.unpack_bytes(&plain).ok();
    let list = world.list();
    for (program, options) in COMPRESSORS {
        let mut bytes = Vec::new();
        for part in [&plain[..1], &plain[1..5000], &[], &plain[5000..]] {
            bytes.extend(compress(&world, program, options, part));
        }
        let outcome = world.unpack_bytes(&bytes);
        assert_eq!(
            outcome.kind, "ok",
            "{program} {options:?}: {}",
            outcome.text
        );
        assert_eq!(world.list()[1..], list[1..]);
    }
    // A frame that says nothing (RFC 8878, 3.1.2), before, between and after.
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"hello"].concat();
    let zstd = compress(&world, "zstd", &["-q"], &plain);
    let bytes = [&skippable[..], &skippable, &zstd, &skippable].concat();
    world.unpack_bytes(&bytes).ok();
    assert_eq!(world.list()[1..], list[1..]);
    // Padding of zeroes, as gzip(1) and xz(1) take it.
    for program in ["gzip", "xz"] {
        let mut bytes = compress(&world, program, &[], &plain);
        bytes.extend([0; 512]);
        world.unpack_bytes(&bytes).ok();
    }
}

fn cut() {
    let mut world = World::new();
    for (what, bytes) in all(&world, &sample()) {
        for length in [1, 5, bytes.len() / 2, bytes.len() - 9, bytes.len() - 1] {
            let outcome = world.unpack_bytes(&bytes[..length]);
            assert_eq!(
                outcome.kind,
                "damaged",
                "{what} of {length} bytes of {}: {}",
                bytes.len(),
                outcome.text
            );
        }
    }
}

fn trailing() {
    let mut world = World::new();
    for (what, mut bytes) in all(&world, &sample()) {
        bytes.extend(b"garbage after the end of it");
        let outcome = world.unpack_bytes(&bytes);
        assert_eq!(outcome.kind, "damaged", "{what}: {}", outcome.text);
    }
}

/// Every bit counts: whatever the program itself finds damaged, so do we.
fn flipped() {
    let mut world = World::new();
    for (program, options) in COMPRESSORS {
        let bytes = compress(&world, program, options, &sample());
        for at in (0..bytes.len())
            .step_by((bytes.len() / 8).max(1))
            .chain([bytes.len() - 3])
        {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let path = world.path("damaged");
            fs::write(&path, &damaged).unwrap();
            let program = if *program == "pzstd" { "zstd" } else { program };
            let theirs = Command::new(program)
                .args(["-d", "-q", "-c"])
                .stdin(fs::File::open(&path).unwrap())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .output()
                .unwrap();
            let outcome = world.unpack_bytes(&damaged);
            if theirs.status.success() {
                // A flag or a time in a header that means nothing, or a stream without check sums.
                continue;
            }
            assert_ne!(outcome.kind, "ok", "{program} {options:?}, byte {at}");
        }
    }
}

/// Without its last blocks, with one of them, with things after them; cut inside of members.
fn ends() {
    let mut world = World::new();
    let forge = Forge::default().file("one", &[1; 600]).file("two", b"2");
    let bare = forge.bytes.clone();
    world.unpack_bytes(&bare).ok();
    world.unpack_bytes(&[&bare[..], &[0; 512]].concat()).ok();
    let after = [&bare[..], &[0; 1024], &b"garbage".repeat(1000)].concat();
    world.unpack_bytes(&after).ok();
    assert_eq!(world.list().len(), 3);
    for length in [0, 1, 511, 513, 1000, 1536 + 100, bare.len() - 1] {
        let outcome = world.unpack_bytes(&bare[..length]);
        assert_eq!(outcome.kind, "damaged", "{length}: {}", outcome.text);
    }
    // What announces a member is no end.
    for forge in [
        Forge::default().member(b'L', b"././@LongLink", b"a long name\0"),
        Forge::default().pax(&[("path", b"a long name")]),
    ] {
        for bytes in [forge.bytes.clone(), forge.end()] {
            let outcome = world.unpack_bytes(&bytes);
            assert_eq!(outcome.kind, "damaged", "{}", outcome.text);
        }
    }
    world.unpack_bytes(&Forge::default().end()).ok();
}

/// Gigabytes out of kilobytes must neither stay in memory nor be believed to be numbers.
fn bombs() {
    let mut world = World::new();
    // 24 MiB of extended attributes for one member, in headers that are each of a fair size.
    let mut forge = Forge::default();
    for index in 0..400 {
        let key = format!("SCHILY.xattr.user.{index}");
        forge = forge.pax(&[(&key, &[b'v'; 60_000])]);
    }
    let outcome = world.unpack_bytes(&forge.file("file", b"").end());
    assert_eq!(outcome.kind, "damaged", "{}", outcome.text);
    assert!(outcome.memory < 64 << 20, "{} bytes", outcome.memory);
    // The same by global headers, which would be copied for every member.
    let mut forge = Forge::default();
    for index in 0..400 {
        let record = crate::forge::record(&format!("SCHILY.xattr.user.{index}"), &[b'v'; 60_000]);
        forge = forge.member(b'g', b"g", &record);
    }
    let outcome = world.unpack_bytes(&forge.file("file", b"").end());
    outcome.ok();
    assert!(outcome.memory < 64 << 20, "{} bytes", outcome.memory);
    // One directory again and again, by a very long name.
    let long = format!("{}/", "d".repeat(250)).repeat(15);
    let member = Forge::default()
        .pax(&[("path", long.as_bytes())])
        .directory("d/")
        .bytes;
    let outcome = world.unpack_bytes(&member.repeat(20_000));
    outcome.ok();
    assert!(outcome.memory < 64 << 20, "{} bytes", outcome.memory);
    // An xz stream that asks for a dictionary of 4 GiB less one byte, and a zstd frame for a window of 2 GiB.
    let plain = sample();
    let xz = compress(&world, "xz", &["--lzma2=preset=0,dict=1536MiB"], &plain);
    let outcome = world.unpack_bytes(&xz);
    assert!(outcome.memory < 700 << 20, "{} bytes", outcome.memory);
    let path = world.path("plain");
    fs::write(&path, &plain).unwrap();
    let frame = Command::new("zstd")
        .args(["-q", "--ultra", "--long=31", "-1", "-c"])
        .stdin(fs::File::open(&path).unwrap())
        .output()
        .unwrap();
    let outcome = world.unpack_bytes(&frame.stdout);
    assert_eq!(outcome.kind, "damaged", "{}", outcome.text);
    assert!(outcome.memory < 300 << 20, "{} bytes", outcome.memory);
}
