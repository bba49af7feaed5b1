//! FAT, as far as to say whether UEFI finds something to boot: /EFI/BOOT/BOOTX64.EFI, whose names all are short.

use std::io;

use crate::source::{Part, damaged};

/// Most bytes of a directory (65,536 entries): chains may lead back to themselves.
const MOST_BYTES: u64 = 65_536 * ENTRY as u64;

/// Bytes of an entry.
const ENTRY: usize = 32;

/// Where things are (Microsoft's FAT specification, 3.1 and 3.5).
struct Layout {
    width: u8,
    cluster: u64,
    fat: u64,
    root: Root,
    data: u64,
    clusters: u64,
}

#[derive(Clone, Copy)]
enum Root {
    Fixed { at: u64, bytes: u64 },
    Chain(u32),
}

/// Whether the partition has the program that UEFI boots where it is told nothing else, for this processor.
///
/// # Errors
///
/// It is no FAT, a damaged one, or could not be read.
pub fn boots(part: &Part<'_>) -> io::Result<bool> {
    let layout = layout(part)?;
    let mut at = layout.root;
    for (name, last) in [
        (b"EFI        ", false),
        (b"BOOT       ", false),
        (b"BOOTX64 EFI", true),
    ] {
        match find(part, &layout, at, name)? {
            Some((attributes, cluster)) if last => {
                return Ok(attributes & 0x10 == 0 && cluster != 0);
            }
            Some((attributes, cluster)) if attributes & 0x10 != 0 => at = Root::Chain(cluster),
            _ => return Ok(false),
        }
    }
    Ok(false)
}

fn layout(part: &Part<'_>) -> io::Result<Layout> {
    let mut boot = [0; 512];
    part.read_at(&mut boot, 0)?;
    let short = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let long = |at: usize| {
        u64::from(u32::from_le_bytes([
            boot[at],
            boot[at + 1],
            boot[at + 2],
            boot[at + 3],
        ]))
    };
    let sector = short(11);
    let per_cluster = u64::from(boot[13]);
    if !(512..=4096).contains(&sector)
        || !sector.is_power_of_two()
        || !per_cluster.is_power_of_two()
    {
        return Err(damaged("the FAT's boot sector makes no sense"));
    }
    let either = |small: u64, large: u64| if small == 0 { large } else { small };
    let (fat_size, total) = (either(short(22), long(36)), either(short(19), long(32)));
    let reserved = short(14);
    let root_bytes = short(17) * ENTRY as u64;
    let root_at = (reserved + u64::from(boot[16]) * fat_size) * sector;
    let data = root_at + root_bytes.next_multiple_of(sector);
    let clusters = (total * sector).saturating_sub(data) / (sector * per_cluster);
    // The number of clusters alone decides.
    let width = match clusters {
        0..4085 => 12,
        4085..65_525 => 16,
        _ => 32,
    };
    Ok(Layout {
        width,
        cluster: sector * per_cluster,
        fat: reserved * sector,
        root: if width == 32 {
            Root::Chain(long(44) as u32)
        } else {
            Root::Fixed {
                at: root_at,
                bytes: root_bytes,
            }
        },
        data,
        clusters,
    })
}

/// The attributes and first cluster of an entry of a directory.
fn find(
    part: &Part<'_>,
    layout: &Layout,
    directory: Root,
    name: &[u8; 11],
) -> io::Result<Option<(u8, u32)>> {
    let mut buffer = Vec::new();
    let mut cluster = match directory {
        Root::Fixed { at, bytes } => {
            buffer.resize(bytes as usize, 0);
            part.read_at(&mut buffer, at)?;
            return Ok(entry(&buffer, name).0);
        }
        Root::Chain(cluster) => cluster,
    };
    for _ in 0..MOST_BYTES.div_ceil(layout.cluster) {
        if cluster < 2 || u64::from(cluster) - 2 >= layout.clusters {
            return Ok(None);
        }
        buffer.resize(layout.cluster as usize, 0);
        part.read_at(
            &mut buffer,
            layout.data + (u64::from(cluster) - 2) * layout.cluster,
        )?;
        match entry(&buffer, name) {
            (None, false) => cluster = next(part, layout, cluster)?,
            (found, _) => return Ok(found),
        }
    }
    Err(damaged("a directory of the FAT has no end"))
}

/// An entry, and whether the directory ends here.
fn entry(bytes: &[u8], name: &[u8; 11]) -> (Option<(u8, u32)>, bool) {
    for entry in bytes.chunks_exact(ENTRY) {
        if entry[0] == 0 {
            return (None, true);
        }
        // Volume labels and parts of long names.
        if &entry[..11] == name && entry[11] & 0x08 == 0 {
            let short = |at: usize| u32::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
            return (Some((entry[11], short(20) << 16 | short(26))), true);
        }
    }
    (None, false)
}

/// The cluster after one; 0 where there is none.
fn next(part: &Part<'_>, layout: &Layout, cluster: u32) -> io::Result<u32> {
    let mut bytes = [0; 4];
    let cluster = u64::from(cluster);
    let (at, length, end) = match layout.width {
        12 => (cluster + cluster / 2, 2, 0xFF8),
        16 => (cluster * 2, 2, 0xFFF8),
        _ => (cluster * 4, 4, 0x0FFF_FFF8),
    };
    part.read_at(&mut bytes[..length], layout.fat + at)?;
    let mut value = u32::from_le_bytes(bytes) & 0x0FFF_FFFF;
    if layout.width == 12 {
        value = if cluster % 2 == 1 {
            value >> 4
        } else {
            value & 0xFFF
        };
    }
    Ok(if value >= end { 0 } else { value })
}
