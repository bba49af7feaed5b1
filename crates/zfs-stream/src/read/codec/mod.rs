//! Expands blocks that a stream carries compressed (`zfs send -c`, `-e`), as they are on disk
//! (`zio_compress.c`).

mod lzjb;
#[cfg(test)]
mod tests;
mod zle;
mod zstd;

use flate2::{Decompress, FlushDecompress, Status};

/// Size in bytes of the length that lz4 data begins with.
const LZ4_HEADER: usize = 4;

/// A block could not be expanded. Offsets are in bytes of its compressed data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    /// No block is compressed so.
    #[error(
        "compression {0} is not known: OpenZFS has 2 (off), 3 (lzjb), 5 to 13 (gzip), 14 (zle), \
         15 (lz4) and 16 (zstd)"
    )]
    Unknown(u8),
    /// The data stops before the block is whole.
    #[error("the {codec} data ends after {present} bytes, in the middle of something")]
    Ends {
        /// Name of the compression.
        codec: &'static str,
        /// How many bytes there are.
        present: usize,
    },
    /// The data states a length that it does not have.
    #[error("the {codec} data is {present} bytes long where it says {stated}")]
    Length {
        /// Name of the compression.
        codec: &'static str,
        /// Length that it states, in bytes, without the header that states it.
        stated: u32,
        /// Bytes that there are, without that header.
        present: usize,
    },
    /// The data is whole and the block is of another size.
    #[error("the {codec} data expands to {expanded} bytes where the block has {expected}")]
    Size {
        /// Name of the compression.
        codec: &'static str,
        /// Size in bytes that came out.
        expanded: u64,
        /// Size in bytes of the block.
        expected: usize,
    },
    /// The data goes on where the block is full.
    #[error("the {codec} data expands to more than the {expected} bytes that the block has")]
    Long {
        /// Name of the compression.
        codec: &'static str,
        /// Size in bytes of the block.
        expected: usize,
    },
    /// The data is not of its format.
    #[error("damaged {codec} data at byte {offset}: {reason}")]
    Damaged {
        /// Name of the compression.
        codec: &'static str,
        /// Of the part that is wrong, as far as the decoder tells: the start of a zstd block, the end of what
        /// was taken in of gzip, the start of all lz4 data.
        offset: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Expands `input` into the whole of `output`, whose size is that of the block (at most 16 MiB).
///
/// `compression` is an `enum zio_compress`; 0, which is what a WRITE record that is not compressed says, is like
/// 2 (off). What follows the compressed data, which pads blocks to sectors and records to 8 bytes, is not
/// looked at, as ZFS doesn't either. Memory taken besides is at most three times the size of `output` (a buffer of
/// zstd's that doubles as it grows) and 4 MiB.
///
/// # Errors
///
/// `input` is damaged, too short, or expands to something larger or smaller than `output`, which then holds
/// anything.
pub(crate) fn expand(compression: u8, input: &[u8], output: &mut [u8]) -> Result<(), CodecError> {
    match compression {
        0 | 2 => stored(input, output),
        3 => lzjb::expand(input, output),
        5..=13 => gzip(input, output),
        14 => zle::expand(input, output),
        15 => lz4(input, output),
        16 => zstd::expand(input, output),
        _ => Err(CodecError::Unknown(compression)),
    }
}

fn stored(input: &[u8], output: &mut [u8]) -> Result<(), CodecError> {
    let block = input.get(..output.len()).ok_or(CodecError::Ends {
        codec: "uncompressed",
        present: input.len(),
    })?;
    output.copy_from_slice(block);
    Ok(())
}

/// A zlib stream (`gzip.c`), whatever the level.
fn gzip(input: &[u8], output: &mut [u8]) -> Result<(), CodecError> {
    const CODEC: &str = "gzip";
    let mut decoder = Decompress::new(true);
    let status = decoder.decompress(input, output, FlushDecompress::Finish);
    let expected = output.len();
    match status {
        Ok(Status::StreamEnd) => match decoder.total_out() {
            expanded if expanded == expected as u64 => Ok(()),
            expanded => Err(CodecError::Size {
                codec: CODEC,
                expanded,
                expected,
            }),
        },
        Ok(Status::Ok | Status::BufError) if decoder.total_in() < input.len() as u64 => {
            Err(CodecError::Long {
                codec: CODEC,
                expected,
            })
        }
        Ok(Status::Ok | Status::BufError) => Err(CodecError::Ends {
            codec: CODEC,
            present: input.len(),
        }),
        Err(error) => Err(CodecError::Damaged {
            codec: CODEC,
            offset: decoder.total_in() as usize,
            reason: error.to_string(),
        }),
    }
}

/// The length of an LZ4 block, and that block (`lz4_zfs.c`).
fn lz4(input: &[u8], output: &mut [u8]) -> Result<(), CodecError> {
    const CODEC: &str = "lz4";
    use lz4_flex::block::DecompressError;
    let (stated, data) = split_length(CODEC, input)?;
    let data = cut(CODEC, stated, data)?;
    let expected = output.len();
    match lz4_flex::block::decompress_into(data, output) {
        Ok(expanded) if expanded == expected => Ok(()),
        Ok(expanded) => Err(CodecError::Size {
            codec: CODEC,
            expanded: expanded as u64,
            expected,
        }),
        Err(DecompressError::OutputTooSmall { .. }) => Err(CodecError::Long {
            codec: CODEC,
            expected,
        }),
        Err(error) => Err(CodecError::Damaged {
            codec: CODEC,
            offset: LZ4_HEADER,
            reason: error.to_string(),
        }),
    }
}

/// Takes the big-endian length from the start of `input`.
fn split_length<'a>(codec: &'static str, input: &'a [u8]) -> Result<(u32, &'a [u8]), CodecError> {
    match input.split_first_chunk() {
        Some((length, rest)) => Ok((u32::from_be_bytes(*length), rest)),
        None => Err(CodecError::Ends {
            codec,
            present: input.len(),
        }),
    }
}

/// The first `stated` bytes of `data`, without what pads them.
fn cut<'a>(codec: &'static str, stated: u32, data: &'a [u8]) -> Result<&'a [u8], CodecError> {
    let length = usize::try_from(stated).ok();
    length
        .and_then(|length| data.get(..length))
        .ok_or(CodecError::Length {
            codec,
            stated,
            present: data.len(),
        })
}
