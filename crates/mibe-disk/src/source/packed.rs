//! Compressed disks: unpacked into a file with holes.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use mibe_image::file::decompressed;

use super::MAX_DISK;
use crate::error::DiskError;
use crate::scratch::SparseFile;

/// Bytes unpacked at a time.
const PIECE: usize = 256 << 10;

/// Unpacks a file into a new one.
pub(super) fn unpack(
    path: &Path,
    file: File,
    to: &Path,
    cancel: &AtomicBool,
) -> Result<File, DiskError> {
    let damaged = |message: String| {
        DiskError::disk(
            path,
            message,
            &["was it downloaded whole? compare its checksum"],
        )
    };
    let mut input = decompressed(file).map_err(|error| damaged(error.to_string()))?;
    let mut output = SparseFile::create(to)?;
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        if cancel.load(Ordering::SeqCst) {
            return Err(DiskError::Cancelled);
        }
        let count = input
            .read(&mut buffer)
            .map_err(|error| damaged(error.to_string()))?;
        if count == 0 {
            break;
        }
        output.write(at, &buffer[..count])?;
        at += count as u64;
        if at > MAX_DISK {
            return Err(damaged(format!("unpacks to more than {MAX_DISK} bytes")));
        }
    }
    output.finish(at)
}
