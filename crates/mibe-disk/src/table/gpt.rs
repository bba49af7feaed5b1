//! GUID partition tables (UEFI specification 2.10, 5.3): read from either header, and moved to the end of a disk that has grown.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::{Partition, SECTOR, Table, TableKind};
use crate::source::{Source, damaged};

/// Bytes of a header that mean something.
const HEADER: usize = 92;

/// Most bytes of entries; common tables have 16 KiB.
const MOST_ENTRIES: u64 = 1 << 20;

/// Sectors of a mebibyte.
const ALIGNMENT: u64 = (1 << 20) / SECTOR;

/// A header that was found sound, with its entries.
struct Header {
    sector: [u8; SECTOR as usize],
    entries: Vec<u8>,
    entry_size: usize,
    /// First sector of the entries.
    entries_at: u64,
    /// Last sector that partitions may have.
    last_usable: u64,
}

/// Reads the table; `None`: neither header is sound.
pub(super) fn read(disk: &dyn Source) -> io::Result<Option<Table>> {
    let last = disk.size() / SECTOR - 1;
    let primary = header(disk, 1)?;
    // A disk that was made larger has its second header where it ended before: the first one knows.
    let elsewhere = primary
        .as_ref()
        .ok()
        .map(|header| number(&header.sector, 32))
        .filter(|&at| at > 1 && at < last);
    let backup = header(disk, elsewhere.unwrap_or(last))?;
    let mut problems = Vec::new();
    let header = match (primary, backup) {
        (Ok(primary), backup) => {
            if let Err(reason) = backup {
                problems.push(format!(
                    "the second header of the GPT, which repairs need, is unusable: {reason}"
                ));
            } else if elsewhere.is_some() {
                problems.push("the disk is larger than its GPT knows".into());
            }
            primary
        }
        (Err(reason), Ok(backup)) => {
            problems.push(format!(
                "the first header of the GPT, which firmware reads, is unusable: {reason}"
            ));
            backup
        }
        (Err(_), Err(_)) => return Ok(None),
    };
    let mut partitions = Vec::new();
    for (index, entry) in (1..).zip(header.entries.chunks_exact(header.entry_size)) {
        if entry[..16] == [0; 16] {
            continue;
        }
        let (first, last) = (number(entry, 32), number(entry, 40));
        if first > last {
            problems.push(format!("partition {index} ends before it begins"));
            continue;
        }
        let name: Vec<u16> = entry[56..128]
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .take_while(|&unit| unit != 0)
            .collect();
        partitions.push(Partition {
            number: index,
            start: first.saturating_mul(SECTOR),
            size: (last - first).saturating_add(1).saturating_mul(SECTOR),
            kind: guid(&entry[..16]),
            name: String::from_utf16_lossy(&name),
            uuid: guid(&entry[16..32]),
            // "Legacy BIOS bootable".
            active: number(entry, 48) & 4 != 0,
        });
    }
    Ok(Some(Table {
        kind: TableKind::Gpt,
        partitions,
        problems,
    }))
}

/// The header at a sector, or what is wrong with it.
fn header(disk: &dyn Source, at: u64) -> io::Result<Result<Header, &'static str>> {
    let mut sector = [0; SECTOR as usize];
    if at == 0
        || (at + 1)
            .checked_mul(SECTOR)
            .is_none_or(|end| end > disk.size())
    {
        return Ok(Err("it is beyond the end of the disk"));
    }
    disk.read_at(&mut sector, at * SECTOR)?;
    if !sector.starts_with(b"EFI PART") {
        return Ok(Err("it is not there"));
    }
    let length = word(&sector, 12) as usize;
    if !(HEADER..=SECTOR as usize).contains(&length) {
        return Ok(Err("its length makes no sense"));
    }
    if checksum(&sector, length) != word(&sector, 16) {
        return Ok(Err("its checksum is wrong"));
    }
    if number(&sector, 24) != at {
        return Ok(Err("it is one of another place"));
    }
    let (entries_at, count, size) = (
        number(&sector, 72),
        u64::from(word(&sector, 80)),
        u64::from(word(&sector, 84)),
    );
    if !(128..=4096).contains(&size) || !size.is_power_of_two() || count * size > MOST_ENTRIES {
        return Ok(Err("the sizes of its table make no sense"));
    }
    let mut entries = vec![0; (count * size) as usize];
    let offset = entries_at.checked_mul(SECTOR).filter(|offset| {
        offset
            .checked_add(count * size)
            .is_some_and(|end| end <= disk.size())
    });
    let Some(offset) = offset else {
        return Ok(Err("its table is beyond the end of the disk"));
    };
    disk.read_at(&mut entries, offset)?;
    if crc32fast::hash(&entries) != word(&sector, 88) {
        return Ok(Err("the checksum of its table is wrong"));
    }
    Ok(Ok(Header {
        last_usable: number(&sector, 48),
        sector,
        entries,
        entry_size: size as usize,
        entries_at,
    }))
}

/// The checksum of a header, in which its own place is zero.
fn checksum(sector: &[u8; SECTOR as usize], length: usize) -> u32 {
    let mut header = *sector;
    header[16..20].fill(0);
    crc32fast::hash(&header[..length])
}

/// Moves the second header of the GPT of a raw disk to its end, and lets partitions go as far, after the file was made larger. Whether there was anything
/// to do.
///
/// # Errors
///
/// The file could not be read or written, or has no GPT that is sound.
pub fn grow(disk: &dyn Source, file: &File) -> io::Result<bool> {
    let last = disk.size() / SECTOR - 1;
    let primary = match header(disk, 1)? {
        Ok(header) => header,
        // The one that is sound is at the end of what was the disk; a broken first one is mended by nobody unasked.
        Err(reason) => {
            return Err(damaged(format!(
                "the first header of the GPT is unusable: {reason}"
            )));
        }
    };
    let before = number(&primary.sector, 32);
    if before == last {
        return Ok(false);
    }
    let table_sectors = (primary.entries.len() as u64).div_ceil(SECTOR);
    let backup_entries = last
        .checked_sub(table_sectors)
        .filter(|&at| at > primary.last_usable);
    let Some(backup_entries) = backup_entries else {
        return Err(damaged(
            "the disk ends before the last byte that its GPT gives to partitions",
        ));
    };
    let sealed = |sector, here, other, entries_at| {
        sealed(
            sector,
            &[
                (24, here),
                (32, other),
                (48, backup_entries - 1),
                (72, entries_at),
            ],
        )
    };
    file.write_all_at(&primary.entries, backup_entries * SECTOR)?;
    file.write_all_at(
        &sealed(primary.sector, last, 1, backup_entries),
        last * SECTOR,
    )?;
    file.write_all_at(&sealed(primary.sector, 1, last, primary.entries_at), SECTOR)?;
    // What was the second header is nobody's now, and would be found by who looks for one.
    let mut old = [0; SECTOR as usize];
    if before > primary.last_usable.max(1) && before < backup_entries {
        disk.read_at(&mut old, before * SECTOR)?;
    }
    if old.starts_with(b"EFI PART") {
        file.write_all_at(&[0; SECTOR as usize], before * SECTOR)?;
    }
    let mut record = [0; SECTOR as usize];
    disk.read_at(&mut record, 0)?;
    // The record that protects the table covers the disk, or as much as it has numbers for.
    for entry in record[446..510]
        .chunks_exact_mut(16)
        .filter(|entry| entry[4] == 0xEE)
    {
        let first = u64::from(word(entry, 8));
        // At least one, or it would be no table any more.
        let sectors = (last + 1).saturating_sub(first).max(1);
        let sectors = u32::try_from(sectors).unwrap_or(u32::MAX);
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    }
    file.write_all_at(&record, 0)?;
    Ok(true)
}

/// Lets a partition end where the table lets partitions end.
pub(super) fn extend(
    disk: &dyn Source,
    file: &File,
    partition: &Partition,
) -> io::Result<Option<u64>> {
    let mut primary = header(disk, 1)?.map_err(damaged)?;
    let backup = header(disk, number(&primary.sector, 32))?.map_err(damaged)?;
    // Where a mebibyte begins, as the partitions of clouds do.
    let end = (primary.last_usable + 1) / ALIGNMENT * ALIGNMENT;
    let at = primary.entry_size * (partition.number as usize - 1);
    let Some(entry) = primary.entries.get_mut(at..at + primary.entry_size) else {
        return Ok(None);
    };
    let (first, last) = (number(entry, 32), number(entry, 40));
    if end <= last + 1 {
        return Ok(None);
    }
    entry[40..48].copy_from_slice(&(end - 1).to_le_bytes());
    let sum = crc32fast::hash(&primary.entries);
    for header in [&backup, &primary] {
        let mut sector = header.sector;
        sector[88..92].copy_from_slice(&sum.to_le_bytes());
        file.write_all_at(&primary.entries, header.entries_at * SECTOR)?;
        let here = number(&sector, 24);
        file.write_all_at(&sealed(sector, &[]), here * SECTOR)?;
    }
    Ok(Some((end - first) * SECTOR))
}

/// A header with numbers at places, and its checksum.
fn sealed(mut sector: [u8; SECTOR as usize], places: &[(usize, u64)]) -> [u8; SECTOR as usize] {
    for (place, value) in places {
        sector[*place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
    let length = word(&sector, 12) as usize;
    let sum = checksum(&sector, length);
    sector[16..20].copy_from_slice(&sum.to_le_bytes());
    sector
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

/// A GUID as it is written: its first three parts are little-endian.
fn guid(bytes: &[u8]) -> String {
    let hex = |bytes: &[u8]| mibe_image::file::hex(bytes);
    let reversed = |range: std::ops::Range<usize>| {
        let mut part = bytes[range].to_vec();
        part.reverse();
        hex(&part)
    };
    format!(
        "{}-{}-{}-{}-{}",
        reversed(0..4),
        reversed(4..6),
        reversed(6..8),
        hex(&bytes[8..10]),
        hex(&bytes[10..16])
    )
}
