//! Makes a full image of an incremental one and what it stands on.

use sha1::{Digest as _, Sha1};
use zfs_stream::{FlattenError, WriteError, flatten as flatten_stream};

use crate::chain::Chain;
use crate::error::Error;
use crate::file::ImageWriter;
use crate::library::{ImagePaths, publish};
use crate::manifest::{ImageFile, Manifest};

/// Writes a chain's image as a full one, with the same content and guid, so that what is a change to the image is one to the new
/// one as well. Its manifest is that of the image, with `version` for its version, a UUID derived from the image's, and no
/// origin. `progress` is told the bytes of content that were written.
///
/// # Errors
///
/// The chain has no manifest or can't be read, or the image can't be written; then nothing of it is left.
pub fn flatten(
    chain: &Chain,
    version: &str,
    paths: &ImagePaths,
    force: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Manifest, Error> {
    let of = chain.image();
    let Some(manifest) = of.manifest() else {
        return Err(Error::NoManifest {
            image: of.to_string(),
        });
    };
    paths.check_free(force)?;
    let snapshot = chain.snapshot()?;
    let guid = snapshot.header().to_guid;
    let tag = format!("flatten-{}", std::process::id());
    let mut writer = ImageWriter::create(paths, &tag)?;
    flatten_stream(snapshot, &mut writer, progress).map_err(|error| match error {
        FlattenError::Read(error) => chain.failed(error),
        FlattenError::Write(WriteError::Output(error)) => Error::io("write", paths.file(), error),
        other => Error::io("write", paths.file(), std::io::Error::other(other)),
    })?;
    let file = writer.finish()?;
    let manifest = Manifest {
        uuid: derived_uuid(&manifest.uuid, guid),
        version: version.to_owned(),
        origin: None,
        files: Some(vec![ImageFile::of(&file, Some(guid))]),
        ..manifest.clone()
    };
    publish(file, &manifest, paths, force)?;
    Ok(manifest)
}

/// The UUID of what is made of an image: shaped as one of version 5 (RFC 9562, 5.5), the same every time.
fn derived_uuid(uuid: &str, guid: u64) -> String {
    let digest = Sha1::digest(format!("full image of {uuid}, guid {guid}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = crate::file::hex(&bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| &text[part]).join("-")
}
