//! Files that disks are worked on in: full of holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::DiskError;
use crate::source::{Format, Raw, Source, next_data};

/// Zeroes of this size and alignment become holes: a block of common file systems.
const HOLE: usize = 4096;

/// Bytes copied at a time.
const PIECE: u64 = 1 << 20;

/// A new file whose zeroes are holes.
pub struct SparseFile {
    path: PathBuf,
    file: File,
}

impl SparseFile {
    /// Makes a file that must not be there yet.
    ///
    /// # Errors
    ///
    /// It is there, or could not be made.
    pub fn create(path: &Path) -> Result<Self, DiskError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(DiskError::io("make", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Writes what is not zero.
    ///
    /// # Errors
    ///
    /// It could not be written.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        for_each_run(bytes, |start, run| {
            self.file.write_all_at(run, offset + start as u64)
        })
        .map_err(DiskError::io("write", &self.path))
    }

    /// Gives the file its size.
    ///
    /// # Errors
    ///
    /// It could not be written.
    pub fn finish(self, size: u64) -> Result<File, DiskError> {
        self.file
            .set_len(size)
            .map_err(DiskError::io("write", &self.path))?;
        Ok(self.file)
    }
}

/// Calls `with` for each run of blocks that are not all zeroes, with its start.
fn for_each_run(
    bytes: &[u8],
    mut with: impl FnMut(usize, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut start = None;
    let mut at = 0;
    for block in bytes.chunks(HOLE) {
        match (start, is_zero(block)) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                with(from, &bytes[from..at])?;
                start = None;
            }
            _ => {}
        }
        at += block.len();
    }
    match start {
        Some(from) => with(from, &bytes[from..]),
        None => Ok(()),
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Most blocks differ from zero early, so look at a little at a time.
    bytes
        .chunks(256)
        .all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Copies `size` bytes of a file to a place of another where nothing but zeroes are, which stay holes.
///
/// # Errors
///
/// A file could not be read or written, or `cancel` was raised (`Interrupted`).
pub(crate) fn copy_range(
    from: &File,
    from_offset: u64,
    to: &File,
    to_offset: u64,
    size: u64,
    cancel: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE as usize];
    let end = from_offset + size;
    let mut at = from_offset;
    while let Some(range) = next_data(from, at, end)? {
        at = range.start;
        while at < range.end {
            if cancel.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let piece = &mut buffer[..(range.end - at).min(PIECE) as usize];
            from.read_exact_at(piece, at)?;
            for_each_run(piece, |start, run| {
                to.write_all_at(run, at - from_offset + to_offset + start as u64)
            })?;
            at += piece.len() as u64;
        }
    }
    Ok(())
}

/// Whether files in a folder can have holes where there was something.
///
/// # Errors
///
/// The folder could not be written.
pub(crate) fn has_holes(folder: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        let file = tempfile::tempfile_in(folder)?;
        file.write_all_at(&[1; 2 * HOLE], 0)?;
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&file, how, 0, HOLE as u64).is_ok())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        Ok(true)
    }
}

/// Makes `size` bytes of a file zeroes, of a hole where its file system has holes.
///
/// # Errors
///
/// The file could not be written.
pub(crate) fn clear(file: &File, offset: u64, size: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(file, how, offset, size) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let zeroes = vec![0; PIECE as usize];
    let end = offset + size;
    let mut at = offset;
    while let Some(range) = next_data(file, at, end)? {
        at = range.start;
        while at < range.end {
            let piece = &zeroes[..(range.end - at).min(PIECE) as usize];
            file.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
    }
    Ok(())
}

/// Makes the raw file `made`, a disk that was unpacked, the new raw file `path` of `size` bytes, which is not less than the disk's.
///
/// # Errors
///
/// The file could not be renamed, or not be made so large.
pub fn take(made: &Path, path: &Path, size: u64) -> Result<Raw, DiskError> {
    std::fs::rename(made, path).map_err(DiskError::io("rename", made))?;
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(DiskError::io("open", path))?;
    file.set_len(size).map_err(DiskError::io("write", path))?;
    Raw::open(file, Format::Raw).map_err(DiskError::io("read", path))
}

/// Copies a disk into a new raw file of `size` bytes, which is not less than the disk's; `progress` gets the bytes of the disk that are done.
///
/// # Errors
///
/// The disk could not be read, the file not written, or `cancel` was raised.
pub fn copy(
    source: &dyn Source,
    from: &Path,
    path: &Path,
    size: u64,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(u64),
) -> Result<Raw, DiskError> {
    let mut file = SparseFile::create(path)?;
    let mut buffer = vec![0; PIECE as usize];
    let mut at = 0;
    while let Some(range) = source
        .next_data(at)
        .map_err(DiskError::on_disk("read", from))?
    {
        if range.end <= at {
            return Err(DiskError::disk(from, "goes backwards", &[]));
        }
        at = at.max(range.start);
        while at < range.end {
            if cancel.load(Ordering::SeqCst) {
                return Err(DiskError::Cancelled);
            }
            // To the next multiple, so that zeroes are seen in whole blocks.
            let next = (at / PIECE + 1) * PIECE;
            let piece = &mut buffer[..(range.end.min(next) - at) as usize];
            source
                .read_at(piece, at)
                .map_err(DiskError::on_disk("read", from))?;
            file.write(at, piece)?;
            at += piece.len() as u64;
            progress(at);
        }
    }
    progress(source.size());
    let file = file.finish(size)?;
    Raw::open(file, Format::Raw).map_err(DiskError::io("read", path))
}
