//! What can go wrong with an image.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::manifest::Violation;

/// An image could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused an operation.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was tried ("write").
        action: &'static str,
        /// On which file or folder.
        path: Utf8PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system, a quota or a limit on file sizes is full.
    #[error("no room for {path}: {source}{}", free.map(|free| format!(" ({} MiB free)", free >> 20)).unwrap_or_default())]
    NoSpace {
        /// The file that was written.
        path: Utf8PathBuf,
        /// Bytes still free on its file system, where that could be found out.
        free: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// An image of that name and version is there already.
    #[error("{path} exists already")]
    Exists {
        /// The file that is in the way.
        path: Utf8PathBuf,
    },
    /// A manifest is not JSON of the right form.
    #[error("{path}:{line}:{column}: {message}")]
    Json {
        /// The manifest; "manifest" when it came from elsewhere.
        path: Utf8PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column in bytes, counted from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A manifest breaks the rules of image manifests.
    #[error("{path} is not a valid image manifest: {}", violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// The manifest.
        path: Utf8PathBuf,
        /// Every broken rule.
        violations: Vec<Violation>,
    },
}

impl Error {
    /// What to do about it, most useful first.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoSpace { path, .. } => vec![
                format!(
                    "free some space on the file system of {path}, or write somewhere else with --output"
                ),
                "see that no quota and no limit on file sizes (ulimit -f) is in the way".to_owned(),
            ],
            Self::Exists { .. } => vec![
                "give the image another version".to_owned(),
                "replace the existing image with --force".to_owned(),
            ],
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                vec![format!(
                    "see who may write to {}",
                    path.parent().unwrap_or(path)
                )]
            }
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::NotFound => {
                vec![format!(
                    "see that the folder {} is there",
                    path.parent().unwrap_or(path)
                )]
            }
            _ => Vec::new(),
        }
    }

    /// An error of the system, told apart where the user can help it.
    pub(crate) fn io(action: &'static str, path: &Utf8Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace {
                free: free_space(&path),
                path,
                source,
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// The kind of the system's error below, for where only an [`io::Error`] can be given.
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Io { source, .. } | Self::NoSpace { source, .. } => source.kind(),
            Self::Exists { .. } => io::ErrorKind::AlreadyExists,
            Self::Json { .. } | Self::Invalid { .. } => io::ErrorKind::InvalidData,
        }
    }
}

/// Bytes that an ordinary user may still write where `path` is or would be.
fn free_space(path: &Utf8Path) -> Option<u64> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_str().is_empty())
        .unwrap_or(Utf8Path::new("."));
    let status = rustix::fs::statvfs(folder.as_std_path()).ok()?;
    status.f_bavail.checked_mul(status.f_frsize)
}
