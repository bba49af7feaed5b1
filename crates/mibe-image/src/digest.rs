//! SHA-256 of every file of an image, in the one reading that finds the files.

use std::collections::HashMap;
use std::io;

use sha2::{Digest as _, Sha256};
use zfs_stream::Kind;
use zfs_stream::read::{Attributes, Contents, Filesystem};

/// Zeroes that are hashed of all files of an image where they have no data: more would take hours.
const MAX_ZEROES: u64 = 1 << 40;

/// A SHA-256.
pub type Digest = [u8; 32];

/// Takes contents and gives their digests. Give it to [`Filesystem::read`], then ask for them.
///
/// Blocks are filled with zeroes after the end of a file, and senders part large blocks, so that several runs of them may
/// come. Zeroes are hashed only when something comes after them, or at the end of the file.
#[derive(Default)]
pub struct Digests {
    file: Hashing,
    /// Zeroes hashed so far, of all files.
    zeroes: u64,
    done: HashMap<u64, State>,
}

/// What was hashed of a file.
#[derive(Default)]
struct Hashing {
    hash: Sha256,
    /// Where in the file that ends.
    position: u64,
}

enum State {
    Done(Digest),
    /// The size was not known.
    Open(Box<Hashing>),
}

impl Digests {
    /// The digest of a regular file.
    pub fn get(&self, object: u64) -> Option<Digest> {
        match self.done.get(&object)? {
            State::Done(digest) => Some(*digest),
            State::Open(_) => None,
        }
    }

    /// Ends what could not be ended before all metadata was known.
    ///
    /// # Errors
    ///
    /// There are more zeroes than anybody would wait for, or a file has something after its end.
    pub fn finish(&mut self, files: &Filesystem) -> io::Result<()> {
        let mut open: Vec<u64> = self
            .done
            .iter()
            .filter(|(_, state)| matches!(state, State::Open(_)))
            .map(|(object, _)| *object)
            .collect();
        open.sort_unstable();
        for object in open {
            let Some(State::Open(hashing)) = self.done.remove(&object) else {
                continue;
            };
            if let Some(node) = files.node(object).filter(|node| node.kind == Kind::File) {
                self.file = *hashing;
                let digest = self.end_at(node.size).map_err(|error| {
                    io::Error::new(error.kind(), format!("object {object}: {error}"))
                })?;
                self.done.insert(object, State::Done(digest));
            }
        }
        Ok(())
    }

    fn hash_zeroes(&mut self, mut count: u64) -> io::Result<()> {
        const ZEROES: &[u8] = &[0; 64 << 10];
        self.zeroes = self.zeroes.saturating_add(count);
        if self.zeroes > MAX_ZEROES {
            return Err(io::Error::other(
                "the files up to here have more than 1 TiB of holes, too much to digest",
            ));
        }
        self.file.position += count;
        while count > 0 {
            let now = count.min(ZEROES.len() as u64);
            self.file.hash.update(&ZEROES[..now as usize]);
            count -= now;
        }
        Ok(())
    }

    /// The digest of a file of this size, of which all is told.
    fn end_at(&mut self, size: u64) -> io::Result<Digest> {
        let rest = size.checked_sub(self.file.position).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the file has something other than zeroes after its end",
            )
        })?;
        self.hash_zeroes(rest)?;
        Ok(std::mem::take(&mut self.file).hash.finalize().into())
    }
}

impl Contents for Digests {
    fn data(&mut self, _: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let bytes = without_zeroes_at_end(bytes);
        if !bytes.is_empty() {
            self.hash_zeroes(offset.saturating_sub(self.file.position))?;
            self.file.hash.update(bytes);
            self.file.position += bytes.len() as u64;
        }
        Ok(())
    }

    fn end(&mut self, object: u64, attributes: Option<&Attributes>) -> io::Result<()> {
        let state = match attributes {
            Some(attributes) if attributes.kind() == Some(Kind::File) => {
                State::Done(self.end_at(attributes.size)?)
            }
            Some(_) => {
                self.file = Hashing::default();
                return Ok(());
            }
            None => State::Open(Box::new(std::mem::take(&mut self.file))),
        };
        self.done.insert(object, state);
        Ok(())
    }
}

/// Bytes up to the last that is not 0.
fn without_zeroes_at_end(mut bytes: &[u8]) -> &[u8] {
    while let Some((rest, last)) = bytes.split_last_chunk::<64>()
        && *last == [0; 64]
    {
        bytes = rest;
    }
    while let Some((0, rest)) = bytes.split_last() {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(size: u64) -> Attributes {
        Attributes {
            mode: 0o100_644,
            size,
            ..Attributes::default()
        }
    }

    fn digest(runs: &[(u64, &[u8])], size: u64) -> io::Result<Digest> {
        let mut digests = Digests::default();
        for (offset, bytes) in runs {
            digests.data(7, *offset, bytes)?;
        }
        digests.end(7, Some(&of(size)))?;
        Ok(digests.get(7).unwrap())
    }

    fn sha256(bytes: &[u8]) -> Digest {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn what_fills_a_block_is_no_part_of_the_file() {
        let block = [b"hello".as_slice(), &[0; 507]].concat();
        assert_eq!(digest(&[(0, &block)], 5).unwrap(), sha256(b"hello"));
        // A block of 1 MiB comes in pieces of 128 KiB if the sender was not told to send large blocks.
        let runs: [(u64, &[u8]); 3] = [(0, &block), (512, &[0; 512]), (1024, &[0; 512])];
        assert_eq!(digest(&runs, 5).unwrap(), sha256(b"hello"));
        // Zeroes within the size are part of it.
        let zeroes = [b"hello".as_slice(), &[0; 600]].concat();
        assert_eq!(digest(&runs, 605).unwrap(), sha256(&zeroes));
        assert_eq!(digest(&[], 0).unwrap(), sha256(b""));
        assert_eq!(digest(&[], 70_000).unwrap(), sha256(&vec![0; 70_000]));
    }

    #[test]
    fn what_nobody_would_wait_for_is_refused() {
        let error = digest(&[], (1 << 40) + 1).unwrap_err().to_string();
        assert!(error.contains("more than 1 TiB of holes"), "{error}");
        let error = digest(&[(u64::MAX - 8, b"x")], u64::MAX).unwrap_err();
        assert!(error.to_string().contains("more than 1 TiB"), "{error}");
        // Many files with a hole each, too.
        let mut digests = Digests {
            zeroes: 1 << 40,
            ..Digests::default()
        };
        assert!(digests.end(8, Some(&of(1))).is_err());
    }

    #[test]
    fn what_is_after_the_end_is_not_passed_over() {
        let error = digest(&[(0, b"hello")], 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn however_it_is_cut(
            content in proptest::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..700),
            cuts in proptest::collection::vec(1..300_usize, 1..8),
            padding in 0..300_usize,
        ) {
            let padded = [content.as_slice(), &vec![0; padding]].concat();
            let (mut runs, mut at, mut cut) = (Vec::new(), 0, cuts.iter().cycle());
            while at < padded.len() {
                let end = padded.len().min(at + cut.next().unwrap());
                // A run of nothing but zeroes may as well be a hole.
                if (at / 3) % 2 == 0 || padded[at..end].iter().any(|byte| *byte != 0) {
                    runs.push((at as u64, &padded[at..end]));
                }
                at = end;
            }
            prop_assert_eq!(digest(&runs, content.len() as u64).unwrap(), sha256(&content));
        }
    }
}
