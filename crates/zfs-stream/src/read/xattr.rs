//! Extended attributes beside the others: an nvlist in XDR (`zfs_sa.c`, `nvpair.c`).

use super::error::Problem;

/// `DATA_TYPE_BYTE_ARRAY`
const BYTE_ARRAY: u32 = 10;

/// Name and value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Names and values of a packed list.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<Pair>, Problem> {
    let broken = || Problem::Invalid("extended attributes are packed wrongly");
    // Encoding (1: XDR), byte order and two bytes of nothing; then version and flags.
    if packed.first() != Some(&1) {
        return Err(broken());
    }
    let mut rest = packed.get(12..).ok_or_else(broken)?;
    let mut found = Vec::new();
    loop {
        let size = number(rest, 0).ok_or_else(broken)? as usize;
        if size == 0 {
            return Ok(found);
        }
        let pair = rest.get(..size).filter(|_| size >= 20).ok_or_else(broken)?;
        rest = rest.get(size..).ok_or_else(broken)?;
        // Its size, the size once unpacked, the name, the type, the number of elements, the elements.
        let name_length = number(pair, 8).ok_or_else(broken)? as usize;
        let name = pair.get(12..).and_then(|rest| rest.get(..name_length));
        let name = name.ok_or_else(broken)?;
        let at = 12 + name_length.next_multiple_of(4);
        let (kind, length) = (number(pair, at), number(pair, at + 4));
        let length = length.ok_or_else(broken)? as usize;
        if kind != Some(BYTE_ARRAY) {
            return Err(broken());
        }
        let value = pair.get(at + 8..).and_then(|rest| rest.get(..length));
        found.push((name.to_vec(), value.ok_or_else(broken)?.to_vec()));
    }
}

/// The big-endian number at an offset.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
