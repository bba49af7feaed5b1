//! SHA-256 of every file of an image, in the one reading that finds the files.

use std::collections::HashMap;
use std::io;

use sha2::{Digest as _, Sha256};
use zfs_stream::Kind;
use zfs_stream::read::{Attributes, Contents, Filesystem};

/// Zeroes that are hashed of one file where it has no data: more would take hours.
const MAX_ZEROES: u64 = 1 << 40;

/// A SHA-256.
pub type Digest = [u8; 32];

/// Takes contents and gives their digests. Give it to [`Filesystem::read`], then ask for them.
#[derive(Default)]
pub struct Digests {
    hash: Sha256,
    /// How far the file at hand is.
    position: u64,
    zeroes: u64,
    /// What came last, unhashed: it may go beyond the end of its file, where blocks are filled with zeroes.
    tail: Vec<u8>,
    done: HashMap<u64, State>,
}

enum State {
    Done(Digest),
    /// The size was not known: what is hashed, up to where, and what comes then.
    Open(Box<(Sha256, u64, Vec<u8>)>),
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
    /// A file has more zeroes than anybody would wait for.
    pub fn finish(&mut self, files: &Filesystem) -> io::Result<()> {
        let open: Vec<u64> = self
            .done
            .iter()
            .filter(|(_, state)| matches!(state, State::Open(_)))
            .map(|(object, _)| *object)
            .collect();
        for object in open {
            let Some(State::Open(open)) = self.done.remove(&object) else {
                continue;
            };
            if let Some(node) = files.node(object).filter(|node| node.kind == Kind::File) {
                (self.hash, self.position, self.tail) = *open;
                let digest = self.end_at(node.size)?;
                self.done.insert(object, State::Done(digest));
            }
        }
        Ok(())
    }

    fn hash_tail(&mut self) {
        self.hash.update(&self.tail);
        self.position += self.tail.len() as u64;
        self.tail.clear();
    }

    fn hash_zeroes(&mut self, mut count: u64) -> io::Result<()> {
        const ZEROES: &[u8] = &[0; 64 << 10];
        self.zeroes = self.zeroes.saturating_add(count);
        if self.zeroes > MAX_ZEROES {
            return Err(io::Error::other(
                "a file has a hole of more than 1 TiB, too much to digest",
            ));
        }
        self.position += count;
        while count > 0 {
            let now = count.min(ZEROES.len() as u64);
            self.hash.update(&ZEROES[..now as usize]);
            count -= now;
        }
        Ok(())
    }

    /// The digest of a file of this size, of which all is told.
    fn end_at(&mut self, size: u64) -> io::Result<Digest> {
        let room = size.saturating_sub(self.position);
        self.tail
            .truncate(usize::try_from(room).unwrap_or(usize::MAX));
        self.hash_tail();
        self.hash_zeroes(size.saturating_sub(self.position))?;
        let hash = std::mem::take(&mut self.hash);
        self.reset();
        Ok(hash.finalize().into())
    }

    fn reset(&mut self) {
        self.hash = Sha256::new();
        (self.position, self.zeroes) = (0, 0);
        self.tail.clear();
    }
}

impl Contents for Digests {
    fn data(&mut self, _: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.hash_tail();
        self.hash_zeroes(offset.saturating_sub(self.position))?;
        self.tail.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, object: u64, attributes: Option<&Attributes>) -> io::Result<()> {
        let state = match attributes {
            Some(attributes) if attributes.kind() == Some(Kind::File) => {
                State::Done(self.end_at(attributes.size)?)
            }
            Some(_) => {
                self.reset();
                return Ok(());
            }
            None => {
                let hash = std::mem::take(&mut self.hash);
                let open = (hash, self.position, std::mem::take(&mut self.tail));
                self.reset();
                State::Open(Box::new(open))
            }
        };
        self.done.insert(object, state);
        Ok(())
    }
}
