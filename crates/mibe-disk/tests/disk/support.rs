//! Programs called, disks made.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use mibe_disk::source::Source;
use sha2::{Digest as _, Sha256};

/// Runs a program that must end well; what it printed.
pub fn run(program: &str, arguments: &[&dyn AsRef<OsStr>]) -> String {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new(program)
        .args(arguments.iter().map(AsRef::as_ref))
        .env("PATH", path)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Bytes that don't compress, the same each time.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

/// A raw disk of this size with bytes at places.
pub fn raw_disk(path: &Path, size: u64, places: &[(u64, &[u8])]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (offset, bytes) in places {
        file.write_all_at(bytes, *offset).unwrap();
    }
}

/// SHA-256 of a disk, read range by range as its source has them, zeroes between.
pub fn digest(disk: &dyn Source) -> String {
    let mut hash = Sha256::new();
    let mut at = 0;
    let fill = |hash: &mut Sha256, from: u64, to: u64| {
        let zeroes = vec![0; 1 << 16];
        let mut left = to - from;
        while left > 0 {
            let now = left.min(zeroes.len() as u64);
            hash.update(&zeroes[..now as usize]);
            left -= now;
        }
    };
    while let Some(range) = disk.next_data(at).unwrap() {
        fill(&mut hash, at, range.start);
        at = range.start;
        while at < range.end {
            let mut piece = vec![0; (range.end - at).min(100_000) as usize];
            disk.read_at(&mut piece, at).unwrap();
            hash.update(&piece);
            at += piece.len() as u64;
        }
    }
    fill(&mut hash, at, disk.size());
    hex(&hash.finalize())
}

/// SHA-256 of a file.
pub fn file_digest(path: &Path) -> String {
    hex(&Sha256::digest(std::fs::read(path).unwrap()))
}

fn hex(bytes: &[u8]) -> String {
    mibe_image::file::hex(bytes)
}
