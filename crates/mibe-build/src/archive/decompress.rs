//! Compressions of archives, told by their first bytes.

use std::io::{self, BufRead, BufReader, Read};

use super::ArchiveError;

/// The content of `input`: gzip, bzip2, xz or zstd by magic bytes, or as it is.
///
/// # Errors
///
/// The first bytes could not be read. (A zstd frame whose window is larger than ruzstd's limit of 100 MiB fails when it is read.)
pub fn decompressed<'a>(input: impl Read + 'a) -> Result<Box<dyn Read + 'a>, ArchiveError> {
    let mut input = BufReader::with_capacity(1 << 17, input);
    let damaged = |error: &dyn std::fmt::Display| ArchiveError::Damaged {
        offset: 0,
        reason: error.to_string(),
    };
    let start = input.fill_buf().map_err(|error| damaged(&error))?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(input))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(ZstdFrames::new(input)),
        _ => Box::new(input),
    })
}

type Decoder<R> = ruzstd::decoding::StreamingDecoder<R, ruzstd::decoding::FrameDecoder>;

/// All frames of a zstd stream, one after the other (RFC 8878, 3): `pzstd` and `zstd --rsyncable` write several.
struct ZstdFrames<R: BufRead> {
    state: State<R>,
}

enum State<R: BufRead> {
    Between(R),
    Inside(Box<Decoder<R>>),
    Failed,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(input: R) -> Self {
        Self {
            state: State::Between(input),
        }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Failed) {
                State::Failed => return Err(io::Error::other("damaged zstd data")),
                State::Between(mut input) => {
                    if input.fill_buf()?.is_empty() {
                        self.state = State::Between(input);
                        return Ok(0);
                    }
                    let decoder = ruzstd::decoding::StreamingDecoder::new(input)
                        .map_err(|error| io::Error::other(error.to_string()))?;
                    self.state = State::Inside(Box::new(decoder));
                }
                State::Inside(mut decoder) => {
                    let count = decoder.read(buffer)?;
                    if count > 0 {
                        self.state = State::Inside(decoder);
                        return Ok(count);
                    }
                    self.state = State::Between(decoder.into_inner());
                }
            }
        }
    }
}
