//! What is to be changed of a guest's files, put together from what is there.

use std::collections::HashSet;
use std::io;

use crate::ext4::edit::{Change, Content, Metadata};
use crate::ext4::{Ext4, FileKind, Inode};
use crate::source::damaged;

/// Most changes to a disk: a system that was lived in for years has some thousand files of its past.
const MOST_CHANGES: usize = 100_000;

/// Deepest folder that is cleaned away with all that is in it.
const DEEPEST: u32 = 64;

/// Changes to a tree, put together path by path.
pub(crate) struct Changes<'a> {
    tree: &'a Ext4<'a>,
    now: i64,
    pub list: Vec<Change>,
    gone: HashSet<Vec<u8>>,
}

impl<'a> Changes<'a> {
    pub fn new(tree: &'a Ext4<'a>, now: i64) -> Self {
        Self {
            tree,
            now,
            list: Vec::new(),
            gone: HashSet::new(),
        }
    }

    /// Writes a file of root, in a directory that is made if it is not there.
    pub fn write(&mut self, path: &str, content: Vec<u8>) -> io::Result<()> {
        let (path, there) = match self.place(path)? {
            Some(place) => place,
            None => (self.make_folder_of(path)?, None),
        };
        let label = self.label(&path, there.as_ref())?;
        if there.is_some() {
            self.push(Change::Remove(path.clone()))?;
        }
        let metadata = Metadata {
            xattrs: label.into_iter().collect(),
            ..Metadata::of_root(0o644, self.now)
        };
        self.push(Change::File(path, Content::Bytes(content), metadata))
    }

    /// Makes the directory of a path, and those above it; the path as it is then.
    fn make_folder_of(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let Some((folder, name)) = path.rsplit_once('/') else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let real = match self.place(folder)? {
            Some((_, Some(_))) => {
                return Err(damaged(format!("/{folder} is no directory")));
            }
            Some((real, None)) => real,
            None => self.make_folder_of(folder)?,
        };
        let made = Change::Directory(real.clone(), Metadata::of_root(0o755, self.now));
        if !self.list.contains(&made) {
            self.push(made)?;
        }
        Ok([&real, b"/".as_slice(), name.as_bytes()].concat())
    }

    /// The label of SELinux for a file: that of what stands there, or of its directory, as a guest would give it.
    fn label(&self, path: &[u8], there: Option<&Inode>) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let xattrs = if let Some(inode) = there {
            self.tree.xattrs(inode)?
        } else {
            let folder = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            let folder = String::from_utf8_lossy(&path[..folder]);
            let folder = self.tree.find(&folder, true)?;
            folder.map_or_else(|| Ok(Vec::new()), |inode| self.tree.xattrs(&inode))?
        };
        Ok(xattrs
            .into_iter()
            .find(|(name, _)| name == b"security.selinux"))
    }

    /// Empties a file, which keeps its owner and mode; whether there is one.
    pub fn empty(&mut self, path: &str) -> io::Result<bool> {
        let Some((path, Some(inode))) = self.place(path)? else {
            return Ok(false);
        };
        if inode.kind != FileKind::File || self.is_gone(&path) {
            return Ok(false);
        }
        let metadata = Metadata {
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime: (self.now, 0),
            xattrs: self.tree.xattrs(&inode)?,
        };
        self.push(Change::Remove(path.clone()))?;
        self.push(Change::File(path, Content::Bytes(Vec::new()), metadata))?;
        Ok(true)
    }

    /// Whether a path goes already: through links, a file can be found by two.
    fn is_gone(&self, path: &[u8]) -> bool {
        self.gone.contains(path)
    }

    /// Adds a change, if there may be one more: directories can have each other in them, and so no end.
    fn push(&mut self, change: Change) -> io::Result<()> {
        if self.list.len() >= MOST_CHANGES {
            return Err(damaged(format!(
                "more than {MOST_CHANGES} files of its past would be cleaned away"
            )));
        }
        if let Change::Remove(path) | Change::RemoveDirectory(path) = &change
            && !self.gone.insert(path.clone())
        {
            return Ok(());
        }
        self.list.push(change);
        Ok(())
    }

    /// Removes a file, or a directory with all that is in it; whether there is one.
    pub fn remove(&mut self, path: &str) -> io::Result<bool> {
        match self.place(path)? {
            Some((path, Some(inode))) if !self.is_gone(&path) => {
                self.remove_inode(path, &inode, 0)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn remove_inode(&mut self, path: Vec<u8>, inode: &Inode, depth: u32) -> io::Result<()> {
        if inode.kind != FileKind::Directory {
            return self.push(Change::Remove(path));
        }
        // Directories that are their own have no end.
        if depth > DEEPEST {
            return Err(damaged(format!(
                "the directories in /{} are more than {DEEPEST} deep",
                String::from_utf8_lossy(&path[..path.len().min(100)])
            )));
        }
        for entry in self.tree.read_dir(inode)? {
            let child = self.tree.inode(entry.inode)?;
            self.remove_inode(
                [&path, b"/".as_slice(), &entry.name].concat(),
                &child,
                depth + 1,
            )?;
        }
        self.push(Change::RemoveDirectory(path))
    }

    /// The path without links in its directories, and what stands there; `None`: its directory is not there.
    fn place(&self, path: &str) -> io::Result<Option<(Vec<u8>, Option<Inode>)>> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some((mut real, directory)) = self.tree.find_real(folder)? else {
            return Ok(None);
        };
        if directory.kind != FileKind::Directory {
            return Ok(None);
        }
        let inode = match self.tree.lookup(&directory, name.as_bytes())? {
            Some(number) => Some(self.tree.inode(number)?),
            None => None,
        };
        if !real.is_empty() {
            real.push(b'/');
        }
        real.extend(name.as_bytes());
        Ok(Some((real, inode)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::source::{Format, Raw};

    fn run(program: &str, arguments: &[&str]) {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let output = Command::new(program)
            .args(arguments)
            .env("PATH", path)
            .output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program}: {output:?}");
    }

    /// A file system with the folder `past`, changed by commands of debugfs.
    fn disk(folder: &Path, commands: &[&str]) -> Raw {
        fs::create_dir_all(folder.join("tree/past/one/two")).unwrap();
        fs::write(folder.join("tree/past/file"), "x").unwrap();
        let (tree, path) = (folder.join("tree"), folder.join("disk"));
        let (tree, path) = (tree.to_str().unwrap(), path.to_str().unwrap());
        run(
            "mke2fs",
            &[
                "-q", "-F", "-t", "ext4", "-b", "1024", "-d", tree, path, "4M",
            ],
        );
        for command in commands {
            run("debugfs", &["-w", "-R", command, path]);
        }
        Raw::open(File::open(path).unwrap(), Format::Raw).unwrap()
    }

    #[test]
    fn a_folder_goes_after_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path(), &[]);
        let tree = Ext4::open(&disk, 0, 4 << 20).unwrap();
        let mut changes = Changes::new(&tree, 0);
        changes.remove("past").unwrap();
        let expected = [
            Change::Remove(b"past/file".to_vec()),
            Change::RemoveDirectory(b"past/one/two".to_vec()),
            Change::RemoveDirectory(b"past/one".to_vec()),
            Change::RemoveDirectory(b"past".to_vec()),
        ];
        assert_eq!(changes.list, expected);
    }

    /// Folders in themselves, and folders twice in each other: two to the power of their depth.
    #[test]
    fn folders_without_end() {
        let many: Vec<String> = (0..40)
            .flat_map(|depth| {
                let path = format!("/past/{}", vec!["d"; depth].join("/"));
                [format!("mkdir {path}/d"), format!("ln {path}/d {path}/e")]
            })
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let cases: [(&[&str], &str); 3] = [
            (&["ln /past /past/one/again"], "deep"),
            (
                &["ln /past /past/a", "ln /past /past/b", "rm /past/file"],
                "deep",
            ),
            (&many, "more than"),
        ];
        for (commands, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            let disk = disk(folder.path(), commands);
            let tree = Ext4::open(&disk, 0, 4 << 20).unwrap();
            let mut changes = Changes::new(&tree, 0);
            let started = Instant::now();
            let error = changes.remove("past").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(started.elapsed() < Duration::from_secs(60));
        }
    }
}
