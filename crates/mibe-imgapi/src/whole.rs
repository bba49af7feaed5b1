//! Small files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8Path;

/// The beginning of the hidden names that files have until they are whole.
pub const PREFIX: &str = ".part-";

/// Writes a file with these permissions beside its name, and gives it its name once it is on the disk; the folder's names are on the disk
/// then, too.
///
/// # Errors
///
/// Something could not be written; what was there under the name before is there still.
pub fn write(path: &Utf8Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_str().is_empty() => folder,
        _ => Utf8Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
