//! Disks that lie: clear errors, no panic, no end of memory or time.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mibe_disk::ext4::Ext4;
use mibe_disk::inspect::inspect;
use mibe_disk::source::{Format, OpenOptions, Qcow2, Raw, Source, open};

use crate::support::{noise, raw_disk, run};

/// Longest time that looking into any of these may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn raw(path: &Path) -> Raw {
    Raw::open(fs::File::open(path).unwrap(), Format::Raw).unwrap()
}

/// A small disk of everything: a GPT, a FAT that boots, an ext4 with a system.
fn whole(folder: &Path) -> Vec<u8> {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("etc/cloud")).unwrap();
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    fs::write(tree.join("etc/os-release"), "ID=test\nPRETTY_NAME=Test\n").unwrap();
    fs::write(tree.join("usr/bin/cloud-init"), "x").unwrap();
    let path = folder.join("whole");
    raw_disk(&path, 8 << 20, &[]);
    run(
        "sgdisk",
        &[
            &"-n",
            &"15:2048:+2M",
            &"-t",
            &"15:ef00",
            &"-n",
            &"1:0:0",
            &path,
        ],
    );
    let esp = folder.join("esp");
    raw_disk(&esp, 2 << 20, &[]);
    run("mkfs.fat", &[&esp]);
    run("mmd", &[&"-i", &esp, &"::/EFI", &"::/EFI/BOOT"]);
    run(
        "mcopy",
        &[
            &"-i",
            &esp,
            &tree.join("etc/os-release"),
            &"::/EFI/BOOT/BOOTX64.EFI",
        ],
    );
    run(
        "mke2fs",
        &[
            &"-q",
            &"-F",
            &"-t",
            &"ext4",
            &"-b",
            &"1024",
            &"-E",
            &"offset=3145728",
            &"-d",
            &tree,
            &path,
            &"4M",
        ],
    );
    let mut bytes = fs::read(&path).unwrap();
    bytes[1 << 20..3 << 20].copy_from_slice(&fs::read(&esp).unwrap());
    bytes
}

#[test]
fn any_byte_may_be_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = whole(folder.path());
    let path = folder.path().join("broken");
    fs::write(&path, &bytes).unwrap();
    let found = inspect(&raw(&path)).unwrap();
    assert!(
        found.boot.uefi && found.system.is_some() && found.cloud_init.is_some(),
        "{found:#?}"
    );
    let random = noise(24_000, 5);
    let number = |at: usize| {
        random[at..at + 4]
            .iter()
            .fold(0_usize, |all, byte| all << 8 | usize::from(*byte))
    };
    // Where the structures are.
    let places = [
        0..34 * 512,
        1 << 20..(1 << 20) + 16_384,
        3 << 20..(3 << 20) + 262_144,
        bytes.len() - 33 * 512..bytes.len(),
    ];
    for round in 0..2000 {
        let mut broken = bytes.clone();
        for change in 0..=round % 4 {
            let at = (round * 4 + change) * 12 % (random.len() - 12);
            let place = &places[number(at) % places.len()];
            let offset = place.start + number(at + 4) % place.len();
            broken[offset] = match number(at + 8) % 4 {
                0 => 0,
                1 => 0xFF,
                2 => broken[offset] ^ 1 << (number(at + 8) / 4 % 8),
                _ => number(at + 8) as u8,
            };
        }
        if round % 10 == 0 {
            broken.truncate(number(round) % broken.len());
        }
        fs::write(&path, &broken).unwrap();
        let started = Instant::now();
        let _ = inspect(&raw(&path));
        assert!(started.elapsed() < PATIENCE, "round {round}");
    }
}

#[test]
fn absurd_qcow2() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw");
    raw_disk(
        &raw,
        4 << 20,
        &[
            (0, &noise(200_000, 1)),
            (2 << 20, &b"text ".repeat(100_000)),
        ],
    );
    for options in [
        vec!["-c"],
        vec!["-o", "extended_l2=on"],
        vec!["-c", "-o", "compression_type=zstd"],
    ] {
        let path = folder.path().join("disk.qcow2");
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"convert", &"-O", &"qcow2"];
        arguments.extend(
            options
                .iter()
                .map(|option| option as &dyn AsRef<std::ffi::OsStr>),
        );
        arguments.extend([&raw as &dyn AsRef<std::ffi::OsStr>, &path]);
        run("qemu-img", &arguments);
        let bytes = fs::read(&path).unwrap();
        let random = noise(40_000, 8);
        let number = |at: usize| {
            random[at..at + 4]
                .iter()
                .fold(0_usize, |all, byte| all << 8 | usize::from(*byte))
        };
        for round in 0..2000 {
            let mut broken = bytes.clone();
            let at = round * 16 % (random.len() - 16);
            // The header and the tables are in the first clusters.
            let range = if round % 3 == 0 {
                112
            } else {
                broken.len().min(6 * 65_536)
            };
            let offset = number(at) % range;
            let end = (offset + 1 + number(at + 4) % 8).min(broken.len());
            broken[offset..end].fill(random[at + 8]);
            if round % 20 == 0 {
                broken.truncate(number(at + 8) % broken.len());
            }
            fs::write(&path, &broken).unwrap();
            let started = Instant::now();
            if let Ok(disk) = Qcow2::open(fs::File::open(&path).unwrap()) {
                let mut at = 0;
                let mut buffer = vec![0; 1 << 16];
                // Disks of terabytes are looked into as long as they say something.
                for _ in 0..200 {
                    let Ok(Some(range)) = disk.next_data(at) else {
                        break;
                    };
                    let length = (range.end - range.start).min(1 << 16) as usize;
                    let _ = disk.read_at(&mut buffer[..length], range.start);
                    at = range.end;
                }
            }
            assert!(started.elapsed() < PATIENCE, "round {round}");
        }
    }
}

/// A table whose entries all lead to one cluster, so that a small file is a disk of terabytes.
#[test]
fn a_qcow2_that_repeats_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.qcow2");
    let size: u64 = 32 << 40;
    let tables = (size / (512 << 20)) as usize;
    let mut bytes = vec![0; 4 * 65_536 + tables * 8];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    for (at, value) in [(4, 2_u32), (20, 16), (36, tables as u32)] {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    bytes[24..32].copy_from_slice(&size.to_be_bytes());
    bytes[40..48].copy_from_slice(&(4 * 65_536_u64).to_be_bytes());
    for entry in bytes[4 * 65_536..].chunks_exact_mut(8) {
        entry.copy_from_slice(&65_536_u64.to_be_bytes());
    }
    for entry in bytes[65_536..2 * 65_536].chunks_exact_mut(8) {
        entry.copy_from_slice(&(2 * 65_536_u64).to_be_bytes());
    }
    bytes[2 * 65_536..3 * 65_536].fill(7);
    fs::write(&path, &bytes).unwrap();
    let opened = open(
        &path,
        &OpenOptions::default(),
        folder.path(),
        &AtomicBool::new(false),
    )
    .unwrap();
    let started = Instant::now();
    let error = opened.source.next_data(0).unwrap_err();
    assert!(error.to_string().contains("repeats itself"), "{error}");
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn an_ext4_that_claims_petabytes() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = whole(folder.path());
    let path = folder.path().join("broken");
    let superblock = (3 << 20) + 1024;
    for (at, value) in [
        (4, u32::MAX),
        (0x150, u32::MAX),
        (24, 6),
        (24, 40),
        (40, 0),
        (32, 0),
        (88, 3),
        (254, 7),
        (96, 0xFFFF_FFFF),
    ] {
        let mut broken = bytes.clone();
        broken[superblock + at..superblock + at + 4].copy_from_slice(&u32::to_le_bytes(value));
        fs::write(&path, &broken).unwrap();
        let disk = raw(&path);
        let opened = Ext4::open(&disk, 3 << 20, 4 << 20);
        assert!(
            opened.is_err() || opened.is_ok_and(|tree| tree.find("etc/os-release", true).is_err()),
            "{at} {value}"
        );
        assert!(inspect(&disk).is_ok());
    }
}
