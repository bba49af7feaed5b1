//! What differs between a tree and the root file system of the disk that it was laid from.
//!
//! What is the same on both stays on the disk as it is, with the attributes that a tree has no place for: capabilities, ACLs, labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use mibe_disk::ext4::{Ext4, FileKind, Inode, ROOT};
use mibe_sandbox::{Kind, Metadata, Root};
use serde::{Deserialize, Serialize};

use super::frames::{self, Bytes, Frame, Traits};
use super::{LOST_AND_FOUND, is_laid};

/// Bytes compared at a time.
const PIECE: usize = 128 << 10;

/// Names of such files that are told at most.
const TOLD: usize = 10;

/// The attribute that a file loses when it is written anew, as the kernel has it (capabilities(7)).
const CAPABILITY: &[u8] = b"security.capability";

/// What was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Found {
    /// Files, each counted once however many names it has.
    pub entries: u64,
    pub new: u64,
    pub changed: u64,
    pub removed: u64,
    /// Bytes of what comes, and of what goes before that.
    pub bytes: u64,
    pub freed: u64,
    /// Sockets of the tree, which no disk carries.
    pub sockets: Vec<String>,
    /// Files that had capabilities and are others now.
    pub lost_capabilities: Vec<String>,
    /// What changed where the guest has another file system.
    pub beyond: Vec<String>,
}

/// Writes what is to change on the disk to `out`. Nothing that changes gets a time after `epoch`; `mounts` are where the guest has other file systems.
///
/// # Errors
///
/// A file of either could not be read, or `out` not be written; the text names the path.
pub(super) fn difference(
    root: &Root,
    disk: &Ext4<'_>,
    epoch: i64,
    mounts: &[PathBuf],
    out: &mut dyn Write,
) -> Result<Found, String> {
    let mut compare = Compare {
        root,
        disk,
        epoch,
        mounts,
        out,
        found: Found::default(),
        names: HashMap::new(),
        old_names: HashMap::new(),
        firsts: HashMap::new(),
    };
    let top = disk.inode(ROOT).map_err(|error| error.to_string())?;
    compare.links_of_tree(Path::new(""))?;
    compare.links_of_disk(Path::new(""), &top)?;
    compare.directory(Path::new(""), &top)?;
    compare.write(Path::new(""), &Frame::End)?;
    Ok(compare.found)
}

/// A file of the tree, whatever its name.
type Identity = (u64, u64);

struct Compare<'a> {
    root: &'a Root,
    disk: &'a Ext4<'a>,
    epoch: i64,
    mounts: &'a [PathBuf],
    out: &'a mut dyn Write,
    found: Found,
    /// All names of files of the tree that have several.
    names: HashMap<Identity, BTreeSet<PathBuf>>,
    /// The same of the disk, by inode.
    old_names: HashMap<u32, BTreeSet<PathBuf>>,
    /// Files with several names that have come, with their first.
    firsts: HashMap<Identity, (PathBuf, u32)>,
}

impl Compare<'_> {
    fn links_of_tree(&mut self, path: &Path) -> Result<(), String> {
        for entry in self.root.read_dir(path).map_err(named(path))? {
            let child = path.join(&entry.name);
            let metadata = &entry.metadata;
            if metadata.kind == Kind::Dir {
                self.links_of_tree(&child)?;
            } else if metadata.nlink > 1 {
                self.names
                    .entry((metadata.dev, metadata.ino))
                    .or_default()
                    .insert(child);
            }
        }
        Ok(())
    }

    fn links_of_disk(&mut self, path: &Path, directory: &Inode) -> Result<(), String> {
        for entry in self.disk.read_dir(directory).map_err(named(path))? {
            let child = path.join(OsStr::from_bytes(&entry.name));
            let inode = self.disk.inode(entry.inode).map_err(named(&child))?;
            if inode.kind == FileKind::Directory {
                self.links_of_disk(&child, &inode)?;
            } else if inode.links > 1 {
                self.old_names
                    .entry(inode.number)
                    .or_default()
                    .insert(child);
            }
        }
        Ok(())
    }

    /// Compares a directory that both have.
    fn directory(&mut self, path: &Path, old: &Inode) -> Result<(), String> {
        let metadata = self.root.metadata(path).map_err(named(path))?;
        let mut names: BTreeMap<Vec<u8>, (Option<Metadata>, Option<Inode>)> = BTreeMap::new();
        for entry in self.root.read_dir(path).map_err(named(path))? {
            names.insert(entry.name.into_vec(), (Some(entry.metadata), None));
        }
        for entry in self.disk.read_dir(old).map_err(named(path))? {
            let inode = self.disk.inode(entry.inode).map_err(named(path))?;
            names.entry(entry.name).or_default().1 = Some(inode);
        }
        let mut touched = false;
        for (name, found) in names {
            let child = path.join(OsStr::from_bytes(&name));
            if child == Path::new(LOST_AND_FOUND) {
                continue;
            }
            touched |= match found {
                (Some(new), Some(old)) => self.both(&child, &new, &old)?,
                (Some(new), None) => self.come(&child, &new, None)?,
                (None, Some(old)) if old.kind == FileKind::Socket => false,
                (None, Some(old)) => {
                    self.gone(&child, &old)?;
                    true
                }
                (None, None) => false,
            };
        }
        self.dress(path, &metadata, old, touched)
    }

    /// Compares what has the same path; whether a name of the directory above was taken away or given.
    fn both(&mut self, path: &Path, new: &Metadata, old: &Inode) -> Result<bool, String> {
        if new.kind == Kind::Dir && old.kind == FileKind::Directory {
            self.directory(path, old)?;
            return Ok(false);
        }
        let same_names = match (
            self.names.get(&(new.dev, new.ino)),
            self.old_names.get(&old.number),
        ) {
            (None, None) => true,
            (new, old) => new == old,
        };
        if same_names && self.same_content(path, new, old).map_err(named(path))? {
            // Of several names, the first tells for all.
            let is_first = self
                .old_names
                .get(&old.number)
                .is_none_or(|names| names.first().is_some_and(|first| first == path));
            if is_first {
                self.found.entries += 1;
                self.dress(path, new, old, false)?;
            }
            return Ok(false);
        }
        self.gone(path, old)?;
        self.come(path, new, Some(old))?;
        // What replaces is neither new nor gone.
        self.found.removed -= 1;
        if new.kind != Kind::Socket {
            self.found.new -= 1;
        }
        self.found.changed += 1;
        Ok(true)
    }

    /// Whether two are of one kind and hold the same.
    fn same_content(&self, path: &Path, new: &Metadata, old: &Inode) -> io::Result<bool> {
        Ok(match (new.kind, old.kind) {
            (Kind::File, FileKind::File) => new.size == old.size && self.same_bytes(path, old)?,
            (Kind::Symlink, FileKind::Symlink) => {
                self.root.read_link(path)?.as_os_str().as_bytes() == self.disk.read_link(old)?
            }
            (Kind::Char, FileKind::Character) | (Kind::Block, FileKind::Block) => {
                new.rdev == old.device
            }
            (Kind::Fifo, FileKind::Fifo) => true,
            _ => false,
        })
    }

    fn same_bytes(&self, path: &Path, old: &Inode) -> io::Result<bool> {
        let mut file = self.root.open(path)?;
        let (mut one, mut other) = (vec![0; PIECE], vec![0; PIECE]);
        let mut at = 0;
        while at < old.size {
            let length = (old.size - at).min(PIECE as u64) as usize;
            file.read_exact(&mut one[..length])?;
            self.disk.read(old, at, &mut other[..length])?;
            if one[..length] != other[..length] {
                return Ok(false);
            }
            at += length as u64;
        }
        Ok(true)
    }

    /// Gives what stays its metadata where they differ; a directory that names were taken from or given to has its time set in any case.
    fn dress(
        &mut self,
        path: &Path,
        new: &Metadata,
        old: &Inode,
        touched: bool,
    ) -> Result<(), String> {
        // Those that a tree has no place for stay as they are on the disk.
        let mut was = self.disk.xattrs(old).map_err(named(path))?;
        was.retain(|(name, _)| is_laid(name));
        let is = self.xattrs(path, new).map_err(named(path))?;
        let same = (new.mode, new.uid, new.gid) == (old.mode, old.uid, old.gid)
            && new.mtime == old.mtime
            && is == was;
        if same && !touched {
            return Ok(());
        }
        if !same && new.kind != Kind::Dir {
            self.found.changed += 1;
        }
        self.tell_beyond(path);
        let removed: Vec<Bytes> = was
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !is.iter().any(|(kept, _)| kept == *name))
            .map(|name| Bytes(name.clone()))
            .collect();
        let mut traits = traits(new, self.epoch, is);
        traits.mode |= new.kind.to_mode();
        if new.mtime == old.mtime {
            traits.mtime = old.mtime;
        }
        self.write(path, &Frame::Metadata(bytes(path), traits, removed))
    }

    /// What the tree has and the disk has not; `old` is what it replaces. Whether anything came.
    fn come(&mut self, path: &Path, new: &Metadata, old: Option<&Inode>) -> Result<bool, String> {
        if new.kind == Kind::Socket {
            if self.found.sockets.len() < TOLD {
                self.found.sockets.push(shown(path));
            }
            return Ok(false);
        }
        self.tell_beyond(path);
        let identity = (new.dev, new.ino);
        if new.kind != Kind::Dir && new.nlink > 1 {
            let links = self.names.get(&identity).map_or(1, BTreeSet::len) as u32;
            if let Some((first, have)) = self.firsts.get_mut(&identity) {
                *have = (*have + 1).min(links);
                let frame = Frame::Link(bytes(first), bytes(path), *have);
                self.found.new += 1;
                self.write(path, &frame)?;
                return Ok(true);
            }
            self.firsts.insert(identity, (path.to_owned(), 1));
        }
        self.found.new += 1;
        self.found.entries += 1;
        let mut xattrs = self.xattrs(path, new).map_err(named(path))?;
        if let Some(old) = old {
            xattrs.extend(self.inherited(path, new, old).map_err(named(path))?);
        }
        let traits = traits(new, self.epoch, xattrs);
        let path_bytes = bytes(path);
        match new.kind {
            Kind::Dir => {
                self.write(path, &Frame::Directory(path_bytes.clone(), traits.clone()))?;
                for entry in self.root.read_dir(path).map_err(named(path))? {
                    self.come(&path.join(&entry.name), &entry.metadata, None)?;
                }
                let mut traits = traits;
                traits.mode |= new.kind.to_mode();
                traits.xattrs.clear();
                self.write(path, &Frame::Metadata(path_bytes, traits, Vec::new()))?;
            }
            Kind::File => {
                self.found.bytes += new.size;
                self.write(path, &Frame::File(path_bytes, traits, new.size))?;
                let file = self.root.open(path).map_err(named(path))?;
                let copied = io::copy(&mut file.take(new.size), self.out).map_err(named(path))?;
                if copied != new.size {
                    return Err(format!("/{}: it changed while it was read", shown(path)));
                }
            }
            Kind::Symlink => {
                let target = self.root.read_link(path).map_err(named(path))?;
                self.write(path, &Frame::Symlink(path_bytes, bytes(&target), traits))?;
            }
            Kind::Char | Kind::Block | Kind::Fifo | Kind::Socket => {
                let kind = match new.kind {
                    Kind::Char => 'c',
                    Kind::Block => 'b',
                    _ => 'p',
                };
                self.write(path, &Frame::Node(path_bytes, kind, new.rdev, traits))?;
            }
        }
        Ok(true)
    }

    /// The attributes that a file takes over of the one in whose place it comes: labels and ACLs, which say who may do what with a file of that path.
    fn inherited(
        &mut self,
        path: &Path,
        new: &Metadata,
        old: &Inode,
    ) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let both_files = (new.kind, old.kind) == (Kind::File, FileKind::File);
        let mut foreign = self.disk.xattrs(old)?;
        foreign.retain(|(name, _)| !is_laid(name));
        if foreign.iter().any(|(name, _)| name == CAPABILITY)
            && self.found.lost_capabilities.len() < TOLD
        {
            self.found.lost_capabilities.push(shown(path));
        }
        foreign.retain(|(name, _)| both_files && name != CAPABILITY);
        Ok(foreign)
    }

    /// What the disk has and the tree has not.
    fn gone(&mut self, path: &Path, old: &Inode) -> Result<(), String> {
        self.tell_beyond(path);
        if old.kind != FileKind::Directory {
            self.found.removed += 1;
            // Another name may keep the file.
            if old.kind == FileKind::File && old.links == 1 {
                self.found.freed += old.size;
            }
            return self.write(path, &Frame::Remove(bytes(path)));
        }
        for entry in self.disk.read_dir(old).map_err(named(path))? {
            let child = path.join(OsStr::from_bytes(&entry.name));
            let inode = self.disk.inode(entry.inode).map_err(named(&child))?;
            self.gone(&child, &inode)?;
        }
        self.found.removed += 1;
        self.write(path, &Frame::RemoveDirectory(bytes(path)))
    }

    fn xattrs(&self, path: &Path, new: &Metadata) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        if !matches!(new.kind, Kind::File | Kind::Dir) {
            return Ok(Vec::new());
        }
        let all = self.root.xattrs(path)?.into_iter();
        Ok(all.map(|(name, value)| (name.into_vec(), value)).collect())
    }

    /// Keeps the path of a change where the guest mounts something else over it.
    fn tell_beyond(&mut self, path: &Path) {
        let is_below = |mount: &PathBuf| path.starts_with(mount) && path != mount;
        if self.found.beyond.len() < TOLD && self.mounts.iter().any(is_below) {
            self.found.beyond.push(shown(path));
        }
    }

    fn write(&mut self, path: &Path, frame: &Frame) -> Result<(), String> {
        frames::write(self.out, frame).map_err(named(path))
    }
}

fn traits(metadata: &Metadata, epoch: i64, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Traits {
    let mtime = if metadata.mtime.0 >= epoch {
        (epoch, 0)
    } else {
        metadata.mtime
    };
    Traits {
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime,
        xattrs: xattrs
            .into_iter()
            .map(|(name, value)| (Bytes(name), Bytes(value)))
            .collect(),
    }
}

fn bytes(path: &Path) -> Bytes {
    Bytes(path.as_os_str().as_bytes().to_vec())
}

fn shown(path: &Path) -> String {
    mibe_image::listing::escape(path.as_os_str().as_bytes())
}

fn named(path: &Path) -> impl FnOnce(io::Error) -> String + '_ {
    move |error| format!("/{}: {error}", shown(path))
}
