//! Where mibe keeps things on this host (XDG Base Directory Specification 0.8).

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::BuildError;

/// The folders of one user.
#[derive(Clone, Debug)]
pub struct Paths {
    /// What can be made again: downloads, bases, build machines.
    pub cache: PathBuf,
    /// What must outlive a crash: the journal.
    pub state: PathBuf,
}

impl Paths {
    /// `$XDG_CACHE_HOME/mibe` and `$XDG_STATE_HOME/mibe`, or their defaults under `$HOME`.
    ///
    /// # Errors
    ///
    /// Neither the variables nor HOME name an absolute path.
    pub fn of_user() -> Result<Self, BuildError> {
        Ok(Self {
            cache: folder("XDG_CACHE_HOME", ".cache")?,
            state: folder("XDG_STATE_HOME", ".local/state")?,
        })
    }

    /// Build machines live here, each in a folder of its own.
    pub fn machines(&self) -> PathBuf {
        self.cache.join("machines")
    }

    /// Images that were fetched; those that were built are where their builds put them.
    pub fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// Takes part in the use of the cache: nobody else cleans it up while the file is open.
    ///
    /// # Errors
    ///
    /// The cache could not be written.
    pub fn use_cache(&self) -> Result<File, BuildError> {
        let file = self.lock_file()?;
        file.lock_shared()
            .map_err(BuildError::io("lock", &self.cache))?;
        Ok(file)
    }

    /// Has the cache alone while the file is open; `None` if others use it.
    ///
    /// # Errors
    ///
    /// The cache could not be written.
    pub fn own_cache(&self) -> Result<Option<File>, BuildError> {
        let file = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(BuildError::io("lock", &self.cache)(error)),
        }
    }

    fn lock_file(&self) -> Result<File, BuildError> {
        fs::create_dir_all(&self.cache).map_err(BuildError::io("make", &self.cache))?;
        let path = self.cache.join("lock");
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(BuildError::io("open", &path))
    }

    /// Takes a repository for one build, for as long as the file is open.
    ///
    /// # Errors
    ///
    /// Another build has it, or the lock could not be written.
    pub fn own_repository(&self, repository: &Path) -> Result<File, BuildError> {
        // The same folder by whatever name; one that is gone has the error of whoever reads it.
        let real = fs::canonicalize(repository).unwrap_or_else(|_| repository.to_owned());
        let digest = Sha256::digest(real.as_os_str().as_encoded_bytes());
        let folder = self.state.join("locks");
        fs::create_dir_all(&folder).map_err(BuildError::io("make", &folder))?;
        let path = folder.join(mibe_image::file::hex(&digest[..16]));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(BuildError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                return Err(BuildError::Busy {
                    message: format!(
                        "{} is being built already{}",
                        repository.display(),
                        holder
                            .lines()
                            .next()
                            .map(|by| format!(", {by}"))
                            .unwrap_or_default()
                    ),
                });
            }
            Err(TryLockError::Error(error)) => return Err(BuildError::io("lock", &path)(error)),
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let words = format!("by process {} since {now}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.write_all(words.as_bytes()))
            .map_err(BuildError::io("write", &path))?;
        Ok(file)
    }

    /// The journal of build machines.
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal")
    }
}

fn folder(variable: &str, default: &str) -> Result<PathBuf, BuildError> {
    // The specification: a path that is not absolute is to be ignored.
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute(variable)
        .or_else(|| absolute("HOME").map(|home| home.join(default)))
        .map(|folder| folder.join(Path::new("mibe")))
        .ok_or_else(|| {
            BuildError::host(
                format!("neither {variable} nor HOME is set"),
                &["set HOME to a folder that this user can write"],
            )
        })
}
