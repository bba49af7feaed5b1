//! Extended attributes: behind the inode's fields, in a block of their own, or in inodes.

use std::io;

use super::{Ext4, Inode, le16, le32};
use crate::source::damaged;

const MAGIC: u32 = 0xEA02_0000;

/// Bytes of the header of a block of attributes.
const BLOCK_HEADER: usize = 32;

/// Longest value (`XATTR_SIZE_MAX`).
const MAX_VALUE: u64 = 65_536;

/// Most bytes of a file's values together: each can be in an inode of its own, and all in the same.
const MOST_VALUES: usize = 1 << 20;

/// Names and values.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

impl Ext4<'_> {
    /// The extended attributes of a file, sorted by name, as programs see them: ACLs in the form of acl(5)'s system calls.
    ///
    /// # Errors
    ///
    /// They are damaged.
    pub fn xattrs(&self, inode: &Inode) -> io::Result<Attributes> {
        let mut all = Vec::new();
        for (name, value) in self.raw_xattrs(inode)? {
            if name.starts_with(b"system.posix_acl_") {
                let acl = acl(&value).ok_or_else(|| {
                    damaged(format!("an ACL of inode {} is damaged", inode.number))
                })?;
                all.push((name, acl));
            } else if name != b"system.data" {
                all.push((name, value));
            }
        }
        all.sort();
        Ok(all)
    }

    /// The attributes as they are stored.
    pub(super) fn raw_xattrs(&self, inode: &Inode) -> io::Result<Attributes> {
        let mut all = Vec::new();
        if inode.extra.len() >= 4 && le32(&inode.extra, 0) == MAGIC {
            let entries = &inode.extra[4..];
            self.attributes(inode, entries, 0, entries, &mut all)?;
        }
        if inode.attributes != 0 {
            let mut block = Vec::new();
            self.block(inode.attributes, &mut block)?;
            if le32(&block, 0) != MAGIC {
                return Err(damaged(format!(
                    "the attributes of inode {} are damaged",
                    inode.number
                )));
            }
            self.attributes(inode, &block, BLOCK_HEADER, &block, &mut all)?;
        }
        Ok(all)
    }

    /// Goes through entries from `at` on, whose values are in `values`.
    fn attributes(
        &self,
        inode: &Inode,
        entries: &[u8],
        mut at: usize,
        values: &[u8],
        all: &mut Attributes,
    ) -> io::Result<()> {
        let wrong = || {
            damaged(format!(
                "the attributes of inode {} are damaged",
                inode.number
            ))
        };
        let mut taken = 0;
        // Entries take 16 bytes at least, so this ends.
        while at + 4 <= entries.len() && le32(entries, at) != 0 {
            if at + 16 > entries.len() {
                return Err(wrong());
            }
            let (name_length, index) = (usize::from(entries[at]), entries[at + 1]);
            let name = entries
                .get(at + 16..at + 16 + name_length)
                .ok_or_else(wrong)?;
            let prefix: &[u8] = match index {
                0 => b"",
                1 => b"user.",
                2 => b"system.posix_acl_access",
                3 => b"system.posix_acl_default",
                4 => b"trusted.",
                6 => b"security.",
                7 => b"system.",
                8 => b"system.richacl",
                _ => return Err(wrong()),
            };
            let (offset, owner, length) = (
                usize::from(le16(entries, at + 2)),
                le32(entries, at + 4),
                le32(entries, at + 8) as usize,
            );
            let value = if owner == 0 {
                offset
                    .checked_add(length)
                    .and_then(|end| values.get(offset..end))
                    .ok_or_else(wrong)?
                    .to_vec()
            } else {
                let holder = self.inode(owner)?;
                if holder.size > MAX_VALUE || holder.size < length as u64 {
                    return Err(wrong());
                }
                let mut value = vec![0; length];
                self.read(&holder, 0, &mut value)?;
                value
            };
            taken += value.len();
            if taken > MOST_VALUES {
                return Err(wrong());
            }
            all.push(([prefix, name].concat(), value));
            at += (16 + name_length).next_multiple_of(4);
        }
        Ok(())
    }
}

/// An ACL as system calls have it (`posix_acl_xattr.h`), of one as it is stored (`fs/ext4/acl.h`): entries that name nobody are shorter there.
fn acl(stored: &[u8]) -> Option<Vec<u8>> {
    let mut acl = 2_u32.to_le_bytes().to_vec();
    if stored.len() < 4 || le32(stored, 0) != 1 {
        return None;
    }
    let mut rest = &stored[4..];
    while !rest.is_empty() {
        if rest.len() < 4 {
            return None;
        }
        let tag = le16(rest, 0);
        acl.extend(&rest[..4]);
        let length = match tag {
            // A user or a group by number.
            0x02 | 0x08 => {
                acl.extend(rest.get(4..8)?);
                8
            }
            0x01 | 0x04 | 0x10 | 0x20 => {
                acl.extend(u32::MAX.to_le_bytes());
                4
            }
            _ => return None,
        };
        rest = &rest[length..];
    }
    Some(acl)
}
