//! What a build starts from.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::base_image::is_image;
use crate::error::BuildError;

/// A base as a repository or a user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseRef {
    /// `debian:SUITE`: a Debian base that mibe bootstraps by itself.
    Debian {
        /// The suite ("bookworm").
        suite: String,
    },
    /// A root file system in a tar archive, compressed or not.
    Archive(PathBuf),
    /// A root file system in a directory.
    Directory(PathBuf),
    /// An image, by path, by uuid or by name and version.
    Image(String),
    /// A file that is the disk of a virtual machine.
    Disk(PathBuf),
    /// A disk that a server has.
    Url(String),
}

/// Where images come from that no library has.
pub trait FetchBase {
    /// Brings the image that a UUID, a name and version (`base-64-lts-22.4.0`, `base-64-lts@22.4.0`) or a name, which means the newest,
    /// stands for into a library, with what it stands on; its UUID. `None`: there is no such image.
    ///
    /// # Errors
    ///
    /// It could not be brought, or nobody could be asked.
    fn fetch(&self, name: &str) -> Result<Option<String>, BuildError>;
}

const ARCHIVES: &[&str] = &[
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.xz",
    ".txz",
    ".tar.zst",
    ".tar.zstd",
    ".tar.bz2",
    ".tbz2",
];

/// Endings of disks' files.
const DISKS: &[&str] = &[".qcow2", ".raw", ".img", ".vmdk", ".vhdx", ".vhd", ".vdi"];

impl BaseRef {
    /// Understands what stands behind `base=` or `--base`; a relative path counts from `folder`.
    ///
    /// A name is a path where it has a `/`, is `.` or `..`, ends as an archive does, or names a file or directory there is.
    ///
    /// # Errors
    ///
    /// The name is of no known form, or is a path where nothing stands.
    pub fn parse(name: &str, folder: &Path) -> Result<Self, BuildError> {
        if let Some(suite) = name.strip_prefix("debian:") {
            let valid = !suite.is_empty()
                && suite
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            return if valid {
                Ok(Self::Debian {
                    suite: suite.to_owned(),
                })
            } else {
                Err(BuildError::usage(
                    format!("{name:?} names no Debian suite"),
                    &["a suite is a word in small letters, as in debian:bookworm"],
                ))
            };
        }
        if crate::disk::is_url(name) {
            return Ok(Self::Url(name.to_owned()));
        }
        if let Some((scheme, _)) = name.split_once("://") {
            return Err(BuildError::usage(
                format!(
                    "the base {name} is of the scheme {scheme}, and only http and https are fetched"
                ),
                &["fetch it by other means, and give the file"],
            ));
        }
        let path = folder.join(name);
        let archive = ARCHIVES.iter().any(|ending| name.ends_with(ending));
        if name.contains('/') || matches!(name, "." | "..") || archive || path.is_dir() {
            return match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => Ok(Self::Directory(path)),
                Ok(metadata) if metadata.is_file() => Ok(Self::of_file(path)),
                Ok(_) => Err(BuildError::usage(
                    format!(
                        "the base {} is neither a file nor a directory",
                        path.display()
                    ),
                    &[],
                )),
                Err(error) => Err(BuildError::usage(
                    format!("the base {}: {error}", path.display()),
                    &[
                        "a relative path in a manifest counts from the repository, one of --base from the current folder",
                    ],
                )),
            };
        }
        if path.is_file() {
            return Ok(Self::of_file(path));
        }
        Ok(Self::Image(name.to_owned()))
    }

    /// The same where a virtual machine is made: a file that is no image is a disk.
    ///
    /// # Errors
    ///
    /// The name is a file's, and there is none of it in `folder`.
    pub(crate) fn of_disk(self, folder: &Path) -> Result<Self, BuildError> {
        match self {
            Self::Archive(path) => Ok(Self::Disk(path)),
            Self::Image(name)
                if DISKS.iter().any(|ending| name.ends_with(ending))
                    && !folder.join(&name).exists() =>
            {
                Err(BuildError::usage(
                    format!("there is no {}", folder.join(&name).display()),
                    &["a relative path in a manifest counts from the repository"],
                ))
            }
            other => Ok(other),
        }
    }

    /// A file is an image by what is in it, whatever its name.
    fn of_file(path: PathBuf) -> Self {
        match path.to_str().filter(|_| is_image(&path)) {
            Some(name) => Self::Image(name.to_owned()),
            None => Self::Archive(path),
        }
    }
}

impl fmt::Display for BaseRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian { suite } => write!(out, "debian:{suite}"),
            Self::Archive(path) | Self::Directory(path) | Self::Disk(path) => {
                write!(out, "{}", path.display())
            }
            Self::Image(name) | Self::Url(name) => out.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_form() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tree")).unwrap();
        std::fs::write(folder.path().join("base.tar.xz"), b"").unwrap();
        let parse = |name: &str| BaseRef::parse(name, folder.path());
        assert_eq!(
            parse("debian:bookworm").unwrap(),
            BaseRef::Debian {
                suite: "bookworm".into()
            }
        );
        assert!(matches!(parse("tree").unwrap(), BaseRef::Directory(_)));
        assert!(matches!(parse("base.tar.xz").unwrap(), BaseRef::Archive(_)));
        assert!(matches!(
            parse("minimal-64-lts-19.4.0").unwrap(),
            BaseRef::Image(_)
        ));
        for wrong in ["debian:", "debian:../x", "./absent", "absent.tar.gz"] {
            assert!(
                matches!(parse(wrong), Err(BuildError::Usage { .. })),
                "{wrong}"
            );
        }
    }
}
