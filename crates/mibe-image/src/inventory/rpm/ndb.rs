//! ndb (rpm's `lib/backend/ndb/rpmpkg.c`): pages of slots, each of which leads to a blob; little-endian.

use super::{Damage, MAX_HEADER, number};

const MAGIC: &[u8] = b"RpmP";
const SLOT_MAGIC: &[u8] = b"Slot";
const BLOB_MAGIC: &[u8] = b"BlbS";

/// Size in bytes of the header, of a slot, of a page of slots, and of the unit that blobs are counted in.
const HEADER: usize = 32;
const SLOT: usize = 16;
const PAGE: usize = 4096;
const BLOCK: usize = 16;

pub(super) fn each_blob(
    file: &[u8],
    each: &mut dyn FnMut(&[u8]) -> Result<(), Damage>,
) -> Result<(), Damage> {
    if !file.starts_with(MAGIC) {
        return Err("is no ndb database");
    }
    let field = |at: usize| number(file, at, u32::from_le_bytes);
    let pages = field(12).ok_or("is cut short")?;
    let end = pages.saturating_mul(PAGE).min(file.len());
    let slots = file.get(HEADER..end).unwrap_or_default();
    for slot in slots.chunks_exact(SLOT) {
        let field = |at: usize| number(slot, at, u32::from_le_bytes);
        // Slots of no package have index 0.
        if !slot.starts_with(SLOT_MAGIC) || field(4) == Some(0) {
            continue;
        }
        let start = field(8).and_then(|block| block.checked_mul(BLOCK));
        let blob = start.and_then(|start| file.get(start..));
        let blob = blob.filter(|blob| blob.starts_with(BLOB_MAGIC));
        let blob = blob.ok_or("a slot leads to no package")?;
        let length = number(blob, 12, u32::from_le_bytes).filter(|length| *length <= MAX_HEADER);
        let content = length.and_then(|length| blob.get(16..16 + length));
        each(content.ok_or("a package is cut short")?)?;
    }
    Ok(())
}
