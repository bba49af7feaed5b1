//! System attributes: how a file's metadata is packed into its bonus and spill block (`sa.c`,
//! `zfs_sa.h`).
//!
//! A packed set is a [`Header`], the lengths of its attributes of variable length (16 bits each; there is
//! room for one in the header proper), padding to 8 bytes, and the attributes in the order of a *layout*.
//! What attributes there are and what layouts are used is itself recorded in the file system.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `SA_MAGIC`
pub const MAGIC: u32 = 0x2F_505A;

/// Most bytes of a bonus in a 512-byte dnode (`DN_OLD_MAX_BONUSLEN`).
pub const MAX_BONUS: usize = 320;
/// Most bytes of a bonus whose object has a spill block: a block pointer takes the rest.
pub const MAX_BONUS_WITH_SPILL: usize = MAX_BONUS - 128;

/// Start of a packed set (`sa_hdr_phys_t`); the lengths follow.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`]
    pub magic: U32,
    /// Number of the layout, and size of header and lengths in 8-byte units shifted by 10.
    pub layout_info: U16,
}

/// Attributes and their numbers as the ZPL registers them (`zpl_attr_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Attribute {
    /// When last read.
    Atime = 0,
    /// When last written.
    Mtime = 1,
    /// When last changed.
    Ctime = 2,
    /// When made.
    Crtime = 3,
    /// Transaction group it was made in.
    Gen = 4,
    /// Type and permissions.
    Mode = 5,
    /// Bytes; of a directory, entries plus two.
    Size = 6,
    /// Object of the directory it is in.
    Parent = 7,
    /// Hard links; of a directory, subdirectories plus two.
    Links = 8,
    /// Object of the hidden directory of extended attributes.
    Xattr = 9,
    /// Device number.
    Rdev = 10,
    /// `pflags`, see [`super::znode`].
    Flags = 11,
    /// Owner.
    Uid = 12,
    /// Group.
    Gid = 13,
    /// Not used.
    Pad = 14,
    /// ACL of old.
    ZnodeAcl = 15,
    /// Number of entries in the ACL.
    DaclCount = 16,
    /// Target of a symbolic link.
    Symlink = 17,
    /// Stamp of a virus scanner.
    Scanstamp = 18,
    /// Entries of the ACL.
    DaclAces = 19,
}

/// An attribute's registration (`sa_attr_reg_t`).
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    /// Which.
    pub attribute: Attribute,
    /// Name it is registered by.
    pub name: &'static str,
    /// Length in bytes; 0 if it varies.
    pub length: u16,
    /// How it is byte-swapped (`sa_bswap_type_t`).
    pub swap: u8,
}

impl Registration {
    /// Value in the registry (`ATTR_ENCODE`).
    pub fn value(&self) -> u64 {
        u64::from(self.length) << 24 | u64::from(self.swap) << 16 | self.attribute as u64
    }
}

const fn registration(
    attribute: Attribute,
    name: &'static str,
    length: u16,
    swap: u8,
) -> Registration {
    Registration {
        attribute,
        name,
        length,
        swap,
    }
}

/// The attributes every ZPL 5 file system knows, in the order of their numbers (`zfs_attr_table`, without
/// those that OpenZFS added).
pub static REGISTRY: [Registration; 20] = [
    registration(Attribute::Atime, "ZPL_ATIME", 16, 0),
    registration(Attribute::Mtime, "ZPL_MTIME", 16, 0),
    registration(Attribute::Ctime, "ZPL_CTIME", 16, 0),
    registration(Attribute::Crtime, "ZPL_CRTIME", 16, 0),
    registration(Attribute::Gen, "ZPL_GEN", 8, 0),
    registration(Attribute::Mode, "ZPL_MODE", 8, 0),
    registration(Attribute::Size, "ZPL_SIZE", 8, 0),
    registration(Attribute::Parent, "ZPL_PARENT", 8, 0),
    registration(Attribute::Links, "ZPL_LINKS", 8, 0),
    registration(Attribute::Xattr, "ZPL_XATTR", 8, 0),
    registration(Attribute::Rdev, "ZPL_RDEV", 8, 0),
    registration(Attribute::Flags, "ZPL_FLAGS", 8, 0),
    registration(Attribute::Uid, "ZPL_UID", 8, 0),
    registration(Attribute::Gid, "ZPL_GID", 8, 0),
    registration(Attribute::Pad, "ZPL_PAD", 32, 0),
    registration(Attribute::ZnodeAcl, "ZPL_ZNODE_ACL", 88, 3),
    registration(Attribute::DaclCount, "ZPL_DACL_COUNT", 8, 0),
    registration(Attribute::Symlink, "ZPL_SYMLINK", 0, 3),
    registration(Attribute::Scanstamp, "ZPL_SCANSTAMP", 32, 3),
    registration(Attribute::DaclAces, "ZPL_DACL_ACES", 0, 4),
];

/// Name of the registry in the SA master node (`SA_REGISTRY`).
pub const REGISTRY_NAME: &str = "REGISTRY";
/// Name of the layouts in the SA master node (`SA_LAYOUTS`).
pub const LAYOUTS_NAME: &str = "LAYOUTS";

/// Packs attributes one after the other and notes their layout.
///
/// Reuse one: it keeps its memory.
#[derive(Debug, Default)]
pub struct Packer {
    layout: Vec<Attribute>,
    lengths: Vec<u16>,
    values: Vec<u8>,
}

impl Packer {
    /// Starts a new set.
    pub fn clear(&mut self) {
        self.layout.clear();
        self.lengths.clear();
        self.values.clear();
    }

    /// Adds a 64-bit attribute.
    pub fn number(&mut self, attribute: Attribute, value: u64) {
        self.start(attribute);
        self.values.extend_from_slice(&value.to_le_bytes());
    }

    /// Adds a time: seconds since 1970 and nanoseconds after them.
    pub fn time(&mut self, attribute: Attribute, (seconds, nanoseconds): (i64, u32)) {
        self.start(attribute);
        self.values.extend_from_slice(&seconds.to_le_bytes());
        self.values
            .extend_from_slice(&u64::from(nanoseconds).to_le_bytes());
    }

    /// Adds an attribute of variable length, at most `u16::MAX`.
    pub fn bytes(&mut self, attribute: Attribute, value: &[u8]) {
        self.start(attribute);
        self.lengths.push(value.len() as u16);
        self.values.extend_from_slice(value);
    }

    fn start(&mut self, attribute: Attribute) {
        self.layout.push(attribute);
        // Every attribute starts at a multiple of 8, but the last one isn't padded.
        self.values.resize(self.values.len().next_multiple_of(8), 0);
    }

    /// The attributes so far, in order.
    pub fn layout(&self) -> &[Attribute] {
        &self.layout
    }

    /// Size in bytes of what [`Packer::finish`] gives.
    pub fn size(&self) -> usize {
        self.header_size() + self.values.len()
    }

    fn header_size(&self) -> usize {
        (size_of::<Header>() + 2 * self.lengths.len().max(1)).next_multiple_of(8)
    }

    /// Appends the set to `out`, under this layout's number (at most 1023).
    pub fn finish(&self, layout: u16, out: &mut Vec<u8>) {
        let start = out.len();
        let size = self.header_size();
        let header = Header {
            magic: MAGIC.into(),
            layout_info: (layout | ((size / 8) as u16) << 10).into(),
        };
        out.extend_from_slice(header.as_bytes());
        for length in &self.lengths {
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.resize(start + size, 0);
        out.extend_from_slice(&self.values);
    }
}
