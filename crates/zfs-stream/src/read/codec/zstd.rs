//! Zstandard as ZFS keeps it (`zfs_zstd.c`): a length, the version and level of what made it, and one
//! frame (RFC 8878, 3.1.1) without its magic number.

use std::io::Read;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{CodecError, cut, split_length};

const CODEC: &str = "zstd";
/// Size in bytes of what ZFS puts before the frame (`zfs_zstdhdr_t`).
const HEADER: usize = 8;
/// Little-endian magic number of a frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// log2 of the size in bytes of the smallest window, which exponents count from (RFC 8878, 3.1.1.1.2).
const MIN_WINDOW_LOG: u8 = 10;
/// log2 of the size in bytes of the largest window that libzstd takes (`ZSTD_WINDOWLOG_MAX_64`).
const MAX_WINDOW_LOG: u8 = 31;
/// Most bytes that a block of a frame expands to (RFC 8878, 3.1.1.2.4).
const MAX_BLOCK: usize = 128 << 10;

// Fields of the frame header's descriptor (RFC 8878, 3.1.1.1.1).
const SINGLE_SEGMENT: u8 = 1 << 5;
const RESERVED: u8 = 1 << 3;
const CHECKSUM: u8 = 1 << 2;
/// An eight-byte content size.
const LARGE_SIZE: u8 = 3 << 6;

/// Expands `input` into the whole of `output`. A checksum at the frame's end, which ZFS never has made, is not
/// compared.
pub(super) fn expand(input: &[u8], output: &mut [u8]) -> Result<(), CodecError> {
    let (stated, rest) = split_length(CODEC, input)?;
    // The version and level are for who compresses again.
    let (_, rest) = rest.split_first_chunk::<4>().ok_or(CodecError::Ends {
        codec: CODEC,
        present: input.len(),
    })?;
    let frame = cut(CODEC, stated, rest)?;
    let damaged = |rest: &[u8], reason: String| CodecError::Damaged {
        codec: CODEC,
        offset: HEADER + (frame.len() - rest.len()),
        reason,
    };
    let expected = output.len();
    let long = CodecError::Long {
        codec: CODEC,
        expected,
    };

    let mut rest = frame;
    let header = header(&mut rest).map_err(|reason| damaged(frame, reason.to_owned()))?;
    if let Some(expanded) = header.content_size
        && expanded != expected as u64
    {
        return Err(CodecError::Size {
            codec: CODEC,
            expanded,
            expected,
        });
    }
    // The window of the frame that the decoder sees holds the whole block, whatever the real one does: then what
    // is beyond the window is what the block has no room for. Less than MAX_BLOCK would bound zstd's own blocks.
    let mut seen = [0; MAGIC.len() + 1 + 8];
    let (magic, fields) = seen.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    let (descriptor, size) = fields.split_at_mut(1);
    descriptor.fill(LARGE_SIZE | SINGLE_SEGMENT | header.checksum);
    size.copy_from_slice(&(expected.max(MAX_BLOCK) as u64).to_le_bytes());

    let mut decoder = FrameDecoder::new();
    decoder
        .init(seen.as_slice())
        .map_err(|error| damaged(frame, error.to_string()))?;
    while !decoder.is_finished() {
        let block = rest;
        decoder
            .decode_blocks(&mut rest, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(|error| damaged(block, error.to_string()))?;
        if !decoder.is_finished() && decoder.can_collect() > 0 {
            return Err(long);
        }
    }
    if !rest.is_empty() {
        return Err(damaged(rest, "something else follows the frame".to_owned()));
    }
    match decoder.can_collect() {
        expanded if expanded < expected => Err(CodecError::Size {
            codec: CODEC,
            expanded: expanded as u64,
            expected,
        }),
        expanded if expanded > expected => Err(long),
        _ => decoder
            .read_exact(output)
            .map_err(|error| damaged(rest, error.to_string())),
    }
}

/// What a frame's header says.
struct FrameHeader {
    /// [`CHECKSUM`] or 0.
    checksum: u8,
    /// Size in bytes of the content, if it is told.
    content_size: Option<u64>,
}

/// Takes the frame's header, without magic number, from the start of `rest` (RFC 8878, 3.1.1.1).
fn header(rest: &mut &[u8]) -> Result<FrameHeader, &'static str> {
    let [descriptor] = take(rest)?;
    if descriptor & RESERVED != 0 {
        return Err("a reserved bit is set");
    }
    let single_segment = descriptor & SINGLE_SEGMENT != 0;
    if !single_segment {
        let [window] = take(rest)?;
        if MIN_WINDOW_LOG + (window >> 3) > MAX_WINDOW_LOG {
            return Err("the window is larger than libzstd takes");
        }
    }
    let dictionary = match descriptor & 3 {
        0 => 0,
        1 => u32::from(u8::from_le_bytes(take(rest)?)),
        2 => u32::from(u16::from_le_bytes(take(rest)?)),
        _ => u32::from_le_bytes(take(rest)?),
    };
    if dictionary != 0 {
        return Err("a dictionary is asked for, which ZFS has none of");
    }
    let content_size = match descriptor >> 6 {
        0 if single_segment => Some(u64::from(u8::from_le_bytes(take(rest)?))),
        0 => None,
        1 => Some(u64::from(u16::from_le_bytes(take(rest)?)) + 256),
        2 => Some(u64::from(u32::from_le_bytes(take(rest)?))),
        _ => Some(u64::from_le_bytes(take(rest)?)),
    };
    Ok(FrameHeader {
        checksum: descriptor & CHECKSUM,
        content_size,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (taken, after) = rest
        .split_first_chunk()
        .ok_or("the frame's header is cut")?;
    *rest = after;
    Ok(*taken)
}
