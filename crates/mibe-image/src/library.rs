//! The folder of images: for each a file (`NAME-VERSION.zfs.gz` or `.zfs`) and a manifest (`NAME-VERSION.json`).

use std::fs::{self, File};
use std::io::{self, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use sha1::{Digest as _, Sha1};

use crate::error::Error;
use crate::file::{Compression, FinishedFile, create_draft, hex};
use crate::manifest::Manifest;

/// Longest beginning of file names, in bytes: with an extension and the affixes of a hidden name it stays below the 255
/// that file systems take.
const STEM_LENGTH: usize = 200;

/// Where the two files of an image are, or will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePaths {
    file: Utf8PathBuf,
    manifest: Utf8PathBuf,
    compression: Compression,
}

impl ImagePaths {
    /// The paths of an image in a library's folder.
    ///
    /// A `/` or blank of the name, and a dot or dash at its begin, becomes `_` in file names. A name too long for a
    /// file name is cut, with a digest at its end.
    pub fn new(folder: &Utf8Path, name: &str, version: &str, compression: Compression) -> Self {
        let stem = stem(name, version);
        Self {
            file: folder.join(format!("{stem}.{}", compression.extension())),
            manifest: folder.join(format!("{stem}.json")),
            compression,
        }
    }

    /// The stream, compressed or not.
    pub fn file(&self) -> &Utf8Path {
        &self.file
    }

    /// The manifest.
    pub fn manifest(&self) -> &Utf8Path {
        &self.manifest
    }

    /// How the file is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The hidden names, of the file and of the manifest, under which an attempt to write the image that goes by `tag`
    /// writes them first. Whoever must clean up after a crash writes these down before.
    pub fn drafts(&self, tag: &str) -> [Utf8PathBuf; 2] {
        [&self.file, &self.manifest].map(|path| {
            let name = path.file_name().unwrap_or_default();
            path.with_file_name(format!(".{name}.{tag}.part"))
        })
    }

    /// Whether the image is there whole.
    pub fn exists(&self) -> bool {
        self.file.is_file() && self.manifest.is_file()
    }

    /// The files of the image under every compression, and its manifest.
    fn all(&self) -> Vec<Utf8PathBuf> {
        let own = self.compression.extension();
        let stem = self
            .file
            .as_str()
            .strip_suffix(own)
            .unwrap_or(self.file.as_str());
        let files = Compression::ALL
            .iter()
            .map(|other| format!("{stem}{}", other.extension()).into());
        files.chain([self.manifest.clone()]).collect()
    }

    /// Looks, before the work starts, whether an image may be written here: `force` lets it replace one.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] names what is in the way, be it the same image in another compression.
    pub fn check_free(&self, force: bool) -> Result<(), Error> {
        for path in self.all() {
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() || !force => return Err(Error::Exists { path }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("look at", &path, error)),
            }
        }
        Ok(())
    }
}

/// The beginning of the file names of an image.
pub(crate) fn stem(name: &str, version: &str) -> String {
    let mut stem: String = format!("{name}-{version}")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._+-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    if stem.starts_with(['.', '-']) {
        stem.replace_range(..1, "_");
    }
    if stem.len() > STEM_LENGTH {
        let digest = Sha1::digest(format!("{name}\0{version}"));
        let digest = hex(&digest[..8]);
        stem.truncate(STEM_LENGTH - digest.len() - 1);
        stem = format!("{stem}-{digest}");
    }
    stem
}

/// Puts an image in its place: the file, then the manifest, each under its name at once and on the disk.
///
/// Without `force` nothing is ever overwritten, even if it came since [`ImagePaths::check_free`]. With it the manifest of
/// the image replaced goes first, so that no reader finds one that does not fit its file.
///
/// # Errors
///
/// The manifest is not valid or does not speak of the file ([`Error::Invalid`]), something is in the way, or could not be
/// written. Then nothing of the new image is left; that of a replaced one may be gone.
pub fn publish(
    file: FinishedFile,
    manifest: &Manifest,
    paths: &ImagePaths,
    force: bool,
) -> Result<(), Error> {
    let mut violations = manifest.validate();
    violations.extend(manifest.differences(&file));
    if !violations.is_empty() {
        return Err(Error::Invalid {
            path: paths.manifest.clone(),
            violations,
        });
    }
    // All that needs room on the disk is done before anything is changed.
    let text = manifest.to_json()?;
    let failed = |error| Error::io("write", &paths.manifest, error);
    let mut written = create_draft(&file.manifest_draft).map_err(failed)?;
    written.write_all(text.as_bytes()).map_err(failed)?;
    written.as_file().sync_all().map_err(failed)?;

    paths.check_free(force)?;
    if force {
        remove(&paths.manifest)?;
        sync_folder(&paths.manifest)?;
        for path in paths.all() {
            if path != paths.file {
                remove(&path)?;
            }
        }
        let result = file.temporary.persist(&paths.file);
        result.map_err(|error| Error::io("write", &paths.file, error.error))?;
    } else {
        let result = file.temporary.persist_noclobber(&paths.file);
        result.map_err(|error| taken(&paths.file, error.error))?;
    }
    let result = written
        .persist_noclobber(&paths.manifest)
        .map(drop)
        .map_err(|error| taken(&paths.manifest, error.error));
    let result = result.and_then(|()| sync_folder(&paths.manifest));
    if result.is_err() {
        // A file without its manifest would only be in the way. The first error is the one to tell.
        drop(fs::remove_file(&paths.file));
    }
    result
}

fn taken(path: &Utf8Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Error::Exists {
            path: path.to_owned(),
        };
    }
    Error::io("write", path, error)
}

fn remove(path: &Utf8Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes the names in the folder of `path` outlast a power cut.
pub(crate) fn sync_folder(path: &Utf8Path) -> Result<(), Error> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_str().is_empty())
        .unwrap_or(Utf8Path::new("."));
    let result = File::open(folder).and_then(|folder| folder.sync_all());
    result.map_err(|error| Error::io("sync", folder, error))
}

/// The images of a folder that are whole, sorted by path; hidden files are none.
///
/// # Errors
///
/// The folder can't be read. One that isn't there holds no images.
pub fn list(folder: &Utf8Path) -> Result<Vec<ImagePaths>, Error> {
    let failed = |error| Error::io("read", folder, error);
    let entries = match folder.read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut images = Vec::new();
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            // A name that is not UTF-8 is none of ours.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => continue,
            Err(error) => return Err(failed(error)),
        };
        let name = entry.file_name();
        let Some(stem) = name
            .strip_suffix(".json")
            .filter(|stem| !stem.starts_with('.'))
        else {
            continue;
        };
        let found = Compression::ALL.into_iter().map(|compression| ImagePaths {
            file: folder.join(format!("{stem}.{}", compression.extension())),
            manifest: folder.join(name),
            compression,
        });
        images.extend(found.filter(ImagePaths::exists));
    }
    images.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_their_folder() {
        let of = |name: &str, version: &str| {
            ImagePaths::new("images".into(), name, version, Compression::Gzip)
        };
        assert_eq!(
            of("hello-lx", "1.0.0").file(),
            "images/hello-lx-1.0.0.zfs.gz"
        );
        assert_eq!(
            of("hello-lx", "1.0.0").manifest(),
            "images/hello-lx-1.0.0.json"
        );
        assert_eq!(of("a/b c", "1/2+3").file(), "images/a_b_c-1_2+3.zfs.gz");
        assert_eq!(of("../x", "1").file(), "images/_._x-1.zfs.gz");
        assert_eq!(of("-rf", "1").file(), "images/_rf-1.zfs.gz");
        let plain = ImagePaths::new("".into(), "x", "1", Compression::None);
        assert_eq!(
            (plain.file().as_str(), plain.manifest().as_str()),
            ("x-1.zfs", "x-1.json")
        );
        let (one, other) = (of(&"n".repeat(512), "1"), of(&"n".repeat(512), "2"));
        assert_ne!(one.file(), other.file());
        assert!(one.file().file_name().is_some_and(|name| name.len() < 220));
    }
}
