//! The disk as a volume: its digest, its stream.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};
use zfs_stream::{Disk, StreamOptions, VolumeSummary, write_volume};

use crate::error::DiskError;
use crate::scratch::is_zero;
use crate::source::Source;

/// Bytes of a MiB, of which images' sizes are multiples.
pub const MIB: u64 = 1 << 20;

/// Block size of volumes where nobody says another (`volblocksize` of vmadm's disks).
pub const BLOCK_SIZE: u32 = 8192;

/// Bytes digested at a time, and the unit in which zeroes count as nothing.
const PIECE: u64 = 64 << 10;

/// What a volume holds, as a number: the same content, the same number, whatever of its zeroes are holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// SHA-256 of size and block size, and of all pieces that are not zero with their places, hexadecimal.
    pub digest: String,
    /// The guid of the snapshot, not 0.
    pub guid: u64,
}

/// Digests a disk as a volume with blocks of so many bytes; what reads as zeroes counts as nothing.
///
/// # Errors
///
/// It could not be read, or `cancel` was raised.
pub fn digest(
    disk: &dyn Source,
    block_size: u32,
    path: &std::path::Path,
    cancel: &AtomicBool,
) -> Result<Digested, DiskError> {
    let mut hash = Sha256::new();
    hash.update(disk.size().to_le_bytes());
    // Other blocks make another stream, and an incremental one fits one of them alone.
    hash.update(block_size.to_le_bytes());
    let mut buffer = vec![0; PIECE as usize];
    let mut at = 0;
    while let Some(range) = disk.next_data(at).map_err(DiskError::io("read", path))? {
        at = range.start.max(at) / PIECE * PIECE;
        while at < range.end {
            if cancel.load(Ordering::SeqCst) {
                return Err(DiskError::Cancelled);
            }
            let piece = &mut buffer[..(disk.size() - at).min(PIECE) as usize];
            disk.read_at(piece, at)
                .map_err(DiskError::io("read", path))?;
            if !is_zero(piece) {
                hash.update(at.to_le_bytes());
                hash.update(&*piece);
            }
            at += PIECE;
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    let guid = u64::from_le_bytes(std::array::from_fn(|index| digest[index]));
    Ok(Digested {
        digest: mibe_image::file::hex(&digest),
        guid: guid.max(1),
    })
}

/// A disk as the writer of streams takes it.
struct AsVolume<'a> {
    disk: &'a dyn Source,
    cancel: &'a AtomicBool,
}

impl Disk for AsVolume<'_> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn next_data(&mut self, from: u64) -> io::Result<Option<Range<u64>>> {
        if self.cancel.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.disk.next_data(from)
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.cancel.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.disk.read_at(buffer, offset)
    }
}

/// Writes the stream of a disk, whose size is a multiple of a MiB; `progress` gets bytes of the disk.
///
/// # Errors
///
/// The disk could not be read, `out` not written, or `cancel` was raised.
pub fn write(
    disk: &dyn Source,
    block_size: u32,
    options: &StreamOptions,
    out: &mut dyn Write,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(u64),
) -> Result<VolumeSummary, DiskError> {
    let mut volume = AsVolume { disk, cancel };
    let written = write_volume(&mut volume, block_size, out, options, &mut |state| {
        progress(state.done);
    });
    if cancel.load(Ordering::SeqCst) {
        return Err(DiskError::Cancelled);
    }
    Ok(written?)
}
