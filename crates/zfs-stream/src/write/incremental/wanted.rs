//! What a file of the tree is to be in the stream, and whether it is that in the base.

use std::io::Write;

use super::super::listing::name_problem;
use super::super::znode::{Attributes, Kept};
use super::super::{At as _, WriteError};
use super::scan::{Xattr, add_foreign, same_xattrs};
use super::{Announcement, Incremental, NewXattrs, changed};
use crate::format::znode::{MAX_TARGET, ObjectType, rdev};
use crate::read::{Attributes as BaseAttributes, Dnode, Node};
use crate::tree::{Kind, Metadata, Tree};

/// A file of the tree as it is to be, and whether its metadata differs from the base's.
pub(super) struct Wanted<F> {
    pub attributes: Attributes,
    pub metadata: Metadata,
    pub file: Option<F>,
    pub differs: bool,
    /// Length of the bonus that must not come again, so that a receiver drops the spill block of before.
    pub stale_spill: Option<usize>,
}

impl<T: Tree, W: Write> Incremental<'_, T, W> {
    /// What a file of the tree is to be; `base` is what it is.
    pub(super) fn wanted(
        &mut self,
        index: u32,
        base: Option<(&Node, &BaseAttributes, &Dnode)>,
    ) -> Result<Wanted<T::File>, WriteError> {
        let files = self.files;
        let path = self.scan.path(index);
        let file = self.scan.files[index as usize];
        let (metadata, mut opened) = if file.kind == Kind::File {
            self.tree.open_regular(&path).at("open", &path)?
        } else {
            (self.tree.metadata(&path).at("read", &path)?, None)
        };
        if metadata.kind != file.kind {
            return Err(changed(path, "became another kind of file"));
        }
        let mut xattrs = match (&mut opened, metadata.has_xattrs) {
            (_, false) => Vec::new(),
            (Some(opened), true) => {
                let xattrs = self.tree.xattrs_of(opened, &path);
                xattrs.at("read the attributes of", &path)?
            }
            (None, true) => {
                let xattrs = self.tree.xattrs(&path);
                xattrs.at("read the attributes of", &path)?
            }
        };
        if let Some((node, ..)) = base {
            add_foreign(self.files, node, self.foreign, &mut xattrs);
        }
        xattrs.sort_unstable();
        let is_bad = |name: &Xattr| name_problem(name.0.as_encoded_bytes()).is_some();
        if xattrs.iter().any(is_bad) || xattrs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(WriteError::Unstorable {
                path,
                reason: "an extended attribute of it has no proper name",
            });
        }
        let directory = (file.kind == Kind::Directory).then(|| self.scan.entries(index).len());
        let target = if file.kind == Kind::Symlink {
            use std::os::unix::ffi::OsStringExt as _;
            let target = self.tree.read_link(&path).at("read", &path)?;
            let target = target.into_os_string().into_vec();
            if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
                return Err(WriteError::Unstorable {
                    path,
                    reason: "its target must have 1 to 4095 bytes, none of them NUL",
                });
            }
            target
        } else {
            Vec::new()
        };
        let mut attributes = Attributes {
            mode: metadata.kind.mode_bits() | metadata.mode & 0o7777,
            uid: metadata.uid.into(),
            gid: metadata.gid.into(),
            mtime: metadata.mtime,
            size: match (file.kind, directory) {
                (_, Some(entries)) => entries as u64 + 2,
                (Kind::Symlink, _) => target.len() as u64,
                (Kind::File, _) => metadata.size,
                _ => 0,
            },
            links: match directory {
                Some(_) => u64::from(file.directories) + 2,
                None => file.links.into(),
            },
            parent: self.scan.parent(index).unwrap_or(file.object),
            rdev: matches!(file.kind, Kind::CharDevice | Kind::BlockDevice)
                .then(|| rdev(metadata.device.major, metadata.device.minor)),
            target,
            ..Attributes::default()
        };
        let mut wanted = Wanted {
            differs: true,
            stale_spill: None,
            file: opened,
            metadata,
            attributes: Attributes::default(),
        };
        if let Some((node, old, dnode)) = base {
            // Of a file that had several links, ZFS may remember a directory that it is not in any more.
            let is_there = files.node(node.parent).is_some()
                && self.removed.binary_search(&node.parent).is_err();
            if file.keeps_parent || (is_there && file.kind != Kind::Directory) {
                attributes.parent = node.parent;
            }
            // Owners of other domains are told by their lower half.
            for (new, old) in [
                (&mut attributes.uid, old.uid),
                (&mut attributes.gid, old.gid),
            ] {
                if u64::from(old as u32) == *new {
                    *new = old;
                }
            }
            if let Some(rdev) = &mut attributes.rdev
                && node.device() == wanted.metadata.device
            {
                *rdev = node.rdev();
            }
            let same_mode = u64::from(attributes.mode) == old.mode;
            attributes.kept = Some(Kept {
                generation: old.generation,
                atime: old.atime,
                crtime: old.crtime,
                flags: same_mode.then_some(old.flags),
                acl: node.acl().filter(|_| same_mode).cloned(),
            });
            let keeps_xattrs = same_xattrs(self.files, node, &xattrs);
            wanted.differs = !(keeps_xattrs
                && !node.has_inner_xattrs()
                && same_mode
                && attributes.uid == old.uid
                && attributes.gid == old.gid
                && attributes.size == node.size
                && attributes.mtime == (node.mtime, node.mtime_nanoseconds)
                && attributes.links == u64::from(node.links)
                && attributes.parent == node.parent
                && attributes.rdev.unwrap_or(0) == node.rdev()
                && attributes.target == node.target());
            if keeps_xattrs && !node.has_inner_xattrs() {
                attributes.xattr = node.xattr_directory();
                xattrs.clear();
            }
            wanted.stale_spill = node.has_spill().then_some(dnode.bonus.len());
        }
        if !xattrs.is_empty() {
            attributes.xattr = self.next_object;
            self.next_object += 1 + xattrs.len() as u64;
            self.xattrs.push(NewXattrs {
                owner: file.object,
                uid: attributes.uid,
                gid: attributes.gid,
                mtime: attributes.mtime,
                first: attributes.xattr,
                xattrs,
            });
        }
        wanted.attributes = attributes;
        Ok(wanted)
    }

    /// Packs a file's metadata.
    pub(super) fn pack(
        &mut self,
        object: u64,
        object_type: ObjectType,
        wanted: &Wanted<T::File>,
    ) -> Announcement {
        self.znodes.pack(&wanted.attributes);
        let spill = self.znodes.spill().map(<[u8]>::to_vec);
        if let (None, Some(length)) = (&spill, wanted.stale_spill) {
            self.znodes.avoid_length(length);
        }
        Announcement {
            object,
            object_type: object_type.number(),
            bonus: self.znodes.bonus().to_vec(),
            spill,
            is_made: false,
        }
    }
}
