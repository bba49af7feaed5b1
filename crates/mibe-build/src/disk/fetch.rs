//! Disks fetched from vendors, kept in the cache where their checksum is known.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use mibe_sandbox::Cancel;

use super::{Checksum, DiskInput};
use crate::bootstrap::DebianError;
use crate::bootstrap::download::Fetcher;
use crate::error::BuildError;
use crate::paths::Paths;

/// The file of a disk that a URL names: that of the cache where a checksum says which it is, else one in `workshop`.
pub(super) fn fetch(
    input: &DiskInput,
    paths: &Paths,
    workshop: &Path,
    cancel: &Arc<AtomicBool>,
    progress: &dyn Fn(u64),
) -> Result<PathBuf, BuildError> {
    let folder = paths.cache.join("disks");
    let kept = input.checksum.as_ref().map(|checksum| {
        let (Checksum::Sha256(digits) | Checksum::Sha512(digits)) = checksum;
        folder.join(digits.get(..64).unwrap_or(digits))
    });
    if let (Some(path), Some(checksum)) = (&kept, &input.checksum)
        && path.is_file()
    {
        match checksum.check(&input.name, path, cancel) {
            Ok(()) => {
                // Use keeps it young for `mibe clean`.
                if let Ok(file) = File::open(path) {
                    let _ = file.set_modified(SystemTime::now());
                }
                return Ok(path.clone());
            }
            // Another file than it was.
            Err(BuildError::Base { .. }) => {}
            Err(error) => return Err(error),
        }
        let _ = fs::remove_file(path);
    }
    let fetcher = Fetcher::new(None, Cancel::from_flag(Arc::clone(cancel)));
    let to = workshop.join("fetched");
    fetcher.fetch_to(&input.name, &to, mibe_disk::source::MAX_DISK, progress).map_err(|error| match error {
        DebianError::Cancelled => BuildError::Cancelled,
        error => BuildError::Base {
            message: error.to_string(),
            hints: vec!["see whether the URL is right, or fetch the disk by other means and give the file".to_owned()],
            source: None,
        },
    })?;
    let (Some(kept), Some(checksum)) = (kept, &input.checksum) else {
        return Ok(to);
    };
    checksum.check(&input.name, &to, cancel)?;
    fs::create_dir_all(&folder).map_err(BuildError::io("make", &folder))?;
    File::open(&to)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&to, &kept))
        .map_err(BuildError::io("keep", &kept))?;
    Ok(kept)
}
