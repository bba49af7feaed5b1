//! What VMware's disks say of other files.
//!
//! Their descriptions can name any file of this machine for the data or for a disk below, and qemu-img would open it; so what a file says of that is looked
//! at here first, and only plain names beside it pass. What counts is how QEMU reads a description (block/vmdk.c): by `sscanf`, which takes any white
//! space, line ends too, for a blank, and by `strstr`, which finds words anywhere.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::error::DiskError;

/// Most bytes of a description (QEMU's vmdk.c takes as many).
const DESCRIPTION: u64 = 1 << 20;

/// Where QEMU takes an embedded description to be, and how much of it it reads (`0x200`, `DESC_SIZE`).
const FIXED: u64 = 0x200;
const FIXED_LENGTH: u64 = 20 * 512;

/// Most files that a disk is of: VMware splits every 2 GB.
const MOST_EXTENTS: usize = 32_768;

/// Refuses a disk of VMware's in `file`, which people know by `path`, if its description names files that are not beside it.
///
/// # Errors
///
/// It does, or can't be read.
pub fn check(file: &Path, path: &Path) -> Result<(), DiskError> {
    let opened = File::open(file).map_err(DiskError::io("open", path))?;
    let size = opened
        .metadata()
        .map_err(DiskError::io("look at", path))?
        .len();
    let mut start = [0; 512];
    let there = size.min(512) as usize;
    opened
        .read_exact_at(&mut start[..there], 0)
        .map_err(DiskError::io("read", path))?;
    let (offset, length) = match &start[..4] {
        // "Virtual Disk Format 5.0", "Hosted Sparse Extent Header": capacity, and where the description is, in sectors.
        b"KDMV" => {
            let sectors =
                |at: usize| u64::from_le_bytes(std::array::from_fn(|index| start[at + index]));
            if sectors(12) == 0 {
                return Err(DiskError::disk(
                    path,
                    "has no disk of its own, only a description of others",
                    &[],
                ));
            }
            (
                sectors(28).saturating_mul(512),
                sectors(36).saturating_mul(512),
            )
        }
        // ESX's have none.
        b"COWD" => return Ok(()),
        _ => (0, size),
    };
    let text = |offset: u64, length: u64| {
        let length = length.min(DESCRIPTION).min(size.saturating_sub(offset));
        let mut text = vec![0; length as usize];
        opened
            .read_exact_at(&mut text, offset)
            .map(|()| String::from_utf8_lossy(&text).into_owned())
            .map_err(DiskError::io("read", path))
    };
    let mut texts = vec![text(offset, length)?];
    if &start[..4] == b"KDMV" {
        // Where QEMU looks for a disk below, whatever the header says (vmdk_parent_open).
        texts.push(text(FIXED, FIXED_LENGTH)?);
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    let is_embedded = &start[..4] == b"KDMV";
    let what = texts
        .iter()
        .find_map(|text| refusal(text, folder, is_embedded));
    what.map_or(Ok(()), |what| {
        Err(DiskError::disk(
            path,
            format!("its description names {what}"),
            &[
                "make one file of it, if you trust it: qemu-img convert -f vmdk -O qcow2 FILE whole.qcow2",
            ],
        ))
    })
}

/// Whether a file has the form of sparse data and is nothing but a description, which QEMU would follow; what can't be read is taken for one.
fn is_description(path: &Path) -> bool {
    let mut start = [0; 20];
    match File::open(path).and_then(|file| file.read_at(&mut start, 0)) {
        Ok(_) => &start[..4] == b"KDMV" && start[12..20] == [0; 8],
        Err(_) => true,
    }
}

/// What of a description is refused.
fn refusal(text: &str, folder: &Path, is_embedded: bool) -> Option<String> {
    let mut extents = 0;
    for line in text.lines() {
        let lower = line.to_ascii_lowercase();
        if lower.contains("parentfilenamehint") {
            return Some("a disk that it stands on".to_owned());
        }
        if let Some(cid) = lower.trim_start().strip_prefix("parentcid")
            && cid.trim_matches(['\0', ' ', '\t', '=', '\r']) != "ffffffff"
        {
            return Some("a disk that it stands on".to_owned());
        }
        // `RW 4192256 FLAT "disk-flat.vmdk" 0`
        let first = lower.split_whitespace().next().unwrap_or_default();
        if is_embedded || !matches!(first, "rw" | "rdonly" | "noaccess") {
            continue;
        }
        extents += 1;
        let mut quoted = line.split('"');
        // All of it on one line, or QEMU would go on reading on the next.
        let before = quoted.next().unwrap_or_default().split_whitespace().count();
        let name = quoted.next().unwrap_or_default();
        let is_plain = before == 3
            && !name.is_empty()
            && !name.contains(['/', '\\', ':'])
            && name != "."
            && name != "..";
        let is_beside = || {
            let path = folder.join(name);
            std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file())
                && !is_description(&path)
        };
        if extents > MOST_EXTENTS || !is_plain || !is_beside() {
            return Some(format!("{name:?} for its data, which is no file beside it"));
        }
    }
    None
}
