//! What is done with hostile input, by the tests beside this file and by cargo-fuzz (`fuzz/`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use mibe_disk::ext4::{Ext4, FileKind, Inode, ROOT};
use mibe_disk::guest::{CloudInit, Identify, System, Tree, boot, clean, smartos_changes};
use mibe_disk::inspect::inspect;
use mibe_disk::source::{Format, Part, Qcow2, Raw, Source, vmdk};
use mibe_disk::{fat, filesystem, table};

/// A target.
pub type Target = fn(&[u8]);

/// All of them.
#[allow(dead_code, reason = "cargo-fuzz names each by itself")]
pub const TARGETS: [(&str, Target); 8] = [
    ("qcow2", qcow2),
    ("table", partitions),
    ("ext4", ext4),
    ("fat", small),
    ("inspect", whole),
    ("qcow2_inspect", whole_qcow2),
    ("vmdk", description),
    ("guest", guest),
];

/// Most bytes of content that a target reads: there may be a thousand times more than its input has.
const ENOUGH: u64 = 16 << 20;

/// A disk in memory.
struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        let end = end.filter(|end| *end <= self.size());
        let Some(end) = end else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        buffer.copy_from_slice(&self.0[offset as usize..end as usize]);
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        Ok((from < self.size()).then(|| from..self.size()))
    }
}

/// A file with these bytes, the same one each time.
fn file(bytes: &[u8]) -> File {
    thread_local! {
        // In memory, where that is a folder.
        static FILE: File = tempfile::tempfile_in("/dev/shm")
            .or_else(|_| tempfile::tempfile())
            .expect("a file");
    }
    FILE.with(|file| {
        file.set_len(0).expect("an empty file");
        file.write_all_at(bytes, 0).expect("a file that is written");
        file.try_clone().expect("the file")
    })
}

/// A qcow2 file: all that it says to have is looked for, and some of it read. What was read in one piece is read the same in others.
pub fn qcow2(bytes: &[u8]) {
    let Ok(disk) = Qcow2::open(file(bytes)) else {
        return;
    };
    let (mut at, mut left) = (0, ENOUGH);
    let mut piece = vec![0; 1 << 16];
    while let Ok(Some(range)) = disk.next_data(at) {
        assert!(
            range.start >= at && range.start < range.end && range.end <= disk.size(),
            "{range:?} after {at}"
        );
        at = range.start;
        while at < range.end && left > 0 {
            let length = (range.end - at).min(1 << 16).min(left) as usize;
            if disk.read_at(&mut piece[..length], at).is_ok() {
                let mut byte = [0];
                let middle = length / 2;
                disk.read_at(&mut byte, at + middle as u64)
                    .expect("read once");
                assert_eq!(byte[0], piece[middle]);
            }
            at += length as u64;
            left -= length as u64;
        }
        at = range.end;
    }
    assert!(disk.read_at(&mut piece, disk.size()).is_err());
}

/// A partition table, as it is and under right checksums; the latter is moved to the end of a disk that has grown.
pub fn partitions(bytes: &[u8]) {
    let _ = table::read(&Bytes(bytes));
    let mut sealed = bytes.to_vec();
    reseal(&mut sealed);
    let Ok(Some(found)) = table::read(&Bytes(&sealed)) else {
        return;
    };
    let disk = Bytes(&sealed);
    for partition in &found.partitions {
        let part = Part::new(&disk, partition.start, partition.size);
        assert!(part.size() <= sealed.len() as u64);
    }
    assert!(found.problems.len() < 50);
    let file = file(&sealed);
    file.set_len((sealed.len() as u64 + (1 << 20)).next_multiple_of(1 << 20))
        .expect("a file");
    let disk = Raw::open(file, Format::Raw).expect("a raw disk");
    if found.kind == table::TableKind::Gpt
        && table::grow(&disk, disk.file()).is_ok_and(|grown| grown)
    {
        let again = table::read(&disk).expect("a disk that can be read");
        // Where both tables had room, nothing of it is lost.
        if sealed.len() > 80 * 512 {
            assert!(again.is_some(), "a table that grew is gone");
        }
    }
}

/// Makes the checksums of a GPT right, so that what was changed gets past them.
pub fn reseal(disk: &mut [u8]) {
    const SECTOR: usize = 512;
    let number = |disk: &[u8], at: usize, length: usize| {
        disk[at..at + length]
            .iter()
            .rev()
            .fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
    };
    let last = (disk.len() / SECTOR).saturating_sub(1);
    for header in [1, last] {
        let at = header * SECTOR;
        if at + SECTOR > disk.len() || !disk[at..].starts_with(b"EFI PART") {
            continue;
        }
        let entries = number(disk, at + 72, 8).saturating_mul(SECTOR as u64);
        let length = number(disk, at + 80, 4) * number(disk, at + 84, 4);
        let end = entries.saturating_add(length);
        if end <= disk.len() as u64 {
            let sum = crc32fast::hash(&disk[entries as usize..end as usize]);
            disk[at + 88..at + 92].copy_from_slice(&sum.to_le_bytes());
        }
        disk[at + 24..at + 32].copy_from_slice(&(header as u64).to_le_bytes());
        disk[at + 16..at + 20].fill(0);
        let length = (number(disk, at + 12, 4) as usize).min(SECTOR);
        let sum = crc32fast::hash(&disk[at..at + length]);
        disk[at + 16..at + 20].copy_from_slice(&sum.to_le_bytes());
    }
}

/// An ext4: its tree, its files, their attributes.
pub fn ext4(bytes: &[u8]) {
    let disk = Bytes(bytes);
    let Ok(tree) = Ext4::open(&disk, 0, bytes.len() as u64) else {
        return;
    };
    assert!(tree.size() <= disk.size() && tree.free() <= tree.size());
    let (mut seen, mut left) = (BTreeSet::new(), ENOUGH);
    let mut waiting = vec![ROOT];
    while let Some(number) = waiting.pop() {
        if seen.len() > 300 || !seen.insert(number) {
            continue;
        }
        let Ok(inode) = tree.inode(number) else {
            continue;
        };
        if let Ok(attributes) = tree.xattrs(&inode) {
            assert!(
                attributes
                    .iter()
                    .map(|(_, value)| value.len())
                    .sum::<usize>()
                    < 3 << 20
            );
        }
        match inode.kind {
            FileKind::Directory => {
                if let Ok(entries) = tree.read_dir(&inode) {
                    for entry in &entries {
                        assert!(!entry.name.is_empty() && !entry.name.contains(&b'/'));
                    }
                    waiting.extend(entries.iter().map(|entry| entry.inode));
                }
            }
            FileKind::Symlink => drop(tree.read_link(&inode)),
            FileKind::File => content(&tree, &inode, &mut left),
            _ => {}
        }
    }
    for path in ["etc/os-release", "many/../link", "deep/deep/deep", "loop"] {
        let _ = (
            tree.find(path, true),
            tree.find(path, false),
            tree.find_real(path),
        );
        let _ = tree.read_file(path, 1 << 20);
    }
}

/// What a file has, hole by hole.
fn content(tree: &Ext4<'_>, inode: &Inode, left: &mut u64) {
    let mut at = 0;
    let mut piece = vec![0; 1 << 16];
    for _ in 0..2000 {
        let Ok(Some(range)) = tree.next_data(inode, at) else {
            break;
        };
        assert!(range.start >= at && range.start < range.end && range.end <= inode.size);
        let length = (range.end - range.start).min(1 << 16).min(*left) as usize;
        let _ = tree.read(inode, range.start, &mut piece[..length]);
        *left -= length as u64;
        at = range.end;
    }
}

/// A FAT, and what else a partition may be.
pub fn small(bytes: &[u8]) {
    let disk = Bytes(bytes);
    let part = Part::new(&disk, 0, disk.size());
    let _ = fat::boots(&part);
    if let Ok(Some(found)) = filesystem::identify(&part) {
        assert!(!found.label.contains(char::is_control));
    }
}

/// A disk with all that is on it.
pub fn whole(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    reseal(&mut sealed);
    for bytes in [bytes, &sealed] {
        if let Ok(found) = inspect(&Bytes(bytes)) {
            assert!(found.problems.len() < 100);
        }
    }
}

/// The same in a qcow2 file.
pub fn whole_qcow2(bytes: &[u8]) {
    if let Ok(disk) = Qcow2::open(file(bytes)) {
        let _ = inspect(&disk);
    }
}

/// A disk of VMware's: what may be given to qemu-img.
pub fn description(bytes: &[u8]) {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .expect("a folder");
    }
    FOLDER.with(|folder| {
        let path = folder.path().join("disk.vmdk");
        std::fs::write(&path, bytes).expect("a file");
        std::fs::write(folder.path().join("data.vmdk"), b"").expect("a file");
        if vmdk::check(&path, &path).is_ok()
            && !bytes.starts_with(b"KDMV")
            && !bytes.starts_with(b"COWD")
        {
            for name in extents(bytes) {
                assert!(
                    ["disk.vmdk", "data.vmdk"]
                        .map(str::as_bytes)
                        .contains(&name),
                    "{name:?}"
                );
            }
        }
    });
}

/// The names of the files that QEMU would open: `vmdk_parse_extents` of its block/vmdk.c, with `sscanf` as C has it.
fn extents(text: &[u8]) -> Vec<&[u8]> {
    let text = &text[..text
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(text.len())];
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r');
    let word = |rest: &mut &[u8]| {
        let start = rest
            .iter()
            .position(|byte| !is_blank(byte))
            .unwrap_or(rest.len());
        let length = rest[start..]
            .iter()
            .take(10)
            .take_while(|byte| !is_blank(byte))
            .count();
        let (before, after) = rest.split_at(start + length);
        *rest = after;
        before[start..].to_vec()
    };
    let mut names = Vec::new();
    for (at, _) in text
        .iter()
        .enumerate()
        .filter(|(at, _)| *at == 0 || text[at - 1] == b'\n')
    {
        let mut rest = &text[at..];
        if word(&mut rest) != b"RW" {
            continue;
        }
        rest = rest.trim_ascii_start();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = &rest[digits..];
        if digits == 0 || word(&mut rest).is_empty() {
            continue;
        }
        rest = rest.trim_ascii_start();
        if let Some(name) = rest.strip_prefix(b"\"") {
            let end = name
                .iter()
                .take(511)
                .position(|byte| matches!(byte, b'\n' | b'\r' | b'"'));
            if let Some(end) = end.filter(|end| *end > 0) {
                names.push(&name[..end]);
            }
        }
    }
    names
}

/// Where what a guest says is read from; the input is cut into as many.
const PLACES: [&str; 12] = [
    "usr/lib/cloud-init/ds-identify",
    "etc/cloud/cloud.cfg",
    "etc/cloud/cloud.cfg.d/05_logging.cfg",
    "etc/cloud/cloud.cfg.d/zz.cfg",
    "etc/cloud/ds-identify.cfg",
    "etc/os-release",
    "boot/loader/entries/a.conf",
    "boot/grub2/grubenv",
    "boot/grub/grub.cfg",
    "usr/lib/python3/dist-packages/cloudinit/version.py",
    "etc/resolv.conf",
    "etc/machine-id",
];

/// What ends the content of one place.
pub const CUT: u8 = 0xFF;

/// Files in memory.
struct Memory(BTreeMap<String, Vec<u8>>);

impl Tree for Memory {
    fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let content = self.0.get(path)?;
        (content.len() as u64 <= limit).then(|| content.clone())
    }

    fn size(&self, path: &str) -> Option<u64> {
        Some(self.0.get(path)?.len() as u64)
    }

    fn exists(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn list(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        let names = self
            .0
            .keys()
            .filter_map(|name| name.strip_prefix(&prefix)?.split('/').next());
        let names: BTreeSet<&str> = names.collect();
        names.into_iter().map(ToOwned::to_owned).collect()
    }
}

/// What a guest's files say; what is changed of them for SmartOS is all that is to be changed.
pub fn guest(bytes: &[u8]) {
    let files = PLACES.iter().zip(bytes.split(|&byte| byte == CUT));
    let files = files.filter(|(_, content)| !content.is_empty());
    let mut tree = Memory(
        files
            .map(|(path, content)| ((*path).to_owned(), content.to_vec()))
            .collect(),
    );
    let _ = System::of(&tree);
    let line = boot::command_line(&tree, "boot/").map_or_else(String::new, |(line, _)| line);
    let labels = ["cidata".to_owned()];
    for labels in [&labels[..0], &labels] {
        if let Some(found) = CloudInit::of(&tree, &line, labels) {
            assert!(found.datasources.len() < 300);
        }
    }
    let traces = clean::traces(&tree);
    assert!(traces.is_sorted_by(|one, other| one.path < other.path));
    for (path, content, _) in smartos_changes(&tree) {
        match content {
            Some(content) => drop(tree.0.insert(path, content)),
            None => drop(tree.0.remove(&path)),
        }
    }
    assert_eq!(
        smartos_changes(&tree),
        [],
        "what was written is written again"
    );
    if let Some(identify) = Identify::new(&tree, "", &[]) {
        let _ = identify.decide();
    }
}
