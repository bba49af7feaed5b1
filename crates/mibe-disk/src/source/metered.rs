//! A disk of which only so much is read: what is on it can have whoever looks into it go in circles.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::{Source, damaged};

/// Reads that looking into a disk may take; a Debian takes some thousands.
const READS: u64 = 200_000;

/// Bytes that it may read.
const BYTES: u64 = 2 << 30;

/// Bytes that the format may have to go through for that.
const WORK: u64 = 16 << 30;

/// A disk that can be read until it was read enough.
pub(crate) struct Metered<'a> {
    disk: &'a dyn Source,
    /// How much is left.
    reads: AtomicU64,
    bytes: AtomicU64,
    /// What the format had done before, and may have at the end.
    most_work: u64,
    exhausted: AtomicBool,
}

impl<'a> Metered<'a> {
    /// Bears so many times what looking into a disk takes.
    pub fn new(disk: &'a dyn Source, times: u64) -> Self {
        Self {
            disk,
            reads: AtomicU64::new(READS.saturating_mul(times)),
            bytes: AtomicU64::new(BYTES.saturating_mul(times)),
            most_work: disk.work().saturating_add(WORK.saturating_mul(times)),
            exhausted: AtomicBool::new(false),
        }
    }

    /// An error if it was read enough: what was made of it can't be relied upon, since errors of files that nobody needs are passed over.
    pub fn check(&self) -> io::Result<()> {
        if self.exhausted.load(Relaxed) {
            return Err(damaged(
                "its file systems or tables lead in circles: looking into them was given up",
            ));
        }
        Ok(())
    }
}

impl Source for Metered<'_> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let spend = |left: &AtomicU64, much: u64| {
            let spent = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(much));
            spent.is_ok()
        };
        if !spend(&self.reads, 1)
            || !spend(&self.bytes, buffer.len() as u64)
            || self.disk.work() > self.most_work
        {
            self.exhausted.store(true, Relaxed);
        }
        self.check()?;
        self.disk.read_at(buffer, offset)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        self.disk.next_data(from)
    }

    fn work(&self) -> u64 {
        self.disk.work()
    }
}
