//! Buffered input that can be looked at some way ahead, and that counts what was taken from it.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes that are read at a time where nobody looks further ahead.
const STEP: usize = 128 << 10;

/// What is known of a [`Window`] from outside, while a decoder holds it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    consumed: AtomicU64,
    failed: AtomicBool,
}

impl Meter {
    /// Bytes taken so far.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// Whether reading the input failed, so that an error of the decoder is the input's.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Buffered input.
pub(super) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    /// What is not consumed yet lies from here...
    start: usize,
    /// ...to here.
    end: usize,
    /// Whether the input has ended.
    ended: bool,
    meter: Arc<Meter>,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; STEP],
            start: 0,
            end: 0,
            ended: false,
            meter: Arc::default(),
        }
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// What was read and not consumed.
    pub(super) fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether nothing follows what is buffered.
    #[cfg(feature = "c")]
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// The next bytes, as many as are buffered: fewer than `least` only at the end.
    pub(super) fn look_ahead(&mut self, least: usize) -> io::Result<&[u8]> {
        if self.end - self.start < least && !self.ended {
            // Twice as much as is wanted, so that a byte is moved once at most on the average.
            let room = (2 * least).next_multiple_of(STEP);
            if self.buffer.len() < room {
                self.buffer.resize(room, 0);
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < least && self.read_some()? > 0 {}
        }
        Ok(self.buffered())
    }

    /// Reads once behind what is buffered; 0 is the end.
    fn read_some(&mut self) -> io::Result<usize> {
        loop {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.input.read(room) {
                Ok(count) => {
                    self.ended = count == 0;
                    self.end += count.min(room.len());
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.meter.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }
}

impl<R: Read> BufRead for Window<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.look_ahead(1)
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.meter
            .consumed
            .fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl<R: Read> Read for Window<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
