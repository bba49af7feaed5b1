//! Packs a file's metadata into its bonus and, if need be, a spill block.

use crate::format::acl::TrivialAcl;
use crate::format::sa::{Attribute, MAX_BONUS, MAX_BONUS_WITH_SPILL, Packer};
use crate::format::znode::{
    FLAG_ACL_AUTO_INHERIT, FLAG_ACL_TRIVIAL, FLAG_ARCHIVE, FLAG_AV_MODIFIED, FLAG_NO_EXECS_DENIED,
    FLAG_XATTR,
};

/// Generation (transaction group of its making) every file is given.
const GENERATION: u64 = 4;

/// Number of the first layout: 0 and 1 are ZFS's own (`sa.c`).
const FIRST_LAYOUT: u16 = 2;

macro_rules! layout {
    ($($rest:ident)*) => {{
        use Attribute::*;
        &[
            // The order of the first nine is fixed: space is accounted by looking at
            // fixed places (`SA_UID_OFFSET` and others).
            Mode, Size, Gen, Uid, Gid, Parent, Flags, Atime, Mtime, Ctime, Crtime, Links,
            $($rest),*
        ]
    }};
}

/// The layouts files here have, numbered from [`FIRST_LAYOUT`].
pub(super) static LAYOUTS: [&[Attribute]; 8] = [
    layout!(DaclCount DaclAces),
    layout!(DaclCount DaclAces Symlink),
    &[Attribute::Symlink],
    layout!(Rdev DaclCount DaclAces),
    layout!(DaclCount DaclAces Xattr),
    layout!(Rdev DaclCount DaclAces Xattr),
    layout!(DaclCount DaclAces Xattr Symlink),
    &[Attribute::Xattr, Attribute::Symlink],
];

/// Layouts with their numbers.
pub(super) fn layouts() -> impl Iterator<Item = (u16, &'static [Attribute])> {
    (FIRST_LAYOUT..).zip(LAYOUTS.iter().copied())
}

/// What is stored of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    /// Type and permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub size: u64,
    pub links: u64,
    /// Object it is in.
    pub parent: u64,
    /// `pflags` besides those every file has.
    pub flags: u64,
    /// Object of its extended attributes' directory, or 0.
    pub xattr: u64,
    pub rdev: Option<u64>,
    /// Target of a symbolic link, else empty.
    pub target: Vec<u8>,
}

impl Attributes {
    fn is_directory(&self) -> bool {
        self.mode >> 12 == 0o4
    }

    fn pflags(&self) -> u64 {
        let mut flags = self.flags | FLAG_ARCHIVE | FLAG_AV_MODIFIED | FLAG_ACL_TRIVIAL;
        if self.is_directory() {
            flags |= FLAG_ACL_AUTO_INHERIT;
        }
        // zfs_mode_compute sets it, which nothing calls for hidden directories.
        if self.mode & 0o111 == 0o111 && self.flags & FLAG_XATTR == 0 {
            flags |= FLAG_NO_EXECS_DENIED;
        }
        flags
    }
}

/// Packs one file's attributes after the other; keeps its memory.
#[derive(Debug, Default)]
pub(super) struct Znodes {
    packer: Packer,
    bonus: Vec<u8>,
    spill: Vec<u8>,
}

impl Znodes {
    /// Packs a file's attributes; [`Znodes::bonus`] and [`Znodes::spill`] have them then.
    pub fn pack(&mut self, attributes: &Attributes) {
        self.bonus.clear();
        self.spill.clear();
        self.pack_base(attributes);
        pack_rest(&mut self.packer, attributes);
        if self.packer.size() <= MAX_BONUS {
            finish(&self.packer, &mut self.bonus);
        } else {
            self.packer.clear();
            pack_rest(&mut self.packer, attributes);
            finish(&self.packer, &mut self.spill);
            self.pack_base(attributes);
            finish(&self.packer, &mut self.bonus);
            self.bonus.resize(MAX_BONUS_WITH_SPILL, 0);
        }
    }

    /// The bonus of what was packed last.
    pub fn bonus(&self) -> &[u8] {
        &self.bonus
    }

    /// The spill block of what was packed last, if it needs one.
    pub fn spill(&self) -> Option<&[u8]> {
        (!self.spill.is_empty()).then_some(&self.spill)
    }

    /// What always goes into the bonus.
    fn pack_base(&mut self, attributes: &Attributes) {
        let packer = &mut self.packer;
        packer.clear();
        packer.number(Attribute::Mode, attributes.mode.into());
        packer.number(Attribute::Size, attributes.size);
        packer.number(Attribute::Gen, GENERATION);
        packer.number(Attribute::Uid, attributes.uid.into());
        packer.number(Attribute::Gid, attributes.gid.into());
        packer.number(Attribute::Parent, attributes.parent);
        packer.number(Attribute::Flags, attributes.pflags());
        packer.time(Attribute::Atime, attributes.mtime);
        packer.time(Attribute::Mtime, attributes.mtime);
        packer.time(Attribute::Ctime, attributes.mtime);
        packer.time(Attribute::Crtime, attributes.mtime);
        packer.number(Attribute::Links, attributes.links);
        if let Some(rdev) = attributes.rdev {
            packer.number(Attribute::Rdev, rdev);
        }
        let acl = TrivialAcl::new(attributes.mode, attributes.is_directory());
        packer.number(Attribute::DaclCount, acl.count() as u64);
        packer.bytes(Attribute::DaclAces, acl.as_bytes());
    }
}

/// What goes into the spill block if the bonus has no room.
fn pack_rest(packer: &mut Packer, attributes: &Attributes) {
    if attributes.xattr != 0 {
        packer.number(Attribute::Xattr, attributes.xattr);
    }
    if !attributes.target.is_empty() {
        packer.bytes(Attribute::Symlink, &attributes.target);
    }
}

fn finish(packer: &Packer, out: &mut Vec<u8>) {
    let number = layouts().find(|(_, layout)| *layout == packer.layout());
    debug_assert!(number.is_some(), "no layout for {:?}", packer.layout());
    packer.finish(number.map_or(0, |(number, _)| number), out);
}
