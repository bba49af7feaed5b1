//! Where the home is, and what is in it.

use std::env;

use camino::{Utf8Path, Utf8PathBuf};
use mibe_recipe::likeliest;

use crate::error::HomeError;

/// Names of repositories that are offered for one that isn't there.
const OFFERED: usize = 5;

/// The folder with `etc/`, `repos/`, `images/` and `logs/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The folder, absolute; empty for the current one.
    folder: Utf8PathBuf,
    /// Whether it was recognised: without a home, the current folder serves.
    found: bool,
}

impl Home {
    /// The home: `MIBE_HOME`, or else the first of the current folder and those above it that is one.
    ///
    /// # Errors
    ///
    /// `MIBE_HOME` names no folder.
    pub fn find() -> Result<Self, HomeError> {
        if let Some(folder) = env::var_os("MIBE_HOME").filter(|value| !value.is_empty()) {
            let folder = Utf8PathBuf::try_from(std::path::PathBuf::from(folder))
                .map_err(|error| HomeError::NotUtf8(error.into_path_buf()))?;
            return Self::at(&folder);
        }
        let Ok(current) = env::current_dir() else {
            return Ok(Self::none());
        };
        // A folder that no home can be in is as good as one without.
        let home = Utf8PathBuf::try_from(current)
            .ok()
            .and_then(|current| Self::above(&current));
        Ok(home.unwrap_or_else(Self::none))
    }

    /// The home in a folder that was named.
    ///
    /// # Errors
    ///
    /// It is no folder.
    pub fn at(folder: &Utf8Path) -> Result<Self, HomeError> {
        let real = folder
            .canonicalize_utf8()
            .map_err(|source| HomeError::Folder {
                folder: folder.to_owned(),
                source,
            })?;
        if !real.is_dir() {
            return Err(HomeError::Folder {
                folder: folder.to_owned(),
                source: std::io::Error::from(std::io::ErrorKind::NotADirectory),
            });
        }
        Ok(Self {
            folder: real,
            found: true,
        })
    }

    /// The first home of a folder and those above it.
    pub fn above(folder: &Utf8Path) -> Option<Self> {
        folder
            .ancestors()
            .find(|folder| is_home(folder))
            .map(|folder| Self {
                folder: folder.to_owned(),
                found: true,
            })
    }

    /// The current folder, for want of a home.
    pub fn none() -> Self {
        Self {
            folder: Utf8PathBuf::new(),
            found: false,
        }
    }

    /// Whether there is one.
    pub fn is_found(&self) -> bool {
        self.found
    }

    /// A path in the home.
    pub fn path(&self, name: &str) -> Utf8PathBuf {
        self.folder.join(name)
    }

    /// Where repositories are: `repos/`.
    pub fn repos(&self) -> Utf8PathBuf {
        self.path("repos")
    }

    /// Where images go: `images/`.
    pub fn images(&self) -> Utf8PathBuf {
        self.path("images")
    }

    /// Where logs go: `logs/`.
    pub fn logs(&self) -> Utf8PathBuf {
        self.path("logs")
    }

    /// The repository that `named` means: a path, or the name of one in the home.
    ///
    /// # Errors
    ///
    /// There is none; the error offers those with the likeliest names.
    pub fn repository(&self, named: &Utf8Path) -> Result<Utf8PathBuf, HomeError> {
        let is_name = named.components().count() == 1
            && !named.as_str().contains('/')
            && named.as_str() != "."
            && named.as_str() != "..";
        if !is_name || named.symlink_metadata().is_ok() {
            return Ok(named.to_owned());
        }
        let in_home = self.repos().join(named);
        if in_home.is_dir() {
            return Ok(in_home);
        }
        let known = self.repository_names();
        let nearest = likeliest(named.as_str(), known.iter().map(String::as_str), OFFERED);
        Err(HomeError::NoRepository {
            name: named.to_string(),
            repos: self.found.then(|| self.repos()),
            nearest: nearest.into_iter().map(ToOwned::to_owned).collect(),
        })
    }

    /// Names of the folders in `repos/` and, for those without a home, in the current one; sorted.
    pub fn repository_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for folder in [self.repos(), Utf8PathBuf::from(".")] {
            let Ok(entries) = folder.read_dir_utf8() else {
                continue;
            };
            names.extend(
                entries
                    .flatten()
                    .filter(|entry| entry.path().is_dir())
                    .map(|entry| entry.file_name().to_owned())
                    .filter(|name| !name.starts_with('.')),
            );
        }
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// A folder with settings, or with what the shell mibe keeps in its own.
fn is_home(folder: &Utf8Path) -> bool {
    let has = |name: &str| folder.join(name).exists();
    has("mibe.toml")
        || (has("repos") && (has("etc/repos.list") || has("etc/repos.conf") || has("lib/mibe.inc")))
}
