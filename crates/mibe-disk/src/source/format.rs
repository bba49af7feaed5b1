//! Formats of disks, told by what is in the file.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use mibe_image::file::Packing;
use serde::{Serialize, Serializer};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// The bytes of the disk.
    Raw,
    /// QEMU's, version 2 or 3.
    Qcow2,
    /// VMware's, with its data in the same file or in others.
    Vmdk,
    /// Hyper-V's second.
    Vhdx,
    /// Hyper-V's first, growing.
    Vhd,
    /// Hyper-V's first, fixed: the bytes of the disk and a sector about them.
    FixedVhd,
    /// VirtualBox's.
    Vdi,
    /// Something compressed.
    Packed(Packing),
    /// QEMU's first, qcow version 1.
    Qcow1,
    /// QED, an experiment of QEMU's.
    Qed,
    /// Parallels'.
    Parallels,
    /// A tar archive: an appliance (.ova), or a raw disk in an archive.
    Tar,
    /// A zip archive.
    Zip,
    /// A `zfs send` stream.
    ZfsStream,
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vhd => "vhd",
            Self::FixedVhd => "vhd (fixed)",
            Self::Vdi => "vdi",
            Self::Packed(packing) => packing.name(),
            Self::Qcow1 => "qcow",
            Self::Qed => "qed",
            Self::Parallels => "parallels",
            Self::Tar => "tar",
            Self::Zip => "zip",
            Self::ZfsStream => "zfs stream",
        })
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Format {
    /// The format of a file.
    ///
    /// # Errors
    ///
    /// It could not be read.
    pub fn of_file(file: &File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut start = [0; 512];
        let length = fill(file, &mut start, 0)?;
        let format = Self::of(&start[..length]);
        if format != Self::Raw || size < 1024 {
            return Ok(format);
        }
        // The sector about a fixed disk is its last (Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format").
        let mut last = [0; 512];
        let length = fill(file, &mut last, size - 512)?;
        let footer = &last[..length];
        let fixed = footer.len() == 512
            && footer.starts_with(b"conectix")
            && footer[60..64] == [0, 0, 0, 2];
        Ok(if fixed { Self::FixedVhd } else { Self::Raw })
    }

    /// The format of what begins with `start`, 512 bytes where there are so many.
    pub fn of(start: &[u8]) -> Self {
        let has = |magic: &[u8], at: usize| start.get(at..at + magic.len()) == Some(magic);
        if has(b"QFI\xfb", 0) {
            return if has(&[0, 0, 0, 1], 4) {
                Self::Qcow1
            } else {
                Self::Qcow2
            };
        }
        // Streams of either byte order (`DMU_BACKUP_MAGIC`).
        if has(&0x0002_F5BA_CBAC_u64.to_le_bytes(), 8)
            || has(&0x0002_F5BA_CBAC_u64.to_be_bytes(), 8)
        {
            return Self::ZfsStream;
        }
        let known: [(&[u8], usize, Self); 11] = [
            (b"KDMV", 0, Self::Vmdk),
            (b"COWD", 0, Self::Vmdk),
            (b"# Disk DescriptorFile", 0, Self::Vmdk),
            (b"vhdxfile", 0, Self::Vhdx),
            (b"conectix", 0, Self::Vhd),
            (&[0x7f, 0x10, 0xda, 0xbe], 64, Self::Vdi),
            (b"QED\0", 0, Self::Qed),
            (b"WithoutFreeSpace", 0, Self::Parallels),
            (b"WithouFreSpacExt", 0, Self::Parallels),
            (b"ustar", 257, Self::Tar),
            (b"PK\x03\x04", 0, Self::Zip),
        ];
        if let Some((.., format)) = known.iter().find(|(magic, at, _)| has(magic, *at)) {
            return *format;
        }
        match Packing::of(start) {
            Packing::None => Self::Raw,
            packing => Self::Packed(packing),
        }
    }

    /// Why a file of this format is not taken, and what to do instead.
    pub fn refusal(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Qcow1 => (
                "is of qcow version 1, which nobody writes since 2008",
                "convert it, if you trust it: qemu-img convert -f qcow -O raw FILE disk.raw",
            ),
            Self::Qed => (
                "is of the format QED, which QEMU gave up",
                "convert it, if you trust it: qemu-img convert -f qed -O raw FILE disk.raw",
            ),
            Self::Parallels => (
                "is a disk of Parallels",
                "convert it, if you trust it: qemu-img convert -f parallels -O raw FILE disk.raw",
            ),
            Self::Tar => (
                "is a tar archive",
                "unpack it (tar xf FILE) and give the disk in it: disk.raw, or the .vmdk of an .ova",
            ),
            Self::Zip => ("is a zip archive", "unpack it and give the disk in it"),
            Self::ZfsStream => (
                "is a zfs stream: an image already",
                "mibe image verify FILE looks into it",
            ),
            _ => return None,
        })
    }
}

/// Reads as much of `buffer` as there is.
fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
