//! Where mibe keeps things on this host (XDG Base Directory Specification 0.8).

use std::env;
use std::path::{Path, PathBuf};

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
