//! The header of a qcow2 file, and what it stands on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{Method, Qcow2};
use crate::error::DiskError;
use crate::source::{Format, MAX_DISK, Raw, Source, damaged, within};

/// Bytes of the header of version 2, and least bytes of one of version 3.
const HEADER_2: usize = 72;
const HEADER_3: usize = 104;

/// Bits of `incompatible_features`.
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN_FEATURES: u64 = 0x1F;

/// Largest L1 table in bytes (`QCOW_MAX_L1_SIZE`).
const MAX_L1: u64 = 32 << 20;

/// Opens the disk; `backing` are the files that it may stand on, in order.
pub(in crate::source) fn open(
    file: File,
    path: &Path,
    backing: &[PathBuf],
) -> Result<Qcow2, DiskError> {
    let mut disk = Qcow2::open(file).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => DiskError::disk(
            path,
            format!("is no sound qcow2 file: {error}"),
            &["was it downloaded whole? compare its checksum"],
        ),
        _ => DiskError::io("read", path)(error),
    })?;
    let name = disk.backing_name().map_err(DiskError::io("read", path))?;
    disk.backing = match (name, backing) {
        (None, []) => None,
        (None, _) => {
            return Err(DiskError::usage(
                format!("{} has no backing file", path.display()),
                &["leave --backing out"],
            ));
        }
        (Some(name), []) => {
            return Err(DiskError::disk(
                path,
                format!(
                    "holds only what differs from its backing file {name:?}, which mibe does not open by itself"
                ),
                &[
                    "name the file, if you trust it: --backing FILE (once more for its own backing file, if it has one)",
                    "or make one file of both: qemu-img convert -O qcow2 FILE whole.qcow2",
                ],
            ));
        }
        (Some(_), [first, rest @ ..]) => Some(backing_file(first, rest)?),
    };
    Ok(disk)
}

fn backing_file(path: &Path, rest: &[PathBuf]) -> Result<Box<dyn Source>, DiskError> {
    let file = File::open(path).map_err(DiskError::io("open", path))?;
    let format = Format::of_file(&file).map_err(DiskError::io("read", path))?;
    match format {
        Format::Qcow2 => Ok(Box::new(open(file, path, rest)?)),
        Format::Raw | Format::FixedVhd if rest.is_empty() => {
            let raw = Raw::open(file, format).map_err(DiskError::io("read", path))?;
            Ok(Box::new(raw))
        }
        Format::Raw | Format::FixedVhd => Err(DiskError::usage(
            format!("{} has no backing file", path.display()),
            &["leave out the last --backing"],
        )),
        _ => Err(DiskError::disk(
            path,
            format!("is a backing file of the format {format}; qcow2 and raw are taken"),
            &["make one file of both: qemu-img convert -O qcow2 FILE whole.qcow2"],
        )),
    }
}

impl Qcow2 {
    /// Reads the header of a file. Its backing file is left out: where it has none of its own, there are zeroes.
    ///
    /// # Errors
    ///
    /// `InvalidData`: it is no qcow2 file, or one that can't be read.
    pub fn open(file: File) -> io::Result<Self> {
        let file_size = file.metadata()?.len();
        let mut header = [0; HEADER_3];
        let there = (file_size as usize).min(HEADER_3);
        if there < HEADER_2 {
            return Err(damaged("it is shorter than a header"));
        }
        file.read_exact_at(&mut header[..there], 0)?;
        let u32_at = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
        let version = u32_at(4);
        if &header[..4] != b"QFI\xfb" || !matches!(version, 2 | 3) {
            return Err(damaged(format!("its version is {version}, not 2 or 3")));
        }
        let cluster_bits = u32_at(20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(damaged(format!(
                "its clusters are of 2^{cluster_bits} bytes, not 2^9 to 2^21"
            )));
        }
        if u32_at(32) != 0 {
            return Err(damaged("it is encrypted"));
        }
        let mut features = 0;
        let mut method = Method::Zlib;
        if version == 3 {
            features = u64_at(72);
            // The byte is there only if the header says to be so long (docs/interop/qcow2.txt, "Additional fields").
            if u32_at(100) as usize > HEADER_3 {
                let mut byte = [0];
                file.read_exact_at(&mut byte, HEADER_3 as u64)?;
                method = match byte[0] {
                    0 => Method::Zlib,
                    1 => Method::Zstd,
                    other => {
                        return Err(damaged(format!(
                            "its clusters are compressed in an unknown way ({other})"
                        )));
                    }
                };
            }
        }
        if features & CORRUPT != 0 {
            return Err(damaged("it is marked as corrupt"));
        }
        if features & EXTERNAL_DATA != 0 {
            return Err(damaged("its data are in another file"));
        }
        if features & !KNOWN_FEATURES != 0 {
            return Err(damaged(format!(
                "it needs features that are not known here ({:#x})",
                features & !KNOWN_FEATURES
            )));
        }
        if (features & COMPRESSION_TYPE != 0) != (method != Method::Zlib) {
            return Err(damaged("its header contradicts itself about compression"));
        }
        let extended = features & EXTENDED_L2 != 0;
        if extended && cluster_bits < 14 {
            return Err(damaged("its clusters are too small for subclusters"));
        }
        let size = u64_at(24);
        if size > MAX_DISK {
            return Err(damaged(format!(
                "it says to be a disk of {size} bytes; more than {MAX_DISK} are not taken"
            )));
        }
        let disk = Self {
            file,
            file_size,
            version,
            cluster_bits,
            size,
            l1_offset: u64_at(40),
            extended,
            method,
            backing: None,
            cache: Mutex::default(),
        };
        let needed = size.div_ceil(disk.covered());
        if needed * 8 > MAX_L1 {
            return Err(damaged(
                "its clusters are too small for a disk of its size: no program takes such a table",
            ));
        }
        if u64::from(u32_at(36)) < needed {
            return Err(damaged(format!(
                "its first table has {} entries, and the disk needs {needed}",
                u32_at(36)
            )));
        }
        within(disk.l1_offset, 0, file_size)?;
        within(
            disk.l1_offset,
            usize::try_from(needed * 8).unwrap_or(usize::MAX),
            file_size,
        )
        .map_err(|error| damaged(format!("its first table is cut: {error}")))?;
        Ok(disk)
    }

    /// More about the format, for people.
    pub fn details(&self) -> String {
        let mut words = vec![format!("version {}", self.version)];
        if self.method == Method::Zstd {
            words.push("zstd clusters".into());
        }
        if self.extended {
            words.push("subclusters".into());
        }
        if self.backing.is_some() {
            words.push("with a backing file".into());
        }
        words.join(", ")
    }

    /// The backing file that the header names.
    fn backing_name(&self) -> io::Result<Option<String>> {
        let mut field = [0; 12];
        self.file.read_exact_at(&mut field, 8)?;
        let offset = u64::from_be_bytes([
            field[0], field[1], field[2], field[3], field[4], field[5], field[6], field[7],
        ]);
        let length = u32::from_be_bytes([field[8], field[9], field[10], field[11]]);
        if offset == 0 {
            return Ok(None);
        }
        // The name has at most 1023 bytes.
        let mut name = vec![0; (length as usize).min(1023)];
        self.file.read_exact_at(&mut name, offset)?;
        Ok(Some(String::from_utf8_lossy(&name).into_owned()))
    }
}
