//! zstd (RFC 8878): frames one after the other.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Largest zstd window: what zstd(1) takes without being told to (`--long=27`).
const ZSTD_WINDOW: u64 = 128 << 20;

/// All frames of a zstd file, one after the other (RFC 8878, 3): `pzstd` writes several, and such as say nothing.
pub(super) struct ZstdFrames<R: BufRead> {
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
    pub(super) fn new(input: R) -> Self {
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
                Zstd::Failed => return Err(io::Error::other("it was damaged before")),
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
