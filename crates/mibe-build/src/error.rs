//! What can end a build, and what its user can do about it.

use std::io;
use std::path::PathBuf;

use mibe_disk::DiskError;
use mibe_host::HostError;
use mibe_recipe::Problem;

use crate::log::BuildLog;

/// Who has to act on an error; the command line makes its exit status of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The build or the repository: exit status 1.
    Build,
    /// How mibe was called: exit status 2.
    Usage,
    /// This host lacks something: exit status 3.
    Host,
}

/// Why a build ended without an image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The repository has errors; all of them are here.
    #[error("{repository} is not a build repository that can be built: {} problem{}", problems.len(), if problems.len() == 1 { "" } else { "s" })]
    Recipe {
        /// The repository, as the user named it.
        repository: PathBuf,
        /// Every problem found, located.
        problems: Vec<Problem>,
    },
    /// A step's script or package manager ended badly.
    #[error("{what} {how}")]
    Script {
        /// What was run ("customize", "apt-get install").
        what: String,
        /// How it ended ("exited with status 1", "was killed by signal 9", "took longer than 3600 s").
        how: String,
        /// The last lines that it printed, oldest first.
        tail: Vec<String>,
        /// The log that holds all of it, once that is known.
        log: Option<PathBuf>,
        /// What to do next.
        hints: Vec<String>,
    },
    /// The user, or a signal, asked for an end.
    #[error("interrupted")]
    Cancelled,
    /// The arguments ask for something that can't be.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do next.
        hints: Vec<String>,
    },
    /// The machine at hand can't do it.
    #[error("{message}")]
    Host {
        /// What is missing.
        message: String,
        /// What to do next.
        hints: Vec<String>,
    },
    /// The base could not be had or is no base.
    #[error("{message}")]
    Base {
        /// What is wrong.
        message: String,
        /// What to do next.
        hints: Vec<String>,
        /// The cause, where there is one below.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Work in the tree of the build machine failed.
    #[error("{what}: {why}")]
    Work {
        /// The work ("copy the repository's copy/").
        what: &'static str,
        /// What went wrong, with the path.
        why: String,
        /// What to do next.
        hints: Vec<String>,
    },
    /// A command of a host ended badly.
    #[error("{what} {how}{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Command {
        /// What was run, and where ("vmadm create on root@headnode").
        what: String,
        /// How it ended.
        how: String,
        /// What it said last.
        said: Option<String>,
        /// What to do next.
        hints: Vec<String>,
    },
    /// Somebody else is at it.
    #[error("{message}")]
    Busy {
        /// Who, and at what.
        message: String,
    },
    /// The spec of a build machine is wrong.
    #[error("the spec of the build machine is wrong: {}", .0.join("; "))]
    Spec(Vec<String>),
    /// A host could not be asked.
    #[error(transparent)]
    Remote(#[from] HostError),
    /// The sandbox failed.
    #[cfg(feature = "local")]
    #[error(transparent)]
    Sandbox(#[from] mibe_sandbox::Error),
    /// A disk could not be read, or not be made an image.
    #[error(transparent)]
    Disk(DiskError),
    /// The image's file or manifest could not be written.
    #[error(transparent)]
    Image(#[from] mibe_image::Error),
    /// A manifest that the image servers would refuse would have been made.
    #[error("the image manifest would not be valid: {}", .0.join("; "))]
    Manifest(Vec<String>),
    /// A file of this host could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<DiskError> for BuildError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Cancelled => Self::Cancelled,
            DiskError::Image(error) => Self::Image(error),
            error => Self::Disk(error),
        }
    }
}

impl BuildError {
    /// An error of usage.
    pub fn usage(message: impl Into<String>, hints: &[&str]) -> Self {
        Self::Usage {
            message: message.into(),
            hints: owned(hints),
        }
    }

    /// An error of this host.
    pub fn host(message: impl Into<String>, hints: &[&str]) -> Self {
        Self::Host {
            message: message.into(),
            hints: owned(hints),
        }
    }

    /// Adds the action and the path to an error of the system.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Adds what a log knows of a program that failed.
    pub(crate) fn with_log(mut self, from: &BuildLog) -> Self {
        if let Self::Script { tail, log, .. } = &mut self
            && log.is_none()
        {
            *tail = from.tail();
            *log = Some(from.path().to_owned());
        }
        self
    }

    /// Who has to act.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Usage { .. } | Self::Spec(_) | Self::Disk(DiskError::Usage { .. }) => {
                Blame::Usage
            }
            Self::Host { .. }
            | Self::Disk(DiskError::NoTool { .. } | DiskError::NotSupported { .. })
            | Self::Remote(HostError::Start { .. } | HostError::Connect { .. }) => Blame::Host,
            _ => Blame::Build,
        }
    }

    /// What to do next, most useful first.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Script { hints, .. }
            | Self::Usage { hints, .. }
            | Self::Host { hints, .. }
            | Self::Base { hints, .. }
            | Self::Command { hints, .. }
            | Self::Work { hints, .. } => hints.clone(),
            Self::Io { source, path, .. } if full_disk(source) => {
                vec![format!(
                    "free some space on the file system of {}",
                    path.display()
                )]
            }
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                vec![format!("see who may write to {}", path.display())]
            }
            Self::Image(error) => error.hints(),
            Self::Disk(DiskError::Io { source, path, .. }) if full_disk(source) => {
                vec![format!(
                    "free some space on the file system of {}, or have disks worked on elsewhere: set XDG_CACHE_HOME to a folder that has more",
                    path.parent().unwrap_or(path).display()
                )]
            }
            Self::Disk(error) => error.hints(),
            Self::Remote(HostError::Connect { host, .. }) => {
                vec![format!("see whether `ssh {host}` gets you there")]
            }
            Self::Remote(HostError::Lost { .. }) => vec![
                "see whether the network there is up, and build again".to_owned(),
            ],
            Self::Busy { .. } => {
                vec!["wait for its end, or end it; each repository is built once at a time".to_owned()]
            }
            Self::Spec(_) => vec![
                "mend the spec (--vm-spec, etc/vm.json), or set single properties with --set KEY=VALUE".to_owned(),
                "vmadm(8) on the host says what each property may be".to_owned(),
            ],
            #[cfg(feature = "local")]
            Self::Sandbox(mibe_sandbox::Error::Io { source, path, .. }) if full_disk(source) => {
                vec![format!(
                    "free some space on the file system of {}",
                    path.display()
                )]
            }
            _ => Vec::new(),
        }
    }
}

fn owned(hints: &[&str]) -> Vec<String> {
    hints.iter().map(|&hint| hint.to_owned()).collect()
}

/// Whether an error says that a disk or a quota is full.
pub(crate) fn full_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
