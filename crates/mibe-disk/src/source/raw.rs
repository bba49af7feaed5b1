//! Raw disks: files whose bytes are those of the disk, holes and all.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{Format, Source, damaged, within};

/// Bytes of a sector: what is less at the end is filled with zeroes.
const SECTOR: u64 = 512;

/// A raw disk.
#[derive(Debug)]
pub struct Raw {
    file: File,
    /// Bytes in the file that are of the disk.
    length: u64,
    size: u64,
}

impl Raw {
    /// The disk that a file is; of a fixed VHD, without the sector about it.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is no regular file and no block device.
    pub fn open(file: File, format: Format) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt as _;
        let metadata = file.metadata()?;
        let mut length = metadata.len();
        if metadata.file_type().is_block_device() {
            length = rustix::fs::seek(&file, SeekFrom::End(0))?;
        } else if !metadata.is_file() {
            return Err(damaged("is neither a file nor a disk"));
        }
        if format == Format::FixedVhd {
            length -= SECTOR.min(length);
        }
        Ok(Self {
            size: length.next_multiple_of(SECTOR),
            file,
            length,
        })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Source for Raw {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        within(offset, buffer.len(), self.size)?;
        let there = self.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (data, rest) = buffer.split_at_mut(there);
        rest.fill(0);
        self.file.read_exact_at(data, offset)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        next_data(&self.file, from, self.length)
    }
}

/// The first range of a file at or after `from` that is no hole, as far as its file system tells.
pub(crate) fn next_data(file: &File, from: u64, length: u64) -> io::Result<Option<Range<u64>>> {
    if from >= length {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) if start < length => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        // Neither block devices nor all file systems tell.
        Err(Errno::INVAL | Errno::NOTSUP) => return Ok(Some(from..length)),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some(start..end.clamp(start + 1, length)))
}
