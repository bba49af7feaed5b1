//! Volumes: a disk as a stream.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::output::{Records, Sealer};
use super::records::{NewObject, RecordWriter};
use super::{At as _, BATCH, Progress, StreamOptions, WriteError, check, system};
use crate::format::record::{
    Begin, FLAG_FREERECORDS, MAGIC, MAX_TO_NAME, OBJSET_VOLUME, SUBSTREAM,
};
use crate::format::znode::{ObjectType, VOLUME_DATA, VOLUME_PROPERTIES};
use crate::format::{MAX_BLOCK, SECTOR};

/// A disk to be written as a volume.
pub trait Disk {
    /// Bytes of the disk.
    fn size(&self) -> u64;

    /// The first range at or after `from` that may hold anything but zeroes; `None`: there is none until the end.
    ///
    /// # Errors
    ///
    /// The disk could not be read.
    fn next_data(&mut self, from: u64) -> io::Result<Option<Range<u64>>>;

    /// Fills `buffer` with the bytes at `offset`; it does not reach beyond the end of the disk.
    ///
    /// # Errors
    ///
    /// The disk could not be read.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// What a stream of a volume holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VolumeSummary {
    /// Length of the stream in bytes.
    pub stream_bytes: u64,
    /// Bytes of the disk (`volsize`).
    pub size: u64,
}

/// Writes `disk` to `out` as a full stream of a volume with blocks of `block_size` bytes (`volblocksize`: a power of two from 512 to
/// 128 KiB, of which the disk's size must be a multiple).
///
/// What the disk says to be without data is not read, and blocks of nothing but zeroes are left out. The same disk and options give the
/// same bytes, whatever of its zeroes the disk takes for data. `progress` counts bytes of the disk.
///
/// # Errors
///
/// The disk could not be read, `out` not written, or the options make no stream.
///
/// # Memory
///
/// 192 KiB.
pub fn write_volume<D: Disk, W: io::Write>(
    disk: &mut D,
    block_size: u32,
    out: W,
    options: &StreamOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<VolumeSummary, WriteError> {
    check(options)?;
    let size = disk.size();
    let block = block_size as usize;
    if !block.is_power_of_two() || !(SECTOR..=MAX_BLOCK).contains(&block) {
        return Err(WriteError::Options(
            "a volume's block size is a power of two from 512 to 131072 bytes",
        ));
    }
    if size == 0 || !size.is_multiple_of(u64::from(block_size)) {
        return Err(WriteError::Options(
            "a volume's size is a multiple of its block size, and not 0",
        ));
    }
    let mut to_name = [0; MAX_TO_NAME + 1];
    to_name[..options.to_name.len()].copy_from_slice(options.to_name.as_bytes());
    let begin = Begin {
        magic: MAGIC.into(),
        versioninfo: SUBSTREAM.into(),
        creation_time: options.creation_time.into(),
        objset_type: OBJSET_VOLUME.into(),
        flags: FLAG_FREERECORDS.into(),
        to_guid: options.to_guid.into(),
        from_guid: 0.into(),
        to_name,
    };
    let mut writer = RecordWriter::new(Sealer::new(out), Records::new(BATCH), &begin);
    let data = ObjectType::Volume.number();
    writer.object(&NewObject {
        number: VOLUME_DATA,
        object_type: data,
        block_size: block,
        bonus: None,
        has_spill: false,
    })?;
    let place = Path::new("");
    let mut at = 0;
    let mut report = |done| progress(Progress { done, total: size });
    while let Some(range) = disk.next_data(at).at("read", place)? {
        if range.end <= at {
            return Err(WriteError::Changed {
                path: place.to_owned(),
                what: "names data that is behind",
            });
        }
        let start = range.start.max(at) / u64::from(block_size) * u64::from(block_size);
        // A block that two ranges share is written with the first.
        at = start.max(at);
        while at < range.end.min(size) {
            writer.block((VOLUME_DATA, data), at, block, |bytes| {
                disk.read(at, bytes).at("read", place)
            })?;
            at += u64::from(block_size);
            report(at);
        }
        if at >= size {
            break;
        }
    }
    report(size);
    system::write_numbers(
        &mut writer,
        VOLUME_PROPERTIES,
        ObjectType::VolumeProperties,
        &[("size", size)],
    )?;
    Ok(VolumeSummary {
        stream_bytes: writer.finish()?,
        size,
    })
}
