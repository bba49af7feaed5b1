//! The files of a snapshot: who is where and what is known of them, without what is in them.

use std::collections::HashMap;

use super::attributes::Registry;
use super::error::Problem;
use super::node::{Node, Xattr};
use crate::format::znode::{dirent_object, dirent_type};
use crate::tree::Kind;

/// An entry of a directory: 24 bytes, and its name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    name: u64,
    name_length: u16,
    /// Type bits shifted by 12, or 0 for none.
    pub kind: u8,
    pub object: u64,
}

/// The entries of a directory among all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory {
    pub object: u64,
    pub first: u64,
    pub end: u64,
}

/// What is done with the path of a file, and the file.
pub type Each<'a, E> = dyn FnMut(&[u8], &Node) -> Result<(), E> + 'a;

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
    pub(super) directories: Vec<Directory>,
    pub(super) entries: Vec<Entry>,
    pub(super) names: Vec<u8>,
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

    pub(super) fn listing(&self, object: u64) -> &[Entry] {
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
}

pub(super) fn name_of<'a>(names: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.name as usize;
    names
        .get(start..start + usize::from(entry.name_length))
        .unwrap_or_default()
}
