//! One stream of a chain, object by object.
//!
//! A sender goes through the dnodes in blocks of [`DNODES`]: it announces those of a block (OBJECT and FREEOBJECTS, each OBJECT
//! with a FREE of what is beyond its end), then sends their blocks (WRITE and FREE by ascending offset, and SPILL), object by
//! object (`dmu_send.c`, `dmu_traverse.c`). Newer ones announce an object and send its blocks at once. So what is known of an
//! object is complete when a block of a later object or the announcement of a later block of dnodes comes, and no more than one
//! block of dnodes must be remembered.

use std::collections::VecDeque;
use std::io::Read;

use super::error::ReadError;
use super::records::{Record, Records};

/// Dnodes of 512 bytes in a block of dnodes (`DNODES_PER_BLOCK`).
const DNODES: u64 = 32;

/// FREE records that are taken with an announcement. Senders of today send one.
const MAX_EARLY_HOLES: usize = 64;

/// Ranges of objects that don't exist which are remembered at a time.
const MAX_FREED: usize = 64;

/// Objects have smaller numbers than this (`DN_MAX_OBJECT`).
const MAX_OBJECT: u64 = 1 << 48;

/// An object as announced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dnode {
    /// Its number.
    pub object: u64,
    /// `dmu_object_type_t`
    pub object_type: u32,
    /// `dmu_object_type_t` of the bonus; 0 for none.
    pub bonus_type: u32,
    /// Size of its blocks in bytes.
    pub block_size: u32,
    /// Size of the dnode in 512-byte slots.
    pub slots: u8,
    /// Whether it has a spill block.
    pub has_spill: bool,
    /// The bonus.
    pub bonus: Vec<u8>,
}

/// What a stream says of an object before it sends blocks.
#[derive(Debug)]
pub(super) struct Head {
    object: u64,
    /// The object, unless only ranges of it are freed.
    pub dnode: Option<Dnode>,
    /// What is freed of it, in the order in which it was said.
    pub holes: Vec<Range>,
    spill: Option<Vec<u8>>,
}

/// Bytes of an object, or objects, from `start` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub start: u64,
    pub end: u64,
}

/// A block or hole that a stream has for the object at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub start: u64,
    pub end: u64,
    pub is_hole: bool,
}

/// A stream of a chain.
pub(super) struct Layer<R> {
    pub records: Records<R>,
    /// The record at hand, not taken yet.
    record: Record,
    heads: VecDeque<Head>,
    /// Objects said not to exist, ascending and apart.
    freed: VecDeque<Range>,
    /// Objects below this are done with.
    done: u64,
    /// Announcements below this are done with.
    announced: u64,
    /// Before this no block of the object at hand may begin.
    position: u64,
    /// The spill block of the object at hand.
    spill: Option<Vec<u8>>,
}

impl<R: Read> Layer<R> {
    pub fn new(mut records: Records<R>) -> Result<Self, ReadError> {
        let record = records.next()?;
        Ok(Self {
            records,
            record,
            heads: VecDeque::new(),
            freed: VecDeque::new(),
            done: 0,
            announced: 0,
            position: 0,
            spill: None,
        })
    }

    /// Takes all announcements that belong together, so that what comes first is known. Objects below `passed` are of no
    /// interest any more. Returns where it had to stop, if that was before anything was known.
    pub fn settle(&mut self, passed: u64) -> Result<Option<u64>, ReadError> {
        while self.freed.front().is_some_and(|range| range.end <= passed) {
            self.freed.pop_front();
        }
        loop {
            let first = match self.record {
                Record::Object { object, .. } => object,
                Record::FreeObjects { first, .. } => first,
                Record::Free { object, start, end } => {
                    let range = Range { start, end };
                    match self.heads.back_mut() {
                        Some(head)
                            if head.object == object && head.holes.len() < MAX_EARLY_HOLES =>
                        {
                            head.holes.push(range);
                        }
                        _ => return Ok(None),
                    }
                    self.record = self.records.next()?;
                    continue;
                }
                Record::Spill { object } => {
                    match self.heads.back_mut() {
                        Some(head) if head.object == object => {
                            head.spill = Some(self.records.payload().to_vec());
                        }
                        _ => return Ok(None),
                    }
                    self.record = self.records.next()?;
                    continue;
                }
                Record::Write { .. } | Record::End => return Ok(None),
            };
            if let Some(head) = self.heads.front() {
                if head.object / DNODES != first / DNODES {
                    return Ok(None);
                }
            } else if self.freed.len() >= MAX_FREED {
                return Ok(Some(self.announced));
            }
            self.announce(first)?;
            self.record = self.records.next()?;
        }
    }

    fn announce(&mut self, first: u64) -> Result<(), ReadError> {
        if first < self.announced || first < self.done {
            return Err(self.records.error("objects are not in order"));
        }
        match self.record {
            Record::Object {
                object,
                object_type,
                bonus_type,
                block_size,
                slots,
                has_spill,
                ..
            } => {
                if object == 0 || object >= MAX_OBJECT {
                    return Err(self.records.error("there can be no object of this number"));
                }
                self.announced = object + 1;
                let dnode = Dnode {
                    object,
                    object_type,
                    bonus_type,
                    block_size,
                    slots,
                    has_spill,
                    bonus: self.records.payload().to_vec(),
                };
                self.heads.push_back(Head {
                    object,
                    dnode: Some(dnode),
                    holes: Vec::new(),
                    spill: None,
                });
            }
            Record::FreeObjects { first, end } => {
                // Objects may be announced inside the range afterwards.
                self.announced = first;
                match self.freed.back_mut() {
                    Some(last) if first <= last.end => last.end = last.end.max(end),
                    _ => self.freed.push_back(Range { start: first, end }),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The first object that this stream has something to say of; [`Self::settle`] must have been called.
    pub fn next_object(&self) -> Option<u64> {
        let data = match self.record {
            Record::Write { object, .. }
            | Record::Spill { object }
            | Record::Free { object, .. } => Some(object),
            _ => None,
        };
        match (self.heads.front(), data) {
            (Some(head), Some(data)) => Some(head.object.min(data)),
            (head, data) => head.map(|head| head.object).or(data),
        }
    }

    /// Whether the stream says that `object` did not exist before what it announces.
    pub fn frees(&self, object: u64) -> bool {
        self.freed
            .iter()
            .any(|range| range.start <= object && object < range.end)
    }

    /// Takes what is announced of `object`, which is then the one at hand.
    pub fn take_head(&mut self, object: u64) -> Result<Option<Head>, ReadError> {
        self.position = 0;
        let mut head = None;
        if self.heads.front().is_some_and(|head| head.object == object) {
            head = self.heads.pop_front();
        }
        self.spill = head.as_mut().and_then(|head| head.spill.take());
        self.take_spill(object)?;
        Ok(head)
    }

    /// Takes the spill block of the object at hand if it is next.
    fn take_spill(&mut self, object: u64) -> Result<(), ReadError> {
        while self.record == (Record::Spill { object }) {
            self.spill = Some(self.records.payload().to_vec());
            self.record = self.records.next()?;
        }
        Ok(())
    }

    /// The spill block of the object at hand, once there are no blocks left.
    pub fn spill(&self) -> Option<&[u8]> {
        self.spill.as_deref()
    }

    /// The block or hole of `object` at hand, if there is one.
    pub fn span(&self, object: u64) -> Option<Span> {
        match self.record {
            Record::Write { object: of, offset } if of == object => Some(Span {
                start: offset,
                end: offset + self.records.payload().len() as u64,
                is_hole: false,
            }),
            Record::Free {
                object: of,
                start,
                end,
            } if of == object => Some(Span {
                start,
                end,
                is_hole: true,
            }),
            _ => None,
        }
    }

    /// Goes on to the next record of the object at hand.
    pub fn advance(&mut self, object: u64) -> Result<(), ReadError> {
        if let Some(span) = self.span(object) {
            self.position = if span.is_hole { span.start } else { span.end };
        }
        self.record = self.records.next()?;
        self.take_spill(object)?;
        match self.record {
            Record::Write { object: of, offset } if of == object && offset < self.position => {
                return Err(self.records.error("blocks of an object are not in order"));
            }
            Record::Free {
                object: of, start, ..
            } if of == object && start < self.position => {
                return Err(self
                    .records
                    .error("what was sent of an object is freed again"));
            }
            Record::Write { object: of, .. }
            | Record::Free { object: of, .. }
            | Record::Spill { object: of }
                if of < object =>
            {
                return Err(self.records.error("blocks are not in the order of objects"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything below `object` is done with: nothing more may come of it.
    pub fn finish_object(&mut self, object: u64) -> Result<(), ReadError> {
        self.done = object.saturating_add(1);
        match self.record {
            Record::Write { object: of, .. }
            | Record::Free { object: of, .. }
            | Record::Spill { object: of }
                if of <= object =>
            {
                Err(self.records.error("blocks are not in the order of objects"))
            }
            _ => Ok(()),
        }
    }
}
