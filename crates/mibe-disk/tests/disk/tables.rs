//! Partition tables as sgdisk and sfdisk make them; one that grows, verified by sgdisk.

use std::fs::File;
use std::path::Path;

use mibe_disk::source::{Format, Raw};
use mibe_disk::table::{self, TableKind};

use crate::support::{raw_disk, run};

const MIB: u64 = 1 << 20;

fn raw(path: &Path) -> Raw {
    let file = File::options().read(true).write(true).open(path).unwrap();
    Raw::open(file, Format::Raw).unwrap()
}

#[test]
fn a_gpt_is_read_and_grows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    raw_disk(&path, 64 * MIB, &[]);
    run(
        "sgdisk",
        &[
            &"-n",
            &"14:2048:+1M",
            &"-t",
            &"14:ef02",
            &"-n",
            &"15:0:+10M",
            &"-t",
            &"15:ef00",
            &"-n",
            &"1:0:0",
            &"-c",
            &"1:root",
            &path,
        ],
    );
    let table = table::read(&raw(&path)).unwrap().unwrap();
    assert!(table.problems.is_empty(), "{:?}", table.problems);
    let places: Vec<_> = table
        .partitions
        .iter()
        .map(|part| (part.number, part.start, part.size, part.kind_name()))
        .collect();
    assert_eq!(
        places[1..],
        [
            (14, MIB, MIB, "BIOS boot"),
            (15, 2 * MIB, 10 * MIB, "EFI system")
        ]
    );
    assert_eq!(
        (places[0].0, places[0].1, table.partitions[0].name.as_str()),
        (1, 12 * MIB, "root")
    );
    // Nothing to do where the disk is as large as it was.
    let disk = raw(&path);
    assert!(!table::grow(&disk, disk.file()).unwrap());
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(5 * 1024 * MIB)
        .unwrap();
    let disk = raw(&path);
    assert!(
        table::read(&disk)
            .unwrap()
            .unwrap()
            .problems
            .iter()
            .any(|problem| problem.contains("larger"))
    );
    assert!(table::grow(&disk, disk.file()).unwrap());
    let words = run("sgdisk", &[&"--verify", &path]);
    assert!(words.contains("No problems found"), "{words}");
    assert_eq!(
        table::read(&raw(&path)).unwrap().unwrap().partitions,
        table.partitions
    );
    assert!(
        table::read(&raw(&path))
            .unwrap()
            .unwrap()
            .problems
            .is_empty()
    );
    // The room that came is there for the last partition.
    run("sgdisk", &[&"-n", &"2:0:+4G", &path]);
}

#[test]
fn either_header_serves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    raw_disk(&path, 32 * MIB, &[]);
    run("sgdisk", &[&"-n", &"1:0:0", &path]);
    let whole = std::fs::read(&path).unwrap();
    let expected = table::read(&raw(&path)).unwrap().unwrap().partitions;
    for (offset, word) in [
        (512, "first header"),
        (whole.len() - 512, "second header"),
        (1024, "first header"),
    ] {
        let mut bytes = whole.clone();
        bytes[offset + 20] ^= 1;
        bytes[offset + 40] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let table = table::read(&raw(&path)).unwrap().unwrap();
        assert_eq!(table.partitions, expected, "{word}");
        assert!(
            table.problems.iter().any(|problem| problem.contains(word)),
            "{word}: {:?}",
            table.problems
        );
    }
    let mut bytes = whole;
    let length = bytes.len();
    bytes[530] ^= 1;
    bytes[length - 500] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let table = table::read(&raw(&path)).unwrap().unwrap();
    assert!(table.partitions.is_empty() && !table.problems.is_empty());
}

#[test]
fn an_mbr_with_logical_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    raw_disk(&path, 64 * MIB, &[]);
    let script = folder.path().join("script");
    std::fs::write(&script, "label: dos\nstart=2048,size=20480,type=83,bootable\nstart=22528,size=100000,type=5\nstart=24576,size=8192,type=83\nstart=34816,size=4096,type=82\n").unwrap();
    run(
        "sh",
        &[
            &"-c",
            &format!("sfdisk --quiet {} < {}", path.display(), script.display()),
        ],
    );
    let table = table::read(&raw(&path)).unwrap().unwrap();
    assert_eq!(table.kind, TableKind::Mbr);
    let places: Vec<_> = table
        .partitions
        .iter()
        .map(|part| {
            (
                part.number,
                part.start / 512,
                part.size / 512,
                part.kind.as_str(),
                part.active,
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            (1, 2048, 20480, "83", true),
            (2, 22528, 100_000, "05", false),
            (5, 24576, 8192, "83", false),
            (6, 34816, 4096, "82", false)
        ]
    );
}

#[test]
fn overlaps_loops_and_ends_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let entry = |kind: u8, start: u32, sectors: u32| {
        let mut entry = [0; 16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
        entry
    };
    let record = |entries: &[[u8; 16]]| {
        let mut record = vec![0; 512];
        for (index, entry) in entries.iter().enumerate() {
            record[446 + 16 * index..462 + 16 * index].copy_from_slice(entry);
        }
        record[510..].copy_from_slice(&[0x55, 0xAA]);
        record
    };
    let first = record(&[
        entry(0x83, 100, 1000),
        entry(0x83, 500, 1000),
        entry(0x83, u32::MAX, u32::MAX),
        entry(5, 10, 50),
    ]);
    // A chain that leads back to itself.
    let chain = record(&[entry(0x83, 1, 1), entry(5, 0, 50)]);
    raw_disk(&path, MIB, &[(0, &first), (5120, &chain)]);
    let table = table::read(&raw(&path)).unwrap().unwrap();
    for word in ["overlap", "beyond the end", "has no end"] {
        assert!(
            table.problems.iter().any(|problem| problem.contains(word)),
            "{word}: {:?}",
            table.problems
        );
    }
    // Text where a table would be, as file systems have it there.
    let mut sector = vec![b'a'; 512];
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    raw_disk(&path, MIB, &[(0, &sector)]);
    assert!(table::read(&raw(&path)).unwrap().is_none());
}

#[test]
fn the_last_partition_goes_on_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    raw_disk(&path, 64 * MIB, &[]);
    run("sgdisk", &[&"-n", &"2:2048:+1M", &"-n", &"1:8192:0", &path]);
    let larger = File::options().write(true).open(&path).unwrap();
    larger.set_len(3 * 1024 * MIB).unwrap();
    let disk = raw(&path);
    assert!(table::grow(&disk, disk.file()).unwrap());
    assert_eq!(table::extend(&disk, disk.file(), 2).unwrap(), None);
    let size = table::extend(&disk, disk.file(), 1).unwrap().unwrap();
    assert_eq!(table::extend(&disk, disk.file(), 1).unwrap(), None);
    let words = run("sgdisk", &[&"--verify", &path]);
    assert!(words.contains("No problems found"), "{words}");
    let words = run("sgdisk", &[&"-i", &"1", &path]);
    let sectors = format!("Partition size: {} sectors", size / 512);
    assert!(words.contains(&sectors), "{words}");
    assert!(size > 2900 * MIB, "{size}");

    // The same of an older table, as sfdisk sees it.
    let script = folder.path().join("script");
    std::fs::write(
        &script,
        "label: dos\nstart=2048,size=20480,type=83\nstart=22528,size=100000,type=83\n",
    )
    .unwrap();
    run(
        "sh",
        &[
            &"-c",
            &format!(
                "sfdisk --quiet --wipe always {} < {}",
                path.display(),
                script.display()
            ),
        ],
    );
    let disk = raw(&path);
    assert_eq!(table::extend(&disk, disk.file(), 1).unwrap(), None);
    let size = table::extend(&disk, disk.file(), 2).unwrap().unwrap();
    assert_eq!(size, 3 * 1024 * MIB - 22528 * 512);
    let words = run("sfdisk", &[&"--dump", &path]);
    assert!(
        words.contains(&format!("size={:>12}", size / 512)),
        "{words}"
    );
}
