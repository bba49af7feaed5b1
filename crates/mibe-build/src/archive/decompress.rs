//! Compressions of archives, told by their first bytes.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::ArchiveError;

/// Largest zstd window: what zstd(1) takes without being told to (`--long=27`).
const ZSTD_WINDOW: u64 = 128 << 20;
/// Most memory that an xz stream may ask for; `xz -9` takes 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;

/// The content of `input`: gzip, bzip2, xz or zstd by magic bytes, or as it is. Streams that follow each other are one;
/// anything else after a stream is an error when it is read, but for the zeroes that pad gzip and xz.
///
/// # Errors
///
/// The first bytes could not be read. (Damage, a zstd window of more than 128 MiB and an xz dictionary of some 512 MiB are
/// errors when they are read.)
pub fn decompressed<'a>(input: impl Read + 'a) -> Result<Box<dyn Read + 'a>, ArchiveError> {
    let mut input = BufReader::with_capacity(1 << 17, input);
    let damaged = |error: &dyn std::fmt::Display| ArchiveError::Damaged {
        offset: 0,
        reason: error.to_string(),
    };
    let start = input.fill_buf().map_err(|error| damaged(&error))?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(GzipMembers {
            state: Some(Gzip::Between(input)),
        }),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(xz(input)?),
        // A frame, or one that is to be skipped, which pzstd begins with.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(ZstdFrames::new(input))
        }
        _ => Box::new(input),
    })
}

/// All streams of an xz file.
///
/// # Errors
///
/// There is no memory for a decoder.
pub(crate) fn xz<R: BufRead>(input: R) -> Result<liblzma::bufread::XzDecoder<R>, ArchiveError> {
    let stream =
        liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)
            .map_err(|error| ArchiveError::Damaged {
                offset: 0,
                reason: error.to_string(),
            })?;
    Ok(liblzma::bufread::XzDecoder::new_stream(input, stream))
}

/// All members of a gzip file (RFC 1952, 2.2).
struct GzipMembers<R: BufRead> {
    /// `None` after an error.
    state: Option<Gzip<R>>,
}

enum Gzip<R: BufRead> {
    Between(R),
    Inside(Box<flate2::bufread::GzDecoder<R>>),
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state.take() {
                None => return Err(io::Error::other("damaged gzip data")),
                Some(Gzip::Between(mut input)) => {
                    let next = skip_zeroes(&mut input)?;
                    match next {
                        None => {
                            self.state = Some(Gzip::Between(input));
                            return Ok(0);
                        }
                        Some(0x1f) => {
                            let decoder = flate2::bufread::GzDecoder::new(input);
                            self.state = Some(Gzip::Inside(Box::new(decoder)));
                        }
                        Some(_) => {
                            return Err(io::Error::other("something else follows the gzip data"));
                        }
                    }
                }
                Some(Gzip::Inside(mut decoder)) => {
                    let count = decoder.read(buffer)?;
                    if count > 0 {
                        self.state = Some(Gzip::Inside(decoder));
                        return Ok(count);
                    }
                    self.state = Some(Gzip::Between(decoder.into_inner()));
                }
            }
        }
    }
}

/// Goes on to the next byte that is not zero and tells it; `None` at the end.
fn skip_zeroes(input: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let zeroes = buffer.iter().take_while(|byte| **byte == 0).count();
        let next = buffer.get(zeroes).copied();
        input.consume(zeroes);
        if next.is_some() {
            return Ok(next);
        }
    }
}

/// All frames of a zstd file, one after the other (RFC 8878, 3): `pzstd` writes several, and such as say nothing.
struct ZstdFrames<R: BufRead> {
    input: R,
    decoder: FrameDecoder,
    state: Zstd,
}

#[derive(Clone, Copy)]
enum Zstd {
    Between,
    Inside,
    Failed,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(input: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        Self {
            input,
            decoder,
            state: Zstd::Between,
        }
    }

    /// Reads the header of the next frame that has content; `false` at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.input) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let mut skipped = self.input.by_ref().take(length);
                    if io::copy(&mut skipped, &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        Ok(false)
    }

    fn content(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let decoder = &mut self.decoder;
        while decoder.can_collect() == 0 && !decoder.is_finished() {
            decoder
                .decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
        let count = decoder.read(buffer)?;
        if count == 0
            && let Some(checksum) = decoder.get_checksum_from_data()
            && decoder.get_calculated_checksum() != Some(checksum)
        {
            return Err(io::Error::other("the checksum of the zstd data is wrong"));
        }
        Ok(count)
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            // Until it went well.
            match std::mem::replace(&mut self.state, Zstd::Failed) {
                Zstd::Failed => return Err(io::Error::other("damaged zstd data")),
                Zstd::Between => {
                    if !self.next_frame()? {
                        self.state = Zstd::Between;
                        return Ok(0);
                    }
                    self.state = Zstd::Inside;
                }
                Zstd::Inside => {
                    let count = self.content(buffer)?;
                    if count > 0 {
                        self.state = Zstd::Inside;
                        return Ok(count);
                    }
                    self.state = Zstd::Between;
                }
            }
        }
    }
}
