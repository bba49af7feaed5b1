//! Where a disk comes from: a file of whatever format, read as the bytes of the disk.

mod foreign;
mod format;
mod metered;
mod packed;
mod qcow2;
mod raw;
pub mod vmdk;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::error::DiskError;

pub use self::format::Format;
pub(crate) use self::metered::Metered;
pub use self::qcow2::Qcow2;
pub use self::raw::Raw;
pub(crate) use self::raw::next_data;

/// Largest disk that is taken, in bytes: more than any host gives a virtual machine, and small enough that no sum of offsets overflows.
pub const MAX_DISK: u64 = 64 << 40;

/// The bytes of a disk, in any order.
pub trait Source: Send + Sync {
    /// Bytes of the disk.
    fn size(&self) -> u64;

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    ///
    /// They could not be read, or are not all before the disk's end (`UnexpectedEof`).
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The first range at or after `from` that may hold anything but zeroes; `None`: there is none until the end.
    ///
    /// # Errors
    ///
    /// The file could not be read, or is damaged.
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>>;

    /// Bytes of tables and of compressed clusters that were gone through so far, which can be many more than were asked for.
    fn work(&self) -> u64 {
        0
    }
}

/// A part of a disk, which has offsets of its own.
pub struct Part<'a> {
    disk: &'a dyn Source,
    start: u64,
    size: u64,
}

impl<'a> Part<'a> {
    /// `size` bytes of the disk from `start` on, or what there is of them.
    pub fn new(disk: &'a dyn Source, start: u64, size: u64) -> Self {
        let start = start.min(disk.size());
        Self {
            disk,
            start,
            size: size.min(disk.size() - start),
        }
    }

    /// Bytes of the part.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` with the bytes at `offset` of the part.
    ///
    /// # Errors
    ///
    /// As [`Source::read_at`]; what is beyond the part is beyond the end.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        within(offset, buffer.len(), self.size)?;
        self.disk.read_at(buffer, self.start + offset)
    }
}

/// An error unless `length` bytes from `offset` on are before `end`.
pub(crate) fn within(offset: u64, length: usize, end: u64) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(last) if last <= end => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!(
                "byte {offset} and the {length} from it on are not all before the end at {end}"
            ),
        )),
    }
}

/// What is wrong with a file's content.
pub(crate) fn damaged(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// How the files of a disk were given.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The backing file, then that one's, and so on: a disk that has one can be opened only where it is named, since its own word for it
    /// could be any file of this machine.
    pub backing: Vec<PathBuf>,
}

/// A disk that was opened.
pub struct Opened {
    /// What is on it.
    pub source: Box<dyn Source>,
    /// Of which format it is.
    pub about: About,
    /// The raw file of the scratch folder that it was unpacked or converted into, where it was: whoever opened it may take it.
    pub made: Option<PathBuf>,
}

/// What a file said of itself.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// Format of the disk, without compression around it.
    pub format: Format,
    /// Compression around it ("gzip"), if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packing: Option<&'static str>,
    /// More about the format, for people ("version 3, zstd clusters").
    #[serde(skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// Bytes of the file.
    pub file_size: u64,
    /// Bytes of the disk.
    pub virtual_size: u64,
}

/// Opens the disk in the file at `path`, by what the file begins with and whatever its name. What can't be read where it stands (compressed
/// files, formats that are qemu-img's) is unpacked into `scratch`, a folder that must be on a disk with room for it.
///
/// # Errors
///
/// The file is no disk, a damaged one, or one of a format that can't be read here.
pub fn open(
    path: &Path,
    options: &OpenOptions,
    scratch: &Path,
    cancel: &AtomicBool,
) -> Result<Opened, DiskError> {
    let mut file = File::open(path).map_err(DiskError::io("open", path))?;
    let metadata = file.metadata().map_err(DiskError::io("look at", path))?;
    if metadata.is_dir() {
        return Err(DiskError::disk(path, "is a folder, not a disk", &[]));
    }
    let file_size = metadata.len();
    let mut current = path.to_owned();
    let mut packing = None;
    let mut format = Format::of_file(&file).map_err(DiskError::io("read", path))?;
    if let Format::Packed(how) = format {
        packing = Some(how.name());
        current = scratch.join("unpacked");
        file = packed::unpack(path, file, &current, cancel)?;
        format = Format::of_file(&file).map_err(DiskError::io("read", &current))?;
        if let Format::Packed(_) = format {
            return Err(DiskError::disk(
                path,
                "is compressed twice",
                &["unpack it by hand"],
            ));
        }
    }
    if let Some((message, hint)) = format.refusal() {
        return Err(DiskError::disk(path, message, &[hint]));
    }
    let mut made = None;
    let (source, details) = match format {
        Format::Qcow2 => {
            let disk = qcow2::open(file, path, &options.backing)?;
            let details = disk.details();
            (Box::new(disk) as Box<dyn Source>, details)
        }
        Format::Vmdk | Format::Vhdx | Format::Vhd | Format::Vdi => {
            let to = scratch.join("converted");
            let raw = foreign::convert(&current, path, format, &to, cancel)?;
            made = Some(to);
            (Box::new(raw) as Box<dyn Source>, String::new())
        }
        _ => {
            let raw = Raw::open(file, format).map_err(DiskError::io("read", path))?;
            made = (packing.is_some() && format == Format::Raw).then_some(current);
            (Box::new(raw) as Box<dyn Source>, String::new())
        }
    };
    if !options.backing.is_empty() && format != Format::Qcow2 {
        return Err(DiskError::usage(
            format!(
                "{} has no backing file, since it is {format}",
                path.display()
            ),
            &["leave --backing out"],
        ));
    }
    let virtual_size = source.size();
    if virtual_size == 0 {
        return Err(DiskError::disk(
            path,
            "the disk is empty",
            &["was it downloaded whole?"],
        ));
    }
    if virtual_size > MAX_DISK {
        return Err(DiskError::disk(
            path,
            format!(
                "says to be a disk of {virtual_size} bytes; more than {MAX_DISK} are not taken"
            ),
            &["the file is damaged, or not what it seems"],
        ));
    }
    Ok(Opened {
        made,
        source,
        about: About {
            format,
            packing,
            details,
            file_size,
            virtual_size,
        },
    })
}
