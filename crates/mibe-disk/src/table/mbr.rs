//! Master boot records, with the chains of logical partitions that hang on them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::{Partition, SECTOR, Table, TableKind};
use crate::source::Source;

/// Most logical partitions that are looked at: a chain may lead back to itself.
const MOST_LOGICAL: u32 = 128;

/// What a disk's first sector says.
pub(super) struct Mbr {
    /// Whether it only protects a GPT.
    pub protective: bool,
    pub table: Table,
}

/// An entry: active, type, first sector, sectors.
type Entry = (bool, u8, u64, u64);

/// Reads the first sector; `None`: it is no boot record with partitions.
pub(super) fn read(disk: &dyn Source) -> io::Result<Option<Mbr>> {
    let Some(entries) = entries(disk, 0)? else {
        return Ok(None);
    };
    // A file system that begins with the disk has such a sector, too: with text where the table would be.
    let is_sound =
        |entry: &Entry, flag: u8| matches!(flag, 0 | 0x80) && (entry.1 == 0 || entry.3 != 0);
    if !entries.iter().all(|(flag, entry)| is_sound(entry, *flag)) {
        return Ok(None);
    }
    let mut table = Table {
        kind: TableKind::Mbr,
        partitions: Vec::new(),
        problems: Vec::new(),
    };
    let mut protective = false;
    let mut extended = None;
    for (number, (_, entry)) in (1..).zip(entries) {
        match entry.1 {
            0 => continue,
            0xEE => protective = true,
            0x05 | 0x0F | 0x85 if extended.is_none() => extended = Some(entry.2),
            _ => {}
        }
        table.partitions.push(partition(number, entry, 0));
    }
    if table.partitions.is_empty() {
        return Ok(None);
    }
    if let Some(start) = extended {
        logical(disk, start, &mut table)?;
    }
    Ok(Some(Mbr { protective, table }))
}

/// Follows the chain of logical partitions.
fn logical(disk: &dyn Source, start: u64, table: &mut Table) -> io::Result<()> {
    let mut at = start;
    for number in 5..5 + MOST_LOGICAL {
        let Some([(_, entry), (_, next), ..]) = entries(disk, at)? else {
            table.problems.push(format!(
                "the chain of logical partitions ends at sector {at}, where no record is"
            ));
            return Ok(());
        };
        if entry.1 != 0 {
            table.partitions.push(partition(number, entry, at));
        }
        if next.1 == 0 || next.3 == 0 {
            return Ok(());
        }
        at = start.saturating_add(next.2);
    }
    table
        .problems
        .push("the chain of logical partitions has no end".into());
    Ok(())
}

/// Lets a primary partition end with the disk; one in an extended partition stays as it is.
pub(super) fn extend(
    disk: &dyn Source,
    file: &File,
    partition: &Partition,
) -> io::Result<Option<u64>> {
    if partition.number > 4 {
        return Ok(None);
    }
    let first = partition.start / SECTOR;
    // As far as the record has numbers for.
    let sectors = u32::try_from((disk.size() / SECTOR).saturating_sub(first)).unwrap_or(u32::MAX);
    let size = u64::from(sectors) * SECTOR;
    if size <= partition.size {
        return Ok(None);
    }
    let at = 446 + 16 * (u64::from(partition.number) - 1) + 12;
    file.write_all_at(&sectors.to_le_bytes(), at)?;
    Ok(Some(size))
}

fn partition(number: u32, (active, kind, start, sectors): Entry, base: u64) -> Partition {
    Partition {
        number,
        start: (base + start) * SECTOR,
        size: sectors * SECTOR,
        kind: format!("{kind:02x}"),
        name: String::new(),
        uuid: String::new(),
        active,
    }
}

/// The four entries of the record at a sector, each with its flag; `None`: no record is there.
fn entries(disk: &dyn Source, sector: u64) -> io::Result<Option<[(u8, Entry); 4]>> {
    let mut record = [0; SECTOR as usize];
    match sector.checked_mul(SECTOR) {
        Some(offset) if offset + SECTOR <= disk.size() => disk.read_at(&mut record, offset)?,
        _ => return Ok(None),
    }
    if record[510..] != [0x55, 0xAA] {
        return Ok(None);
    }
    let number = |at: usize| {
        u64::from(u32::from_le_bytes(std::array::from_fn(|index| {
            record[at + index]
        })))
    };
    Ok(Some(std::array::from_fn(|index| {
        let at = 446 + 16 * index;
        (
            record[at],
            (
                record[at] == 0x80,
                record[at + 4],
                number(at + 8),
                number(at + 12),
            ),
        )
    })))
}
