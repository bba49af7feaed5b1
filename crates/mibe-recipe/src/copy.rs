//! `copy/`: the tree that is laid over the image's root.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::codes::Code;
use crate::problem::{Collector, Problem};

/// Entries that a `copy/` may have: a hundred times more than any published one, and bounded memory.
const ENTRIES: usize = 1_000_000;
/// Bytes in a path below `copy/`: what the system takes, less the room for the folder before it.
const PATH_LENGTH: usize = 3072;

/// An entry of `copy/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyEntry {
    /// Path below `copy/`, which is the path in the image; never absolute, never with `..`.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits (`0o7777`) as they are on this host.
    pub mode: u32,
    /// Bytes of a file, 0 for all else.
    pub size: u64,
}

/// What an entry of `copy/` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link with its target, which is copied as it stands.
    Symlink(PathBuf),
}

/// Lists the tree below `top`, sorted by the bytes of names, each directory before what is in it.
pub(crate) fn walk(top: &Path, problems: &mut Collector) -> Vec<CopyEntry> {
    walk_bounded(top, ENTRIES, problems)
}

fn walk_bounded(top: &Path, most: usize, problems: &mut Collector) -> Vec<CopyEntry> {
    let mut walk = Walk {
        top,
        most,
        entries: Vec::new(),
        problems,
        full: false,
    };
    walk.directory(Path::new(""));
    walk.entries
}

struct Walk<'a> {
    top: &'a Path,
    most: usize,
    entries: Vec<CopyEntry>,
    problems: &'a mut Collector,
    /// Whether the bound was met, which is told once.
    full: bool,
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path) {
        let names = match self.names(path) {
            Ok(names) => names,
            Err(error) => return self.unreadable(path, &error),
        };
        for name in names {
            if self.full {
                return;
            }
            let path = path.join(&name);
            if path.as_os_str().len() > PATH_LENGTH {
                self.problem(
                    Code::PathTooLong,
                    &path,
                    "the path is too long",
                    "use shorter names or fewer levels",
                );
                continue;
            }
            if let Err(error) = self.entry(&path) {
                self.unreadable(&path, &error);
            }
        }
    }

    /// Names in a directory, sorted, without what editors, systems and git leave there.
    fn names(&mut self, path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.top.join(path))? {
            let name = entry?.file_name();
            if is_dropping(&name) {
                let path = path.join(&name);
                self.problem(
                    Code::LeftOut,
                    &path,
                    "stays out of the image",
                    "remove it, and name it in .gitignore",
                );
            } else {
                names.push(name);
            }
            if names.len() > self.most {
                break;
            }
        }
        names.sort_unstable();
        // In a directory with anything else in it they may be meant for the image.
        if names.iter().all(|name| keeps_directory(name)) {
            names.clear();
        }
        Ok(names)
    }

    fn entry(&mut self, path: &Path) -> io::Result<()> {
        let full = self.top.join(path);
        let metadata = fs::symlink_metadata(&full)?;
        let kind = metadata.file_type();
        let mode = metadata.mode() & 0o7777;
        let mut entry = CopyEntry {
            path: path.to_owned(),
            kind: EntryKind::Directory,
            mode,
            size: 0,
        };
        if kind.is_symlink() {
            entry.kind = EntryKind::Symlink(fs::read_link(&full)?);
        } else if kind.is_file() {
            // Opened, because only that says whether it can be read.
            let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
            fs::OpenOptions::new()
                .read(true)
                .custom_flags(flags.bits() as i32)
                .open(&full)?;
            entry.kind = EntryKind::File;
            entry.size = metadata.len();
        } else if !kind.is_dir() {
            let what = if kind.is_socket() {
                "a socket"
            } else if kind.is_fifo() {
                "a named pipe"
            } else {
                "a device"
            };
            self.problem(
                Code::SpecialFile,
                path,
                &format!("{what} can't be copied into an image"),
                "remove it; customize can make what the image needs",
            );
            return Ok(());
        }
        if self.entries.len() >= self.most {
            self.full = true;
            self.problem(
                Code::TooManyEntries,
                Path::new(""),
                &format!("more than {} files", self.most),
                "bring them as a package or an archive that customize unpacks",
            );
            return Ok(());
        }
        let is_directory = entry.kind == EntryKind::Directory;
        self.entries.push(entry);
        if is_directory {
            self.directory(path);
        }
        Ok(())
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.problem(
            Code::Unreadable,
            path,
            &format!("can't be read: {error}"),
            "make it readable for the user who builds, or remove it",
        );
    }

    fn problem(&mut self, code: Code, path: &Path, message: &str, advice: &str) {
        let file = format!("copy/{}", path.to_string_lossy().escape_debug());
        self.problems
            .push(Problem::of_file(code, file, message, advice));
    }
}

fn is_dropping(name: &OsStr) -> bool {
    name == ".DS_Store" || name.as_bytes().starts_with(b"._")
}

fn keeps_directory(name: &OsStr) -> bool {
    name == ".gitignore" || name == ".keep" || name == ".gitkeep"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_files_are_one_problem() {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..12 {
            fs::write(folder.path().join(index.to_string()), "").unwrap();
        }
        let mut problems = Collector::default();
        let entries = walk_bounded(folder.path(), 10, &mut problems);
        assert_eq!(entries.len(), 10);
        let problems = problems.finish();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].code, Code::TooManyEntries);
    }
}
