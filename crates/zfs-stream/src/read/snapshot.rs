//! What a chain of streams amounts to: the objects of its last snapshot, in order.

use std::io::Read;

use super::error::{Place, Problem, ReadError};
use super::header::Header;
use super::layer::{Dnode, Head, Layer, Range};
use super::records::{Counts, Records};
use crate::format::record::FLAG_SPILL_BLOCK;
use crate::format::sa::MAX_BONUS;
use crate::format::znode::BONUS_SA;

/// Holes of one object that are remembered at a time, for each stream.
const MAX_HOLES: usize = 128;

/// What comes next of a snapshot.
#[derive(Debug)]
pub enum Event<'a> {
    /// An object; its blocks follow.
    Object(&'a Dnode),
    /// What stands at an offset of the object, which only grows; what is between is zeroes. Runs of bytes are not always
    /// whole blocks.
    Data {
        /// Where, in bytes from the start of the object.
        offset: u64,
        /// What, never empty.
        bytes: &'a [u8],
    },
    /// The object's spill block, after all data.
    Spill(&'a [u8]),
}

/// Reads the snapshot that a full stream, and the incremental ones that follow it, amount to.
///
/// All streams are read side by side and once, so nothing needs to be kept of them but one record and one block of
/// dnodes (16 KiB) each.
pub struct Snapshot<R> {
    layers: Vec<Layer<R>>,
    dnode: Dnode,
    /// For each stream what it frees of the object at hand.
    holes: Vec<Vec<Range>>,
    /// The lowest stream whose blocks of the object count.
    floor: usize,
    /// The lowest stream whose spill block counts.
    spill_floor: usize,
    position: u64,
    step: Step,
    passed: u64,
    /// Where the data told last ends.
    taken: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// An object is to come.
    Object,
    /// Data of an object is to come, or its spill block.
    Data,
    /// All was told of an object.
    Last,
    End,
}

impl<R: Read> Snapshot<R> {
    /// Reads the starts of the streams: the full one first, then what changes each to the next.
    pub fn open(streams: impl IntoIterator<Item = R>) -> Result<Self, ReadError> {
        let mut layers: Vec<Layer<R>> = Vec::new();
        for (number, stream) in streams.into_iter().enumerate() {
            let records = Records::open(stream, number)?;
            let wanted = records.header().from_guid;
            match layers.last() {
                None if wanted != 0 => return Err(records.error(Problem::NoOrigin(wanted))),
                None => {}
                Some(before) => {
                    let before = before.records.header();
                    if wanted == 0 {
                        return Err(records.error("a full stream needs no origin"));
                    }
                    if before.to_guid != wanted {
                        return Err(records.error(Problem::WrongOrigin {
                            wanted,
                            found: before.to_guid,
                        }));
                    }
                    if before.objset_type != records.header().objset_type {
                        return Err(records.error(
                            "a file system can't be a change to a volume, nor the reverse",
                        ));
                    }
                }
            }
            layers.push(Layer::new(records)?);
        }
        if layers.is_empty() {
            return Err(Problem::NotAStream.at(Place::default()));
        }
        Ok(Self {
            holes: layers.iter().map(|_| Vec::new()).collect(),
            layers,
            dnode: Dnode::default(),
            floor: 0,
            spill_floor: 0,
            position: 0,
            step: Step::Object,
            passed: 0,
            taken: None,
        })
    }

    /// What each of the streams says of itself, the base first.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        self.layers.iter().map(|layer| layer.records.header())
    }

    /// What the last stream says of itself.
    pub fn header(&self) -> &Header {
        let last = self.layers.len() - 1;
        self.layers[last].records.header()
    }

    /// What was counted so far, for each stream.
    pub fn counts(&self) -> impl Iterator<Item = Counts> {
        self.layers.iter().map(|layer| layer.records.counts)
    }

    /// Where the last stream is.
    pub fn place(&self) -> Place {
        let last = self.layers.len() - 1;
        let mut place = self.layers[last].records.place();
        place.object = (self.step != Step::Object).then_some(self.dnode.object);
        place
    }

    /// A problem of what came last.
    pub fn error(&self, problem: impl Into<Problem>) -> ReadError {
        problem.into().at(self.place())
    }

    /// What comes next; `None` after the last of the streams ended as it should.
    #[allow(
        clippy::should_implement_trait,
        reason = "what it gives borrows from it"
    )]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, ReadError> {
        loop {
            match self.step {
                Step::Object => {
                    if !self.next_object()? {
                        self.step = Step::End;
                        return Ok(None);
                    }
                    if self.step == Step::Data {
                        return Ok(Some(Event::Object(&self.dnode)));
                    }
                }
                Step::Data => {
                    if let Some((layer, offset, from, to)) = self.next_data()? {
                        let payload = self.layers[layer].records.payload();
                        let bytes = payload.get(from..to).unwrap_or_default();
                        return Ok(Some(Event::Data { offset, bytes }));
                    }
                    self.step = Step::Last;
                    let found = (self.spill_floor..self.layers.len())
                        .rev()
                        .find(|number| self.layers[*number].spill().is_some());
                    if let Some(number) = found {
                        let spill = self.layers[number].spill().unwrap_or_default();
                        return Ok(Some(Event::Spill(spill)));
                    }
                }
                Step::Last => {
                    self.finish_object()?;
                    self.step = Step::Object;
                }
                Step::End => return Ok(None),
            }
        }
    }

    /// Goes on to the next object that is there in the end; false if there is none. One that was only there in
    /// between leaves the step as it was.
    fn next_object(&mut self) -> Result<bool, ReadError> {
        let object = loop {
            let (mut next, mut stopped) = (None, None);
            for layer in &mut self.layers {
                if let Some(at) = layer.settle(self.passed)? {
                    stopped = Some(stopped.map_or(at, |other: u64| other.min(at)));
                }
                next = match (next, layer.next_object()) {
                    (Some(one), Some(other)) => Some(u64::min(one, other)),
                    (one, other) => one.or(other),
                };
            }
            match (next, stopped) {
                // Where it stopped no object can be that was not seen.
                (next, Some(stopped)) if next.is_none_or(|next| next >= stopped) => {
                    self.passed = stopped;
                }
                (None, _) => return Ok(false),
                (Some(next), _) => break next,
            }
        };
        let mut exists = false;
        (self.floor, self.spill_floor, self.position) = (0, 0, 0);
        self.taken = None;
        for number in 0..self.layers.len() {
            let layer = &mut self.layers[number];
            self.holes[number].clear();
            exists &= !layer.frees(object);
            let Some(Head {
                dnode, mut holes, ..
            }) = layer.take_head(object)?
            else {
                if !exists && (layer.span(object).is_some() || layer.spill().is_some()) {
                    return Err(layer.records.error("blocks of an object that is not there"));
                }
                continue;
            };
            let flags = layer.records.header().flags;
            if let Some(dnode) = dnode {
                if !exists || loses_content(&self.dnode, &dnode) {
                    self.floor = number;
                }
                if !exists || loses_spill(&self.dnode, &dnode, flags) {
                    self.spill_floor = number;
                }
                exists = true;
                self.dnode = dnode;
            } else if !exists {
                return Err(layer
                    .records
                    .error("what is freed is of an object that is not there"));
            }
            for hole in holes.drain(..) {
                add_hole(&mut self.holes[number], hole);
            }
        }
        self.dnode.object = object;
        if exists {
            for number in 0..self.floor {
                self.skip_data(number)?;
            }
            self.step = Step::Data;
        } else {
            for number in 0..self.layers.len() {
                self.skip_data(number)?;
            }
            self.finish_object()?;
        }
        Ok(true)
    }

    /// Goes past the data that a stream has of the object at hand.
    fn skip_data(&mut self, number: usize) -> Result<(), ReadError> {
        let layer = &mut self.layers[number];
        while layer.span(self.dnode.object).is_some() {
            layer.advance(self.dnode.object)?;
        }
        Ok(())
    }

    /// The next data of the object: its stream, its offset in the object, and from where to where it is in that stream's payload.
    fn next_data(&mut self) -> Result<Option<(usize, u64, usize, usize)>, ReadError> {
        let object = self.dnode.object;
        if let Some(end) = self.taken.take() {
            self.position = end;
        }
        loop {
            // Whatever lies before the position is done with.
            for number in self.floor..self.layers.len() {
                self.catch_up(number)?;
            }
            // From the last stream down: what it says of the position, and how far that goes.
            let mut end = u64::MAX;
            let mut found = None;
            for number in (self.floor..self.layers.len()).rev() {
                if let Some(span) = self.layers[number].span(object)
                    && !span.is_hole
                {
                    if span.start <= self.position {
                        found = Some((number, span));
                        end = end.min(span.end);
                        break;
                    }
                    end = end.min(span.start);
                }
                // Holes ascend; those before the position are gone.
                if let Some(hole) = self.holes[number].first() {
                    if hole.start <= self.position {
                        end = end.min(hole.end);
                        break;
                    }
                    end = end.min(hole.start);
                }
                if let Some(span) = self.layers[number].span(object)
                    && span.is_hole
                {
                    end = end.min(span.start.max(self.position.saturating_add(1)));
                }
            }
            match found {
                Some((number, span)) => {
                    self.taken = Some(end);
                    let from = (self.position - span.start) as usize;
                    let to = (end - span.start) as usize;
                    return Ok(Some((number, self.position, from, to)));
                }
                None if end == u64::MAX => {
                    // Only holes are left.
                    for number in self.floor..self.layers.len() {
                        self.skip_data(number)?;
                    }
                    return Ok(None);
                }
                None => self.position = end,
            }
        }
    }

    /// Goes past what a stream says of what is before the position, and takes its holes.
    fn catch_up(&mut self, number: usize) -> Result<(), ReadError> {
        let (object, position) = (self.dnode.object, self.position);
        let (layer, holes) = (&mut self.layers[number], &mut self.holes[number]);
        let passed = holes.iter().take_while(|hole| hole.end <= position).count();
        holes.drain(..passed);
        while let Some(span) = layer.span(object) {
            if span.end > position {
                if !span.is_hole || holes.len() >= MAX_HOLES {
                    break;
                }
                let range = Range {
                    start: span.start,
                    end: span.end,
                };
                add_hole(holes, range);
            }
            layer.advance(object)?;
        }
        Ok(())
    }

    /// Makes sure that no stream has more of the object at hand.
    fn finish_object(&mut self) -> Result<(), ReadError> {
        let object = self.dnode.object;
        for layer in &mut self.layers {
            layer.finish_object(object)?;
        }
        self.passed = object + 1;
        Ok(())
    }
}

/// Adds a range to others, which ascend and don't touch.
fn add_hole(holes: &mut Vec<Range>, mut new: Range) {
    if new.start >= new.end {
        return;
    }
    let from = holes.partition_point(|hole| hole.end < new.start);
    let to = holes.partition_point(|hole| hole.start <= new.end);
    if let (Some(first), Some(last)) = (holes.get(from), holes.get(to.wrapping_sub(1)))
        && from < to
    {
        new.start = new.start.min(first.start);
        new.end = new.end.max(last.end);
    }
    holes.splice(from..to, [new]);
}

/// Whether a receiver drops all blocks of an object that is announced anew (`receive_object`).
fn loses_content(old: &Dnode, new: &Dnode) -> bool {
    old.object_type != new.object_type
        || old.block_size != new.block_size
        || old.slots != new.slots
        || block_pointers(new) < block_pointers(old)
}

/// Number of block pointers in a dnode (`deduce_nblkptr`).
fn block_pointers(dnode: &Dnode) -> usize {
    if dnode.bonus_type == BONUS_SA {
        1
    } else {
        1 + (MAX_BONUS - dnode.bonus.len().min(MAX_BONUS)) / 128
    }
}

/// Whether a receiver drops the spill block of an object that is announced anew. Streams that don't say which objects have
/// one leave it where nothing of the dnode's shape changes (`dmu_object_reclaim`).
fn loses_spill(old: &Dnode, new: &Dnode, flags: u32) -> bool {
    if flags & FLAG_SPILL_BLOCK != 0 {
        !new.has_spill
    } else {
        loses_content(old, new)
            || old.bonus_type != new.bonus_type
            || old.bonus.len() != new.bonus.len()
    }
}
