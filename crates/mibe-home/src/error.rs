//! What can be wrong with a home.

use std::path::PathBuf;

use camino::Utf8PathBuf;
use mibe_recipe::Problem;

/// An error of the home.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// A path is not UTF-8.
    #[error("{} is not UTF-8, as paths of a home must be", .0.display())]
    NotUtf8(PathBuf),
    /// What should be the home's folder is none.
    #[error("the home {folder}: {source}")]
    Folder {
        /// The folder.
        folder: Utf8PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No repository has the name.
    #[error("there is no build repository `{name}`, {}", match .repos {
        Some(repos) => format!("neither here nor in {repos}"),
        None => "and no home that could have one of that name".to_owned(),
    })]
    NoRepository {
        /// The name.
        name: String,
        /// Where it was looked for beside the current folder: in the home, if there is one.
        repos: Option<Utf8PathBuf>,
        /// Names that are there and near to it, the nearest first.
        nearest: Vec<String>,
    },
    /// A file of settings is wrong.
    #[error("{file} has {} of settings that can't be read", if .problems.len() == 1 { "a line" } else { "lines" })]
    Settings {
        /// The file.
        file: Utf8PathBuf,
        /// What is wrong, and where.
        problems: Vec<Problem>,
    },
    /// A repository's name can't be an image's.
    #[error("`{0}` can't be the name of a repository")]
    BadName(String),
    /// Something stands where a repository was to be made.
    #[error("{0} is there already")]
    There(Utf8PathBuf),
    /// There is no list of repositories.
    #[error("there is no {0}, which would list the repositories")]
    NoList(Utf8PathBuf),
    /// The server that repositories come from can't be understood.
    #[error("GITSERVER {server:?}: {message}")]
    Server {
        /// As it was written.
        server: String,
        /// What is wrong.
        message: String,
    },
    /// A file or folder could not be read or made.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was tried ("read").
        action: &'static str,
        /// The file.
        path: Utf8PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl HomeError {
    /// What to do about it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NotUtf8(_) => vec!["move it to a path of plain letters".to_owned()],
            Self::Folder { .. } => {
                vec!["see what MIBE_HOME says; `mibe init-home DIR` makes a home".to_owned()]
            }
            Self::NoRepository { nearest, .. } if nearest.is_empty() => vec![
                "give the path of a folder; names are of repositories in a home (MIBE_HOME, or found from here upwards)".to_owned(),
            ],
            Self::NoRepository { nearest, .. } => {
                vec![format!("did you mean {}?", nearest.join(", "))]
            }
            Self::Settings { .. } => vec!["docs/settings.md tells of all of them".to_owned()],
            Self::BadName(_) => vec!["use letters, digits and . _ -, as in mi-example".to_owned()],
            Self::There(_) => vec!["choose another name, or move it away".to_owned()],
            Self::NoList(_) => {
                vec!["go to a home, or set MIBE_HOME to one; `mibe init-home` makes one".to_owned()]
            }
            Self::Server { .. } => vec![
                "write https://HOST/OWNER, git@HOST:OWNER, ssh://…, git://… or a folder".to_owned(),
            ],
            Self::Io { .. } => Vec::new(),
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: &camino::Utf8Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
