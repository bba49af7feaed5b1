//! Images as bases: what they are, and their trees.

use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "local")]
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
#[cfg(feature = "local")]
use mibe_disk::{
    scratch::SparseFile,
    source::{Format, MAX_DISK, Raw},
};
use mibe_image::manifest::{ImageType, Manifest};
use mibe_image::open::{Image, Libraries, ObjsetKind};
use serde::{Deserialize, Serialize};
#[cfg(feature = "local")]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "local")]
use zfs_stream::read::{Filesystem, NoContents, ReadError, Snapshot, Volume};

use crate::base::FetchBase;
use crate::error::BuildError;

/// An image that a build starts from.
#[derive(Clone)]
pub struct BaseImage {
    /// What it stands on, the full image first, and itself last.
    chain: Vec<Image>,
    manifest: Option<Manifest>,
    guid: u64,
    kind: ObjsetKind,
}

impl BaseImage {
    /// Finds the image that stands behind `base=` or `--base`: a path, or a UUID, a name and version, or a name of the libraries,
    /// which then means the newest of that name. What the libraries lack comes from `fetch`, or is in the files `origins`.
    ///
    /// # Errors
    ///
    /// There is no such image, an origin is missing, or it is of a kind that no build starts from.
    pub fn open(
        name: &str,
        libraries: &Libraries,
        origins: &[Utf8PathBuf],
        fetch: Option<&dyn FetchBase>,
    ) -> Result<Self, BuildError> {
        let failed = |error: mibe_image::Error| {
            BuildError::Base {
            message: format!("the base {name} can't be used: {error}"),
            hints: vec![
                "`mibe image list` shows the images that can be named; others are named by path"
                    .to_owned(),
                "`mibe image pull` brings images from image servers, which a build does by itself where no --no-pull and no --dry-run stands against it"
                    .to_owned(),
                "other bases (base= in the manifest, or --base) are debian:SUITE, as in debian:bookworm, a root file system as a tar archive, or a directory"
                    .to_owned(),
            ],
            source: None,
        }
        };
        let (image, chain) = found(name, libraries, origins, fetch, &failed)?;
        let header = image.header().map_err(failed)?;
        if image.path().is_none() {
            return Err(BuildError::usage(
                format!("the base {name} is no file: it is read several times"),
                &["write it to a file first"],
            ));
        }
        let base = Self {
            manifest: image.manifest().cloned(),
            guid: header.to_guid,
            kind: header.kind,
            chain,
        };
        match base.manifest.as_ref().map(|manifest| manifest.kind) {
            None | Some(ImageType::LxDataset | ImageType::ZoneDataset) if !base.is_volume() => {
                Ok(base)
            }
            None | Some(ImageType::Zvol) if base.is_volume() => Ok(base),
            None | Some(ImageType::LxDataset | ImageType::ZoneDataset | ImageType::Zvol) => {
                Err(BuildError::usage(
                    format!(
                        "the manifest of the base {name} says another type than its stream is of"
                    ),
                    &["`mibe image verify` looks into every part of an image"],
                ))
            }
            Some(other) => Err(BuildError::usage(
                format!("the base {name} is an image of type {other}, which no build starts from"),
                &["take one of type lx-dataset, zone-dataset or zvol"],
            )),
        }
    }

    /// Its manifest, if it has one.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Whether its programs are of illumos.
    pub fn is_native(&self) -> bool {
        self.manifest
            .as_ref()
            .is_some_and(|manifest| manifest.kind == ImageType::ZoneDataset)
    }

    /// Whether it is the disk of a virtual machine.
    pub fn is_volume(&self) -> bool {
        self.kind == ObjsetKind::Volume
    }

    /// The guid of its snapshot.
    pub fn guid(&self) -> u64 {
        self.guid
    }

    /// Name and version for people.
    pub fn title(&self) -> String {
        match (&self.manifest, self.chain.last()) {
            (Some(manifest), _) => format!("{} {}", manifest.name, manifest.version),
            (None, Some(image)) => image.to_string(),
            (None, None) => String::new(),
        }
    }

    /// The files of the chain, for a process that reads them.
    pub(crate) fn files(&self) -> Result<ChainFiles, BuildError> {
        ChainFiles::of(&self.chain)
    }
}

impl std::fmt::Debug for BaseImage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let images: Vec<String> = self.chain.iter().map(ToString::to_string).collect();
        out.debug_tuple("BaseImage").field(&images).finish()
    }
}

/// The image of a name, and its chain. What is nowhere is fetched, each image once.
fn found(
    name: &str,
    libraries: &Libraries,
    origins: &[Utf8PathBuf],
    fetch: Option<&dyn FetchBase>,
    failed: &dyn Fn(mibe_image::Error) -> BuildError,
) -> Result<(Image, Vec<Image>), BuildError> {
    use mibe_image::Error;
    let mut name = name.to_owned();
    let mut fetched = BTreeSet::new();
    loop {
        let image = match Image::open(&name, libraries) {
            Err(error @ Error::Ambiguous { .. }) => newest(&name, libraries).ok_or(error),
            other => other,
        };
        let chain = image.and_then(|image| {
            let chain = libraries.chain(&image, origins)?;
            Ok((image, chain))
        });
        let (wanted, fetch) = match (&chain, fetch) {
            (Err(Error::NoImage { broken, .. }), Some(fetch)) if broken.is_empty() => {
                (name.clone(), fetch)
            }
            (
                Err(Error::NoOrigin {
                    uuid: Some(uuid), ..
                }),
                Some(fetch),
            ) => (uuid.clone(), fetch),
            _ => return chain.map_err(failed),
        };
        if !fetched.insert(wanted.clone()) {
            return chain.map_err(failed);
        }
        match fetch.fetch(&wanted)? {
            None => return chain.map_err(failed),
            Some(uuid) if wanted == name => name = uuid,
            Some(_) => {}
        }
    }
}

/// The image of this very name that was published last, where there is one that is last.
fn newest(name: &str, libraries: &Libraries) -> Option<Image> {
    let listing = libraries.list();
    let mut fitting = BTreeMap::new();
    for image in listing.images {
        let Some(manifest) = image.manifest().filter(|manifest| manifest.name == name) else {
            continue;
        };
        let published: Option<jiff::Timestamp> = manifest
            .published_at
            .as_deref()
            .and_then(|time| time.parse().ok());
        let uuid = manifest.uuid.clone();
        fitting
            .entry(published)
            .or_insert_with(BTreeMap::new)
            .entry(uuid)
            .or_insert(image);
    }
    let (_, last) = fitting.pop_last()?;
    // Of several that are last none is meant more than the others.
    if last.len() > 1 {
        return None;
    }
    last.into_values().next()
}

/// Whether a file is an image, or the manifest of one.
pub(crate) fn is_image(path: &Path) -> bool {
    Utf8Path::from_path(path)
        .and_then(|path| Image::at(path).ok())
        .is_some_and(|image| image.header().is_ok())
}

/// The files of a chain of streams, the full one first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChainFiles(Vec<PathBuf>);

impl ChainFiles {
    /// Those of the images of a chain.
    pub fn of(chain: &[Image]) -> Result<Self, BuildError> {
        let paths = chain.iter().filter_map(Image::path).map(|path| {
            std::path::absolute(path).map_err(BuildError::io("find", path.as_std_path()))
        });
        Ok(Self(paths.collect::<Result<_, _>>()?))
    }
}

#[cfg(feature = "local")]
impl BaseImage {
    /// Writes the disk of a volume to the new raw file `path`, of `size` bytes where it is to be larger; the second value is its block size, the third its size in the image.
    ///
    /// # Errors
    ///
    /// The image is damaged, `path` could not be written, `size` is less than the disk's, or `cancel` was raised.
    pub(crate) fn volume(
        &self,
        path: &Path,
        size: Option<u64>,
        cancel: &AtomicBool,
    ) -> Result<(Raw, u32, u64), BuildError> {
        let broken = |message: String| BuildError::Base {
            message: format!("{} can't be a base: {message}", self.title()),
            hints: vec!["`mibe image verify` looks into every part of an image".to_owned()],
            source: None,
        };
        let files = self.files()?;
        let mut snapshot = files.open().map_err(broken)?;
        let mut file = SparseFile::create(path)?;
        let volume = Volume::read(&mut snapshot, &mut |offset, bytes| {
            if cancel.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if offset > MAX_DISK {
                return Err(io::Error::other(
                    "the disk is larger than any that is taken",
                ));
            }
            file.write(offset, bytes).map_err(io::Error::other)
        });
        if cancel.load(Ordering::SeqCst) {
            return Err(BuildError::Cancelled);
        }
        let volume = volume.map_err(|error| broken(files.failed(&error)))?;
        let size = mibe_disk::prepare::image_size(volume.size, size)?;
        let file = file.finish(size)?;
        let raw = Raw::open(file, Format::Raw).map_err(BuildError::io("read", path))?;
        // Larger blocks than any illumos has are none for a new image.
        let block_size = match volume.block_size {
            size if size.is_power_of_two() && (512..=131_072).contains(&size) => size,
            _ => mibe_disk::volume::BLOCK_SIZE,
        };
        Ok((raw, block_size, volume.size))
    }
}

#[cfg(feature = "local")]
impl ChainFiles {
    /// Starts to read the chain.
    pub fn open(&self) -> Result<Snapshot<impl Read + use<>>, String> {
        let mut streams = Vec::new();
        for path in &self.0 {
            let path = Utf8Path::from_path(path)
                .ok_or_else(|| format!("the path {} is not UTF-8", path.display()))?;
            let image = Image::at(path).map_err(|error| error.to_string())?;
            streams.push(image.stream().map_err(|error| error.to_string())?);
        }
        Snapshot::open(streams).map_err(|error| self.failed(&error))
    }

    /// Reads the whole chain for its files.
    pub fn read(&self) -> Result<Filesystem, String> {
        let mut snapshot = self.open()?;
        Filesystem::read(&mut snapshot, &mut NoContents).map_err(|error| self.failed(&error))
    }

    /// An error of reading, with the file that it is of.
    pub fn failed(&self, error: &ReadError) -> String {
        let path = self.0.get(error.place.stream).map(|path| path.display());
        match path {
            Some(path) => format!("{path}: {error}"),
            None => error.to_string(),
        }
    }
}
