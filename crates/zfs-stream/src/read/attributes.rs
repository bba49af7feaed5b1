//! What a file's bonus and spill block say of it: system attributes, or the znode of old.

use std::collections::HashMap;

use zerocopy::FromBytes as _;

use super::error::Problem;
use super::zap::Zap;
use crate::format::sa::{Header, MAGIC};
use crate::format::znode::{BONUS_SA, BONUS_ZNODE};
use crate::tree::Kind;

/// Metadata of a file as ZFS has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Type and permissions, as in `st_mode`.
    pub mode: u64,
    /// Owner; the upper 32 bits, where they are not 0, tell the domain of an owner from elsewhere (a FUID).
    pub uid: u64,
    /// Group, likewise.
    pub gid: u64,
    /// Bytes; of a directory, entries plus two.
    pub size: u64,
    /// Hard links; of a directory, subdirectories plus two.
    pub links: u64,
    /// Object of the directory it is in, or, with several links, was put in last.
    pub parent: u64,
    /// Device number as stored, see [`crate::format::znode::rdev`].
    pub rdev: u64,
    /// `pflags`, see [`crate::format::znode`].
    pub flags: u64,
    /// Transaction group it was made in.
    pub generation: u64,
    /// When last read: seconds since 1970 and nanoseconds.
    pub atime: (i64, u32),
    /// When last written.
    pub mtime: (i64, u32),
    /// When last changed.
    pub ctime: (i64, u32),
    /// When made.
    pub crtime: (i64, u32),
    /// Object of the hidden directory of extended attributes; 0 for none.
    pub xattr: u64,
    /// Target of a symbolic link, unless it is in the data (the znodes of old).
    pub target: Option<Vec<u8>>,
    /// Number of entries in the ACL.
    pub acl_count: u64,
    /// Entries of the ACL (`zfs_ace_hdr_t` and longer ones).
    pub acl: Vec<u8>,
    /// Object that holds the ACL instead; 0 for none (ZPL 4 and older).
    pub acl_object: u64,
    /// Extended attributes beside the others, as an XDR-encoded nvlist; empty for none (`xattr=sa` of OpenZFS).
    pub xattrs: Vec<u8>,
}

impl Attributes {
    /// Type of the file, if there is one of this mode.
    pub fn kind(&self) -> Option<Kind> {
        Kind::of_mode(self.mode as u32)
    }
}

/// What attributes a file system knows, and in what orders it packs them.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    attributes: HashMap<u16, (Name, u16)>,
    layouts: HashMap<u16, Vec<u16>>,
}

/// The attributes that matter here, by the names they are registered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Atime,
    Mtime,
    Ctime,
    Crtime,
    Generation,
    Mode,
    Size,
    Parent,
    Links,
    Xattr,
    Rdev,
    Flags,
    Uid,
    Gid,
    AclCount,
    Acl,
    Symlink,
    Xattrs,
    Other,
}

fn name(text: &[u8]) -> Name {
    match text {
        b"ZPL_ATIME" => Name::Atime,
        b"ZPL_MTIME" => Name::Mtime,
        b"ZPL_CTIME" => Name::Ctime,
        b"ZPL_CRTIME" => Name::Crtime,
        b"ZPL_GEN" => Name::Generation,
        b"ZPL_MODE" => Name::Mode,
        b"ZPL_SIZE" => Name::Size,
        b"ZPL_PARENT" => Name::Parent,
        b"ZPL_LINKS" => Name::Links,
        b"ZPL_XATTR" => Name::Xattr,
        b"ZPL_RDEV" => Name::Rdev,
        b"ZPL_FLAGS" => Name::Flags,
        b"ZPL_UID" => Name::Uid,
        b"ZPL_GID" => Name::Gid,
        b"ZPL_DACL_COUNT" => Name::AclCount,
        b"ZPL_DACL_ACES" => Name::Acl,
        b"ZPL_SYMLINK" => Name::Symlink,
        b"ZPL_DXATTR" => Name::Xattrs,
        _ => Name::Other,
    }
}

impl Registry {
    /// From the registry and the layouts of a file system (`SA_REGISTRY`, `SA_LAYOUTS`; `sa.c`).
    pub(super) fn new(registry: &Zap, layouts: &Zap) -> Result<Self, Problem> {
        let mut known = Self::default();
        for (text, value) in registry.iter() {
            let value = value.first().copied().unwrap_or(0);
            let number = value as u16;
            let length = (value >> 24) as u16;
            known.attributes.insert(number, (name(text), length));
        }
        for (text, attributes) in layouts.iter() {
            let number = std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or("a layout of attributes has no number")?;
            let attributes = attributes.iter().map(|number| *number as u16).collect();
            known.layouts.insert(number, attributes);
        }
        Ok(known)
    }

    /// Layouts by number; they name attributes by the numbers that [`Self::number`] gives.
    pub fn layouts(&self) -> &HashMap<u16, Vec<u16>> {
        &self.layouts
    }

    /// The number that an attribute is registered by.
    pub fn number(&self, text: &str) -> Option<u16> {
        let wanted = name(text.as_bytes());
        self.attributes
            .iter()
            .find(|(_, (name, _))| *name == wanted && wanted != Name::Other)
            .map(|(number, _)| *number)
    }

    /// Takes the attributes of a packed set.
    fn unpack(&self, packed: &[u8], into: &mut Attributes) -> Result<(), Problem> {
        let (header, _) = Header::read_from_prefix(packed)
            .map_err(|_| Problem::Invalid("attributes are cut short"))?;
        if header.magic.get() != MAGIC {
            return Err("attributes don't begin as they should".into());
        }
        let info = header.layout_info.get();
        let header_size = usize::from(info >> 10) * 8;
        let lengths = packed
            .get(size_of::<Header>()..header_size)
            .ok_or("attributes are cut short")?;
        let (mut lengths, _) = lengths.as_chunks::<2>();
        let layout = self
            .layouts
            .get(&(info & 0x3FF))
            .ok_or("attributes are in a layout that the file system does not have")?;
        let mut at = header_size;
        for number in layout {
            let (name, length) = self
                .attributes
                .get(number)
                .ok_or("a layout has an attribute that the file system does not have")?;
            let length = if *length == 0 {
                let (first, rest) = lengths.split_first().ok_or("an attribute has no length")?;
                lengths = rest;
                usize::from(u16::from_le_bytes(*first))
            } else {
                usize::from(*length)
            };
            let value = packed
                .get(at..at + length)
                .ok_or("attributes are cut short")?;
            into.set(*name, value);
            at = (at + length).next_multiple_of(8);
        }
        Ok(())
    }
}

impl Attributes {
    fn set(&mut self, name: Name, value: &[u8]) {
        let number = word(value, 0);
        match name {
            Name::Atime => self.atime = time(value, 0),
            Name::Mtime => self.mtime = time(value, 0),
            Name::Ctime => self.ctime = time(value, 0),
            Name::Crtime => self.crtime = time(value, 0),
            Name::Generation => self.generation = number,
            Name::Mode => self.mode = number,
            Name::Size => self.size = number,
            Name::Parent => self.parent = number,
            Name::Links => self.links = number,
            Name::Xattr => self.xattr = number,
            Name::Rdev => self.rdev = number,
            Name::Flags => self.flags = number,
            Name::Uid => self.uid = number,
            Name::Gid => self.gid = number,
            Name::AclCount => self.acl_count = number,
            Name::Acl => self.acl = value.to_vec(),
            Name::Symlink => self.target = Some(value.to_vec()),
            Name::Xattrs => self.xattrs = value.to_vec(),
            Name::Other => {}
        }
    }

    /// What the bonus of a file says, and its spill block.
    pub(crate) fn read(
        bonus_type: u32,
        bonus: &[u8],
        spill: Option<&[u8]>,
        registry: Option<&Registry>,
    ) -> Result<Self, Problem> {
        let mut attributes = Self::default();
        match bonus_type {
            BONUS_SA => {
                let registry = registry
                    .ok_or("a file has attributes that the file system has no names for")?;
                registry.unpack(bonus, &mut attributes)?;
                if let Some(spill) = spill {
                    registry.unpack(spill, &mut attributes)?;
                }
            }
            BONUS_ZNODE => attributes.read_znode(bonus)?,
            _ => return Err("a file has metadata of an unknown kind".into()),
        }
        Ok(attributes)
    }

    /// `znode_phys_t` (`zfs_znode.h`).
    fn read_znode(&mut self, bonus: &[u8]) -> Result<(), Problem> {
        if bonus.len() < ZNODE {
            return Err("a file's metadata is cut short".into());
        }
        self.atime = time(bonus, 0);
        self.mtime = time(bonus, 16);
        self.ctime = time(bonus, 32);
        self.crtime = time(bonus, 48);
        let number = |index: usize| word(bonus, 64 + 8 * index);
        self.generation = number(0);
        self.mode = number(1);
        self.size = number(2);
        self.parent = number(3);
        self.links = number(4);
        self.xattr = number(5);
        self.rdev = number(6);
        self.flags = number(7);
        self.uid = number(8);
        self.gid = number(9);
        self.acl_object = word(bonus, 176);
        // zfs_acl_phys_t: object, size in bytes, version, number of entries, entries.
        let size = word(bonus, 184);
        self.acl_count = size >> 48;
        let length = (size as u32 as usize).min(ZNODE - 192);
        if self.acl_object == 0 {
            self.acl = bonus.get(192..192 + length).unwrap_or_default().to_vec();
        }
        if self.kind() == Some(Kind::Symlink) {
            let end = usize::try_from(self.size)
                .ok()
                .and_then(|size| size.checked_add(ZNODE));
            self.target = end
                .and_then(|end| bonus.get(ZNODE..end))
                .map(<[u8]>::to_vec);
        }
        Ok(())
    }
}

/// Size in bytes of `znode_phys_t`.
const ZNODE: usize = 264;

fn word(value: &[u8], at: usize) -> u64 {
    value
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

fn time(value: &[u8], at: usize) -> (i64, u32) {
    let nanoseconds = word(value, at + 8).min(999_999_999) as u32;
    (word(value, at).cast_signed(), nanoseconds)
}
