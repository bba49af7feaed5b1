//! LZJB (`lzjb.c`): groups of eight items after a byte whose bits, from the lowest, tell for each
//! whether it is a byte or a copy of what came before.

use super::CodecError;

const CODEC: &str = "lzjb";
/// Number of bits of a copy's length, above those of its distance (`MATCH_BITS`).
const LENGTH_BITS: u32 = 6;
/// Length in bytes of the shortest copy (`MATCH_MIN`).
const MIN_LENGTH: usize = 3;

/// Expands `input` into the whole of `output`. A copy that goes on beyond its end is cut, as ZFS cuts it.
pub(super) fn expand(input: &[u8], output: &mut [u8]) -> Result<(), CodecError> {
    let ends = || CodecError::Ends {
        codec: CODEC,
        present: input.len(),
    };
    let mut rest = input;
    let mut filled = 0;
    while filled < output.len() {
        let (&map, items) = rest.split_first().ok_or_else(ends)?;
        rest = items;
        if map == 0
            && let Some((bytes, items)) = rest.split_first_chunk::<8>()
            && let Some(target) = output.get_mut(filled..filled + 8)
        {
            target.copy_from_slice(bytes);
            filled += 8;
            rest = items;
            continue;
        }
        for bit in 0..8 {
            if filled == output.len() {
                break;
            }
            if map >> bit & 1 == 0 {
                let (&byte, items) = rest.split_first().ok_or_else(ends)?;
                rest = items;
                if let Some(target) = output.get_mut(filled) {
                    *target = byte;
                }
                filled += 1;
            } else {
                let (copy, items) = rest.split_first_chunk().ok_or_else(ends)?;
                let copy = u16::from_be_bytes(*copy);
                let length = usize::from(copy >> (u16::BITS - LENGTH_BITS)) + MIN_LENGTH;
                let distance = usize::from(copy & (u16::MAX >> LENGTH_BITS));
                if distance == 0 || distance > filled {
                    return Err(CodecError::Damaged {
                        codec: CODEC,
                        offset: input.len() - rest.len(),
                        reason: format!(
                            "a copy from {distance} bytes back where {filled} came before"
                        ),
                    });
                }
                rest = items;
                let length = length.min(output.len() - filled);
                repeat(output, filled, distance, length);
                filled += length;
            }
        }
    }
    Ok(())
}

/// Has `length` bytes at `at` be like those `distance` before each. It must be within what is before `at`,
/// and the bytes within `output`.
fn repeat(output: &mut [u8], at: usize, distance: usize, length: usize) {
    let from = at - distance;
    // What is there doubles, so that runs take few steps.
    let mut done = 0;
    while done < length {
        let step = (distance + done).min(length - done);
        output.copy_within(from..from + step, at + done);
        done += step;
    }
}
