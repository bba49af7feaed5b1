//! Partition tables: what parts a disk has.

mod gpt;
mod mbr;

use std::fs::File;
use std::io;

use serde::Serialize;

use crate::source::Source;

pub use self::gpt::grow;

/// Lets the partition that ends last go on to the end of the raw disk, after [`grow`]; its bytes then. `None`: it is not the partition `number`, or goes on already.
///
/// # Errors
///
/// The file could not be read or written, or has no table that is sound.
pub fn extend(disk: &dyn Source, file: &File, number: u32) -> io::Result<Option<u64>> {
    let Some(table) = read(disk)? else {
        return Ok(None);
    };
    let last = table
        .partitions
        .iter()
        .max_by_key(|partition| partition.start.saturating_add(partition.size));
    let Some(last) = last.filter(|last| last.number == number) else {
        return Ok(None);
    };
    match table.kind {
        TableKind::Gpt => gpt::extend(disk, file, last),
        TableKind::Mbr => mbr::extend(disk, file, last),
    }
}

/// Bytes of a sector, which those of virtual machines have.
pub const SECTOR: u64 = 512;

/// Kinds of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// GUID partition table.
    Gpt,
    /// Master boot record.
    Mbr,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its number, counted from 1, as in /dev/vda1.
    pub number: u32,
    /// First byte on the disk.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Its type: a GUID, or two hexadecimal digits.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name, in GPT.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its GUID, in GPT.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uuid: String,
    /// Whether a BIOS is to boot from it: the flag of MBR, the attribute of GPT.
    pub active: bool,
}

/// GUIDs of partition types (UEFI specification 2.10, table 5.7; systemd's Discoverable Partitions Specification; GRUB's manual).
pub mod types {
    /// EFI system partition.
    pub const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    /// Where GRUB keeps its core for BIOS.
    pub const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";
    /// Where illumos' loader is.
    pub const ILLUMOS_BOOT: &str = "6a82cb45-1dd2-11b2-99a6-080020736631";
    /// Where FreeBSD's gptboot is.
    pub const FREEBSD_BOOT: &str = "83bd6b9d-7f41-11dc-be0b-001560b84f0f";
}

impl Partition {
    /// Whether it is where UEFI looks for what boots.
    pub fn is_esp(&self) -> bool {
        self.kind == types::ESP || self.kind == "ef"
    }

    /// What its type is for people.
    pub fn kind_name(&self) -> &'static str {
        match self.kind.as_str() {
            types::ESP | "ef" => "EFI system",
            types::BIOS_BOOT => "BIOS boot",
            types::FREEBSD_BOOT => "FreeBSD boot",
            types::ILLUMOS_BOOT => "illumos boot",
            "0fc63daf-8483-4772-8e79-3d69d8477de4" | "83" => "Linux",
            "4f68bce3-e8cd-4db1-96e7-fbcaf984b709" => "Linux root (x86-64)",
            "bc13c2ff-59e6-4262-a352-b275fd6f7172" => "Linux extended boot",
            "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f" | "82" => "swap",
            "e6d6d379-f507-44c2-a23c-238f2a3df928" | "8e" => "LVM",
            "516e7cb6-6ecf-11d6-8ff8-00022d09712b" => "FreeBSD UFS",
            "516e7cb5-6ecf-11d6-8ff8-00022d09712b" => "FreeBSD swap",
            "516e7cba-6ecf-11d6-8ff8-00022d09712b" => "FreeBSD ZFS",
            "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7" | "07" => "Windows data",
            "e3c9e316-0b5c-4db8-817d-f92df00215ae" => "Windows reserved",
            "de94bba4-06d1-4d40-a16a-bfd50179d6ac" => "Windows recovery",
            "a5" => "FreeBSD",
            "a6" => "OpenBSD",
            "a9" => "NetBSD",
            "06" | "0b" | "0c" | "0e" => "FAT",
            _ => "other",
        }
    }
}

/// The partition table of a disk.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Its kind.
    pub kind: TableKind,
    /// The partitions by number.
    pub partitions: Vec<Partition>,
    /// What is wrong with it.
    #[serde(skip)]
    pub problems: Vec<String>,
}

/// Reads the partition table of a disk; `None`: there is none.
///
/// # Errors
///
/// The disk could not be read. What is wrong with a table is said in the table.
pub fn read(disk: &dyn Source) -> io::Result<Option<Table>> {
    if disk.size() < 2 * SECTOR {
        return Ok(None);
    }
    let Some(mbr) = mbr::read(disk)? else {
        // A GPT whose protective record was lost is none for any firmware.
        return Ok(None);
    };
    let mut table = if mbr.protective {
        match gpt::read(disk)? {
            Some(table) => table,
            None if mbr.table.partitions.len() > 1 => mbr.table,
            None => Table {
                kind: TableKind::Gpt,
                partitions: Vec::new(),
                problems: vec![
                    "the disk says to have a GPT, and neither of its two headers can be read"
                        .into(),
                ],
            },
        }
    } else {
        mbr.table
    };
    check(&mut table, disk.size());
    Ok(Some(table))
}

/// Most problems that are told: a table can have thousands.
const MOST_PROBLEMS: usize = 20;

/// Finds what is wrong with where partitions are.
fn check(table: &mut Table, size: u64) {
    let mut by_start: Vec<&Partition> = table.partitions.iter().collect();
    by_start.sort_by_key(|partition| partition.start);
    let mut problems = Vec::new();
    for partition in &by_start {
        if partition
            .start
            .checked_add(partition.size)
            .is_none_or(|end| end > size)
        {
            problems.push(format!(
                "partition {} reaches beyond the end of the disk",
                partition.number
            ));
        }
    }
    for pair in by_start.windows(2) {
        if pair[0].start.saturating_add(pair[0].size) > pair[1].start {
            problems.push(format!(
                "partitions {} and {} overlap",
                pair[0].number, pair[1].number
            ));
        }
    }
    table.problems.extend(problems);
    let more = table.problems.len().saturating_sub(MOST_PROBLEMS);
    if more > 0 {
        table.problems.truncate(MOST_PROBLEMS);
        table
            .problems
            .push(format!("there are {more} more problems of this kind"));
    }
}
