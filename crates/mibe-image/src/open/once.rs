//! Input that can be read once: standard input, pipes.

use std::io::{self, Cursor, Read};
use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// Most that is kept of what was read before its time, in bytes: a header comes far earlier.
const MOST_SEEN: usize = 64 << 20;

type Input = Box<dyn Read + Send>;

/// Input that can be looked into, and then be read from its start.
pub(super) struct Once {
    name: String,
    /// `None` once it is taken.
    input: Mutex<Option<Peeked>>,
}

struct Peeked {
    /// What was read of the input already.
    seen: Vec<u8>,
    rest: Input,
}

impl Once {
    pub(super) fn new(name: String, rest: Input) -> Self {
        let peeked = Peeked {
            seen: Vec::new(),
            rest,
        };
        Self {
            name,
            input: Mutex::new(Some(peeked)),
        }
    }

    /// What stands for it in errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All of it.
    pub(super) fn take(&self) -> Result<Input, Error> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let peeked = input.take().ok_or_else(|| self.gone())?;
        Ok(Box::new(Cursor::new(peeked.seen).chain(peeked.rest)))
    }

    /// Lets `look` read from its start; what that reads is kept in memory.
    pub(super) fn peek<T>(
        &self,
        look: impl FnOnce(&mut (dyn Read + Send)) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let peeked = input.as_mut().ok_or_else(|| self.gone())?;
        look(&mut Replay { peeked, at: 0 })
    }

    fn gone(&self) -> Error {
        Error::ReadTwice {
            name: self.name.clone(),
        }
    }
}

/// Reads what was seen, then more that is seen then.
struct Replay<'a> {
    peeked: &'a mut Peeked,
    at: usize,
}

impl Read for Replay<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Peeked { seen, rest } = &mut *self.peeked;
        let mut known = seen.get(self.at..).unwrap_or_default();
        let count = if known.is_empty() {
            if seen.len() > MOST_SEEN {
                let reason = format!("there is no header in the first {MOST_SEEN} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            let count = rest.read(buffer)?.min(buffer.len());
            seen.extend_from_slice(buffer.get(..count).unwrap_or_default());
            count
        } else {
            known.read(buffer)?
        };
        self.at += count;
        Ok(count)
    }
}
