//! What can go wrong with image servers.

use std::fmt;
use std::io;

use camino::Utf8PathBuf;

/// Something went wrong between here and an image server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server can't be reached, or breaks off, also after some tries.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server's certificate is not one that is trusted here.
    #[error("{url}: {reason}")]
    Untrusted {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server answers with an error.
    #[error("{url}: {reply}")]
    Refused {
        /// What was asked for.
        url: String,
        /// What it says.
        reply: Reply,
    },
    /// The server says what can't be.
    #[error("{url}: {what}")]
    Wrong {
        /// What was asked for.
        url: String,
        /// What can't be.
        what: String,
    },
    /// No server offers the image.
    #[error("no image {argument:?} on {}", servers.join(", "))]
    NoImage {
        /// What was looked for.
        argument: String,
        /// The servers that were asked.
        servers: Vec<String>,
        /// Servers that could not be asked, and why.
        failed: Vec<String>,
    },
    /// The image can't be published to that server.
    #[error("{image} can't be published to {server}: {}", reasons.join("; "))]
    Unfit {
        /// The image.
        image: String,
        /// The server.
        server: String,
        /// Everything that is in the way.
        reasons: Vec<String>,
        /// What to do about it.
        hints: Vec<String>,
    },
    /// Publishing failed, and what it had begun could not be taken back.
    #[error("{source} (and the image {uuid}, not activated yet, could not be taken back: {left})")]
    Left {
        /// What failed.
        source: Box<Error>,
        /// The image.
        uuid: String,
        /// Why it is still there.
        left: Box<Error>,
    },
    /// The credentials can't be used.
    #[error("{0}")]
    Credentials(String),
    /// mibe was asked for something that there is not.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hints: Vec<String>,
    },
    /// The images here.
    #[error(transparent)]
    Image(#[from] mibe_image::Error),
    /// The system refused an operation.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was tried ("write").
        action: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A server can't listen.
    #[error("can't listen at {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// It was ended from outside.
    #[error("interrupted")]
    Cancelled,
}

/// An answer that is an error, as IMGAPI has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// IMGAPI's word for it ("ResourceNotFound"), where there is one.
    pub code: Option<String>,
    /// What it says for people.
    pub message: String,
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the server says {}", self.status)?;
        if let Some(code) = &self.code {
            write!(out, " {code}")?;
        }
        if !self.message.is_empty() {
            write!(out, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl Error {
    /// What to do about it, most useful first.
    pub fn hints(&self) -> Vec<String> {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        match self {
            Self::Unreachable { .. } => texts(&[
                "run it again: what came already is kept, and goes on where it ended",
                "see that the URL is right (`mibe server list`) and that a proxy, if one is needed, is in https_proxy",
            ]),
            Self::Untrusted { .. } => texts(&[
                "for a server of a site with an authority of its own: SSL_CERT_FILE names a file of the certificates (PEM) that are trusted instead of this machine's",
            ]),
            Self::Refused { reply, .. } => match reply.status {
                401 => texts(&[
                    "say who you are: --user with --password-file or --key, or --token-file, here or with `mibe server add`",
                    "HTTP signatures hold for 5 minutes: see that the clocks of both sides agree",
                ]),
                403 => texts(&["use the credentials of someone who may do this"]),
                404 => texts(&[
                    "see that the URL is that of an image server: URL/ping tells of itself there",
                ]),
                503 => texts(&["the server has no room or no storage at the moment: try later"]),
                _ => Vec::new(),
            },
            Self::Wrong { .. } => texts(&[
                "the fault is the server's: tell those who run it, or get the image from another one",
            ]),
            Self::NoImage { failed, .. } => {
                let mut hints: Vec<String> = failed
                    .iter()
                    .map(|failed| format!("not asked: {failed}"))
                    .collect();
                hints.push("`mibe image avail` shows what servers offer".to_owned());
                hints
            }
            Self::Unfit { hints, .. } | Self::Usage { hints, .. } => hints.clone(),
            Self::Left { source, .. } => {
                let mut hints = source.hints();
                hints.push("publish it again: that goes on with what is there".to_owned());
                hints
            }
            Self::Credentials(_) => texts(&[
                "secrets come from files (--password-file, --token-file, --key), from MIBE_PASSWORD, MIBE_TOKEN and MIBE_KEY_PASSPHRASE, or are asked for on a terminal",
            ]),
            Self::Image(error) => error.hints(),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                texts(&["something else listens there: --listen takes another address or port"])
            }
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                texts(&["ports below 1024 are for root: --listen takes another port"])
            }
            Self::Listen { .. } | Self::Io { .. } | Self::Cancelled => Vec::new(),
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<Utf8PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn usage(message: impl Into<String>, hints: &[&str]) -> Self {
        Self::Usage {
            message: message.into(),
            hints: hints.iter().map(ToString::to_string).collect(),
        }
    }

    /// The server's status, if it is the server that refused.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { reply, .. } => Some(reply.status),
            _ => None,
        }
    }
}
