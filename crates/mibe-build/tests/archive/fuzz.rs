//! Mutations of small valid archives: whatever comes of them, it is no panic, and nothing outside of the tree.

use std::fs;

use mibe_build::archive::{self, Existing};
use mibe_sandbox::{JobInput, Root};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

use crate::forge::Forge;
use crate::jobs::clear;
use crate::streams::compress;
use crate::world::{Case, World, run, text};

pub const CASES: &[Case] = &[("mutations", mutations)];

fn mutations() {
    let world = World::new();
    let tree = world.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), "content").unwrap();
    fs::hard_link(tree.join("a"), tree.join("n".repeat(150))).unwrap();
    std::os::unix::fs::symlink(world.outside(), tree.join("b")).unwrap();
    let hole = fs::File::create(tree.join("c")).unwrap();
    hole.set_len(100_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&hole, b"data", 50_000).unwrap();
    let mut seeds = Vec::new();
    for options in [
        &["--format=ustar", "--exclude=nnn*"][..],
        &["--format=gnu", "--sparse"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
    ] {
        let mut arguments = vec!["-cf", "-", "-b1", "-C", text(&tree)];
        arguments.extend(options);
        arguments.push(".");
        seeds.push(run("tar", &arguments));
    }
    let outside = world.outside();
    let outside = text(&outside);
    seeds.push(
        Forge::default()
            .symlink("s", outside)
            .pax(&[
                ("path", b"s/file"),
                ("SCHILY.xattr.user.a", b"1"),
                ("mtime", b"-1.5"),
            ])
            .file("x", b"changed")
            .hard_link("h", "s/file")
            .device(b'3', "d", b"0000001\0", b"0000003\0")
            .end(),
    );
    for (program, options) in [
        ("gzip", &[][..]),
        ("bzip2", &[]),
        ("xz", &["-0"]),
        ("zstd", &["-q"]),
    ] {
        let packed = compress(&world, program, options, &seeds[0]);
        seeds.push(packed);
    }
    let report = world.fuzz(&json!(seeds));
    println!("  {report}");
}

#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Set(prop::sample::Index, u8),
    /// Digits are where lengths and maps are.
    Digit(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    /// A block comes again somewhere.
    Copy(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index),
    /// Kind of a member.
    Kind(prop::sample::Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        3 => (at(), 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        3 => (at(), b'0'..=b'9').prop_map(|(at, byte)| Change::Digit(at, byte)),
        1 => at().prop_map(Change::Cut),
        2 => (at(), at()).prop_map(|(from, to)| Change::Copy(from, to)),
        1 => at().prop_map(Change::Remove),
        2 => (at(), prop::sample::select(&b"0123456LKxgSV7"[..])).prop_map(|(at, kind)| Change::Kind(at, kind)),
    ]
}

fn apply(bytes: &mut Vec<u8>, changes: &[Change]) {
    let digits: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at].is_ascii_digit())
        .collect();
    for change in changes {
        if bytes.len() < 512 {
            return;
        }
        let blocks = bytes.len() / 512;
        match change {
            Change::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= bit;
            }
            Change::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Change::Digit(at, byte) if !digits.is_empty() => {
                let at = *at.get(&digits);
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
            Change::Digit(..) => {}
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Change::Copy(from, to) => {
                let (from, to) = (from.index(blocks) * 512, to.index(blocks) * 512);
                let block: Vec<u8> = bytes[from..from + 512].to_vec();
                bytes.splice(to..to, block);
            }
            Change::Remove(at) => {
                let at = at.index(blocks) * 512;
                bytes.drain(at..at + 512);
            }
            Change::Kind(at, kind) => {
                let at = at.index(blocks) * 512 + 156;
                bytes[at] = *kind;
            }
        }
    }
}

/// Puts the right checksum into whatever looks like a header, so that changes get past it.
fn mend(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

pub fn job(root: &Root, input: JobInput) -> Result<Value, String> {
    let seeds: Vec<Vec<u8>> =
        serde_json::from_value(input.args).map_err(|error| error.to_string())?;
    let mut runner = TestRunner::new(Config {
        cases: 1500,
        rng_seed: RngSeed::Fixed(0x6d69_6265),
        failure_persistence: None,
        ..Config::default()
    });
    let (good, bad) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let changes = prop::collection::vec(change(), 1..6);
    let strategy = (prop::sample::select(seeds), changes, any::<bool>());
    runner
        .run(&strategy, |(mut bytes, changes, mended)| {
            apply(&mut bytes, &changes);
            if mended {
                mend(&mut bytes);
            }
            let done = archive::decompressed(&bytes[..])
                .and_then(|tar| archive::unpack(root, tar, Existing::Overwrite));
            let count = if done.is_ok() { &good } else { &bad };
            count.set(count.get() + 1);
            clear(root);
            Ok(())
        })
        .map_err(|error| error.to_string())?;
    Ok(json!(format!("{} laid, {} refused", good.get(), bad.get())))
}
