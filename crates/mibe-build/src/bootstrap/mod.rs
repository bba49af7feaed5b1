//! A Debian base, bootstrapped by mibe itself: no debootstrap, no mmdebstrap, no root.
//!
//! [`mirror`] says where Debian is, [`release`] fetches and verifies what a suite is, [`index`] reads its packages,
//! [`resolve`] chooses, [`download`] fetches, [`install`] unpacks and configures them in a sandbox.

pub mod control;
pub mod download;
pub mod index;
pub mod install;
mod keyring;
pub mod mirror;
pub mod release;
pub mod resolve;
pub mod version;

/// Why there is no Debian base.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// What is said to be a mirror can't be one.
    #[error("the mirror {url:?}: {reason}")]
    Mirror {
        /// The mirror, as it was named.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are no keys to check the mirror with.
    #[error("no keyring of Debian's archive: {0}")]
    Keyring(String),
    /// The mirror's signature is not one of Debian.
    #[error("{url}: {reason}")]
    Signature {
        /// What was fetched.
        url: String,
        /// Why it is not believed.
        reason: String,
    },
    /// The mirror's description of the suite is not usable.
    #[error("{url}: {reason}")]
    Release {
        /// What was fetched.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be fetched.
    #[error("{url}: {reason}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// What went wrong, the last time.
        reason: String,
    },
    /// Fetched bytes are not those that the signed index names.
    #[error("{url}: {reason}")]
    Checksum {
        /// What was fetched.
        url: String,
        /// How it differs.
        reason: String,
    },
    /// The index of packages is damaged.
    #[error("the package index of {suite}: {reason}")]
    Index {
        /// The suite.
        suite: String,
        /// What is wrong.
        reason: String,
    },
    /// A dependency can't be had.
    #[error("{package} needs {relation}, which the mirror does not have")]
    Unresolvable {
        /// The package.
        package: String,
        /// Its relation, as the index has it.
        relation: String,
    },
    /// Two packages that would be chosen exclude each other.
    #[error("{one} and {other} exclude each other")]
    Conflict {
        /// One of them.
        one: String,
        /// The other.
        other: String,
    },
    /// A cache file could not be written or read.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The build was interrupted.
    #[error("interrupted")]
    Cancelled,
}

impl DebianError {
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Mirror { .. } => {
                "name the folder of the mirror that has dists and pool in it: --mirror http://deb.debian.org/debian"
            }
            Self::Keyring(_) => {
                "install Debian's keys (apt-get install debian-archive-keyring; other distributions have a package of this or a similar name), or name a file with --keyring"
            }
            Self::Signature { .. } => {
                "take another mirror with --mirror, or another keyring with --keyring if this mirror is signed by keys of its own"
            }
            Self::Release { .. } => {
                "see whether the suite exists (debian:bookworm, debian:trixie) and this host's clock is right, or take another mirror with --mirror"
            }
            Self::Fetch { .. } => {
                "see whether this host reaches the mirror (http_proxy and https_proxy are honoured), or take another with --mirror"
            }
            Self::Checksum { .. } | Self::Index { .. } | Self::Unresolvable { .. } => {
                "the mirror may just be changing: try again in some minutes, or take another with --mirror"
            }
            Self::Io { source, .. } if crate::error::full_disk(source) => {
                "free some space; `mibe clean --all` empties the caches"
            }
            Self::Conflict { .. } | Self::Io { .. } | Self::Cancelled => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

/// Debian's name of this machine's architecture; `None` where Debian has no port that mibe builds for.
pub fn architecture() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        _ => None,
    }
}
