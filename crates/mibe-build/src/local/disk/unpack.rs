//! Lays the files of a disk's root file system into a tree.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mibe_disk::ext4::{Ext4, FileKind, Inode, ROOT};
use mibe_sandbox::Root;

use super::{LOST_AND_FOUND, is_laid};

/// Bytes copied at a time.
const PIECE: u64 = 128 << 10;

/// Lays all files of `disk` into `root`, which is empty. Attributes other than `user.*` have no place in a tree; they stay on the disk.
///
/// # Errors
///
/// The file system is damaged, or a file can't be laid; the text names the path.
pub(super) fn unpack(root: &Root, disk: &Ext4<'_>) -> Result<(), String> {
    let mut laying = Laying {
        root,
        disk,
        firsts: HashMap::new(),
        buffer: vec![0; PIECE as usize],
    };
    let top = disk.inode(ROOT).map_err(|error| error.to_string())?;
    laying.directory(Path::new(""), &top)
}

struct Laying<'a> {
    root: &'a Root,
    disk: &'a Ext4<'a>,
    /// The first path of files with several names, by inode.
    firsts: HashMap<u32, PathBuf>,
    buffer: Vec<u8>,
}

impl Laying<'_> {
    fn directory(&mut self, path: &Path, inode: &Inode) -> Result<(), String> {
        let entries = self.disk.read_dir(inode).map_err(named(path))?;
        for entry in entries {
            let child = path.join(OsStr::from_bytes(&entry.name));
            if child == Path::new(LOST_AND_FOUND) {
                continue;
            }
            let found = self.disk.inode(entry.inode).map_err(named(&child))?;
            if found.kind == FileKind::Directory {
                self.root.create_dir(&child, 0o700).map_err(named(&child))?;
                self.directory(&child, &found)?;
            } else {
                self.file(&child, &found).map_err(named(&child))?;
            }
        }
        // Last, for its mode may forbid to write into it, and its time changes with each file.
        self.dress(path, inode).map_err(named(path))
    }

    fn file(&mut self, path: &Path, inode: &Inode) -> io::Result<()> {
        if inode.links > 1 {
            if let Some(first) = self.firsts.get(&inode.number) {
                return self.root.hard_link(first, path);
            }
            self.firsts.insert(inode.number, path.to_owned());
        }
        match inode.kind {
            FileKind::File => {
                let file = self.root.create_bare(path)?;
                self.content(inode, &file)?;
                self.xattrs(path, inode)?;
                let owner = (inode.uid, inode.gid);
                return self.root.dress(&file, owner, inode.mode, inode.mtime);
            }
            FileKind::Symlink => {
                let target = self.disk.read_link(inode)?;
                self.root
                    .symlink(Path::new(OsStr::from_bytes(&target)), path)?;
            }
            // Means nothing without its process.
            FileKind::Socket => return Ok(()),
            FileKind::Block | FileKind::Character | FileKind::Fifo | FileKind::Directory => {
                let kind = match inode.kind {
                    FileKind::Block => 0o060_000,
                    FileKind::Character => 0o020_000,
                    _ => 0o010_000,
                };
                let (major, minor) = inode.device;
                self.root.mknod(path, kind | 0o600, major, minor)?;
            }
        }
        self.dress(path, inode)
    }

    fn content(&mut self, inode: &Inode, file: &File) -> io::Result<()> {
        let mut at = 0;
        while let Some(range) = self.disk.next_data(inode, at)? {
            at = range.start;
            while at < range.end {
                let piece = &mut self.buffer[..(range.end - at).min(PIECE) as usize];
                self.disk.read(inode, at, piece)?;
                file.write_all_at(piece, at)?;
                at += piece.len() as u64;
            }
        }
        file.set_len(inode.size)
    }

    fn xattrs(&self, path: &Path, inode: &Inode) -> io::Result<()> {
        for (name, value) in self.disk.xattrs(inode)? {
            if is_laid(&name) {
                self.root
                    .set_xattr(path, OsStr::from_bytes(&name), &value)?;
            }
        }
        Ok(())
    }

    /// Gives what was laid its owner, attributes, mode and time, in this order: the mode may forbid to set attributes, and a change of the owner clears
    /// set-uid bits.
    fn dress(&self, path: &Path, inode: &Inode) -> io::Result<()> {
        self.root.chown(path, inode.uid, inode.gid)?;
        if inode.kind != FileKind::Symlink {
            if inode.kind == FileKind::Directory {
                self.xattrs(path, inode)?;
            }
            self.root.chmod(path, inode.mode)?;
        }
        self.root.set_mtime(path, inode.mtime.0, inode.mtime.1)
    }
}

fn named(path: &Path) -> impl FnOnce(io::Error) -> String + '_ {
    move |error| {
        format!(
            "/{}: {error}",
            mibe_image::listing::escape(path.as_os_str().as_bytes())
        )
    }
}
