//! gzip (RFC 1952): members one after the other, at full speed where they are like those written here.

use std::io::{self, BufRead, Read};

#[cfg(feature = "c")]
use self::fast::Fast;
use super::window::Window;

#[cfg(feature = "c")]
mod fast;

/// All members of a gzip file (RFC 1952, 2.2).
pub(super) struct GzipMembers<R: Read> {
    /// `None` after an error.
    state: Option<State<R>>,
    #[cfg(feature = "c")]
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
            #[cfg(feature = "c")]
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
            #[cfg(feature = "c")]
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
                        #[cfg(feature = "c")]
                        if self.fast.get_or_insert_with(Fast::new).expand(&mut input)? {
                            self.state = Some(State::Between(input));
                            continue;
                        }
                        let decoder = flate2::bufread::GzDecoder::new(input);
                        self.state = Some(State::Inside(Box::new(decoder)));
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

#[cfg(feature = "c")]
#[cfg(test)]
mod tests {
    use libdeflater::{CompressionLvl, Compressor};

    use super::fast::MEMBER;
    use super::*;
    use crate::file::CHUNK;

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
