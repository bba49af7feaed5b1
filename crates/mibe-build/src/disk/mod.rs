//! Disks of virtual machines made images: fetched, copied into a folder of their own, prepared, written as a volume.

#[cfg(feature = "local")]
mod fetch;
pub mod import;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use mibe_disk::scratch;
use mibe_disk::source::{self, OpenOptions, Opened, Raw};

use crate::error::BuildError;
use crate::journal::{Entry, Journal, Record};
use crate::paths::Paths;

/// The journal's word for folders in which disks are worked on: all in them is this user's.
pub const WORKSHOP: &str = "disk";

/// A folder in which a disk is worked on. The journal names it; dropped, it goes, whatever is in it.
#[derive(Debug)]
pub struct Workshop {
    /// `None` once it is gone.
    record: Option<Record>,
    directory: PathBuf,
    /// Nobody cleans the caches up meanwhile.
    _cache: fs::File,
}

impl Workshop {
    /// Makes a folder; `purpose` says for what, to people.
    ///
    /// # Errors
    ///
    /// The journal or the folder could not be written.
    pub fn new(paths: &Paths, purpose: &str) -> Result<Self, BuildError> {
        let cache = paths.use_cache()?;
        let machines = paths.machines();
        fs::create_dir_all(&machines).map_err(BuildError::io("make", &machines))?;
        let record =
            Journal::new(paths.journal()).begin(Entry::new(WORKSHOP, &machines, purpose))?;
        let directory = record.entry.directory.clone();
        let workshop = Self {
            record: Some(record),
            directory,
            _cache: cache,
        };
        fs::create_dir(&workshop.directory).map_err(BuildError::io("make", &workshop.directory))?;
        Ok(workshop)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Removes the folder.
    ///
    /// # Errors
    ///
    /// It could not be removed; the journal still names it then.
    pub fn remove(mut self) -> Result<(), BuildError> {
        remove_folder(&self.directory)?;
        self.record.take().map_or(Ok(()), Record::strike)
    }

    /// Its place in the journal.
    pub(crate) fn record(&mut self) -> Result<&mut Record, BuildError> {
        // It is there until the folder goes.
        self.record
            .as_mut()
            .ok_or_else(|| BuildError::host("the folder of the disk is gone", &[]))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            // What can't be removed now stays in the journal, and `mibe clean` tries again.
            if remove_folder(&self.directory).is_ok() {
                drop(record.strike());
            }
        }
    }
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), BuildError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BuildError::io("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// The checksum that a file must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256, hexadecimal.
    Sha256(String),
    /// SHA-512, hexadecimal.
    Sha512(String),
}

impl Checksum {
    /// Understands hexadecimal digits, by their number.
    ///
    /// # Errors
    ///
    /// They are none, or neither 64 nor 128.
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        let text = text.trim().to_ascii_lowercase();
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.len() {
            64 if is_hex => Ok(Self::Sha256(text)),
            128 if is_hex => Ok(Self::Sha512(text)),
            _ => Err(BuildError::usage(
                format!("{text:?} is no checksum"),
                &[
                    "a SHA-256 has 64 hexadecimal digits, a SHA-512 has 128; vendors have them in SHA256SUMS or SHA512SUMS beside the disk",
                ],
            )),
        }
    }

    /// Compares it with that of the file at `path`, which people know by `name`.
    fn check(&self, name: &str, path: &Path, cancel: &AtomicBool) -> Result<(), BuildError> {
        let (kind, wanted, found) = match self {
            Self::Sha256(wanted) => ("SHA-256", wanted, digest::<sha2::Sha256>(path, cancel)?),
            Self::Sha512(wanted) => ("SHA-512", wanted, digest::<sha2::Sha512>(path, cancel)?),
        };
        if *wanted == found {
            return Ok(());
        }
        Err(BuildError::Base {
            message: format!(
                "{name} is not what it should be: its {kind} is {found}, not {wanted}"
            ),
            hints: vec![
                "fetch it again; if the checksum is right, somebody changed the file".to_owned(),
            ],
            source: None,
        })
    }
}

/// A disk as it is named: a file of this machine, or a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskInput {
    /// The path or URL.
    pub name: String,
    /// What it must be.
    pub checksum: Option<Checksum>,
    /// The files that it may stand on.
    pub backing: Vec<PathBuf>,
}

impl DiskInput {
    /// Whether it comes from elsewhere.
    pub fn is_url(&self) -> bool {
        is_url(&self.name)
    }
}

pub use mibe_recipe::is_url;

/// Opens a disk, fetched if it comes from elsewhere; the second value is the file that it is in. What is in the cache already is not fetched again.
///
/// # Errors
///
/// It could not be had, is not what it should be, or is no disk.
pub fn open(
    input: &DiskInput,
    paths: &Paths,
    workshop: &Path,
    cancel: &std::sync::Arc<AtomicBool>,
    progress: &dyn Fn(u64),
) -> Result<(Opened, PathBuf), BuildError> {
    let path = if input.is_url() {
        #[cfg(feature = "local")]
        {
            fetch::fetch(input, paths, workshop, cancel, progress)?
        }
        #[cfg(not(feature = "local"))]
        {
            let _ = (paths, progress);
            return Err(BuildError::host(
                "this mibe fetches no disks",
                &["fetch it with curl, and give the file"],
            ));
        }
    } else {
        let path = PathBuf::from(&input.name);
        if let Some(checksum) = &input.checksum {
            checksum.check(&input.name, &path, cancel)?;
        }
        path
    };
    let options = OpenOptions {
        backing: input.backing.clone(),
    };
    let opened = source::open(&path, &options, workshop, cancel)
        .map_err(|error| error.named(&path, input.name.as_ref()))?;
    Ok((opened, path))
}

/// Has an opened disk in the new raw file `to`, which is of `size` bytes; `file` is where it came from, which people know by `input`'s name, and `progress`
/// gets the bytes of the disk that are done.
///
/// # Errors
///
/// The disk could not be read, the file not written, or `cancel` was raised.
pub(crate) fn work_copy(
    input: &DiskInput,
    opened: &Opened,
    file: &Path,
    to: &Path,
    size: u64,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(u64),
) -> Result<Raw, BuildError> {
    Ok(match &opened.made {
        Some(made) => scratch::take(made, to, size)?,
        None => scratch::copy(opened.source.as_ref(), file, to, size, cancel, progress)
            .map_err(|error| error.named(file, input.name.as_ref()))?,
    })
}

/// The digest of a file, hexadecimal.
fn digest<D: sha2::Digest>(path: &Path, cancel: &AtomicBool) -> Result<String, BuildError> {
    use std::io::Read as _;
    let mut file = fs::File::open(path).map_err(BuildError::io("open", path))?;
    let mut hash = D::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        if cancel.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(BuildError::Cancelled);
        }
        match file
            .read(&mut buffer)
            .map_err(BuildError::io("read", path))?
        {
            0 => return Ok(mibe_image::file::hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}
