//! Directories as read, and as kept until their files are written.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::links::Links;
use super::zap::{Entry, Source};
use super::{At as _, WriteError};
use crate::format::znode::{MAX_NAME, dirent};
use crate::tree::{Identity, Kind, Tree};

/// Entries of a directory as they came: for each its kind (type bits of the mode, shifted down), the length of its name,
/// a tag of 4 bytes, the name.
pub(super) struct Listing {
    bytes: Vec<u8>,
    count: u32,
}

const RAW_HEAD: usize = 6;

/// An entry of a [`Listing`].
#[derive(Clone, Copy)]
pub(super) struct RawEntry<'a> {
    pub kind: Kind,
    pub tag: u32,
    pub name: &'a [u8],
}

impl Listing {
    /// Lists a directory; `tag` makes something of entries' identities to remember.
    pub fn read<T: Tree>(
        tree: &mut T,
        path: &Path,
        mut tag: impl FnMut(Option<Identity>) -> u32,
    ) -> Result<Self, WriteError> {
        let mut listing = Self {
            bytes: Vec::new(),
            count: 0,
        };
        let mut wrong = None;
        tree.for_each_entry(path, &mut |name, kind, identity| {
            let bytes = name.as_bytes();
            match name_problem(bytes) {
                Some(reason) => {
                    wrong.get_or_insert_with(|| (path.join(name), reason));
                }
                None if listing.bytes.len() > (u32::MAX as usize) - 2 * MAX_NAME => {
                    wrong.get_or_insert_with(|| (path.to_owned(), "it has too many entries"));
                }
                None => {
                    listing
                        .bytes
                        .extend_from_slice(&[type_code(kind), bytes.len() as u8]);
                    listing
                        .bytes
                        .extend_from_slice(&tag(identity).to_le_bytes());
                    listing.bytes.extend_from_slice(bytes);
                    listing.count += 1;
                }
            }
        })
        .at("list", path)?;
        match wrong {
            Some((path, reason)) => Err(WriteError::Unstorable { path, reason }),
            None => Ok(listing),
        }
    }

    fn at(&self, offset: usize) -> Option<RawEntry<'_>> {
        let [kind, length, t0, t1, t2, t3, rest @ ..] = self.bytes.get(offset..)? else {
            return None;
        };
        Some(RawEntry {
            kind: kind_of(*kind)?,
            tag: u32::from_le_bytes([*t0, *t1, *t2, *t3]),
            name: rest.get(..usize::from(*length))?,
        })
    }

    /// Entries with their offsets, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (usize, RawEntry<'_>)> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let entry = self.at(offset)?;
            let here = offset;
            offset += RAW_HEAD + entry.name.len();
            Some((here, entry))
        })
    }

    /// Changes the tag of the entry at `offset`.
    pub fn set_tag(&mut self, offset: usize, tag: u32) {
        if let Some(bytes) = self.bytes.get_mut(offset + 2..offset + RAW_HEAD) {
            bytes.copy_from_slice(&tag.to_le_bytes());
        }
    }

    /// Sorts entries by name and gives objects to those that have none: those of tag
    /// [`Listing::NO_LINK`], and the first met of every link (the tag is its number). Sockets
    /// are left out, `socket` is told their names.
    pub fn number(
        self,
        path: &Path,
        first: u64,
        links: &mut Links,
        mut socket: impl FnMut(&[u8]),
    ) -> Result<Children, WriteError> {
        let mut order: Vec<u32> = Vec::with_capacity(self.count as usize);
        order.extend(self.iter().map(|(offset, _)| offset as u32));
        let name = |offset: &u32| {
            self.at(*offset as usize)
                .map_or(&[][..], |entry| entry.name)
        };
        order.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        let is_same = |pair: &&[u32]| matches!(pair, [a, b] if name(a) == name(b));
        if let Some([twice, ..]) = order.windows(2).find(is_same) {
            let path = child_path(path, name(twice));
            return Err(WriteError::Unstorable {
                path,
                reason: "its name is there twice",
            });
        }
        let mut children = Children {
            bytes: Vec::new(),
            first,
            objects: 0,
            subdirectories: 0,
        };
        children
            .bytes
            .reserve_exact(self.bytes.len() - 4 * order.len());
        for entry in order.iter().filter_map(|offset| self.at(*offset as usize)) {
            match entry.kind {
                Kind::Socket => {
                    socket(entry.name);
                    continue;
                }
                Kind::Directory => children.subdirectories += 1,
                _ => {}
            }
            let code = type_code(entry.kind);
            let length = entry.name.len() as u8;
            if entry.tag == Self::NO_LINK {
                children.bytes.extend_from_slice(&[code, length]);
                children.objects += 1;
            } else {
                let owns = links.meet(entry.tag, first + children.objects);
                children.objects += u64::from(owns);
                let flag = if owns { OWNS_LINK } else { REPEATS_LINK };
                children.bytes.extend_from_slice(&[code | flag, length]);
                children.bytes.extend_from_slice(&entry.tag.to_le_bytes());
            }
            children.bytes.extend_from_slice(entry.name);
        }
        children.bytes.shrink_to_fit();
        Ok(children)
    }

    /// Tag of entries that are no link of several.
    pub const NO_LINK: u32 = u32::MAX;
}

/// Entries of a directory, sorted and numbered: for each its kind and flags, the length of its name, the
/// link's number if a flag says it is one, the name.
pub(super) struct Children {
    bytes: Vec<u8>,
    /// First object given to them.
    pub first: u64,
    /// Number of objects given to them.
    pub objects: u64,
    /// Number of directories among them.
    pub subdirectories: u64,
}

const OWNS_LINK: u8 = 0x80;
const REPEATS_LINK: u8 = 0x40;

/// An entry of [`Children`].
pub(super) struct Child<'a> {
    pub kind: Kind,
    pub link: Option<u32>,
    /// Whether its object was given to another entry, or earlier.
    pub repeated: bool,
    pub name: &'a [u8],
    /// Offset of the entry after it.
    pub end: usize,
}

impl Children {
    /// The entry at `offset`, the first being at 0.
    pub fn at(&self, offset: usize) -> Option<Child<'_>> {
        let [code, length, rest @ ..] = self.bytes.get(offset..)? else {
            return None;
        };
        let is_link = code & (OWNS_LINK | REPEATS_LINK) != 0;
        let (link, rest, head) = match rest {
            [n0, n1, n2, n3, rest @ ..] if is_link => (
                Some(u32::from_le_bytes([*n0, *n1, *n2, *n3])),
                rest,
                RAW_HEAD,
            ),
            rest => (None, rest, RAW_HEAD - 4),
        };
        Some(Child {
            kind: kind_of(code & 0xF)?,
            link,
            repeated: code & REPEATS_LINK != 0,
            name: rest.get(..usize::from(*length))?,
            end: offset + head + usize::from(*length),
        })
    }

    fn iter(&self) -> impl Iterator<Item = (usize, Child<'_>)> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let child = self.at(offset)?;
            Some((std::mem::replace(&mut offset, child.end), child))
        })
    }

    /// For [`super::zap::Zap`]: offset and rank of every entry, ranks counting objects given.
    pub fn handles(&self) -> impl Iterator<Item = (u32, u32)> {
        let mut rank = 0;
        self.iter().map(move |(offset, child)| {
            let own = rank;
            rank += u32::from(!child.repeated);
            (offset as u32, own)
        })
    }
}

/// A directory's entries as its ZAP has them.
pub(super) struct DirectorySource<'a> {
    pub children: &'a Children,
    pub links: &'a Links,
}

impl Source for DirectorySource<'_> {
    fn name(&self, handle: u32) -> &[u8] {
        self.children
            .at(handle as usize)
            .map_or(&[], |child| child.name)
    }

    fn number(&self, entry: &Entry) -> u64 {
        let Some(child) = self.children.at(entry.handle as usize) else {
            return 0;
        };
        let object = match child.link {
            Some(number) => self.links.get(number).object,
            None => self.children.first + u64::from(entry.rank),
        };
        dirent(child.kind.mode_bits(), object)
    }
}

fn type_code(kind: Kind) -> u8 {
    (kind.mode_bits() >> 12) as u8
}

fn kind_of(code: u8) -> Option<Kind> {
    use Kind::{BlockDevice, CharDevice, Directory, Fifo, File, Socket, Symlink};
    [
        Fifo,
        CharDevice,
        Directory,
        BlockDevice,
        File,
        Symlink,
        Socket,
    ]
    .into_iter()
    .find(|kind| type_code(*kind) == code)
}

/// Why ZFS couldn't hold this name.
pub(super) fn name_problem(name: &[u8]) -> Option<&'static str> {
    match name {
        [] | b"." | b".." => Some("this is no name"),
        _ if name.len() > MAX_NAME => Some("its name has more than 255 bytes"),
        _ if name.iter().any(|byte| matches!(byte, b'/' | 0)) => {
            Some("its name has a slash or NUL in it")
        }
        _ => None,
    }
}

/// Path of an entry.
pub(super) fn child_path(directory: &Path, name: &[u8]) -> PathBuf {
    directory.join(std::ffi::OsStr::from_bytes(name))
}
