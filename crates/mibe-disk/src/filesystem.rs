//! What is in a partition, by its first bytes.

use std::io;

use serde::Serialize;

use crate::source::Part;

/// Kinds of file systems and of what else is in partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// ext2, ext3 or ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// UFS, version 2 or 1.
    Ufs,
    /// FAT of any width.
    Fat,
    /// NTFS.
    Ntfs,
    /// ISO 9660.
    Iso9660,
    /// Swap of Linux.
    Swap,
    /// A physical volume of LVM.
    Lvm,
    /// Encrypted by LUKS.
    Luks,
    /// A pool of ZFS.
    Zfs,
    /// SquashFS.
    Squashfs,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Ufs => "ufs",
            Self::Fat => "fat",
            Self::Ntfs => "ntfs",
            Self::Iso9660 => "iso9660",
            Self::Swap => "swap",
            Self::Lvm => "LVM",
            Self::Luks => "LUKS",
            Self::Zfs => "ZFS",
            Self::Squashfs => "squashfs",
        }
    }
}

/// What is known of a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileSystem {
    /// Its kind.
    pub kind: Kind,
    /// Its label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Its UUID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uuid: String,
}

/// Magic bytes, where they stand, and of what they are.
const MAGICS: [(&[u8], u64, Kind); 14] = [
    (&[0x53, 0xEF], 1024 + 56, Kind::Ext4),
    (b"XFSB", 0, Kind::Xfs),
    (b"_BHRfS_M", 65_536 + 64, Kind::Btrfs),
    // `fs_magic` of struct fs, at SBLOCK_UFS2 and SBLOCK_UFS1 (FreeBSD's sys/ufs/ffs/fs.h).
    (&[0x19, 0x01, 0x54, 0x19], 65_536 + 1372, Kind::Ufs),
    (&[0x54, 0x19, 0x01, 0x00], 8192 + 1372, Kind::Ufs),
    (b"NTFS    ", 3, Kind::Ntfs),
    (b"FAT32   ", 82, Kind::Fat),
    (b"FAT1", 54, Kind::Fat),
    (b"CD001", 32_769, Kind::Iso9660),
    (b"SWAPSPACE2", 4086, Kind::Swap),
    (b"LABELONE", 512, Kind::Lvm),
    (b"LUKS\xba\xbe", 0, Kind::Luks),
    (b"hsqs", 0, Kind::Squashfs),
    // The first uberblock of the first label of a pool (`UBERBLOCK_MAGIC`).
    (&[0x0c, 0xb1, 0xba, 0x00], 131_072, Kind::Zfs),
];

/// What a partition holds; `None`: nothing that is known.
///
/// # Errors
///
/// The disk could not be read.
pub fn identify(part: &Part<'_>) -> io::Result<Option<FileSystem>> {
    let bytes = |at: u64, length: usize| -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        if at + length as u64 > part.size() {
            return Ok(Vec::new());
        }
        part.read_at(&mut buffer, at)?;
        Ok(buffer)
    };
    for (magic, at, kind) in MAGICS {
        if bytes(at, magic.len())? != magic {
            continue;
        }
        let text = |bytes: Vec<u8>| {
            let end = bytes
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(bytes.len());
            let text = String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned();
            text.replace(|character: char| character.is_control(), "?")
        };
        let (label, uuid) = match kind {
            Kind::Ext4 => (text(bytes(1024 + 120, 16)?), uuid(&bytes(1024 + 104, 16)?)),
            Kind::Xfs => (text(bytes(108, 12)?), uuid(&bytes(32, 16)?)),
            Kind::Btrfs => (
                text(bytes(65_536 + 299, 256)?),
                uuid(&bytes(65_536 + 32, 16)?),
            ),
            Kind::Fat => {
                let at = if magic.len() == 8 { 67 } else { 39 };
                let serial = bytes(at, 4)?;
                let serial = match serial.as_slice() {
                    [a, b, c, d] => format!("{d:02X}{c:02X}-{b:02X}{a:02X}"),
                    _ => String::new(),
                };
                (text(bytes(at + 4, 11)?), serial)
            }
            Kind::Iso9660 => (text(bytes(32_808, 32)?), String::new()),
            _ => (String::new(), String::new()),
        };
        let label = if label == "NO NAME" {
            String::new()
        } else {
            label
        };
        return Ok(Some(FileSystem { kind, label, uuid }));
    }
    Ok(None)
}

fn uuid(bytes: &[u8]) -> String {
    if bytes.len() != 16 {
        return String::new();
    }
    let groups = [0..4, 4..6, 6..8, 8..10, 10..16];
    groups
        .map(|range| mibe_image::file::hex(&bytes[range]))
        .join("-")
}
