//! The files of a snapshot: who is where and what is known of them, without what is in them.

use std::collections::HashMap;

use super::attributes::{Attributes, Registry};
use super::error::{Place, Problem, ReadError};
use super::snapshot::Snapshot;
use super::xattr::{self, Pair};
use crate::format::znode::{FLAG_ACL_TRIVIAL, FLAG_XATTR, device, dirent_object, dirent_type};
use crate::tree::{Device, Kind};

/// Longest path that is told, in bytes; no system takes one as long.
const MAX_PATH: usize = 32 << 10;

/// What is known of a file: some 100 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub object: u64,
    /// Object of the directory it is in, or, with several links, was put in last.
    pub parent: u64,
    /// Bytes; of a directory, entries plus two.
    pub size: u64,
    /// Owner, see [`Attributes::uid`].
    pub uid: u64,
    /// Group, likewise.
    pub gid: u64,
    /// Seconds since 1970 of when it was last changed.
    pub mtime: i64,
    /// Nanoseconds after them.
    pub mtime_nanoseconds: u32,
    /// Type.
    pub kind: Kind,
    /// Permissions, set-uid, set-gid and sticky bits.
    pub mode: u16,
    /// Hard links; of a directory, subdirectories plus two.
    pub links: u32,
    /// What few files have.
    extra: Option<Box<Extra>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Extra {
    rdev: u64,
    target: Vec<u8>,
    xattr_directory: u64,
    xattrs: Vec<Pair>,
    is_hidden: bool,
    acl_object: u64,
    has_spill: bool,
    /// Number of entries and bytes of an ACL that says more than the mode.
    acl: Option<(u64, Vec<u8>)>,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr<'a> {
    /// Its name as stored: OpenZFS on Linux stores `user.mime_type`, SmartOS any name.
    pub name: &'a [u8],
    /// Its value; `None` where that is larger than [`MAX_XATTR`].
    pub value: Option<&'a [u8]>,
    /// Bytes in the value.
    pub size: u64,
}

/// Largest value of an extended attribute that is kept, in bytes: what Linux takes. On SmartOS they are files of any size.
pub const MAX_XATTR: usize = 64 << 10;

impl Node {
    pub(super) fn new(object: u64, attributes: &Attributes) -> Result<Self, Problem> {
        let kind = attributes.kind().ok_or("a file is of no known type")?;
        let mut extra = Extra {
            rdev: attributes.rdev,
            target: attributes.target.clone().unwrap_or_default(),
            xattr_directory: attributes.xattr,
            xattrs: if attributes.xattrs.is_empty() {
                Vec::new()
            } else {
                xattr::unpack(&attributes.xattrs)?
            },
            is_hidden: attributes.flags & FLAG_XATTR != 0,
            acl_object: attributes.acl_object,
            has_spill: false,
            acl: (attributes.flags & FLAG_ACL_TRIVIAL == 0 && !attributes.acl.is_empty())
                .then(|| (attributes.acl_count, attributes.acl.clone())),
        };
        if !matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            extra.rdev = 0;
        }
        Ok(Self {
            object,
            parent: attributes.parent,
            size: attributes.size,
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: attributes.mtime.0,
            mtime_nanoseconds: attributes.mtime.1,
            kind,
            mode: (attributes.mode & 0o7777) as u16,
            links: u32::try_from(attributes.links).unwrap_or(u32::MAX),
            extra: (extra != Extra::default()).then(|| Box::new(extra)),
        })
    }

    /// Target of a symbolic link; empty for others.
    pub fn target(&self) -> &[u8] {
        self.extra.as_ref().map_or(&[], |extra| &extra.target)
    }

    pub(super) fn set_target(&mut self, target: Vec<u8>) {
        self.extra.get_or_insert_default().target = target;
    }

    /// Device number as stored; 0 for others than devices.
    pub fn rdev(&self) -> u64 {
        self.extra.as_ref().map_or(0, |extra| extra.rdev)
    }

    /// Device number of a device node. Linux packs it otherwise than illumos does; what has no major number by illumos' rule was
    /// packed by Linux.
    pub fn device(&self) -> Device {
        device(self.rdev())
    }

    /// Whether it is part of the hidden directories of extended attributes.
    pub fn is_hidden(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.is_hidden)
    }

    /// Object of its hidden directory of extended attributes; 0 for none.
    pub fn xattr_directory(&self) -> u64 {
        self.extra.as_ref().map_or(0, |extra| extra.xattr_directory)
    }

    /// Number of entries and bytes of its ACL if that says more than the mode.
    pub(crate) fn acl(&self) -> Option<&(u64, Vec<u8>)> {
        self.extra.as_ref()?.acl.as_ref()
    }

    /// Whether it has a spill block.
    pub(crate) fn has_spill(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.has_spill)
    }

    pub(super) fn set_has_spill(&mut self) {
        self.extra.get_or_insert_default().has_spill = true;
    }

    /// Whether it has extended attributes beside its others.
    pub(crate) fn has_inner_xattrs(&self) -> bool {
        self.extra
            .as_ref()
            .is_some_and(|extra| !extra.xattrs.is_empty())
    }

    /// Object that holds its ACL; 0 for none.
    pub(super) fn acl_object(&self) -> u64 {
        self.extra.as_ref().map_or(0, |extra| extra.acl_object)
    }
}

/// An entry of a directory: 24 bytes, and its name.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: u64,
    name_length: u16,
    /// Type bits shifted by 12, or 15 for none.
    kind: u8,
    object: u64,
}

/// The entries of a directory among all.
#[derive(Debug, Clone, Copy)]
struct Directory {
    object: u64,
    first: u64,
    end: u64,
}

/// What is done with the path of a file, and the file.
pub type Each<'a, E> = dyn FnMut(&[u8], &Node) -> Result<(), E> + 'a;

/// Where a file was met.
#[derive(Debug, Clone, Copy, Default)]
struct References {
    /// How often it is an entry.
    names: u32,
    /// How many directories are entries of it.
    directories: u32,
    /// Where it was met last.
    directory: u64,
}

/// The files of a snapshot.
///
/// Every name in it is one that a path may have: not empty, no `.` or `..`, without `/` and NUL, at most 255 bytes. Every
/// directory is in one place, so that there is an end to going down.
#[derive(Debug)]
pub struct Filesystem {
    /// ZPL version, 1 to 5.
    pub version: u64,
    /// Object of the root.
    pub root: u64,
    /// What was found wrong that does not keep one from reading.
    pub findings: Vec<String>,
    pub(super) nodes: Vec<Node>,
    directories: Vec<Directory>,
    entries: Vec<Entry>,
    names: Vec<u8>,
    pub(super) unlinked: Vec<u64>,
    pub(super) values: HashMap<u64, Box<[u8]>>,
    /// What attributes there are; `None` before version 5.
    pub(crate) registry: Option<Registry>,
    /// Object of the layouts.
    pub(crate) layouts_object: u64,
    /// Whether names that differ may be the same to it.
    pub(crate) is_normalized: bool,
    /// The last object that is there.
    pub(crate) last_object: u64,
}

impl Filesystem {
    pub(super) fn empty() -> Self {
        Self {
            version: 0,
            root: 0,
            findings: Vec::new(),
            nodes: Vec::new(),
            directories: Vec::new(),
            entries: Vec::new(),
            names: Vec::new(),
            unlinked: Vec::new(),
            values: HashMap::new(),
            registry: None,
            layouts_object: 0,
            is_normalized: false,
            last_object: 0,
        }
    }

    /// Takes the entries of a directory; directories come in the order of their objects.
    pub(super) fn add_directory(
        &mut self,
        object: u64,
        zap: &super::zap::Zap,
    ) -> Result<(), Problem> {
        let first = self.entries.len();
        for (name, values) in zap.iter() {
            let value = match values {
                [value] => *value,
                _ => return Err("an entry of a directory is not one number".into()),
            };
            if name.is_empty()
                || name == b"."
                || name == b".."
                || name.contains(&b'/')
                || name.contains(&0)
                || name.len() > crate::format::znode::MAX_NAME
            {
                return Err(Problem::Broken(format!(
                    "a directory has an entry whose name no file can have: {:?}",
                    String::from_utf8_lossy(name)
                )));
            }
            self.entries.push(Entry {
                name: self.names.len() as u64,
                name_length: name.len() as u16,
                kind: (dirent_type(value) >> 12) as u8,
                object: dirent_object(value),
            });
            self.names.extend_from_slice(name);
        }
        let names = &self.names;
        let added = self.entries.get_mut(first..).unwrap_or_default();
        added.sort_unstable_by(|one, other| name_of(names, one).cmp(name_of(names, other)));
        if added.windows(2).any(
            |pair| matches!(pair, [one, other] if name_of(names, one) == name_of(names, other)),
        ) {
            return Err("a directory has two entries of the same name".into());
        }
        self.directories.push(Directory {
            object,
            first: first as u64,
            end: self.entries.len() as u64,
        });
        Ok(())
    }

    /// Number of files of every kind, hidden ones included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no file at all; there is always a root.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All files in the order of their objects, with hidden ones and those removed while open.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The file that is an object.
    pub fn node(&self, object: u64) -> Option<&Node> {
        let index = self
            .nodes
            .binary_search_by_key(&object, |node| node.object)
            .ok()?;
        self.nodes.get(index)
    }

    fn listing(&self, object: u64) -> &[Entry] {
        self.directories
            .binary_search_by_key(&object, |directory| directory.object)
            .ok()
            .and_then(|index| self.directories.get(index))
            .and_then(|found| self.entries.get(found.first as usize..found.end as usize))
            .unwrap_or_default()
    }

    /// Names and objects of a directory's entries, by name.
    pub fn entries(&self, directory: u64) -> impl Iterator<Item = (&[u8], u64)> {
        self.listing(directory)
            .iter()
            .map(|entry| (name_of(&self.names, entry), entry.object))
    }

    /// The file at a path from the root, whose components are parted by `/`; links are not followed.
    pub fn find(&self, path: &[u8]) -> Option<&Node> {
        let mut object = self.root;
        for name in path.split(|byte| *byte == b'/') {
            if name.is_empty() || name == b"." {
                continue;
            }
            let listing = self.listing(object);
            let index = listing
                .binary_search_by(|entry| name_of(&self.names, entry).cmp(name))
                .ok()?;
            object = listing.get(index)?.object;
        }
        self.node(object)
    }

    /// Extended attributes of a file, by name.
    pub fn xattrs(&self, node: &Node) -> Vec<Xattr<'_>> {
        let mut found: Vec<Xattr> = Vec::new();
        for (name, object) in self.entries(node.xattr_directory()) {
            let Some(file) = self.node(object).filter(|file| file.kind == Kind::File) else {
                continue;
            };
            let value = self.values.get(&object).map(|value| &**value);
            let empty: &[u8] = &[];
            found.push(Xattr {
                name,
                value: value.or((file.size == 0).then_some(empty)),
                size: file.size,
            });
        }
        if let Some(own) = self.node(node.object).and_then(|node| node.extra.as_ref()) {
            found.extend(own.xattrs.iter().map(|(name, value)| Xattr {
                name,
                value: Some(value),
                size: value.len() as u64,
            }));
        }
        found.sort_by(|one, other| one.name.cmp(other.name));
        found
    }

    /// Calls `each` with the path of every file at and below a directory, or of the one file, before what is in it, by
    /// name. Paths are from the root, with no `/` at their start.
    pub fn walk<E>(&self, from: &[u8], each: &mut Each<'_, E>) -> Result<(), E> {
        let Some(start) = self.find(from) else {
            return Ok(());
        };
        let mut path = Vec::new();
        for name in from.split(|byte| *byte == b'/') {
            if name.is_empty() || name == b"." {
                continue;
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        each(&path, start)?;
        // Entries still to be gone through, and how long the path of their directory is.
        let mut open = vec![(self.listing(start.object).iter(), path.len())];
        while let Some((listing, length)) = open.last_mut() {
            path.truncate(*length);
            let Some(entry) = listing.next() else {
                open.pop();
                continue;
            };
            if *length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name_of(&self.names, entry));
            let Some(node) = self.node(entry.object) else {
                continue;
            };
            each(&path, node)?;
            if node.kind == Kind::Directory {
                open.push((self.listing(node.object).iter(), path.len()));
            }
        }
        Ok(())
    }

    /// Makes sure that everything leads where it should: what would keep one from going through the files is an error, the
    /// rest is noted among the findings.
    pub(super) fn check<R: std::io::Read>(
        &mut self,
        snapshot: &Snapshot<R>,
    ) -> Result<(), ReadError> {
        let fail = |object: u64, problem: Problem| {
            let mut place: Place = snapshot.place();
            place.object = Some(object);
            Err(problem.at(place))
        };
        match self.node(self.root) {
            Some(node) if node.kind == Kind::Directory => {}
            _ => return fail(self.root, "the root is no directory".into()),
        }
        let mut references = vec![References::default(); self.nodes.len()];
        for directory in &self.directories {
            for entry in self
                .entries
                .get(directory.first as usize..directory.end as usize)
                .unwrap_or_default()
            {
                let Ok(index) = self
                    .nodes
                    .binary_search_by_key(&entry.object, |node| node.object)
                else {
                    return fail(
                        directory.object,
                        Problem::Broken(format!(
                            "the entry {:?} leads to object {}, which is not there",
                            String::from_utf8_lossy(name_of(&self.names, entry)),
                            entry.object
                        )),
                    );
                };
                let node = &self.nodes[index];
                if entry.kind != 0 && u32::from(entry.kind) << 12 != node.kind.mode_bits() {
                    return fail(
                        directory.object,
                        Problem::Broken(format!(
                            "the entry {:?} is of another type than object {}, which it leads to",
                            String::from_utf8_lossy(name_of(&self.names, entry)),
                            entry.object
                        )),
                    );
                }
                let seen = &mut references[index];
                seen.names = seen.names.saturating_add(1);
                seen.directory = directory.object;
                if node.kind == Kind::Directory {
                    if seen.names > 1 || node.object == self.root {
                        return fail(node.object, "a directory is in two places".into());
                    }
                    if let Ok(index) = self
                        .nodes
                        .binary_search_by_key(&directory.object, |node| node.object)
                    {
                        references[index].directories += 1;
                    }
                }
            }
        }
        self.note_findings(&references);
        self.check_paths().or_else(|object| {
            fail(
                object,
                Problem::Broken(format!("a path is longer than {MAX_PATH} bytes")),
            )
        })
    }

    /// Paths would grow without end, and what is done with each of them with it.
    fn check_paths(&self) -> Result<(), u64> {
        self.walk(b"", &mut |path, node| {
            if path.len() > MAX_PATH {
                return Err(node.object);
            }
            Ok(())
        })
    }

    fn note_findings(&mut self, references: &[References]) {
        let mut hidden: Vec<u64> = self.nodes.iter().map(Node::xattr_directory).collect();
        hidden.sort_unstable();
        let mut unlinked = std::mem::take(&mut self.unlinked);
        unlinked.sort_unstable();
        let mut found = Vec::new();
        for (node, seen) in self.nodes.iter().zip(references) {
            let names = seen.names;
            let mut note = |what: String| {
                if found.len() < MAX_FINDINGS {
                    found.push(format!("object {}: {what}", node.object));
                }
            };
            let is_unlinked = unlinked.binary_search(&node.object).is_ok();
            let is_hidden_directory = hidden.binary_search(&node.object).is_ok();
            if names == 0 && node.object != self.root && !is_unlinked && !is_hidden_directory {
                note("is in no directory".to_owned());
                continue;
            }
            if is_unlinked {
                continue;
            }
            if node.kind == Kind::Directory {
                let entries = self.listing(node.object).len() as u64;
                if node.size != entries + 2 {
                    note(format!(
                        "a directory of {entries} entries has size {}, which should be {}",
                        node.size,
                        entries + 2
                    ));
                }
                let links = seen.directories + 2;
                if node.links != links && !is_hidden_directory {
                    note(format!(
                        "a directory has {} links instead of {links}",
                        node.links
                    ));
                }
            } else if node.links != names {
                note(format!("has {} links and {names} names", node.links));
            }
            if node.kind == Kind::Symlink && node.target().len() as u64 != node.size {
                note(format!(
                    "a symbolic link has a target of {} bytes and says {}",
                    node.target().len(),
                    node.size
                ));
            }
            if node.xattr_directory() != 0
                && self
                    .node(node.xattr_directory())
                    .is_none_or(|node| node.kind != Kind::Directory)
            {
                note("its extended attributes are in no directory".to_owned());
            }
            if node.kind == Kind::Directory && names == 1 && seen.directory != node.parent {
                note(format!(
                    "is in object {} and says it is in {}",
                    seen.directory, node.parent
                ));
            }
        }
        self.unlinked = unlinked;
        self.findings.extend(found);
    }
}

/// How many things wrong are told.
const MAX_FINDINGS: usize = 100;

fn name_of<'a>(names: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.name as usize;
    names
        .get(start..start + usize::from(entry.name_length))
        .unwrap_or_default()
}
