//! What can go wrong with a disk.

use std::io;
use std::path::{Path, PathBuf};

/// A disk could not be read, changed or made an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The system refused an operation.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried ("read").
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What the disk holds is damaged, or of a kind that can't be used.
    #[error("{}: {message}", path.display())]
    Disk {
        /// The file of the disk.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
        /// What to do about it.
        hints: Vec<String>,
    },
    /// The options make no sense, or not with this disk.
    #[error("{message}")]
    Usage {
        /// What does not fit.
        message: String,
        /// What would.
        hints: Vec<String>,
    },
    /// A program that is needed is not there.
    #[error("{purpose} needs the program {program}, which is not on PATH")]
    NoTool {
        /// The program ("qemu-img").
        program: &'static str,
        /// The package that has it ("qemu-utils").
        package: &'static str,
        /// What it is needed for.
        purpose: String,
    },
    /// This machine can't do it.
    #[error("{message}")]
    NotSupported {
        /// Why.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A program failed.
    #[error("{program} {outcome}{}", said(stderr))]
    Tool {
        /// The program.
        program: &'static str,
        /// How it ended ("exited with status 1").
        outcome: String,
        /// What it said.
        stderr: String,
    },
    /// The stream could not be written.
    #[error(transparent)]
    Stream(#[from] zfs_stream::WriteError),
    /// The image could not be read or written.
    #[error(transparent)]
    Image(#[from] mibe_image::Error),
    /// The user ended it.
    #[error("interrupted")]
    Cancelled,
}

fn said(stderr: &str) -> String {
    let stderr = stderr.trim();
    if stderr.is_empty() {
        String::new()
    } else {
        format!(": {stderr}")
    }
}

impl DiskError {
    /// For `map_err`: the system refused `action` on `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// For `map_err`: `action` on the disk in `path` failed, be it that the system refused or that the disk is damaged.
    pub fn on_disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::disk(
                &path,
                error.to_string(),
                &["was the disk downloaded whole? compare its checksum"],
            ),
            _ => Self::io(action, &path)(error),
        }
    }

    /// Something is wrong with the disk of a file.
    pub fn disk(path: &Path, message: impl Into<String>, hints: &[&str]) -> Self {
        Self::Disk {
            path: path.to_owned(),
            message: message.into(),
            hints: hints.iter().map(|&hint| hint.to_owned()).collect(),
        }
    }

    /// Something is wrong with the options.
    pub fn usage(message: impl Into<String>, hints: &[&str]) -> Self {
        Self::Usage {
            message: message.into(),
            hints: hints.iter().map(|&hint| hint.to_owned()).collect(),
        }
    }

    /// The same error, where people know the file at `path` by another name.
    #[must_use]
    pub fn named(mut self, file: &Path, name: &Path) -> Self {
        if let Self::Disk { path, .. } = &mut self
            && path == file
        {
            name.clone_into(path);
        }
        self
    }

    /// What to do about it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Disk { hints, .. } | Self::Usage { hints, .. } => hints.clone(),
            Self::NotSupported { hint, .. } => vec![hint.clone()],
            Self::NoTool { package, .. } => {
                vec![format!(
                    "install it: the package {package} of Debian has it"
                )]
            }
            _ => Vec::new(),
        }
    }
}
