//! Members of a gzip file like those written here, expanded at once.

use std::io::{self, BufRead as _, Read};

use libdeflater::Decompressor;
use memchr::memmem;

use crate::file::CHUNK;
use crate::file::decompress::window::Window;

/// Most content of a member, in bytes, that is expanded at once.
pub(super) const MEMBER: usize = 2 * CHUNK;

/// How far to look for the end of a member, in bytes: as far as one of [`MEMBER`] bytes that does not get smaller reaches.
const LOOK_AHEAD: usize = MEMBER + 4096;

/// What a member starts with that has neither name nor time: those of [`ImageWriter`](crate::file::ImageWriter), and
/// those that most parallel compressors write.
const PLAIN: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0];

/// Bytes of such a header.
const HEADER: usize = 10;

/// Bytes after the compressed data: CRC-32 and length of the content.
const FOOTER: usize = 8;

/// Members that are expanded at once by libdeflate, which takes two thirds of the time that others take.
///
/// It needs to be given all of a member and doesn't tell where that ended. So the end is guessed: where the next member
/// seems to start. What libdeflate has expanded, it has found to be followed by CRC and length of the content. If these
/// 8 bytes stand in the guessed member at its end and nowhere else, then the member ends there and nothing was
/// passed over; else the member is left to the decoder that takes it piece by piece and needs no guess.
pub(super) struct Fast {
    decompressor: Decompressor,
    content: Vec<u8>,
    /// What of the content has not been taken lies from here...
    start: usize,
    /// ...to here.
    end: usize,
}

impl Fast {
    pub fn new() -> Self {
        Self {
            decompressor: Decompressor::new(),
            content: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    pub fn take(&mut self, buffer: &mut [u8]) -> usize {
        let left = self.content.get(self.start..self.end).unwrap_or_default();
        let count = left.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.start += count;
        count
    }

    /// Expands the member that `input` is at, if that can be done here; else nothing of it is consumed.
    pub fn expand<R: Read>(&mut self, input: &mut Window<R>) -> io::Result<bool> {
        input.look_ahead(LOOK_AHEAD)?;
        if !input.buffered().starts_with(PLAIN) {
            return Ok(false);
        }
        let Some(length) = guess(input.buffered(), input.ended()) else {
            return Ok(false);
        };
        let Some(member) = input.buffered().get(..length) else {
            return Ok(false);
        };
        let Some(size) = self.expand_member(member) else {
            return Ok(false);
        };
        (self.start, self.end) = (0, size);
        input.consume(length);
        Ok(true)
    }

    /// Expands a member and tells the size of its content; `None` if that is too large or `member` is not just one.
    fn expand_member(&mut self, member: &[u8]) -> Option<usize> {
        let (rest, footer) = member.split_last_chunk::<FOOTER>()?;
        let (crc, size) = footer.split_first_chunk::<4>()?;
        let crc = u32::from_le_bytes(*crc);
        let size = u32::from_le_bytes(size.try_into().ok()?) as usize;
        if rest.len() < HEADER || size > MEMBER {
            return None;
        }
        if self.content.is_empty() {
            self.content = vec![0; MEMBER];
        }
        let expanded = self
            .decompressor
            .gzip_decompress(member, &mut self.content)
            .ok()?;
        let content = self.content.get(..expanded)?;
        let sure = expanded == size
            && libdeflater::crc32(content) == crc
            && memmem::find(member, footer) == Some(rest.len());
        sure.then_some(expanded)
    }
}

/// The length of the plain member that `data` begins with, if its end is in sight; `ended` says that nothing follows.
///
/// However short members are, no byte is searched twice: the next search starts where this one ends or later.
fn guess(data: &[u8], ended: bool) -> Option<usize> {
    let next = memmem::find(data.get(1..)?, PLAIN).map(|at| at + 1);
    next.or_else(|| ended.then_some(data.len()))
}
