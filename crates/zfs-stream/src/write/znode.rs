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

/// Layouts of files whose ACL, kept from a base, is too long for the bonus.
pub(super) static LONG_ACL_LAYOUTS: [&[Attribute]; 6] = [
    layout!(),
    layout!(Rdev),
    &[Attribute::DaclCount, Attribute::DaclAces],
    &[Attribute::DaclCount, Attribute::DaclAces, Attribute::Xattr],
    &[
        Attribute::DaclCount,
        Attribute::DaclAces,
        Attribute::Symlink,
    ],
    &[
        Attribute::DaclCount,
        Attribute::DaclAces,
        Attribute::Xattr,
        Attribute::Symlink,
    ],
];

/// What a file of a base keeps when its metadata changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub generation: u64,
    pub atime: (i64, u32),
    pub crtime: (i64, u32),
    /// All of `pflags`, unless the mode changed.
    pub flags: Option<u64>,
    /// Number of entries and bytes of the ACL, unless it only says what the mode says.
    pub acl: Option<(u64, Vec<u8>)>,
}

/// What is stored of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    /// Type and permissions.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
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
    /// What is kept of the file in the base.
    pub kept: Option<Kept>,
}

impl Attributes {
    fn is_directory(&self) -> bool {
        self.mode >> 12 == 0o4
    }

    fn pflags(&self) -> u64 {
        if let Some(flags) = self.kept.as_ref().and_then(|kept| kept.flags) {
            return flags | FLAG_ARCHIVE | FLAG_AV_MODIFIED;
        }
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
    /// Numbers of the layouts in a base; those of full streams if there are none.
    numbers: Vec<(u16, &'static [Attribute])>,
}

impl Znodes {
    /// Packs for a file system whose layouts have these numbers.
    pub fn with_layouts(numbers: Vec<(u16, &'static [Attribute])>) -> Self {
        Self {
            numbers,
            ..Self::default()
        }
    }

    /// Packs a file's attributes; [`Znodes::bonus`] and [`Znodes::spill`] have them then.
    pub fn pack(&mut self, attributes: &Attributes) {
        self.bonus.clear();
        self.spill.clear();
        // Into the spill block goes what the bonus has no room for: the target first of all, a long ACL last.
        let parts: [fn(&mut Packer, &Attributes); 3] = [pack_base, pack_acl, pack_rest];
        self.pack_parts(&parts, attributes);
        if self.packer.size() <= MAX_BONUS {
            self.finish_bonus();
            return;
        }
        for split in [2, 1] {
            self.pack_parts(&parts[..split], attributes);
            if self.packer.size() > MAX_BONUS_WITH_SPILL {
                continue;
            }
            self.finish_bonus();
            self.bonus.resize(MAX_BONUS_WITH_SPILL, 0);
            self.pack_parts(&parts[split..], attributes);
            let number = self.number();
            self.packer.finish(number, &mut self.spill);
            return;
        }
    }

    fn pack_parts(&mut self, parts: &[fn(&mut Packer, &Attributes)], attributes: &Attributes) {
        self.packer.clear();
        for part in parts {
            part(&mut self.packer, attributes);
        }
    }

    fn finish_bonus(&mut self) {
        let number = self.number();
        self.packer.finish(number, &mut self.bonus);
    }

    /// Number of the layout that was packed.
    fn number(&self) -> u16 {
        let layout = self.packer.layout();
        let number = if self.numbers.is_empty() {
            layouts().find(|(_, other)| *other == layout)
        } else {
            self.numbers
                .iter()
                .copied()
                .find(|(_, other)| *other == layout)
        };
        debug_assert!(number.is_some(), "no layout for {layout:?}");
        number.map_or(0, |(number, _)| number)
    }

    /// The bonus of what was packed last.
    pub fn bonus(&self) -> &[u8] {
        &self.bonus
    }

    /// Makes the bonus of what was packed last another length than this.
    pub fn avoid_length(&mut self, length: usize) {
        if self.bonus.len() == length {
            self.bonus.resize(length + 8, 0);
        }
    }

    /// The spill block of what was packed last, if it needs one.
    pub fn spill(&self) -> Option<&[u8]> {
        (!self.spill.is_empty()).then_some(&self.spill)
    }
}

/// What always goes into the bonus.
fn pack_base(packer: &mut Packer, attributes: &Attributes) {
    let mtime = attributes.mtime;
    let (generation, atime, crtime) = attributes
        .kept
        .as_ref()
        .map_or((GENERATION, mtime, mtime), |kept| {
            (kept.generation, kept.atime, kept.crtime)
        });
    packer.number(Attribute::Mode, attributes.mode.into());
    packer.number(Attribute::Size, attributes.size);
    packer.number(Attribute::Gen, generation);
    packer.number(Attribute::Uid, attributes.uid);
    packer.number(Attribute::Gid, attributes.gid);
    packer.number(Attribute::Parent, attributes.parent);
    packer.number(Attribute::Flags, attributes.pflags());
    packer.time(Attribute::Atime, atime);
    packer.time(Attribute::Mtime, mtime);
    packer.time(Attribute::Ctime, mtime);
    packer.time(Attribute::Crtime, crtime);
    packer.number(Attribute::Links, attributes.links);
    if let Some(rdev) = attributes.rdev {
        packer.number(Attribute::Rdev, rdev);
    }
}

fn pack_acl(packer: &mut Packer, attributes: &Attributes) {
    if let Some((count, acl)) = attributes.kept.as_ref().and_then(|kept| kept.acl.as_ref()) {
        packer.number(Attribute::DaclCount, *count);
        packer.bytes(Attribute::DaclAces, acl);
        return;
    }
    let acl = TrivialAcl::new(attributes.mode, attributes.is_directory());
    packer.number(Attribute::DaclCount, acl.count() as u64);
    packer.bytes(Attribute::DaclAces, acl.as_bytes());
}

fn pack_rest(packer: &mut Packer, attributes: &Attributes) {
    if attributes.xattr != 0 {
        packer.number(Attribute::Xattr, attributes.xattr);
    }
    if !attributes.target.is_empty() {
        packer.bytes(Attribute::Symlink, &attributes.target);
    }
}
