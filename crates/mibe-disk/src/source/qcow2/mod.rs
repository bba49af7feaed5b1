//! qcow2, read: QEMU's docs/interop/qcow2.txt. Versions 2 and 3, zlib and zstd clusters, extended L2 entries, backing files that were named.
//!
//! However large the tables say to be, one L2 table, one window of the L1 table and one compressed cluster are in memory.

mod header;

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::{Source, damaged, within};
use crate::scratch::is_zero;

pub(super) use self::header::open;

/// Bits of an entry that are an offset.
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
/// A cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// A cluster is zeroes, whatever its offset says (version 3).
const ZERO: u64 = 1;

/// Entries of the L1 table read at a time.
const L1_WINDOW: u64 = 512;

/// How many times its size a cluster may have been before compression: deflate reaches 1032, and zstd has as much for a block of 128 KiB in 4 bytes. A file
/// can't hold more clusters than it has room for, so one that says so repeats itself.
const MOST_DEFLATED: u64 = 1032;
const MOST_ZSTD: u64 = 32_768;

/// Largest window of a compressed cluster: what every decoder must have (RFC 8878, 3.1.1.1.2), and more than clusters are large.
const MAX_WINDOW: u64 = 8 << 20;

/// How compressed clusters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Zlib,
    Zstd,
}

/// A qcow2 file.
pub struct Qcow2 {
    file: File,
    file_size: u64,
    version: u32,
    cluster_bits: u32,
    size: u64,
    l1_offset: u64,
    extended: bool,
    method: Method,
    backing: Option<Box<dyn Source>>,
    cache: Mutex<Cache>,
}

/// What was read last.
#[derive(Default)]
struct Cache {
    /// First entry and entries of the L1 table.
    l1: Option<(u64, Vec<u8>)>,
    /// Offset and bytes of an L2 table.
    l2: Option<(u64, Vec<u8>)>,
    /// Offset in the file and content of a compressed cluster.
    cluster: Option<(u64, Vec<u8>)>,
    /// Compressed bytes on their way.
    packed: Vec<u8>,
    /// What unpacks zstd.
    zstd: FrameDecoder,
    /// How far the disk was looked through, and what its clusters and tables up to there take of the file at least.
    counted: u64,
    stored: u64,
    /// Bytes of tables and of clusters gone through.
    work: u64,
}

/// Where a range of the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the backing file, or nowhere.
    Below,
    Zeroes,
    /// At this offset of the file.
    Stored(u64),
    /// At this offset of the file, in at most so many bytes.
    Compressed(u64, u64),
}

impl Qcow2 {
    fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes of an entry of an L2 table.
    fn entry_size(&self) -> u64 {
        if self.extended { 16 } else { 8 }
    }

    /// Clusters that an L2 table is about.
    fn l2_entries(&self) -> u64 {
        self.cluster_size() / self.entry_size()
    }

    /// Bytes of the disk that an L2 table is about.
    fn covered(&self) -> u64 {
        self.l2_entries() * self.cluster_size()
    }

    /// Bytes that have a place of their own: a cluster, or a thirty-second of it.
    fn unit(&self) -> u64 {
        if self.extended {
            self.cluster_size() / 32
        } else {
            self.cluster_size()
        }
    }

    /// The L2 table of a place on the disk; `None`: there is none.
    fn l2_offset(&self, cache: &mut Cache, offset: u64) -> io::Result<Option<u64>> {
        let index = offset / self.covered();
        let first = index / L1_WINDOW * L1_WINDOW;
        if !matches!(&cache.l1, Some((start, _)) if *start == first) {
            let entries = (self.size.div_ceil(self.covered()) - first).min(L1_WINDOW);
            let mut table = vec![0; entries as usize * 8];
            self.file
                .read_exact_at(&mut table, self.l1_offset + first * 8)?;
            cache.l1 = Some((first, table));
        }
        let Some((_, table)) = &cache.l1 else {
            return Ok(None);
        };
        let entry = u64_in(table, (index - first) as usize * 8)?;
        let table = entry & OFFSET;
        if table == 0 {
            return Ok(None);
        }
        if !table.is_multiple_of(self.cluster_size()) {
            return Err(damaged(format!(
                "the table at {table} for byte {offset} of the disk is at no cluster"
            )));
        }
        Ok(Some(table))
    }

    /// Where the unit at `offset` of the disk is.
    fn place(&self, cache: &mut Cache, offset: u64) -> io::Result<Place> {
        let Some(table_offset) = self.l2_offset(cache, offset)? else {
            return Ok(Place::Below);
        };
        if !matches!(&cache.l2, Some((start, _)) if *start == table_offset) {
            cache.work += self.cluster_size();
            let mut table = cache.l2.take().map(|(_, table)| table).unwrap_or_default();
            table.resize(self.cluster_size() as usize, 0);
            self.file.read_exact_at(&mut table, table_offset).map_err(|error| {
                damaged(format!("the table at {table_offset} for byte {offset} of the disk can't be read: {error}"))
            })?;
            cache.l2 = Some((table_offset, table));
        }
        let Some((_, table)) = &cache.l2 else {
            return Ok(Place::Below);
        };
        let index = (offset / self.cluster_size() % self.l2_entries()) as usize;
        let at = index * self.entry_size() as usize;
        let entry = u64_in(table, at)?;
        if entry & COMPRESSED != 0 {
            let shift = 62 - (self.cluster_bits - 8);
            let host = entry & ((1 << shift) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> shift;
            // From where it begins to the end of the last of its sectors.
            let length = (sectors + 1) * 512 - host % 512;
            return Ok(Place::Compressed(host, length));
        }
        let host = entry & OFFSET;
        if host != 0 && !host.is_multiple_of(self.cluster_size()) {
            return Err(damaged(format!(
                "byte {offset} of the disk is at {host}, which is at no cluster"
            )));
        }
        if self.extended {
            let bits = u64_in(table, at + 8)?;
            let number = offset % self.cluster_size() / self.unit();
            return Ok(match (bits >> number & 1, bits >> (number + 32) & 1) {
                (1, 0) if host != 0 => Place::Stored(host + number * self.unit()),
                (0, 0) => Place::Below,
                (0, 1) => Place::Zeroes,
                _ => {
                    return Err(damaged(format!(
                        "byte {offset} of the disk is said to be in several ways"
                    )));
                }
            });
        }
        Ok(if self.version >= 3 && entry & ZERO != 0 {
            Place::Zeroes
        } else if host == 0 {
            Place::Below
        } else {
            Place::Stored(host)
        })
    }

    /// Unpacks a compressed cluster into the cache.
    fn unpack(&self, cache: &mut Cache, host: u64, length: u64) -> io::Result<()> {
        if matches!(&cache.cluster, Some((start, _)) if *start == host) {
            return Ok(());
        }
        let mut cluster = cache
            .cluster
            .take()
            .map(|(_, cluster)| cluster)
            .unwrap_or_default();
        cluster.resize(self.cluster_size() as usize, 0);
        let length = length.min(self.file_size.saturating_sub(host)) as usize;
        cache.packed.resize(length, 0);
        self.file.read_exact_at(&mut cache.packed, host)?;
        cache.work += self.cluster_size();
        cache.zstd.set_max_window_size(MAX_WINDOW);
        let unpacked = match self.method {
            Method::Zlib => inflate(&cache.packed, &mut cluster),
            Method::Zstd => {
                StreamingDecoder::new_with_decoder(cache.packed.as_slice(), &mut cache.zstd)
                    .map_err(io::Error::other)
                    .and_then(|mut decoder| decoder.read_exact(&mut cluster))
            }
        };
        unpacked.map_err(|error| {
            damaged(format!(
                "the compressed cluster at {host} is damaged: {error}"
            ))
        })?;
        cache.cluster = Some((host, cluster));
        Ok(())
    }

    /// How much a cluster of the disk takes at least of the file.
    fn least(&self, place: Place) -> u64 {
        match place {
            Place::Below | Place::Zeroes => 0,
            Place::Stored(_) => self.unit(),
            Place::Compressed(..) => {
                let most = match self.method {
                    Method::Zlib => MOST_DEFLATED,
                    Method::Zstd => MOST_ZSTD,
                };
                // Of a cluster with subclusters, each is counted.
                if self.extended {
                    self.unit() / most
                } else {
                    self.unit().div_ceil(most)
                }
            }
        }
    }
}

/// Inflates a cluster, which is as long as `to`; what follows in `from` is of others.
fn inflate(from: &[u8], to: &mut [u8]) -> io::Result<()> {
    let mut decoder = Decompress::new(false);
    loop {
        let (read, written) = (decoder.total_in() as usize, decoder.total_out() as usize);
        if written == to.len() {
            return Ok(());
        }
        let status = decoder
            .decompress(&from[read..], &mut to[written..], FlushDecompress::None)
            .map_err(io::Error::other)?;
        let stuck = decoder.total_in() as usize == read && decoder.total_out() as usize == written;
        if decoder.total_out() as usize == to.len() {
            return Ok(());
        }
        if status == Status::StreamEnd || stuck {
            return Err(damaged("it is too short"));
        }
    }
}

fn u64_in(table: &[u8], at: usize) -> io::Result<u64> {
    match table
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
    {
        Some(bytes) => Ok(u64::from_be_bytes(bytes)),
        None => Err(damaged("a table is too short")),
    }
}

impl Source for Qcow2 {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        within(offset, buffer.len(), self.size)?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let inside = at % self.unit();
            let length = ((self.unit() - inside) as usize).min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            match self.place(&mut cache, at)? {
                Place::Zeroes => now.fill(0),
                Place::Below => match &self.backing {
                    None => now.fill(0),
                    Some(below) => {
                        let there = below.size().saturating_sub(at).min(length as u64) as usize;
                        let (data, beyond) = now.split_at_mut(there);
                        beyond.fill(0);
                        below.read_at(data, at)?;
                    }
                },
                Place::Stored(host) => self.file.read_exact_at(now, host + inside).map_err(|error| {
                    damaged(format!("byte {at} of the disk is at {host} of the file, which can't be read: {error}"))
                })?,
                Place::Compressed(host, packed) => {
                    self.unpack(&mut cache, host, packed)?;
                    let start = (at % self.cluster_size()) as usize;
                    if let Some((_, cluster)) = &cache.cluster {
                        now.copy_from_slice(&cluster[start..start + length]);
                    }
                }
            }
            at += length as u64;
            rest = later;
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        if from >= self.size {
            return Ok(None);
        }
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut start: Option<u64> = None;
        let mut at = from / self.unit() * self.unit();
        // What the backing file has next: looking from every place anew would take the square of its time.
        let mut next_below: Option<Option<Range<u64>>> = None;
        while at < self.size {
            let rest_of_table = self.covered() - at % self.covered();
            let table = self.l2_offset(&mut cache, at)?;
            let place = self.place(&mut cache, at)?;
            let step = match &cache.l2 {
                _ if table.is_none() => rest_of_table,
                // Of a file that is full of holes, all tables can be empty.
                Some((_, table)) if at.is_multiple_of(self.covered()) && is_zero(table) => {
                    rest_of_table
                }
                _ => self.unit(),
            };
            let below = match (place, &self.backing) {
                (Place::Below, Some(below)) => {
                    let known = next_below
                        .take()
                        .filter(|next| next.as_ref().is_none_or(|range| at < range.end));
                    let next = match known {
                        Some(next) => next,
                        None => below.next_data(at)?,
                    };
                    let has_data = next.as_ref().is_some_and(|range| range.start < at + step);
                    next_below = Some(next);
                    has_data
                }
                _ => false,
            };
            let has_data = match place {
                Place::Zeroes => false,
                Place::Below => below,
                _ => true,
            };
            if at >= cache.counted {
                if table.is_some() && at.is_multiple_of(self.covered()) {
                    cache.stored += self.cluster_size();
                }
                cache.counted = at + step;
                cache.stored += self.least(place);
            }
            if cache.stored > self.file_size {
                return Err(damaged(
                    "it says to have more clusters than there is room for in the file: it repeats itself",
                ));
            }
            match (start, has_data) {
                (None, true) => start = Some(at.max(from)),
                (Some(start), false) => return Ok(Some(start..at)),
                _ => {}
            }
            at += step;
        }
        Ok(start.map(|start| start..self.size))
    }

    fn work(&self) -> u64 {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.work
    }
}
