//! Finds for every file of the tree the one of the base that it is.
//!
//! A file is that of the same path and type in the base; of several links, the one that the first of its paths leads to. What
//! has none gets a new object, after all of the base.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::super::listing::{child_path, name_problem};
use super::super::zap::{Entry as ZapEntry, Source};
use super::super::{At as _, WriteError};
use crate::format::znode::dirent;
use crate::read::{Filesystem, Node};
use crate::tree::{Identity, Kind, LeftOut, Metadata, Tree};

/// The root of the tree has no entry.
const NO_ENTRY: u32 = u32::MAX;

/// A file of the tree: 40 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    /// Its object.
    pub object: u64,
    /// The first entry that leads to it.
    entry: u32,
    /// Names that lead to it.
    pub links: u32,
    /// Its entries among all, if it is a directory.
    first: u32,
    end: u32,
    /// Directories among them.
    pub directories: u32,
    /// Whether one of its directories is the one that the base says it is in.
    pub keeps_parent: bool,
    pub kind: Kind,
}

/// An entry of a directory.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: u32,
    name_length: u8,
    /// Index of the file it leads to, and of the directory it is in.
    file: u32,
    directory: u32,
}

/// The files of the tree, with their objects.
pub(super) struct Scan {
    /// Sorted by object once all are there.
    pub files: Vec<File>,
    entries: Vec<Entry>,
    names: Vec<u8>,
    /// First object that is not in the base.
    pub first_new: u64,
    /// First object that is neither in the base nor that of a file of the tree.
    pub next_object: u64,
    /// Bytes of regular files.
    pub file_bytes: u64,
    pub sockets: LeftOut,
    /// Objects of the base that are kept, but not their extended attributes.
    pub stale_xattrs: HashSet<u64>,
}

impl Scan {
    /// Scans a tree that is to take the place of the directory `top` of the base.
    pub fn of<T: Tree>(
        tree: &mut T,
        base: &Filesystem,
        foreign: &dyn Fn(&[u8]) -> bool,
        top: &Node,
    ) -> Result<Self, WriteError> {
        let first_new = base.last_object + 1;
        let mut scan = Self {
            files: vec![File {
                object: top.object,
                entry: NO_ENTRY,
                links: 1,
                first: 0,
                end: 0,
                directories: 0,
                keeps_parent: true,
                kind: Kind::Directory,
            }],
            entries: Vec::new(),
            names: Vec::new(),
            first_new,
            next_object: first_new,
            file_bytes: 0,
            sockets: LeftOut::default(),
            stale_xattrs: HashSet::new(),
        };
        let metadata = tree.metadata(Path::new("")).at("read", Path::new(""))?;
        scan.look_at_xattrs(tree, base, foreign, (Path::new(""), &metadata), top.object)?;
        // Files of several links by what they are, and what of the base is taken.
        let mut links: HashMap<Identity, u32> = HashMap::new();
        let mut taken = HashSet::new();
        let mut open = vec![0_u32];
        while let Some(directory) = open.pop() {
            let path = scan.path(directory);
            let mut listing = tree.read_dir(&path).at("list", &path)?;
            listing.sort_by(|one, other| one.name.cmp(&other.name));
            let own = scan.files[directory as usize].object;
            let in_base: HashMap<&[u8], u64> = if own < first_new {
                base.entries(own).collect()
            } else {
                HashMap::new()
            };
            let first = scan.entries.len() as u32;
            let mut directories = 0;
            for (number, entry) in listing.iter().enumerate() {
                let name = entry.name.as_bytes();
                let path = child_path(&path, name);
                let twice = listing
                    .get(number + 1)
                    .is_some_and(|next| next.name == entry.name);
                if let Some(reason) =
                    name_problem(name).or(twice.then_some("its name is there twice"))
                {
                    return Err(WriteError::Unstorable { path, reason });
                }
                if entry.kind == Kind::Socket {
                    scan.sockets.add(|| path);
                    continue;
                }
                let metadata = tree.metadata(&path).at("read", &path)?;
                if metadata.kind != entry.kind {
                    return Err(WriteError::Changed {
                        path,
                        what: "became another kind of file",
                    });
                }
                let candidate = in_base
                    .get(name)
                    .and_then(|object| base.node(*object))
                    .filter(|node| node.kind == entry.kind);
                let several = metadata.links > 1 && entry.kind != Kind::Directory;
                let known = several
                    .then(|| links.get(&metadata.identity).copied())
                    .flatten();
                let is_first = known.is_none();
                let file = known.unwrap_or_else(|| {
                    let file = scan.files.len() as u32;
                    let kept = candidate.filter(|node| taken.insert(node.object));
                    let object = kept.map_or(scan.next_object, |node| node.object);
                    scan.next_object += u64::from(kept.is_none());
                    if several {
                        links.insert(metadata.identity, file);
                    }
                    if entry.kind == Kind::File {
                        scan.file_bytes = scan.file_bytes.saturating_add(metadata.size);
                    }
                    scan.files.push(File {
                        object,
                        entry: scan.entries.len() as u32,
                        links: 0,
                        first: 0,
                        end: 0,
                        directories: 0,
                        keeps_parent: false,
                        kind: entry.kind,
                    });
                    file
                });
                let object = scan.files.get(file as usize).map_or(0, |file| file.object);
                if is_first && object < first_new {
                    scan.look_at_xattrs(tree, base, foreign, (&path, &metadata), object)?;
                }
                if let Some(found) = scan.files.get_mut(file as usize) {
                    found.links += 1;
                    found.keeps_parent |= base
                        .node(found.object)
                        .is_some_and(|node| node.parent == own);
                }
                if entry.kind == Kind::Directory {
                    directories += 1;
                    open.push(file);
                }
                scan.entries.push(Entry {
                    name: scan.names.len() as u32,
                    name_length: name.len() as u8,
                    file,
                    directory,
                });
                scan.names.extend_from_slice(name);
                if scan.names.len() > u32::MAX as usize - 512 {
                    return Err(WriteError::Unstorable {
                        path,
                        reason: "the tree has too many files",
                    });
                }
            }
            let end = scan.entries.len() as u32;
            if let Some(own) = scan.files.get_mut(directory as usize) {
                (own.first, own.end, own.directories) = (first, end, directories);
            }
        }
        Ok(scan)
    }

    /// Notes whether a file of the base has other extended attributes now.
    fn look_at_xattrs<T: Tree>(
        &mut self,
        tree: &mut T,
        base: &Filesystem,
        foreign: &dyn Fn(&[u8]) -> bool,
        (path, metadata): (&Path, &Metadata),
        object: u64,
    ) -> Result<(), WriteError> {
        let Some(node) = base.node(object).filter(|node| node.xattr_directory() != 0) else {
            return Ok(());
        };
        let mut xattrs = Vec::new();
        if metadata.has_xattrs {
            xattrs = tree.xattrs(path).at("read the attributes of", path)?;
        }
        add_foreign(base, node, foreign, &mut xattrs);
        xattrs.sort_unstable();
        if !same_xattrs(base, node, &xattrs) || node.has_inner_xattrs() {
            self.stale_xattrs.insert(object);
        }
        Ok(())
    }

    /// Indexes of all files in the order of their objects.
    pub fn by_object(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.files.len() as u32).collect();
        order.sort_unstable_by_key(|file| self.files[*file as usize].object);
        order
    }

    /// The path of a file from the tree's root, or the first of them.
    pub fn path(&self, file: u32) -> PathBuf {
        let mut names = Vec::new();
        let mut at = file;
        while let Some(entry) = self
            .files
            .get(at as usize)
            .and_then(|file| self.entries.get(file.entry as usize))
        {
            names.push(self.name(entry));
            at = entry.directory;
        }
        names
            .iter()
            .rev()
            .map(|name| OsStr::from_bytes(name))
            .collect()
    }

    /// Object of the directory that the first entry of a file is in; `None` for the tree's root.
    pub fn parent(&self, file: u32) -> Option<u64> {
        let entry = self.files.get(file as usize)?.entry;
        let directory = self.entries.get(entry as usize)?.directory;
        Some(self.files.get(directory as usize)?.object)
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        let start = entry.name as usize;
        self.names
            .get(start..start + usize::from(entry.name_length))
            .unwrap_or_default()
    }

    /// The entries of a directory, by name: name and what its ZAP holds.
    pub fn entries(&self, directory: u32) -> Directory<'_> {
        let found = self
            .files
            .get(directory as usize)
            .and_then(|file| self.entries.get(file.first as usize..file.end as usize));
        Directory {
            scan: self,
            entries: found.unwrap_or_default(),
        }
    }
}

/// The entries of a directory.
pub(super) struct Directory<'a> {
    scan: &'a Scan,
    entries: &'a [Entry],
}

impl Directory<'_> {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Names, objects and types, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64, Kind)> {
        self.entries.iter().map(|entry| {
            let file = self.scan.files.get(entry.file as usize);
            let (object, kind) = file.map_or((0, Kind::File), |file| (file.object, file.kind));
            (self.scan.name(entry), object, kind)
        })
    }

    /// For [`super::super::zap::Zap`]: handle and rank of every entry.
    pub fn handles(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.entries.len() as u32).map(|handle| (handle, handle))
    }
}

impl Source for Directory<'_> {
    fn name(&self, handle: u32) -> &[u8] {
        self.entries
            .get(handle as usize)
            .map_or(&[], |entry| self.scan.name(entry))
    }

    fn number(&self, entry: &ZapEntry) -> u64 {
        self.entries
            .get(entry.handle as usize)
            .and_then(|entry| self.scan.files.get(entry.file as usize))
            .map_or(0, |file| dirent(file.kind.mode_bits(), file.object))
    }
}

/// An extended attribute of a file.
pub(super) type Xattr = (OsString, Vec<u8>);

/// Adds the extended attributes of a file of the base that its tree can't have.
pub(super) fn add_foreign(
    base: &Filesystem,
    node: &Node,
    foreign: &dyn Fn(&[u8]) -> bool,
    xattrs: &mut Vec<Xattr>,
) {
    for xattr in base.xattrs(node) {
        if let Some(value) = xattr.value.filter(|_| foreign(xattr.name)) {
            xattrs.push((OsStr::from_bytes(xattr.name).to_owned(), value.to_vec()));
        }
    }
}

/// Whether a file of the base has just these extended attributes, which must be sorted.
pub(super) fn same_xattrs(base: &Filesystem, node: &Node, xattrs: &[Xattr]) -> bool {
    let old = base.xattrs(node);
    old.len() == xattrs.len()
        && old.iter().zip(xattrs).all(|(old, (name, value))| {
            old.name == name.as_bytes() && old.value == Some(value.as_slice())
        })
}
