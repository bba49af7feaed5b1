//! What can go wrong with an image.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::file::DecompressError;
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
    /// The file of an image could not be expanded.
    #[error("{path}: {source}")]
    Decompress {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        source: DecompressError,
    },
    /// The file of an image does not begin like a `zfs send` stream.
    #[error("{path} is no zfs stream: {reason} (at byte {offset} of the stream)")]
    NoStream {
        /// The file.
        path: Utf8PathBuf,
        /// Bytes of the expanded stream before the place.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The stream of an image is damaged, or of a kind that can't be read.
    #[error("{path}: {source}")]
    Stream {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it, and where in the expanded stream.
        source: Box<zfs_stream::read::ReadError>,
    },
    /// A manifest stands without its file.
    #[error("{manifest} has no file beside it")]
    NoFile {
        /// The manifest.
        manifest: Utf8PathBuf,
    },
    /// What was to be done needs a manifest.
    #[error("{image} has no manifest")]
    NoManifest {
        /// The image.
        image: String,
    },
    /// What can be read once only was to be read again.
    #[error("{name} can be read once only")]
    ReadTwice {
        /// What it is.
        name: String,
    },
    /// An argument names no image.
    #[error("there is no image {argument:?}{}", also_broken(broken))]
    NoImage {
        /// The argument.
        argument: String,
        /// The folders that were searched.
        folders: Vec<Utf8PathBuf>,
        /// Manifests and folders there that can't be read: it may be one of them.
        broken: Vec<Utf8PathBuf>,
    },
    /// Several files or images fit.
    #[error("{what} may be any of: {}", candidates.join(", "))]
    Ambiguous {
        /// What was looked for.
        what: String,
        /// All that fit.
        candidates: Vec<String>,
    },
    /// The image that an incremental one stands on is nowhere.
    #[error("{image} needs its origin, {}, which is nowhere{}", origin_name(uuid.as_deref(), *guid), also_broken(broken))]
    NoOrigin {
        /// The incremental image.
        image: String,
        /// The origin's UUID, where the manifest tells it.
        uuid: Option<String>,
        /// The guid of the origin's snapshot.
        guid: u64,
        /// The folders that were searched.
        folders: Vec<Utf8PathBuf>,
        /// What there can't be read: it may be one of them.
        broken: Vec<Utf8PathBuf>,
    },
    /// The image that a manifest names as origin is not the one that the stream is a change to.
    #[error(
        "{image} is a change to the snapshot of guid {wanted}, but its origin {origin} holds the one of guid {found}"
    )]
    WrongOrigin {
        /// The incremental image.
        image: String,
        /// What its manifest names as origin.
        origin: String,
        /// The guid that is needed.
        wanted: u64,
        /// The guid that the origin has.
        found: u64,
    },
    /// An image is, over others or directly, its own origin.
    #[error("the origins go in a circle: {}", images.join(" needs "))]
    OriginLoop {
        /// Each needs the next.
        images: Vec<String>,
    },
}

/// An origin as people look for it.
fn origin_name(uuid: Option<&str>, guid: u64) -> String {
    match uuid {
        Some(uuid) => format!("image {uuid} (guid {guid})"),
        None => format!("the image whose snapshot has guid {guid}"),
    }
}

/// What else could have been what was looked for.
fn also_broken(broken: &[Utf8PathBuf]) -> String {
    let Some(first) = broken.first() else {
        return String::new();
    };
    match broken.len() - 1 {
        0 => format!(" ({first} can't be read)"),
        more => format!(" ({first} and {more} more can't be read)"),
    }
}

/// Where a file is or would be.
fn folder_of(path: &Utf8Path) -> &Utf8Path {
    path.parent()
        .filter(|folder| !folder.as_str().is_empty())
        .unwrap_or(Utf8Path::new("."))
}

/// Folders for a sentence.
fn listed(folders: &[Utf8PathBuf]) -> String {
    let folders: Vec<_> = folders.iter().map(|folder| folder.as_str()).collect();
    folders.join(" or ")
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
            Self::Io {
                action: "read",
                source,
                path,
            } if source.kind() == io::ErrorKind::PermissionDenied => {
                vec![format!("see who may read {path}")]
            }
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                vec![format!("see who may write to {}", folder_of(path))]
            }
            Self::Io {
                action,
                source,
                path,
            } if source.kind() == io::ErrorKind::NotFound && *action != "read" => {
                vec![format!("see that the folder {} is there", folder_of(path))]
            }
            Self::NoFile { manifest } => vec![format!(
                "put the file of the image beside {manifest}, with .zfs.gz (or .zfs.bz2, .zfs.xz, .zfs.zst, .zfs) in \
                 place of the end of its name"
            )],
            Self::NoManifest { .. } => {
                vec!["put it beside the file, under the same name with .json at its end".to_owned()]
            }
            Self::ReadTwice { .. } => {
                vec!["save it to a file and give the path of that".to_owned()]
            }
            Self::NoImage { folders, .. } => vec![
                "give the path of a manifest or stream, a UUID, or name@version".to_owned(),
                format!(
                    "put the manifest and the file of the image into {}",
                    listed(folders)
                ),
            ],
            Self::Ambiguous { .. } => vec!["give the UUID or the path of one of them".to_owned()],
            Self::NoOrigin { uuid, folders, .. } => {
                let download = match uuid {
                    Some(uuid) => format!(
                        "get it from its image server, or with `imgadm export {uuid}` on a server that has it installed"
                    ),
                    None => "get it from where the image comes from".to_owned(),
                };
                vec![
                    download,
                    format!(
                        "then give it with --origin FILE, or put its manifest and its file into {}",
                        listed(folders)
                    ),
                ]
            }
            Self::WrongOrigin { origin, .. } => vec![format!(
                "get the origin anew from where the image comes from: {origin} has the right UUID, but is another image"
            )],
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
            Self::NoImage { .. }
            | Self::NoFile { .. }
            | Self::NoManifest { .. }
            | Self::NoOrigin { .. } => io::ErrorKind::NotFound,
            Self::Json { .. }
            | Self::Invalid { .. }
            | Self::Decompress { .. }
            | Self::NoStream { .. }
            | Self::Stream { .. }
            | Self::ReadTwice { .. }
            | Self::Ambiguous { .. }
            | Self::WrongOrigin { .. }
            | Self::OriginLoop { .. } => io::ErrorKind::InvalidData,
        }
    }
}

/// Bytes that an ordinary user may still write where `path` is or would be.
fn free_space(path: &Utf8Path) -> Option<u64> {
    let status = rustix::fs::statvfs(folder_of(path).as_std_path()).ok()?;
    status.f_bavail.checked_mul(status.f_frsize)
}
