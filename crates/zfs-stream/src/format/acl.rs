//! The ACL that says what a mode says, entry for entry as ZFS writes it (`zfs_acl.c`,
//! `acl_common.c`: `acl_trivial_access_masks`).
//!
//! Entries are looked at in order and the first that speaks of a right decides. A class that has less than
//! a class after it needs its right denied before (or the owner's granted ahead of the
//! group's denial), so modes such as 0604 or 0077 have more than the three usual entries.

/// Rights an entry grants or denies (`sys/acl.h`).
mod right {
    pub const READ_DATA: u32 = 0x1;
    pub const WRITE_DATA: u32 = 0x2;
    pub const APPEND_DATA: u32 = 0x4;
    pub const READ_NAMED_ATTRS: u32 = 0x8;
    pub const WRITE_NAMED_ATTRS: u32 = 0x10;
    pub const EXECUTE: u32 = 0x20;
    pub const DELETE_CHILD: u32 = 0x40;
    pub const READ_ATTRIBUTES: u32 = 0x80;
    pub const WRITE_ATTRIBUTES: u32 = 0x100;
    pub const READ_ACL: u32 = 0x2_0000;
    pub const WRITE_ACL: u32 = 0x4_0000;
    pub const WRITE_OWNER: u32 = 0x8_0000;
    pub const SYNCHRONIZE: u32 = 0x10_0000;

    /// What everybody has whatever the mode.
    pub const BASIC: u32 = READ_ACL | READ_ATTRIBUTES | READ_NAMED_ATTRS | SYNCHRONIZE;
    /// What the owner has besides.
    pub const OWNER: u32 = WRITE_ATTRIBUTES | WRITE_OWNER | WRITE_ACL | WRITE_NAMED_ATTRS;
}

const ALLOW: u16 = 0;
const DENY: u16 = 1;

/// `ACE_OWNER`
const OWNER: u16 = 0x1000;
/// `ACE_GROUP | ACE_IDENTIFIER_GROUP`
const GROUP: u16 = 0x2040;
/// `ACE_EVERYONE`
const EVERYONE: u16 = 0x4000;

/// Size of an entry in bytes (`zfs_ace_hdr_t`).
pub const ACE: usize = 8;
/// Most entries a trivial ACL has.
pub const MAX_TRIVIAL: usize = 6;

/// A trivial ACL as it stands in `ZPL_DACL_ACES`.
#[derive(Debug, Clone, Copy)]
pub struct TrivialAcl {
    bytes: [u8; ACE * MAX_TRIVIAL],
    count: usize,
}

impl TrivialAcl {
    /// The ACL of an object with `mode` (only its nine permission bits matter).
    pub fn new(mode: u32, is_directory: bool) -> Self {
        use right::{APPEND_DATA, DELETE_CHILD, EXECUTE, READ_DATA, WRITE_DATA};
        let write = WRITE_DATA | APPEND_DATA | if is_directory { DELETE_CHILD } else { 0 };
        let (mut granted_early, mut denied_owner, mut denied_group) = (0, 0, 0);
        let (mut owner, mut group, mut everyone) =
            (right::BASIC | right::OWNER, right::BASIC, right::BASIC);
        for (bit, mask) in [(4, READ_DATA), (2, write), (1, EXECUTE)] {
            let has = |class: u32| mode >> class & bit != 0;
            let (has_owner, has_group, has_everyone) = (has(6), has(3), has(0));
            if has_owner {
                owner |= mask;
                if !has_group && has_everyone {
                    granted_early |= mask;
                }
            } else if has_group || has_everyone {
                denied_owner |= mask;
            }
            if has_group {
                group |= mask;
            } else if has_everyone {
                denied_group |= mask;
            }
            if has_everyone {
                everyone |= mask;
            }
        }
        let mut acl = Self {
            bytes: [0; _],
            count: 0,
        };
        for (kind, who, mask) in [
            (ALLOW, OWNER, granted_early),
            (DENY, OWNER, denied_owner),
            (DENY, GROUP, denied_group),
        ] {
            if mask != 0 {
                acl.push(kind, who, mask);
            }
        }
        acl.push(ALLOW, OWNER, owner);
        acl.push(ALLOW, GROUP, group);
        acl.push(ALLOW, EVERYONE, everyone);
        acl
    }

    fn push(&mut self, kind: u16, who: u16, mask: u32) {
        let (entries, _) = self.bytes.as_chunks_mut::<ACE>();
        if let Some([k0, k1, w0, w1, mask_bytes @ ..]) = entries.get_mut(self.count) {
            [*k0, *k1] = kind.to_le_bytes();
            [*w0, *w1] = who.to_le_bytes();
            *mask_bytes = mask.to_le_bytes();
            self.count += 1;
        }
    }

    /// Number of entries, 3 to 6.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The entries.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.count * ACE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(mode: u32, is_directory: bool) -> String {
        let acl = TrivialAcl::new(mode, is_directory);
        acl.as_bytes()
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// What a kernel's OpenZFS wrote (the project's samples of `zfs send`).
    #[test]
    fn same_as_zfs() {
        for (mode, is_directory, acl) in [
            (
                0o0000,
                false,
                "0000001098011e0000004020880012000000004088001200",
            ),
            (
                0o0644,
                false,
                "000000109f011e0000004020890012000000004089001200",
            ),
            (
                0o0755,
                false,
                "00000010bf011e0000004020a900120000000040a9001200",
            ),
            (
                0o0777,
                false,
                "00000010bf011e0000004020af00120000000040af001200",
            ),
            (
                0o0755,
                true,
                "00000010ff011e0000004020a900120000000040a9001200",
            ),
            (
                0o1777,
                true,
                "00000010ff011e0000004020ef00120000000040ef001200",
            ),
        ] {
            assert_eq!(hex(mode, is_directory), acl, "mode {mode:o}");
        }
    }

    /// Looks the first entry up that speaks of a right, as access checks do.
    fn grants(acl: &[u8], classes: &[u16], mask: u32) -> bool {
        for ace in acl.chunks(ACE) {
            let kind = u16::from_le_bytes([ace[0], ace[1]]);
            let who = u16::from_le_bytes([ace[2], ace[3]]);
            let rights = u32::from_le_bytes([ace[4], ace[5], ace[6], ace[7]]);
            if classes.contains(&who) && rights & mask != 0 {
                return kind == ALLOW;
            }
        }
        false
    }

    #[test]
    fn every_mode_means_itself() {
        for mode in 0..0o1000 {
            let acl = TrivialAcl::new(mode, false);
            assert_eq!(acl.as_bytes().len(), acl.count() * ACE);
            // The owner may be of the group, and everybody is of everyone.
            for (shift, classes) in [
                (6, &[OWNER, GROUP, EVERYONE][..]),
                (6, &[OWNER, EVERYONE]),
                (3, &[GROUP, EVERYONE]),
                (0, &[EVERYONE]),
            ] {
                for (bit, mask) in [(4, 0x1), (2, 0x2), (2, 0x4), (1, 0x20)] {
                    assert_eq!(
                        grants(acl.as_bytes(), classes, mask),
                        mode >> shift & bit != 0,
                        "mode {mode:o}, classes {classes:x?}, right {mask:x}"
                    );
                }
            }
        }
    }
}
