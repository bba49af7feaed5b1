//! gzip (RFC 1952): members one after the other, at full speed where they are like those written here.

use std::io::{self, BufRead, Read};

use libdeflater::Decompressor;
use memchr::memmem;

use super::window::Window;
use crate::file::CHUNK;

/// Most content of a member, in bytes, that is expanded at once.
const MEMBER: usize = 2 * CHUNK;

/// How far to look for the end of a member, in bytes: as far as one of [`MEMBER`] bytes that does not get smaller reaches.
const LOOK_AHEAD: usize = MEMBER + 4096;

/// What a member starts with that has neither name nor time: those of [`ImageWriter`](crate::file::ImageWriter), and
/// those that most parallel compressors write.
const PLAIN: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0];

/// Bytes of such a header.
const HEADER: usize = 10;

/// Bytes after the compressed data: CRC-32 and length of the content.
const FOOTER: usize = 8;

/// All members of a gzip file (RFC 1952, 2.2).
pub(super) struct GzipMembers<R: Read> {
    /// `None` after an error.
    state: Option<State<R>>,
    fast: Option<Fast>,
}

enum State<R: Read> {
    Between(Window<R>),
    /// In a member that is taken piece by piece.
    Inside(Box<flate2::bufread::GzDecoder<Window<R>>>),
}

impl<R: Read> GzipMembers<R> {
    pub(super) fn new(input: Window<R>) -> Self {
        Self {
            state: Some(State::Between(input)),
            fast: None,
        }
    }
}

impl<R: Read> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(fast) = &mut self.fast {
                let count = fast.take(buffer);
                if count > 0 {
                    return Ok(count);
                }
            }
            match self.state.take() {
                None => return Err(io::Error::other("it was damaged before")),
                Some(State::Between(mut input)) => match skip_zeroes(&mut input)? {
                    None => {
                        self.state = Some(State::Between(input));
                        return Ok(0);
                    }
                    Some(0x1f) => {
                        let fast = self.fast.get_or_insert_with(Fast::new);
                        self.state = Some(if fast.expand(&mut input)? {
                            State::Between(input)
                        } else {
                            State::Inside(Box::new(flate2::bufread::GzDecoder::new(input)))
                        });
                    }
                    Some(_) => {
                        return Err(io::Error::other("something else follows the gzip data"));
                    }
                },
                Some(State::Inside(mut decoder)) => {
                    let count = decoder.read(buffer)?;
                    if count > 0 {
                        self.state = Some(State::Inside(decoder));
                        return Ok(count);
                    }
                    self.state = Some(State::Between(decoder.into_inner()));
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

/// Members that are expanded at once by libdeflate, which takes two thirds of the time that others take.
///
/// It needs to be given all of a member and doesn't tell where that ended. So the end is guessed: where the next member
/// seems to start. What libdeflate has expanded, it has found to be followed by CRC and length of the content. If these
/// 8 bytes stand in the guessed member at its end and nowhere else, then the member ends there and nothing was
/// passed over; else the member is left to the decoder that takes it piece by piece and needs no guess.
struct Fast {
    decompressor: Decompressor,
    content: Vec<u8>,
    /// What of the content has not been taken lies from here...
    start: usize,
    /// ...to here.
    end: usize,
}

impl Fast {
    fn new() -> Self {
        Self {
            decompressor: Decompressor::new(),
            content: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let left = self.content.get(self.start..self.end).unwrap_or_default();
        let count = left.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.start += count;
        count
    }

    /// Expands the member that `input` is at, if that can be done here; else nothing of it is consumed.
    fn expand<R: Read>(&mut self, input: &mut Window<R>) -> io::Result<bool> {
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

#[cfg(test)]
mod tests {
    use libdeflater::{CompressionLvl, Compressor};

    use super::*;

    fn member(content: &[u8]) -> Vec<u8> {
        let mut compressor = Compressor::new(CompressionLvl::default());
        let mut member = vec![0; compressor.gzip_compress_bound(content.len())];
        let length = compressor.gzip_compress(content, &mut member).unwrap();
        member.truncate(length);
        member
    }

    /// How many of the members were expanded at once, and how many members there are.
    fn fast(bytes: &[u8]) -> (usize, usize) {
        let mut gzip = GzipMembers::new(Window::new(bytes));
        let (mut at_once, mut all, mut buffer) = (0, 0, vec![0; MEMBER + 1]);
        loop {
            let count = gzip.read(&mut buffer).unwrap();
            let inside = matches!(gzip.state, Some(State::Inside(_)));
            match count {
                0 => return (at_once, all),
                _ if inside => all += 1,
                _ => (at_once, all) = (at_once + 1, all + 1),
            }
        }
    }

    #[test]
    fn members_as_written_here_are_expanded_at_once() {
        let noise: Vec<u8> = (0..CHUNK as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ (i >> 9) as u8)
            .collect();
        let members = [
            &noise[..],
            &vec![0; CHUNK],
            &vec![1; MEMBER],
            b"the last one",
        ]
        .map(member);
        assert_eq!(fast(&members.concat()), (4, 4));
        assert_eq!(fast(&member(&noise).repeat(20)), (20, 20));
    }

    #[test]
    fn what_may_be_mistaken_is_left_to_the_other_decoder() {
        // Too long, with a name, followed by zeroes.
        let plain = member(b"content");
        let named = [b"\x1f\x8b\x08\x08\0\0\0\0\0\xffname\0", &plain[10..]].concat();
        assert_eq!(fast(&member(&vec![1; MEMBER + 1])), (0, 1));
        assert_eq!(fast(&named), (0, 1));
        assert_eq!(fast(&[&plain[..], &named, &plain].concat()).0, 1);
        assert_eq!(fast(&[&plain[..], &[0; 100]].concat()), (0, 1));
    }
}
