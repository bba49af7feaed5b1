//! Opening images: what one argument of the command line names, its manifest, its stream, and the images it stands on.
//!
//! An [`Image`] is found by path, by UUID or by name in [`Libraries`], or read from standard input. Nothing of it is in
//! memory but its manifest; [`Image::stream`] gives the expanded stream, [`Image::header`] what that says of itself.

mod chain;
mod header;
mod kept;
mod libraries;
mod once;
mod stream;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::Error;
use crate::file::decompress::ReadAhead;
use crate::file::{DecompressError, Packing, decompressed};
use crate::manifest::Manifest;

pub use header::{HeaderError, ObjsetKind, StreamHeader};
pub use libraries::{Broken, Libraries, Listing};
pub use stream::{ImageStream, Measure, Measured};

use self::kept::Kept;
use self::once::Once;

/// Ends of manifests' names, with their dots: those written here, and those of `imgadm create`.
const MANIFESTS: [&str; 2] = [".json", ".imgmanifest"];

/// The argument that means standard input.
const STANDARD_INPUT: &str = "-";

/// How much of a file is looked at to tell a manifest from a stream, in bytes.
const GLANCE: u64 = 512;

/// An image: its stream and, where there is one, its manifest.
#[derive(Clone)]
pub struct Image {
    manifest: Option<(Utf8PathBuf, Manifest)>,
    source: Source,
    header: Arc<OnceLock<StreamHeader>>,
}

/// Where the stream comes from.
#[derive(Clone)]
enum Source {
    File(Utf8PathBuf),
    Once(Arc<Once>),
    /// What could be read once only, in a file without a name.
    Kept(Arc<Kept>),
}

impl Image {
    /// The image that an argument of the command line names, which is, in this order: `-` for standard input; the path
    /// of a manifest or of a stream, if there is such a file; the UUID of an image in `libraries`; `name@version`,
    /// `name-version`, or a name that only one image there has.
    ///
    /// # Errors
    ///
    /// There is no such image, there are several, or as [`at`](Self::at).
    pub fn open(argument: &str, libraries: &Libraries) -> Result<Self, Error> {
        if argument == STANDARD_INPUT {
            return Ok(Self::from_reader("standard input", io::stdin()));
        }
        let path = Utf8Path::new(argument);
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => return Self::at(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Error::io("read", path, error));
            }
            _ => {}
        }
        libraries.find(argument)
    }

    /// The image whose manifest or stream is at `path`: either is told by its name, or else by its first bytes.
    ///
    /// The stream of a manifest is the file beside it of the same name with `.zfs.gz`, `.zfs.bz2`, `.zfs.xz`, `.zfs.zst`
    /// or `.zfs` at its end; if there are several, the one that has the size in the manifest. The manifest of a stream
    /// is the file beside it of the same name with `.json` or, failing that, `.imgmanifest`; it may do without.
    ///
    /// What is no regular file, like a pipe, is a stream that can be read once.
    ///
    /// # Errors
    ///
    /// There is no such file, the manifest can't be read or is none, or its stream is not beside it.
    pub fn at(path: &Utf8Path) -> Result<Self, Error> {
        let failed = |error| Error::io("read", path, error);
        let metadata = fs::metadata(path).map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let name = path.file_name().unwrap_or_default();
        if !metadata.is_file() {
            let input = File::open(path).map_err(failed)?;
            return Ok(Self::from_reader(path.as_str(), input));
        }
        let known = MANIFESTS.iter().any(|end| name.ends_with(end));
        if known || starts_like_a_manifest(path).map_err(failed)? {
            return Self::of_manifest(path, Manifest::read(path)?);
        }
        let stem = stream_stem(name).unwrap_or(name);
        let found = MANIFESTS
            .iter()
            .map(|end| path.with_file_name(format!("{stem}{end}")))
            .find(|manifest| manifest.is_file() && manifest != path);
        let manifest = match found {
            Some(at) => Some((at.clone(), Manifest::read(&at)?)),
            None => None,
        };
        Ok(Self::of_file(path.to_owned(), manifest))
    }

    /// An image without a manifest whose stream is `input`, which is read once at most. `name` stands for it in errors.
    pub fn from_reader(name: impl Into<String>, input: impl Read + Send + 'static) -> Self {
        Self {
            manifest: None,
            source: Source::Once(Arc::new(Once::new(name.into(), Box::new(input)))),
            header: Arc::default(),
        }
    }

    fn of_file(path: Utf8PathBuf, manifest: Option<(Utf8PathBuf, Manifest)>) -> Self {
        Self {
            manifest,
            source: Source::File(path),
            header: Arc::default(),
        }
    }

    /// The image of a manifest that stands at `path`.
    fn of_manifest(path: &Utf8Path, manifest: Manifest) -> Result<Self, Error> {
        let file = stream_beside(path, &manifest)?;
        Ok(Self::of_file(file, Some((path.to_owned(), manifest))))
    }

    /// The manifest, if there is one.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref().map(|(_, manifest)| manifest)
    }

    /// Where the manifest stands.
    pub fn manifest_path(&self) -> Option<&Utf8Path> {
        self.manifest.as_ref().map(|(path, _)| path.as_path())
    }

    /// The file of the stream; `None` for what can be read once only.
    pub fn path(&self) -> Option<&Utf8Path> {
        match &self.source {
            Source::File(path) => Some(path),
            Source::Once(_) | Source::Kept(_) => None,
        }
    }

    /// The same image, to be read as often as one likes: what can be read once only is written, compressed as it is, to
    /// a file without a name in the folder for temporary files, which is gone with the last copy of the image, or with the
    /// process, however that ends.
    ///
    /// # Errors
    ///
    /// It can't be read, was read already, or there is no room for it.
    pub fn kept(&self) -> Result<Self, Error> {
        let Source::Once(once) = &self.source else {
            return Ok(self.clone());
        };
        let kept = Kept::of(once.name(), once.take()?)?;
        Ok(Self {
            manifest: self.manifest.clone(),
            source: Source::Kept(Arc::new(kept)),
            header: Arc::clone(&self.header),
        })
    }

    /// What stands for the stream in errors.
    pub(crate) fn place(&self) -> &Utf8Path {
        match &self.source {
            Source::File(path) => path,
            Source::Once(once) => Utf8Path::new(once.name()),
            Source::Kept(kept) => Utf8Path::new(kept.name()),
        }
    }

    /// The file as it is, from its start.
    fn raw(&self) -> Result<Box<dyn Read + Send>, Error> {
        match &self.source {
            Source::File(path) => {
                let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
                Ok(Box::new(file))
            }
            Source::Once(once) => once.take(),
            Source::Kept(kept) => Ok(Box::new(Kept::reader(kept))),
        }
    }

    /// The expanded stream, expanded on a thread of its own.
    ///
    /// # Errors
    ///
    /// The file can't be opened or its first bytes not be read, it can be read once only and was, or there is no memory
    /// or thread to expand it.
    pub fn stream(&self) -> Result<ImageStream, Error> {
        ImageStream::new(self.raw()?, self.place())
    }

    /// The same, with the file's own digest and size taken on the way, on another thread.
    ///
    /// # Errors
    ///
    /// As [`stream`](Self::stream).
    pub fn measured_stream(&self) -> Result<(ImageStream, Measure), Error> {
        let (raw, measure) = stream::measured(self.raw()?);
        let raw = ReadAhead::new(raw).map_err(|error| Error::io("read", self.place(), error))?;
        Ok((ImageStream::new(Box::new(raw), self.place())?, measure))
    }

    /// What the stream says of itself, read from its start once. What can be read once only can be read after it still.
    ///
    /// # Errors
    ///
    /// The start of the file can't be read or expanded, or it is no stream.
    pub fn header(&self) -> Result<StreamHeader, Error> {
        if let Some(header) = self.header.get() {
            return Ok(header.clone());
        }
        let read = |raw: &mut (dyn Read + Send)| {
            let content = decompressed(raw).map_err(|source| self.not_expanded(source))?;
            StreamHeader::read(content).map_err(|error| self.no_header(error))
        };
        let header = match &self.source {
            Source::File(_) | Source::Kept(_) => read(&mut self.raw()?)?,
            Source::Once(once) => once.peek(read)?,
        };
        Ok(self.header.get_or_init(|| header).clone())
    }

    fn not_expanded(&self, source: DecompressError) -> Error {
        Error::Decompress {
            path: self.place().to_owned(),
            source,
        }
    }

    fn no_header(&self, error: HeaderError) -> Error {
        match error {
            HeaderError::Read(error) => match error.downcast::<DecompressError>() {
                Ok(source) => self.not_expanded(source),
                Err(error) => Error::io("read", self.place(), error),
            },
            HeaderError::Damaged { offset, reason } => Error::NoStream {
                path: self.place().to_owned(),
                offset,
                reason,
            },
        }
    }
}

impl fmt::Display for Image {
    /// `name@version (file)`, fit for terminals though manifests may hold anything, or the file where there is no manifest.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.manifest() {
            Some(manifest) => write!(
                out,
                "{}@{} ({})",
                manifest.name.escape_debug(),
                manifest.version.escape_debug(),
                self.place()
            ),
            None => write!(out, "{}", self.place()),
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Image")
            .field("manifest", &self.manifest_path())
            .field("stream", &self.place())
            .finish_non_exhaustive()
    }
}

/// Whether a file begins like a JSON object, which no stream does.
fn starts_like_a_manifest(path: &Utf8Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(GLANCE).read_to_end(&mut start)?;
    Ok(start.trim_ascii_start().starts_with(b"{"))
}

/// The name of a stream's file without its known end.
fn stream_stem(name: &str) -> Option<&str> {
    let mut ends = Packing::ALL.iter().map(|packing| packing.extension());
    ends.find_map(|end| name.strip_suffix(end)?.strip_suffix('.'))
        .filter(|stem| !stem.is_empty())
}

/// The name of a manifest without its known end.
fn manifest_stem(name: &str) -> Option<&str> {
    let mut ends = MANIFESTS.iter();
    ends.find_map(|end| name.strip_suffix(end))
        .filter(|stem| !stem.is_empty())
}

/// The stream of a manifest that stands at `path`.
fn stream_beside(path: &Utf8Path, manifest: &Manifest) -> Result<Utf8PathBuf, Error> {
    let name = path.file_name().unwrap_or_default();
    let stems = match manifest_stem(name) {
        Some(stem) => vec![stem],
        None => vec![name, path.file_stem().unwrap_or(name)],
    };
    for stem in stems {
        let mut found: Vec<_> = Packing::ALL
            .iter()
            .map(|packing| path.with_file_name(format!("{stem}.{}", packing.extension())))
            .filter(|file| file.is_file())
            .collect();
        if found.len() > 1 {
            let size = manifest
                .files
                .as_ref()
                .and_then(|files| files.first())
                .map(|file| file.size);
            let fits =
                |file: &Utf8PathBuf| fs::metadata(file).is_ok_and(|file| Some(file.len()) == size);
            let (mut fitting, others): (Vec<_>, Vec<_>) = found.into_iter().partition(fits);
            if fitting.len() != 1 {
                fitting.extend(others);
                return Err(Error::Ambiguous {
                    what: format!("the stream of {path}"),
                    candidates: fitting.iter().map(ToString::to_string).collect(),
                });
            }
            found = fitting;
        }
        if let Some(file) = found.pop() {
            return Ok(file);
        }
    }
    Err(Error::NoFile {
        manifest: path.to_owned(),
    })
}
