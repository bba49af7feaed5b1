//! Several folders of images, and finding images in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Image, manifest_stem, stream_stem};
use crate::error::Error;
use crate::manifest::{Manifest, is_uuid};

/// Folders of images: where builds put theirs, and where images from elsewhere are kept.
#[derive(Clone, Debug, Default)]
pub struct Libraries {
    folders: Vec<Utf8PathBuf>,
}

/// What is in the folders.
#[derive(Debug, Default)]
pub struct Listing {
    /// The images, by folder and name. One whose manifest is missing is among them, and so is every copy of an image
    /// that is in several folders.
    pub images: Vec<Image>,
    /// What can't be used.
    pub broken: Vec<Broken>,
}

/// Something in a library that can't be used.
#[derive(Debug)]
pub struct Broken {
    /// The manifest, or the folder if that can't be read.
    pub path: Utf8PathBuf,
    /// What could be read of the manifest.
    pub manifest: Option<Box<Manifest>>,
    /// What is wrong with it.
    pub error: Error,
}

impl Libraries {
    /// Libraries in these folders; one that is not there holds nothing. Where they differ, the first counts.
    pub fn new(folders: impl IntoIterator<Item = Utf8PathBuf>) -> Self {
        Self {
            folders: folders.into_iter().collect(),
        }
    }

    /// The folders.
    pub fn folders(&self) -> &[Utf8PathBuf] {
        &self.folders
    }

    /// All that is in the folders, not what is in folders below. Streams are not opened.
    pub fn list(&self) -> Listing {
        let mut listing = Listing::default();
        for folder in &self.folders {
            match names(folder) {
                Ok(names) => listing.add(folder, &names),
                Err(error) => listing.broken.push(Broken {
                    path: folder.clone(),
                    manifest: None,
                    error: Error::io("read", folder, error),
                }),
            }
        }
        listing
    }

    /// The image that a UUID, `name@version`, `name-version` or a name stands for; see [`Listing::by_uuid`] and
    /// [`Listing::by_name`].
    ///
    /// # Errors
    ///
    /// There is no such image, it is broken, or there are several.
    pub fn find(&self, argument: &str) -> Result<Image, Error> {
        let listing = self.list();
        let found = match uuid(argument) {
            Some(uuid) => listing.by_uuid(&uuid),
            None => listing.by_name(argument)?,
        };
        if let Some(image) = found {
            return Ok(image.clone());
        }
        let paths = listing.broken_paths();
        let fits = |manifest: &Manifest| {
            manifest.uuid.eq_ignore_ascii_case(argument) || is_called(manifest, argument)
        };
        Err(listing.fault(fits).unwrap_or_else(|| Error::NoImage {
            argument: argument.to_owned(),
            folders: self.folders.clone(),
            broken: paths,
        }))
    }
}

impl Listing {
    /// Adds what is in a folder.
    fn add(&mut self, folder: &Utf8Path, names: &BTreeSet<String>) {
        let manifests = names
            .iter()
            .filter_map(|name| Some((name, manifest_stem(name)?)));
        let mut stems = BTreeSet::new();
        for (name, stem) in manifests {
            stems.insert(stem);
            let path = folder.join(name);
            match whole_manifest(&path) {
                Ok(manifest) => match Image::of_manifest(&path, manifest.clone()) {
                    Ok(image) => self.images.push(image),
                    Err(error) => self.broken.push(Broken {
                        path,
                        manifest: Some(Box::new(manifest)),
                        error,
                    }),
                },
                Err(error) => self.broken.push(Broken {
                    path,
                    manifest: None,
                    error,
                }),
            }
        }
        for name in names {
            let path = folder.join(name);
            if stream_stem(name).is_some_and(|stem| !stems.contains(stem)) && path.is_file() {
                self.images.push(Image::of_file(path, None));
            }
        }
    }

    /// The image of this UUID, from the first folder that has it.
    pub fn by_uuid(&self, uuid: &str) -> Option<&Image> {
        self.images.iter().find(|image| {
            image
                .manifest()
                .is_some_and(|manifest| manifest.uuid.eq_ignore_ascii_case(uuid))
        })
    }

    /// The image called `name@version`, `name-version`, or just `name`. Of several images of the same name and version
    /// the one published last is meant.
    ///
    /// # Errors
    ///
    /// [`Error::Ambiguous`]: images of several names or versions fit, or several of the same that were published at the
    /// same time.
    pub fn by_name(&self, argument: &str) -> Result<Option<&Image>, Error> {
        let mut seen = BTreeSet::new();
        let mut fitting = BTreeMap::<_, Vec<_>>::new();
        for image in &self.images {
            let Some(manifest) = image.manifest() else {
                continue;
            };
            if is_called(manifest, argument) && seen.insert(manifest.uuid.to_ascii_lowercase()) {
                let version = (manifest.name.as_str(), manifest.version.as_str());
                let published = published(manifest);
                fitting
                    .entry(version)
                    .or_default()
                    .push((published, manifest, image));
            }
        }
        let all: Vec<_> = fitting.values().flatten().collect();
        let newest = all.iter().map(|(published, _, _)| *published).max();
        let mut newest = all.iter().filter(|fit| Some(fit.0) == newest);
        match (fitting.len(), newest.next(), newest.next()) {
            (_, None, _) => Ok(None),
            (1, Some((_, _, image)), None) => Ok(Some(image)),
            _ => Err(Error::Ambiguous {
                what: format!("{argument:?}"),
                candidates: all
                    .iter()
                    .map(|(_, manifest, image)| format!("{} {image}", manifest.uuid.escape_debug()))
                    .collect(),
            }),
        }
    }

    /// The paths of what can't be used.
    pub(super) fn broken_paths(&self) -> Vec<Utf8PathBuf> {
        self.broken
            .iter()
            .map(|broken| broken.path.clone())
            .collect()
    }

    /// What is wrong with the first broken image whose manifest fits.
    pub(super) fn fault(self, fits: impl Fn(&Manifest) -> bool) -> Option<Error> {
        self.broken
            .into_iter()
            .find(|broken| broken.manifest.as_deref().is_some_and(&fits))
            .map(|broken| broken.error)
    }
}

/// The names in a folder but hidden ones. What is not UTF-8 is none of ours.
fn names(folder: &Utf8Path) -> io::Result<BTreeSet<String>> {
    let entries = match folder.read_dir_utf8() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        match entry {
            Ok(entry) if !entry.file_name().starts_with('.') => {
                names.insert(entry.file_name().to_owned());
            }
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error),
            _ => {}
        }
    }
    Ok(names)
}

/// Reads a manifest of a library; opening a pipe would wait for ever.
fn whole_manifest(path: &Utf8Path) -> Result<Manifest, Error> {
    let metadata = path
        .metadata()
        .map_err(|error| Error::io("read", path, error))?;
    if !metadata.is_file() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
        return Err(Error::io("read", path, error));
    }
    Manifest::read(path)
}

/// The lower-case UUID that `argument` is.
fn uuid(argument: &str) -> Option<String> {
    Some(argument.to_ascii_lowercase()).filter(|uuid| is_uuid(uuid))
}

/// Whether people may mean an image by `argument`.
fn is_called(manifest: &Manifest, argument: &str) -> bool {
    let Manifest { name, version, .. } = manifest;
    // No name and no version has an @.
    match argument.split_once('@') {
        Some((wanted, wanted_version)) => name == wanted && version == wanted_version,
        None => {
            name == argument
                || argument
                    .strip_prefix(name.as_str())
                    .and_then(|rest| rest.strip_prefix('-'))
                    == Some(version)
        }
    }
}

/// When an image was published, where its manifest tells that.
fn published(manifest: &Manifest) -> Option<jiff::Timestamp> {
    manifest.published_at.as_deref()?.parse().ok()
}
