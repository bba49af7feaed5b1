//! ZLE (`zle.c`): runs of zeroes are counted, all else is as it is.

use super::CodecError;

const CODEC: &str = "zle";
/// Number of bytes that a run other than of zeroes has at most; larger counts are of zeroes (the level of `zle`).
const MAX_LITERALS: usize = 64;

/// Expands `input` into the whole of `output`.
pub(super) fn expand(input: &[u8], output: &mut [u8]) -> Result<(), CodecError> {
    let expected = output.len();
    let ends = || CodecError::Ends {
        codec: CODEC,
        present: input.len(),
    };
    let mut rest = input;
    let mut room = output;
    while !room.is_empty() {
        let (&count, data) = rest.split_first().ok_or_else(ends)?;
        let count = usize::from(count) + 1;
        let zeroes = count.checked_sub(MAX_LITERALS).filter(|zeroes| *zeroes > 0);
        let (run, beyond) =
            room.split_at_mut_checked(zeroes.unwrap_or(count))
                .ok_or(CodecError::Long {
                    codec: CODEC,
                    expected,
                })?;
        if zeroes.is_some() {
            run.fill(0);
            rest = data;
        } else {
            let (bytes, data) = data.split_at_checked(count).ok_or_else(ends)?;
            run.copy_from_slice(bytes);
            rest = data;
        }
        room = beyond;
    }
    Ok(())
}
