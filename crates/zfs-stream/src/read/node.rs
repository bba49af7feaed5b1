//! What is known of a file.

use super::attributes::Attributes;
use super::error::Problem;
use super::xattr::{self, Pair};
use crate::format::znode::{FLAG_ACL_TRIVIAL, FLAG_XATTR, device};
use crate::tree::{Device, Kind};

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
    pub(super) extra: Option<Box<Extra>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Extra {
    rdev: u64,
    target: Vec<u8>,
    xattr_directory: u64,
    pub xattrs: Vec<Pair>,
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
