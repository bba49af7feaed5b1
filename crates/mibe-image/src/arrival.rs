//! Files of images that come from elsewhere: digested while they arrive, resumed where they were cut off, placed in a
//! folder of images when they are whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use sha1::{Digest as _, Sha1};
use tempfile::TempPath;

use crate::error::Error;
use crate::file::{Packing, hex};
use crate::library::{stem, sync_folder};
use crate::manifest::Manifest;

/// How much is read at a time of what came earlier, in bytes.
const PIECE: usize = 1 << 18;

/// A file on its way in, under a hidden name of its own. It is locked while this lives, so that nobody else writes it, and
/// stays when this is dropped: another arrival of the same name goes on where it ended.
pub struct Arrival {
    path: Utf8PathBuf,
    file: File,
    sha1: Sha1,
    size: u64,
    start: Vec<u8>,
}

/// A file that has arrived and is on the disk. It stays locked while this lives.
#[derive(Debug)]
pub struct Arrived {
    /// Its hidden name.
    pub path: Utf8PathBuf,
    /// Its SHA-1, 40 hexadecimal digits.
    pub sha1: String,
    /// Bytes in it.
    pub size: u64,
    /// How it is compressed, by its first bytes.
    pub packing: Packing,
    _lock: File,
}

impl Arrival {
    /// Begins the file of this path, or goes on with what is there of it, which is read once for its digest.
    ///
    /// `None`: someone else writes it.
    ///
    /// # Errors
    ///
    /// The folder is not there, or the file can't be written.
    pub fn begin(path: &Utf8Path) -> Result<Option<Self>, Error> {
        let failed = |error| Error::io("write", path, error);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Whoever had the lock may have placed the file meanwhile, which then has this name no more.
        if !same_file(&file, path) {
            return Ok(None);
        }
        let mut arrival = Self {
            path: path.to_owned(),
            file,
            sha1: Sha1::new(),
            size: 0,
            start: Vec::new(),
        };
        arrival.digest_all().map_err(failed)?;
        Ok(Some(arrival))
    }

    fn digest_all(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        let mut buffer = vec![0; PIECE];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(()),
                count => self.count(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    fn count(&mut self, piece: &[u8]) {
        let lacking = Packing::MAGIC.saturating_sub(self.start.len());
        self.start.extend(piece.iter().take(lacking));
        self.sha1.update(piece);
        self.size += piece.len() as u64;
    }

    /// Bytes that are there.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Throws away what is there.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn restart(&mut self) -> Result<(), Error> {
        let cut = self.file.set_len(0).and_then(|()| self.file.rewind());
        cut.map_err(|error| Error::io("write", &self.path, error))?;
        self.sha1 = Sha1::new();
        self.size = 0;
        self.start.clear();
        Ok(())
    }

    /// Adds what came next.
    ///
    /// # Errors
    ///
    /// The file can't be written; what was written of the piece is not part of it.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        if let Err(error) = self.file.write_all(piece) {
            // What is there must be what was digested, for whoever goes on.
            let place = io::SeekFrom::Start(self.size);
            let _ = self.file.set_len(self.size);
            let _ = self.file.seek(place);
            return Err(Error::io("write", &self.path, error));
        }
        self.count(piece);
        Ok(())
    }

    /// SHA-1 of what is there, 40 hexadecimal digits.
    pub fn sha1(&self) -> String {
        hex(&self.sha1.clone().finalize())
    }

    /// Has all of it on the disk. The file keeps its hidden name.
    ///
    /// # Errors
    ///
    /// It could not be written.
    pub fn finish(self) -> Result<Arrived, Error> {
        let synced = self.file.sync_all();
        synced.map_err(|error| Error::io("write", &self.path, error))?;
        Ok(Arrived {
            sha1: hex(&self.sha1.finalize()),
            size: self.size,
            packing: Packing::of(&self.start),
            path: self.path,
            _lock: self.file,
        })
    }

    /// Deletes it.
    ///
    /// # Errors
    ///
    /// It can't be deleted.
    pub fn discard(self) -> Result<(), Error> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.path, error))
            }
            _ => Ok(()),
        }
    }
}

fn same_file(file: &File, path: &Utf8Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// Where the two files of an image were placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The stream.
    pub file: Utf8PathBuf,
    /// The manifest.
    pub manifest: Utf8PathBuf,
}

/// Gives a file that has arrived its name in a folder of images, on the same file system, and writes its manifest beside it,
/// which comes last. The name is NAME-VERSION, with a part of the UUID, or all of it, behind that where another image has
/// that name already. The folder's names are on the disk then. The hidden name goes last: who waits for its lock finds the image
/// there.
///
/// # Errors
///
/// Something could not be written; then neither file is there under its name. Every such name may be taken, too.
pub fn place(folder: &Utf8Path, file: &Utf8Path, manifest: &Manifest) -> Result<Placed, Error> {
    let packing = packing_of(file)?;
    let text = manifest.to_json()?;
    let stem = stem(&manifest.name, &manifest.version);
    let short = manifest.uuid.get(..8).unwrap_or(&manifest.uuid);
    let stems = [
        stem.clone(),
        format!("{stem}-{short}"),
        format!("{stem}-{}", manifest.uuid),
    ];
    for stem in &stems {
        let placed = Placed {
            file: folder.join(format!("{stem}.{}", packing.extension())),
            manifest: folder.join(format!("{stem}.json")),
        };
        if !is_free(folder, stem) || !named(file, &placed.file)? {
            continue;
        }
        match write_manifest(&placed.manifest, &text) {
            Ok(()) => {
                // Where there are no links it has gone already.
                let _ = fs::remove_file(file);
                sync_folder(&placed.manifest)?;
                return Ok(placed);
            }
            Err(error) => {
                // The file goes back to where it was, for another name or another try.
                if let Err(back) = fs::rename(&placed.file, file) {
                    return Err(Error::io("rename", &placed.file, back));
                }
                // Of two names of one file none goes by being renamed to the other.
                if file.exists() {
                    let _ = fs::remove_file(&placed.file);
                }
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Err(Error::io("write", &placed.manifest, error));
                }
            }
        }
    }
    Err(Error::Exists {
        path: folder.join(format!("{}.json", stems[2])),
    })
}

/// Whether neither a manifest nor a file of any compression has this name.
fn is_free(folder: &Utf8Path, stem: &str) -> bool {
    let ends = Packing::ALL.iter().map(|packing| packing.extension());
    ends.chain(["json", "imgmanifest"])
        .all(|end| fs::symlink_metadata(folder.join(format!("{stem}.{end}"))).is_err())
}

/// Gives a file another name, beside its own where the file system has links. `false`: something of that name came meanwhile.
fn named(from: &Utf8Path, to: &Utf8Path) -> Result<bool, Error> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
            ) =>
        {
            renamed(from, to)
        }
        Err(error) => Err(Error::io("write", to, error)),
    }
}

/// `false`: something of that name came meanwhile.
fn renamed(from: &Utf8Path, to: &Utf8Path) -> Result<bool, Error> {
    let failed = |error| Error::io("rename", from, error);
    let path = TempPath::try_from_path(from.as_std_path()).map_err(failed)?;
    match path.persist_noclobber(to) {
        Ok(()) => Ok(true),
        Err(error) => {
            // Dropped, it would be deleted.
            let kept = error.path.keep();
            if error.error.kind() == io::ErrorKind::AlreadyExists {
                kept.map_err(|error| failed(error.error))?;
                return Ok(false);
            }
            Err(failed(error.error))
        }
    }
}

fn write_manifest(path: &Utf8Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    let mut written = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".part")
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(path.parent().unwrap_or(Utf8Path::new(".")))?;
    written.write_all(text.as_bytes())?;
    written.as_file().sync_all()?;
    let written = written.persist_noclobber(path);
    written.map(drop).map_err(|error| error.error)
}

fn packing_of(path: &Utf8Path) -> Result<Packing, Error> {
    let failed = |error| Error::io("read", path, error);
    let mut start = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(Packing::MAGIC as u64)
        .read_to_end(&mut start)
        .map_err(failed)?;
    Ok(Packing::of(&start))
}
