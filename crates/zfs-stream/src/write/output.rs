//! Where records go: checksummed and written out, here or by a thread of its own.

use std::io;
use std::sync::mpsc::{Receiver, Sender};

use super::WriteError;
use crate::format::MAX_BLOCK;
use crate::format::fletcher4::Fletcher4;
use crate::format::record::{CHECKSUM_AT, HEADER, RecordType};

/// Longest record: a header and a block.
const MAX_RECORD: usize = HEADER + MAX_BLOCK;

/// Records in a row, without their checksums.
pub(super) struct Records {
    bytes: Box<[u8]>,
    /// Where the records end, so that the next one starts.
    ends: Vec<usize>,
}

impl Records {
    /// With room for a record after `size` bytes of others.
    pub fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size + MAX_RECORD].into_boxed_slice(),
            ends: Vec::new(),
        }
    }

    /// Length in bytes of all records.
    pub fn filled(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether there may be no room for another record.
    pub fn is_full(&self) -> bool {
        self.filled() + MAX_RECORD > self.bytes.len()
    }

    /// Where the next record goes.
    pub fn next(&mut self) -> &mut [u8] {
        let start = self.filled();
        &mut self.bytes[start..]
    }

    /// Makes a record of the next `length` bytes.
    pub fn push(&mut self, length: usize) {
        self.ends.push(self.filled() + length);
    }
}

/// What takes records.
pub(super) trait Output {
    /// Takes the records out; the last of all is END.
    fn send(&mut self, records: &mut Records) -> Result<(), WriteError>;
}

/// Puts into every record the one running checksum of the stream, and writes it out.
pub(super) struct Sealer<W> {
    out: W,
    checksum: Fletcher4,
}

impl<W: io::Write> Sealer<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            checksum: Fletcher4::default(),
        }
    }

    fn seal(&mut self, record: &mut [u8]) {
        let (head, rest) = record.split_at_mut(CHECKSUM_AT);
        // BEGIN alone has no checksum of its own, and END has besides it that of all before END.
        if is(RecordType::End, head) {
            head[8..40].copy_from_slice(&self.checksum.to_bytes());
        }
        self.checksum.update(head);
        if !is(RecordType::Begin, head) {
            rest[..32].copy_from_slice(&self.checksum.to_bytes());
        }
        self.checksum.update(rest);
    }
}

fn is(record_type: RecordType, head: &[u8]) -> bool {
    head.starts_with(&(record_type as u32).to_le_bytes())
}

impl<W: io::Write> Output for Sealer<W> {
    fn send(&mut self, records: &mut Records) -> Result<(), WriteError> {
        let filled = records.filled();
        let (mut start, mut ended) = (0, false);
        for end in records.ends.drain(..) {
            let record = &mut records.bytes[start..end];
            self.seal(record);
            ended = is(RecordType::End, record);
            start = end;
        }
        self.out
            .write_all(&records.bytes[..filled])
            .map_err(WriteError::Output)?;
        if ended {
            self.out.flush().map_err(WriteError::Output)?;
        }
        Ok(())
    }
}

/// Hands batches to a thread that runs [`serve`].
pub(super) struct Remote {
    pub full: Sender<Records>,
    /// Batches to be filled: those that were there from the start, and those that come back.
    pub empty: Receiver<Records>,
}

impl Output for Remote {
    fn send(&mut self, records: &mut Records) -> Result<(), WriteError> {
        // Why the thread has stopped it says itself.
        let stopped = || WriteError::Output(io::ErrorKind::BrokenPipe.into());
        let empty = self.empty.recv().map_err(|_| stopped())?;
        let full = std::mem::replace(records, empty);
        self.full.send(full).map_err(|_| stopped())
    }
}

/// Sends what comes to `output` until no more can come.
pub(super) fn serve(
    mut output: impl Output,
    full: &Receiver<Records>,
    empty: &Sender<Records>,
) -> Result<(), WriteError> {
    while let Ok(mut records) = full.recv() {
        output.send(&mut records)?;
        // Nobody may want it back, but there may be more to come all the same.
        let _ = empty.send(records);
    }
    Ok(())
}
