//! Makes the tree of a build machine fit to be an image.
//!
//! Three passes over a [`Root`]: [`clean`] takes out what belongs to one machine or one moment,
//! [`lx`] puts in what the LX brand of SmartOS and its boot scripts expect, [`checks`] looks at the
//! result and says what its users may trip over. What any of them did is in the [`Report`], so that
//! nothing is changed behind the back of who wrote the repository.

pub use crate::work::Report;
mod checks;
mod clean;
mod lx;
mod shown;
mod systemd;

use std::io;
use std::path::Path;

use mibe_sandbox::{Kind, Metadata, Root};
use rustix::io::Errno;

pub use lx::Distribution;

/// Why a tree can't become an image.
#[derive(Debug, thiserror::Error)]
pub enum FinaliseError {
    /// A file operation failed.
    #[error("{action} {} in the image: {source}", shown::path(path))]
    Io {
        /// What was tried ("write", "remove").
        action: &'static str,
        /// Path inside the image.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The LX brand could not tell what the tree is.
    #[error(
        "the LX brand boots Debian, Ubuntu, Red Hat and its kin (CentOS, Rocky, Alma, Fedora), Alpine and Void, and tells them by one of the files {}; none is in this image. Build on a base of one of these distributions; only if the base truly is one and merely lacks the file, lay the file in through the repository's copy/ (copy/etc/alpine-release, say)",
        lx::MARKERS.join(", ")
    )]
    NoMarker,
    /// A Debian tree whose /etc is a link: its boot script refuses it, and an empty /etc in its place would be no system.
    #[error(
        "/etc is a link to {} in this image, and the LX brand does not boot Debian and its kin with a linked /etc; build on a base where it is a directory",
        shown::name(target)
    )]
    LinkedEtc {
        /// What the link says.
        target: std::path::PathBuf,
    },
}

/// Finalises the tree of an LX image.
pub fn finalise_lx(root: &Root) -> Result<Report, FinaliseError> {
    let mut report = Report::default();
    let distribution = Distribution::of(root);
    report.distribution.clone_from(&distribution.pretty_name);
    clean::clean(root, &mut report)?;
    lx::lay(root, &distribution, &mut report)?;
    checks::check(root, &mut report);
    Ok(report)
}

/// Finalises the tree of a virtual machine's root: what the build and the disk's past left goes. What makes it one of SmartOS is done to the disk.
pub fn finalise_machine(root: &Root) -> Result<Report, FinaliseError> {
    let mut report = Report {
        distribution: Distribution::of(root).pretty_name,
        ..Report::default()
    };
    clean::clean_machine(root, &mut report)?;
    Ok(report)
}

/// Takes out of a base what belongs to the machine that it was made in.
pub fn anonymise(root: &Root) -> Result<(), FinaliseError> {
    clean::anonymise(root, &mut Report::default())
}

/// Adds the action and the path to an error of the system.
fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FinaliseError + 'a {
    move |source| FinaliseError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The metadata of `path`, or `None` where nothing stands.
fn lookup(root: &Root, path: impl AsRef<Path>) -> Result<Option<Metadata>, FinaliseError> {
    let path = path.as_ref();
    match root.metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(at("look at", path)(error)),
    }
}

/// Whether an error only says that nothing stands at the path, be it that links on the way lead in a circle.
fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    ) || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Whether `path`, followed to its end inside the root, is a directory.
fn is_dir(root: &Root, path: impl AsRef<Path>) -> bool {
    root.resolve(path.as_ref())
        .and_then(|path| root.metadata(&path))
        .is_ok_and(|metadata| metadata.kind == Kind::Dir)
}

/// Whether anything stands at `path`, a dangling link included.
fn exists(root: &Root, path: impl AsRef<Path>) -> bool {
    root.metadata(path.as_ref()).is_ok()
}

/// Removes whatever stands at `path`; says whether anything did.
fn remove(root: &Root, path: impl AsRef<Path>) -> Result<bool, FinaliseError> {
    let path = path.as_ref();
    let Some(metadata) = lookup(root, path)? else {
        return Ok(false);
    };
    if metadata.kind == Kind::Dir {
        root.remove_dir_all(path).map_err(at("remove", path))?;
    } else {
        root.remove_file(path).map_err(at("remove", path))?;
    }
    Ok(true)
}

/// Writes a root-owned file, replacing whatever non-directory stands there.
fn write(
    root: &Root,
    path: impl AsRef<Path>,
    mode: u32,
    content: &[u8],
) -> Result<(), FinaliseError> {
    let path = path.as_ref();
    root.write(path, mode, content).map_err(at("write", path))
}

/// Writes a root-owned file of mode 0644 that the platform or an instance fills in, and notes what is lost by it: content
/// other than `content`, or a link.
fn replace(
    root: &Root,
    path: impl AsRef<Path>,
    content: &[u8],
    why: &str,
    report: &mut Report,
) -> Result<(), FinaliseError> {
    let path = path.as_ref();
    note_loss(root, path, content, why, report)?;
    write(root, path, 0o644, content)
}

/// Notes what is lost when `content` takes the place of what stands at `path`.
fn note_loss(
    root: &Root,
    path: &Path,
    content: &[u8],
    why: &str,
    report: &mut Report,
) -> Result<(), FinaliseError> {
    let lost = match lookup(root, path)? {
        Some(there) if there.kind == Kind::Symlink => {
            let target = root.read_link(path).map_err(at("read the link", path))?;
            format!("was a link to {}", shown::name(target))
        }
        Some(there) if there.kind == Kind::File && there.size > 0 => {
            let same = root
                .read(path, content.len() as u64)
                .is_ok_and(|old| old == content);
            if same {
                return Ok(());
            }
            format!("held {} bytes", there.size)
        }
        _ => return Ok(()),
    };
    report.note(format!(
        "replaced {}, which {lost}: {why}",
        shown::path(path)
    ));
    Ok(())
}

/// Makes a directory (and its parents, 0755) if there is none; leaves an existing one alone.
fn directory(root: &Root, path: impl AsRef<Path>, mode: u32) -> Result<(), FinaliseError> {
    let path = path.as_ref();
    if is_dir(root, path) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        root.create_dir_all(parent, 0o755)
            .map_err(at("make", parent))?;
    }
    root.create_dir(path, mode).map_err(at("make", path))
}

/// A small text file of the image, for reading; `None` if it isn't there or isn't a regular file.
fn text(root: &Root, path: impl AsRef<Path>) -> Option<String> {
    const LIMIT: u64 = 1 << 20;
    let path = root.resolve(path.as_ref()).ok()?;
    let bytes = root.read(&path, LIMIT).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
