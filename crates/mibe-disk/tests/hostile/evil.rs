//! Disks made by hand to do harm.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use mibe_disk::ext4::Ext4;
use mibe_disk::inspect::inspect;
use mibe_disk::source::{Format, Qcow2, Raw, Source};

use super::samples::{self, Sample, run};
use super::targets::{self, CUT};
use super::{LONG, bounded};

/// A disk that begins with some bytes, and has zeroes to its end.
struct Vast(Vec<u8>, u64);

impl Source for Vast {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset
            .checked_add(buffer.len() as u64)
            .is_none_or(|end| end > self.1)
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        let start = self.0.len().min(offset as usize);
        let end = self.0.len().min(offset as usize + buffer.len());
        buffer[..end - start].copy_from_slice(&self.0[start..end]);
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.0.len() as u64;
        Ok((from < end).then_some(from..end))
    }
}

fn sample(target: &str, name: &str) -> Sample {
    let mut all = samples::all().into_iter();
    all.find(|sample| sample.target == target && sample.name == name)
        .unwrap()
}

fn soon<T>(work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    assert!(
        started.elapsed() < LONG,
        "that took {:?}",
        started.elapsed()
    );
    result
}

/// An ext4 of 4 MiB with blocks of `block` bytes, whose inodes debugfs changed and whose blocks are then written.
fn ext4(block: usize, commands: &[&str], blocks: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::create_dir_all(tree.join("var/log")).unwrap();
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    fs::write(tree.join("etc/os-release"), "ID=x\n").unwrap();
    fs::write(tree.join("usr/bin/cloud-init"), "x").unwrap();
    std::os::unix::fs::symlink("a/".repeat(500) + "l1", tree.join("l0")).unwrap();
    std::os::unix::fs::symlink("a/".repeat(500) + "l0", tree.join("l1")).unwrap();
    let path = folder.path().join("disk");
    let name = path.to_str().unwrap();
    let size = block.to_string();
    let options = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        "^has_journal",
        "-b",
        &size,
        "-d",
        tree.to_str().unwrap(),
        name,
    ];
    let length = if block > 4096 { "32M" } else { "4M" };
    run("mke2fs", &[&options[..], &[length]].concat());
    for command in commands {
        run("debugfs", &["-w", "-R", command, name]);
    }
    let mut bytes = fs::read(&path).unwrap();
    for (number, content) in blocks {
        bytes[number * block..number * block + content.len()].copy_from_slice(content);
    }
    bytes
}

/// A directory of a gibibyte in four blocks: each of those that list blocks lists one of them everywhere.
fn endless(path: &str, names: bool) -> Vec<u8> {
    let mut list = Vec::new();
    for next in [3001_u32, 3002, 3003] {
        list.push((next as usize - 1, next.to_le_bytes().repeat(256)));
    }
    let mut block = Vec::new();
    for number in 0..63_u32 {
        let length = if number == 62 { 32 } else { 16_u16 };
        block.extend(if names { 12_u32 } else { 0 }.to_le_bytes());
        block.extend(length.to_le_bytes());
        block.extend([8, 1]);
        block.extend(format!("name{number:04}").bytes());
    }
    block.resize(1024, 0);
    list.push((3003, block));
    let set = |field: &str, value: &str| format!("set_inode_field {path} {field} {value}");
    // Without extents, and with the blocks that it had: those come first.
    let commands = [
        set("flags", "0"),
        set("block[IND]", "3002"),
        set("block[DIND]", "3001"),
        set("block[TIND]", "3000"),
        set("size", "1073741824"),
    ];
    let commands: Vec<String> = commands
        .into_iter()
        .chain((0..12).map(|index| set(&format!("block[{index}]"), "3003")))
        .collect();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    ext4(1024, &commands, &list)
}

#[test]
fn directories_without_end() {
    bounded();
    for names in [false, true] {
        // What is looked for in it is never there.
        let bytes = endless("/var", names);
        let error = soon(|| inspect(&Vast(bytes.clone(), bytes.len() as u64))).unwrap_err();
        assert!(error.to_string().contains("lead in circles"), "{error}");
        // All its names are wanted.
        let bytes = endless("/var/log", names);
        let disk = Vast(bytes.clone(), bytes.len() as u64);
        let tree = Ext4::open(&disk, 0, disk.size()).unwrap();
        let directory = tree.find("var/log", false).unwrap().unwrap();
        assert_eq!(directory.size, 1 << 30);
        if names {
            let error = soon(|| tree.read_dir(&directory)).unwrap_err();
            assert!(
                error.to_string().contains("more names than can be"),
                "{error}"
            );
        }
        assert!(soon(|| inspect(&disk)).is_err());
    }
}

#[test]
fn paths_without_end() {
    bounded();
    let bytes = ext4(1024, &["ln / /a"], &[]);
    let disk = Vast(bytes.clone(), bytes.len() as u64);
    let tree = Ext4::open(&disk, 0, disk.size()).unwrap();
    assert!(tree.find("a/a/a/etc/os-release", true).unwrap().is_some());
    assert!(soon(|| tree.find("l0", true)).unwrap().is_none());
    assert!(
        soon(|| tree.find(&"a/".repeat(1 << 20), true))
            .unwrap()
            .is_none()
    );
    assert!(inspect(&disk).unwrap().system.is_some());
}

#[test]
fn files_longer_than_can_be() {
    bounded();
    let bytes = ext4(
        1024,
        &["set_inode_field /etc/os-release size 4611686018427387904"],
        &[],
    );
    let disk = Vast(bytes.clone(), bytes.len() as u64);
    let tree = Ext4::open(&disk, 0, disk.size()).unwrap();
    let file = tree.find("etc/os-release", true).unwrap().unwrap();
    assert_eq!(tree.next_data(&file, 0).unwrap(), Some(0..1024));
    assert!(soon(|| tree.next_data(&file, 1024)).is_err());
    assert!(tree.read_file("etc/os-release", 1 << 20).unwrap().is_none());
}

/// Thousands of attributes, whose values are the whole block that they are in.
#[test]
fn attributes_without_end() {
    bounded();
    let mut block = vec![0; 65_536];
    block[..4].copy_from_slice(&0xEA02_0000_u32.to_le_bytes());
    for entry in block[32..65_000].chunks_exact_mut(16) {
        entry.copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    }
    let commands = ["set_inode_field /etc/os-release file_acl 400"];
    let bytes = ext4(65_536, &commands, &[(400, block)]);
    let disk = Vast(bytes.clone(), bytes.len() as u64);
    let tree = Ext4::open(&disk, 0, disk.size()).unwrap();
    let file = tree.find("etc/os-release", true).unwrap().unwrap();
    let error = soon(|| tree.xattrs(&file)).unwrap_err();
    assert!(error.to_string().contains("attributes"), "{error}");
}

/// A GPT of thousands of partitions, all of them one FAT, whose directory has no end.
#[test]
fn partitions_without_end() {
    bounded();
    let mut fat = sample("fat", "esp").bytes;
    let short = |at: usize| usize::from(u16::from_le_bytes([fat[at], fat[at + 1]]));
    let (reserved, fats, root, per_fat) = (
        short(14) * 512,
        usize::from(fat[16]),
        short(17) * 32,
        short(22) * 512,
    );
    let (data, cluster) = (reserved + fats * per_fat + root, usize::from(fat[13]) * 512);
    // The first cluster, which is that of /EFI, is followed by itself, and is full.
    fat[reserved + 3] = 2;
    fat[reserved + 4] &= 0xF0;
    fat[data..data + cluster].fill(b'x');
    let sectors = 2 + 2048;
    let mut disk = vec![0; sectors * 512 + fat.len() + 512];
    disk[450] = 0xEE;
    disk[454] = 1;
    disk[458] = 100;
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk[512..520].copy_from_slice(b"EFI PART");
    for (at, value) in [(12, 92_u64), (32, 9), (48, 9000), (72, 2)] {
        disk[512 + at..520 + at].copy_from_slice(&value.to_le_bytes());
    }
    disk[512 + 80..512 + 84].copy_from_slice(&8192_u32.to_le_bytes());
    disk[512 + 84..512 + 88].copy_from_slice(&128_u32.to_le_bytes());
    let esp = [
        0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9,
        0x3B,
    ];
    for entry in disk[1024..sectors * 512].chunks_exact_mut(128) {
        entry[..16].copy_from_slice(&esp);
        entry[32..40].copy_from_slice(&(sectors as u64).to_le_bytes());
        entry[40..48].copy_from_slice(&((sectors + fat.len() / 512 - 1) as u64).to_le_bytes());
    }
    disk[sectors * 512..sectors * 512 + fat.len()].copy_from_slice(&fat);
    targets::reseal(&mut disk);
    let table = mibe_disk::table::read(&Vast(disk.clone(), disk.len() as u64))
        .unwrap()
        .unwrap();
    assert_eq!(table.partitions.len(), 8192);
    let last = table.problems.last().unwrap();
    assert!(last.contains("more problems"), "{last}");
    let error = soon(|| inspect(&Vast(disk.clone(), disk.len() as u64))).unwrap_err();
    assert!(error.to_string().contains("lead in circles"), "{error}");
}

#[test]
fn the_largest_disk() {
    bounded();
    let whole = sample("inspect", "whole").bytes;
    let found = soon(|| inspect(&Vast(whole, 64 << 40))).unwrap();
    assert!(found.boot.uefi && found.system.is_some(), "{found:#?}");
}

/// Short texts of a guest that would become long ones, and long ones that would be gone through for each of their words.
#[test]
fn words_without_end() {
    bounded();
    let script: &[u8] =
        b"DI_DSLIST_DEFAULT=\"SmartOS\"\ndscheck_NoCloud() {\n check_config seedfrom\n}\n";
    let list = format!(
        "datasource_list: [ {} ]\n",
        "MAAS, Vultr, NoCloud, ".repeat(40_000)
    );
    let options = format!("options {}\n", "$kernelopts".repeat(90_000));
    let values = format!("kernelopts={}\n", "x ".repeat(500_000));
    let input = [
        script,
        list.as_bytes(),
        b"",
        b"",
        b"",
        b"ID=x",
        options.as_bytes(),
        values.as_bytes(),
    ];
    soon(|| targets::guest(&input.join(&[CUT][..])));
    let line = format!("linux x {}\n", "x ".repeat(500_000));
    let input = [
        script,
        list.as_bytes(),
        b"",
        b"",
        b"",
        b"ID=x",
        b"",
        b"",
        line.as_bytes(),
    ];
    soon(|| targets::guest(&input.join(&[CUT][..])));
}

/// A qcow2 file of version 3 with these entries of its first table, and clusters after it.
fn qcow2(path: &Path, bits: u32, size: u64, table: &[u64], clusters: &[u8]) -> io::Result<Qcow2> {
    let cluster = 1 << bits;
    let mut bytes = vec![0; cluster];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    for (at, value) in [
        (4, 3_u32),
        (20, bits),
        (36, table.len() as u32),
        (96, 4),
        (100, 112),
    ] {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    bytes[24..32].copy_from_slice(&size.to_be_bytes());
    let length = bytes.len() + clusters.len();
    bytes[40..48].copy_from_slice(&(length as u64).to_be_bytes());
    bytes.extend(clusters);
    bytes.extend(table.iter().flat_map(|entry| entry.to_be_bytes()));
    fs::write(path, bytes).unwrap();
    Qcow2::open(fs::File::open(path).unwrap())
}

#[test]
fn tables_of_qcow2_without_end() {
    bounded();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    // All entries lead to one table, which is empty, or says nothing but zeroes.
    let (bits, size) = (14, 64 << 40);
    let entries = vec![1 << bits; (size / (32 << 20)) as usize];
    for value in [0_u64, 1] {
        let table = value.to_be_bytes().repeat(2048);
        let disk = qcow2(&path, bits, size, &entries, &table).unwrap();
        let error = soon(|| disk.next_data(0)).unwrap_err();
        assert!(error.to_string().contains("repeats itself"), "{error}");
    }
    // Clusters so small that the first table would be of gigabytes; it may be a hole in the file.
    let entries = vec![0; 1 << 10];
    let error = qcow2(&path, 9, 64 << 40, &entries, &[])
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().contains("too small for a disk"),
        "{error}"
    );
}

/// Compressed clusters are never smaller than deflate can make them.
#[test]
fn a_qcow2_that_is_a_bomb() {
    bounded();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let bits = 21;
    let cluster = 1_u64 << bits;
    let tables = 8;
    let mut clusters = Vec::new();
    for _ in 0..tables {
        // Each at a place of its own, with eight bytes until the next.
        for index in 0..cluster / 8 {
            clusters.extend((1_u64 << 62 | (cluster + index * 8)).to_be_bytes());
        }
    }
    let entries: Vec<u64> = (1..=tables).map(|index| index * cluster).collect();
    let size = tables * cluster / 8 * cluster;
    let disk = qcow2(&path, bits, size, &entries, &clusters).unwrap();
    let error = soon(|| disk.next_data(0)).unwrap_err();
    assert!(error.to_string().contains("repeats itself"), "{error}");
}

/// A frame of zstd may ask for as much memory as it likes.
#[test]
fn a_window_larger_than_the_cluster() {
    bounded();
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw");
    fs::write(&raw, b"some words ".repeat(10_000)).unwrap();
    let path = folder.path().join("disk.qcow2");
    let names = [raw.to_str().unwrap(), path.to_str().unwrap()];
    let options = [
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-c",
        "-o",
        "compression_type=zstd",
    ];
    run("qemu-img", &[&options[..], &names].concat());
    let mut bytes = fs::read(&path).unwrap();
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Qcow2::open(fs::File::open(&path).unwrap()).unwrap()
    };
    let mut word = [0; 4];
    open(&bytes).read_at(&mut word, 0).unwrap();
    assert_eq!(&word, b"some");
    let frame = bytes
        .windows(4)
        .position(|magic| magic == [0x28, 0xB5, 0x2F, 0xFD])
        .unwrap();
    // A window of 64 MiB, and no size of the content.
    bytes[frame + 4..frame + 6].copy_from_slice(&[0, (26 - 10) << 3]);
    let error = open(&bytes).read_at(&mut word, 0).unwrap_err();
    assert!(
        error.to_string().to_lowercase().contains("window"),
        "{error}"
    );
}

/// A file with holes of which the tables are holes.
#[test]
fn a_qcow2_of_nothing() {
    bounded();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let size: u64 = 1 << 40;
    let tables: Vec<u64> = (0..size / (32 << 20))
        .map(|index| (index + 2000) << 14)
        .collect();
    drop(qcow2(&path, 14, size, &tables, &[]).unwrap());
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    let disk = Qcow2::open(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(soon(|| disk.next_data(0)).unwrap(), None);
    let raw = Raw::open(fs::File::open(&path).unwrap(), Format::Raw).unwrap();
    assert!(soon(|| inspect(&raw)).is_ok());
}
