//! Objects of a ZPL file system: types, flags, directory values (`dmu.h`, `zfs_znode.h`).

use crate::tree::Device;

/// `dmu_object_type_t` of the objects a file system holds (`dmu.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ObjectType {
    /// `DMU_OT_PLAIN_FILE_CONTENTS`: everything but directories.
    File = 19,
    /// `DMU_OT_DIRECTORY_CONTENTS`
    Directory = 20,
    /// `DMU_OT_MASTER_NODE`
    Master = 21,
    /// `DMU_OT_UNLINKED_SET`: files removed while open.
    Unlinked = 22,
    /// `DMU_OT_ZVOL`
    Volume = 23,
    /// `DMU_OT_ZVOL_PROP`
    VolumeProperties = 24,
    /// `DMU_OT_SA_MASTER_NODE`
    SaMaster = 45,
    /// `DMU_OT_SA_ATTR_REGISTRATION`
    SaRegistry = 46,
    /// `DMU_OT_SA_ATTR_LAYOUTS`
    SaLayouts = 47,
}

impl ObjectType {
    /// The number of a type.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The type of a number.
    pub fn new(number: u32) -> Option<Self> {
        Some(match number {
            19 => Self::File,
            20 => Self::Directory,
            21 => Self::Master,
            22 => Self::Unlinked,
            23 => Self::Volume,
            24 => Self::VolumeProperties,
            45 => Self::SaMaster,
            46 => Self::SaRegistry,
            47 => Self::SaLayouts,
            _ => return None,
        })
    }
}

/// `dmu_object_type_t` of a bonus of system attributes (`DMU_OT_SA`).
pub const BONUS_SA: u32 = 44;

/// `dmu_object_type_t` of a bonus of the kind before (`DMU_OT_ZNODE`), ZPL 4 and older.
pub const BONUS_ZNODE: u32 = 17;

/// Number of the master node (`MASTER_NODE_OBJ`).
pub const MASTER_NODE: u64 = 1;

/// Object of a volume's data (`ZVOL_OBJ`).
pub const VOLUME_DATA: u64 = 1;
/// Object of a volume's properties (`ZVOL_ZAP_OBJ`).
pub const VOLUME_PROPERTIES: u64 = 2;

/// ZPL version with system attributes (`ZPL_VERSION_SA`).
pub const ZPL_VERSION: u64 = 5;

/// `pflags` bit: part of a hidden directory of extended attributes (`ZFS_XATTR`).
pub const FLAG_XATTR: u64 = 0x1;
/// `pflags` bit: the ACL says no more than the mode (`ZFS_ACL_TRIVIAL`).
pub const FLAG_ACL_TRIVIAL: u64 = 0x4;
/// `pflags` bit: set on every directory (`ZFS_ACL_AUTO_INHERIT`).
pub const FLAG_ACL_AUTO_INHERIT: u64 = 0x40;
/// `pflags` bit: owner, group and others may all execute (`ZFS_NO_EXECS_DENIED`).
pub const FLAG_NO_EXECS_DENIED: u64 = 0x100;
/// `pflags` bit: changed since it was last archived (`ZFS_ARCHIVE`).
pub const FLAG_ARCHIVE: u64 = 0x8_0000_0000;
/// `pflags` bit: changed since it was last scanned (`ZFS_AV_MODIFIED`).
pub const FLAG_AV_MODIFIED: u64 = 0x400_0000_0000;

/// Most bytes of an entry's name, without a final NUL (`MAXNAMELEN` - 1).
pub const MAX_NAME: usize = 255;
/// Most bytes of a symbolic link's target, without a final NUL (`MAXPATHLEN` - 1; 1024 on
/// illumos is the limit for a path given, not for one stored).
pub const MAX_TARGET: usize = 4095;

/// What a directory's ZAP holds for an entry: the type bits of its mode and its object (`ZFS_DIRENT_MAKE`).
pub fn dirent(mode: u32, object: u64) -> u64 {
    u64::from(mode >> 12) << 60 | object
}

/// The object that a directory's ZAP holds for an entry (`ZFS_DIRENT_OBJ`).
pub fn dirent_object(value: u64) -> u64 {
    value & ((1 << 48) - 1)
}

/// The type bits of a mode that a directory's ZAP holds for an entry (`ZFS_DIRENT_TYPE`); 0 from file systems of before
/// there were any (ZPL 1).
pub fn dirent_type(value: u64) -> u32 {
    (value >> 60) as u32 * 0o010_000
}

/// A device number as illumos stores it: 32 bits each for major and minor (`makedevice` of a 64-bit
/// kernel).
pub fn rdev(major: u32, minor: u32) -> u64 {
    u64::from(major) << 32 | u64::from(minor)
}

/// The device number that was stored: as illumos does or, where that leaves no major number, as Linux does (12 bits for
/// the major, which stand above 20 for the minor: `MAJOR` and `MINOR` of a kernel).
pub fn device(rdev: u64) -> Device {
    let (major, minor) = ((rdev >> 32) as u32, rdev as u32);
    if major == 0 {
        return Device {
            major: minor >> 20,
            minor: minor & 0xF_FFFF,
        };
    }
    Device { major, minor }
}
