//! New repositories and new homes.

mod templates;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::HomeError;
use crate::repos::{Git, GitFailure, Limits};
use crate::settings;

pub use templates::Template;

/// The names of the shell mibe's commands, by which mibe answers too.
pub const OLD_COMMANDS: [&str; 4] = [
    "repo_cloneall",
    "repo_pullall",
    "repo_init",
    "build_smartos",
];

/// What a new repository is to be.
#[derive(Clone, Debug)]
pub struct NewRepository<'a> {
    /// Its folder, which must not be there.
    pub folder: &'a Utf8Path,
    /// What kind of image it makes.
    pub template: Template,
    /// Where it will be on a server.
    pub url: Option<&'a str>,
}

/// Makes a repository: all of it, or nothing.
///
/// # Errors
///
/// The name can't be an image's, something is there already, or it can't be written.
pub fn repository(new: &NewRepository<'_>) -> Result<(), HomeError> {
    let folder = new.folder;
    let name = folder.file_name().unwrap_or_default();
    let image = name.strip_prefix("mi-").unwrap_or(name);
    let good = image.starts_with(|c: char| c.is_ascii_alphanumeric())
        && image
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && image.len() <= 200;
    if !good {
        return Err(HomeError::BadName(name.to_owned()));
    }
    if folder.symlink_metadata().is_ok() {
        return Err(HomeError::There(folder.to_owned()));
    }
    let parent = match folder.parent() {
        Some(parent) if !parent.as_str().is_empty() => parent,
        _ => Utf8Path::new("."),
    };
    fs::create_dir_all(parent).map_err(HomeError::io("make", parent))?;
    let growing = tempfile::Builder::new()
        .prefix(".mibe-init-")
        .tempdir_in(parent)
        .map_err(HomeError::io("write in", parent))?;
    let io = |error| HomeError::io("write", folder)(error);
    let homepage = new
        .url
        .and_then(homepage)
        .unwrap_or_else(|| format!("https://example.org/{image}"));
    let words = [
        ("@name@", image),
        ("@folder@", name),
        ("@homepage@", homepage.as_str()),
        ("@organization@", "Example"),
    ];
    for file in templates::files(new.template) {
        let mut text = file.text.to_owned();
        for (mark, word) in words {
            text = text.replace(mark, word);
        }
        write(growing.path(), file.path, &text, file.executable).map_err(io)?;
    }
    // A temporary folder is its owner's alone.
    fs::set_permissions(growing.path(), fs::Permissions::from_mode(0o755)).map_err(io)?;
    if folder.symlink_metadata().is_ok() {
        return Err(HomeError::There(folder.to_owned()));
    }
    fs::rename(growing.path(), folder).map_err(io)?;
    // Nothing is where it was.
    let _ = growing.keep();
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str, executable: bool) -> io::Result<()> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&path, text)?;
    let mode = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
}

/// The page that most servers show at a repository's URL.
fn homepage(url: &str) -> Option<String> {
    let page = url.strip_suffix(".git").unwrap_or(url);
    let rest = page
        .strip_prefix("https://")
        .or_else(|| page.strip_prefix("http://"))?;
    let host = rest.split('/').next().unwrap_or_default();
    // Who writes a user or a token into a URL does not want it in a manifest.
    let plain = !host.contains('@')
        && page
            .chars()
            .all(|c| c.is_ascii_graphic() && !"\"'`$\\".contains(c));
    plain.then(|| page.to_owned())
}

/// Makes a repository one of git: a first commit and, where given, a remote `origin`.
///
/// # Errors
///
/// git failed; what it did so far stays.
pub fn commit(
    git: &Git,
    folder: &Utf8Path,
    url: Option<&str>,
    limits: Limits<'_>,
) -> Result<(), GitFailure> {
    let until = limits.start();
    let here = Some(folder);
    git.must(["init", "--quiet"], here, &until)?;
    // First, so that it is there even if git does not know who commits.
    if let Some(url) = url {
        git.must(["remote", "add", "--", "origin", url], here, &until)?;
    }
    git.must(["add", "--all"], here, &until)?;
    let message = format!("Begin {}", folder.file_name().unwrap_or("the repository"));
    git.must(["commit", "--quiet", "-m", message.as_str()], here, &until)?;
    Ok(())
}

/// Pushes the current branch to `origin`, which it follows from then on.
///
/// # Errors
///
/// git failed.
pub fn push(git: &Git, folder: &Utf8Path, limits: Limits<'_>) -> Result<(), GitFailure> {
    let until = limits.start();
    git.must(
        ["push", "--quiet", "--set-upstream", "origin", "HEAD"],
        Some(folder),
        &until,
    )
    .map(drop)
}

/// What became of a part of a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made.
    New(Utf8PathBuf),
    /// It was there, and is as it was.
    Kept(Utf8PathBuf),
}

/// Makes a home of a folder, new or not: what is there already stays as it is.
///
/// `program` is what the old commands' names lead to.
///
/// # Errors
///
/// Something can't be written.
pub fn home(folder: &Utf8Path, program: &Path) -> Result<Vec<Made>, HomeError> {
    let mut made = Vec::new();
    for name in ["", "etc", "repos", "images", "logs", "bin"] {
        let path = folder.join(name);
        if !path.is_dir() {
            fs::create_dir_all(&path).map_err(HomeError::io("make", &path))?;
        }
    }
    for (name, text) in [
        ("etc/repos.conf", templates::REPOS_CONF.to_owned()),
        ("etc/repos.list", templates::REPOS_LIST.to_owned()),
        ("mibe.toml", settings::commented()),
    ] {
        let path = folder.join(name);
        let there = path.symlink_metadata().is_ok();
        if !there {
            write(folder.as_std_path(), name, &text, false)
                .map_err(HomeError::io("write", &path))?;
        }
        made.push(if there {
            Made::Kept(path)
        } else {
            Made::New(path)
        });
    }
    for name in OLD_COMMANDS {
        let path = folder.join("bin").join(name);
        match symlink(program, &path) {
            Ok(()) => made.push(Made::New(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                made.push(Made::Kept(path));
            }
            Err(error) => return Err(HomeError::io("make", &path)(error)),
        }
    }
    Ok(made)
}
