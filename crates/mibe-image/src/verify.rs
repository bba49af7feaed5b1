//! Looks into every part of an image.

use zfs_stream::Kind;
use zfs_stream::read::{Counts, Filesystem, NoContents, ReadError, Volume};

use crate::chain::{Chain, Opened};
use crate::error::Error;
use crate::manifest::{FileCompression, ImageType, Manifest};
use crate::open::{Image, ObjsetKind};

/// What is wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The image of the chain, by its file.
    pub image: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it; empty if nothing can be.
    pub advice: &'static str,
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Everything that is wrong, worst last.
    pub findings: Vec<Finding>,
    /// What was counted of each stream, the full one first; as far as it could be read.
    pub counts: Vec<Counts>,
    /// Files of the file system, hidden ones included; 0 for a volume.
    pub files: u64,
    /// Bytes of the volume; 0 for a file system.
    pub volume_size: u64,
}

const AGAIN: &str = "get the file again, or build the image again";
const WRONG_MANIFEST: &str = "see that manifest and file belong together";

/// Reads all of an image and of what it stands on: every checksum, record and reference; the manifests' rules, and whether
/// they speak of their files.
///
/// # Errors
///
/// A file can't be opened. What is wrong in it is among the findings.
pub fn verify(chain: &Chain) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    for (number, image) in chain.images().iter().enumerate() {
        let before = number
            .checked_sub(1)
            .and_then(|number| chain.images().get(number));
        manifest(image, before, &mut verified)?;
    }
    let (mut snapshot, opened) = match chain.measured_snapshot() {
        Ok(opened) => opened,
        Err(Error::Stream { source, .. }) => {
            verified.add_error(chain, &source);
            return Ok(verified);
        }
        Err(error) => return Err(error),
    };
    let header = chain.image().header()?;
    if header.kind == ObjsetKind::Volume {
        match Volume::read(&mut snapshot, &mut |_, _| Ok(())) {
            Ok(volume) => {
                verified.volume_size = volume.size;
                volume_manifest(chain.image(), volume.size, &mut verified);
            }
            Err(error) => verified.add_error(chain, &error),
        }
    } else {
        match Filesystem::read(&mut snapshot, &mut NoContents) {
            Ok(files) => {
                verified.files = files.len() as u64;
                filesystem(chain.image(), &files, &mut verified);
            }
            Err(error) => verified.add_error(chain, &error),
        }
    }
    verified.counts = snapshot.counts().collect();
    for (image, opened) in chain.images().iter().zip(&opened) {
        file(image, opened, &mut verified);
    }
    Ok(verified)
}

impl Verified {
    /// What keeps the chain from being read on.
    fn add_error(&mut self, chain: &Chain, error: &ReadError) {
        let image = chain.images().get(error.place.stream);
        self.add(image.unwrap_or(chain.image()), error, AGAIN);
    }

    fn add(&mut self, image: &Image, what: &dyn std::fmt::Display, advice: &'static str) {
        self.findings.push(Finding {
            image: image.to_string(),
            what: what.to_string(),
            advice,
        });
    }
}

/// What can be known without reading the stream to its end.
fn manifest(image: &Image, before: Option<&Image>, verified: &mut Verified) -> Result<(), Error> {
    let Some(manifest) = image.manifest() else {
        return Ok(());
    };
    for violation in manifest.validate() {
        let advice = "image servers and imgadm refuse such a manifest: mend it";
        verified.add(image, &format!("manifest: {violation}"), advice);
    }
    let header = image.header()?;
    let is_volume = header.kind == ObjsetKind::Volume;
    if (manifest.kind == ImageType::Zvol) != is_volume {
        let what = format!(
            "the manifest says {}, and the stream is of a {}",
            manifest.kind, header.kind
        );
        verified.add(image, &what, WRONG_MANIFEST);
    }
    let guid = files_entry(manifest).and_then(|file| file.dataset_guid.as_deref());
    if let Some(guid) = guid
        && guid != header.to_guid.to_string()
    {
        let what = format!(
            "the manifest says dataset_guid {guid}, and the stream has {}",
            header.to_guid
        );
        verified.add(image, &what, WRONG_MANIFEST);
    }
    match (&manifest.origin, header.from_guid, before) {
        (Some(origin), 0, _) => {
            let what = format!("the manifest says origin {origin}, and the stream is a full one");
            verified.add(image, &what, "take origin out of the manifest");
        }
        (None, guid, _) if guid != 0 => {
            let what = format!(
                "the stream is a change to the snapshot of guid {guid}, and the manifest names no origin"
            );
            verified.add(
                image,
                &what,
                "imgadm needs the origin's UUID: put it into the manifest",
            );
        }
        (Some(origin), _, Some(before)) => {
            let uuid = before.manifest().map(|manifest| &manifest.uuid);
            if let Some(uuid) = uuid
                && uuid != origin
            {
                let what = format!(
                    "the manifest says origin {origin}, and what it is a change to is image {uuid}"
                );
                verified.add(image, &what, WRONG_MANIFEST);
            }
        }
        _ => {}
    }
    Ok(())
}

fn files_entry(manifest: &Manifest) -> Option<&crate::manifest::ImageFile> {
    manifest.files.as_ref()?.first()
}

/// What the whole file must be.
fn file(image: &Image, opened: &Opened, verified: &mut Verified) {
    let Some(file) = image.manifest().and_then(files_entry) else {
        return;
    };
    let label = opened.packing.label();
    if label != Some(file.compression) {
        let found = label.map_or("zstd, which imgadm does not take", FileCompression::name);
        let what = format!(
            "the manifest says compression {}, and the file is {found}",
            file.compression.name()
        );
        verified.add(image, &what, WRONG_MANIFEST);
    }
    // Not known if the stream could not be read to its end; that is a finding by itself.
    let Some(measured) = opened.measure.get() else {
        return;
    };
    if measured.size != file.size {
        let what = format!(
            "the file has {} bytes, and the manifest says {}",
            measured.size, file.size
        );
        verified.add(image, &what, AGAIN);
    }
    if !measured.sha1.eq_ignore_ascii_case(&file.sha1) {
        let what = format!(
            "the file has SHA-1 {}, and the manifest says {}",
            measured.sha1, file.sha1
        );
        verified.add(image, &what, AGAIN);
    }
}

fn filesystem(image: &Image, files: &Filesystem, verified: &mut Verified) {
    for what in &files.findings {
        verified.add(image, &format!("file system: {what}"), "");
    }
    let is_zone = image.manifest().is_some_and(|manifest| {
        matches!(manifest.kind, ImageType::ZoneDataset | ImageType::LxDataset)
    });
    let has_root = files
        .find(b"root")
        .is_some_and(|node| node.kind == Kind::Directory);
    if is_zone && !has_root {
        let advice = "zones have their files in root/ of the dataset";
        verified.add(
            image,
            &"there is no directory /root in the file system",
            advice,
        );
    }
}

fn volume_manifest(image: &Image, size: u64, verified: &mut Verified) {
    let said = image.manifest().and_then(|manifest| manifest.image_size);
    if let Some(said) = said
        && said.saturating_mul(1 << 20) != size
    {
        let what =
            format!("the manifest says image_size {said} (MiB), and the volume has {size} bytes");
        verified.add(image, &what, WRONG_MANIFEST);
    }
}
