//! ext2, ext3 and ext4, read without mounting: the kernel's Documentation/filesystems/ext4 and e2fsprogs' ext2_fs.h.
//!
//! Nothing of the file system is believed: every offset is checked against the partition, every chain has a bound, and memory is taken
//! for a block or two at a time. Checksums are e2fsck's business, which looks at every file system before and after it is changed.

mod blocks;
mod directory;
pub mod edit;
mod script;
mod xattr;

use std::io;

use crate::source::{Part, Source, damaged};

/// Number of the root directory.
pub const ROOT: u32 = 2;

/// Most symbolic links followed on the way to a file (`MAXSYMLINKS`).
const MOST_LINKS: u32 = 40;

/// Longest target of a symbolic link (`PATH_MAX`).
const MAX_TARGET: u64 = 4096;

/// `s_feature_incompat`.
mod feature {
    pub const RECOVER: u32 = 0x4;
    pub const META_BG: u32 = 0x10;
    pub const BIT64: u32 = 0x80;
    /// All that is understood here: file types, recovery, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline_data,
    /// encrypt (but for encrypted files), casefold (names as they stand).
    pub const KNOWN: u32 = 0x2
        | RECOVER
        | META_BG
        | 0x40
        | BIT64
        | 0x100
        | 0x200
        | 0x400
        | 0x2000
        | 0x4000
        | 0x8000
        | 0x1_0000
        | 0x2_0000;
}

/// `i_flags`.
mod flag {
    pub const ENCRYPTED: u32 = 0x800;
    pub const EXTENTS: u32 = 0x8_0000;
    pub const INLINE: u32 = 0x1000_0000;
}

/// A file system.
pub struct Ext4<'a> {
    part: Part<'a>,
    block_size: u64,
    blocks: u64,
    inodes: u32,
    inodes_per_group: u32,
    inode_size: u64,
    blocks_per_group: u64,
    first_data_block: u64,
    descriptor_size: u64,
    first_meta_group: Option<u64>,
    needs_recovery: bool,
    clean: bool,
    free_blocks: u64,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Block,
    /// A character device.
    Character,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A file of the file system, by its inode.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Its number.
    pub number: u32,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, with set-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Names that it has.
    pub links: u32,
    /// Last change of the content: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    flags: u32,
    /// `i_block`.
    block: [u8; 60],
    /// Block of attributes, or 0.
    attributes: u64,
    /// What follows the fields of the inode that its `i_extra_isize` is about.
    extra: Vec<u8>,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without NUL and slash.
    pub name: Vec<u8>,
    /// Number of the inode, not 0.
    pub inode: u32,
}

impl<'a> Ext4<'a> {
    /// Opens the file system that begins at byte `start` of a disk and has at most `size` bytes.
    ///
    /// # Errors
    ///
    /// It is none, a damaged one, or needs what is not understood here.
    pub fn open(disk: &'a dyn Source, start: u64, size: u64) -> io::Result<Self> {
        let part = Part::new(disk, start, size);
        let mut block = [0; 1024];
        part.read_at(&mut block, 1024)?;
        let short = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
        let long = |at: usize| le32(&block, at);
        if short(56) != 0xEF53 {
            return Err(damaged("it is no ext4 file system"));
        }
        let incompatible = if long(76) == 0 { 0 } else { long(96) };
        if incompatible & !feature::KNOWN != 0 {
            return Err(damaged(format!(
                "the ext4 file system needs features that are not known here ({:#x})",
                incompatible & !feature::KNOWN
            )));
        }
        let shift = long(24);
        if shift > 6 {
            return Err(damaged(format!(
                "the ext4 file system says to have blocks of 2^{} bytes",
                u64::from(shift) + 10
            )));
        }
        let block_size = 1024 << shift;
        let is_64 = incompatible & feature::BIT64 != 0;
        let high = |at: usize| if is_64 { u64::from(long(at)) << 32 } else { 0 };
        let blocks = u64::from(long(4)) | high(0x150);
        let inode_size = if long(76) == 0 {
            128
        } else {
            u64::from(short(88))
        };
        let descriptor_size = if is_64 { u64::from(short(254)) } else { 32 };
        let this = Self {
            block_size,
            blocks,
            inodes: long(0),
            inodes_per_group: long(40),
            inode_size,
            blocks_per_group: u64::from(long(32)),
            first_data_block: u64::from(long(20)),
            descriptor_size,
            first_meta_group: (incompatible & feature::META_BG != 0)
                .then(|| u64::from(long(0x104))),
            needs_recovery: incompatible & feature::RECOVER != 0,
            clean: short(58) & 3 == 1,
            free_blocks: u64::from(long(12)) | high(0x158),
            part,
        };
        if blocks
            .checked_mul(block_size)
            .is_none_or(|bytes| bytes > this.part.size())
        {
            return Err(damaged(format!(
                "the ext4 file system says to have {blocks} blocks of {block_size} bytes, and its partition has {} bytes",
                this.part.size()
            )));
        }
        let sizes = [
            this.inodes_per_group == 0,
            this.blocks_per_group == 0,
            !(128..=block_size).contains(&inode_size) || !inode_size.is_power_of_two(),
            !(32..=block_size).contains(&descriptor_size) || !descriptor_size.is_power_of_two(),
            this.first_data_block > 1,
        ];
        if sizes.contains(&true) {
            return Err(damaged(
                "the superblock of the ext4 file system makes no sense",
            ));
        }
        Ok(this)
    }

    /// Whether it was unmounted, and no errors were met.
    pub fn is_clean(&self) -> bool {
        self.clean && !self.needs_recovery
    }

    /// Bytes of the file system.
    pub fn size(&self) -> u64 {
        self.blocks * self.block_size
    }

    /// Bytes that are free, by its own count.
    pub fn free(&self) -> u64 {
        self.free_blocks.min(self.blocks) * self.block_size
    }

    /// Reads an inode.
    ///
    /// # Errors
    ///
    /// There is no inode of that number, or it makes no sense.
    pub fn inode(&self, number: u32) -> io::Result<Inode> {
        if number == 0 || number > self.inodes {
            return Err(damaged(format!("there is no inode {number}")));
        }
        let index = number - 1;
        let table = self.inode_table(u64::from(index / self.inodes_per_group))?;
        let offset = u64::from(index % self.inodes_per_group) * self.inode_size;
        let mut bytes = vec![0; self.inode_size as usize];
        let at = table
            .checked_mul(self.block_size)
            .and_then(|at| at.checked_add(offset));
        let at = at.ok_or_else(|| damaged(format!("the table of inode {number} is nowhere")))?;
        self.part.read_at(&mut bytes, at)?;
        Inode::parse(number, &bytes)
    }

    /// First block of a group's table of inodes.
    fn inode_table(&self, group: u64) -> io::Result<u64> {
        let per_block = self.block_size / self.descriptor_size;
        let meta = group / per_block;
        let block = match self.first_meta_group {
            Some(first) if meta >= first => {
                // In the first of the groups that it is about, after the superblock's copy if that group has one.
                let start = self.first_data_block + meta * per_block * self.blocks_per_group;
                start + u64::from(has_copy(meta * per_block))
            }
            _ => self.first_data_block + 1 + meta,
        };
        let at = block
            .checked_mul(self.block_size)
            .and_then(|at| at.checked_add(group % per_block * self.descriptor_size))
            .ok_or_else(|| damaged("a group is nowhere"))?;
        let mut descriptor = [0; 64];
        let length = self.descriptor_size.min(64) as usize;
        self.part.read_at(&mut descriptor[..length], at)?;
        let high = if length == 64 {
            u64::from(le32(&descriptor, 0x28)) << 32
        } else {
            0
        };
        Ok(u64::from(le32(&descriptor, 8)) | high)
    }

    /// The bytes of a block.
    fn block(&self, number: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        if number == 0 || number >= self.blocks {
            return Err(damaged(format!(
                "block {number} is none of the file system"
            )));
        }
        buffer.resize(self.block_size as usize, 0);
        self.part.read_at(buffer, number * self.block_size)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// It can't be read, or is no symbolic link's.
    pub fn read_link(&self, inode: &Inode) -> io::Result<Vec<u8>> {
        if inode.kind != FileKind::Symlink || inode.size == 0 || inode.size >= MAX_TARGET {
            return Err(damaged(format!(
                "inode {} is no symbolic link that makes sense",
                inode.number
            )));
        }
        let length = inode.size as usize;
        if inode.flags & (flag::EXTENTS | flag::INLINE) == 0 && length < 60 {
            return Ok(inode.block[..length].to_vec());
        }
        let mut target = vec![0; length];
        self.read(inode, 0, &mut target)?;
        Ok(target)
    }

    /// The file at a path from the root, as the guest would find it: links lead where they lead there, and never out. `None`: there is none.
    /// The last name is followed if it is a link and `follow` says so.
    ///
    /// # Errors
    ///
    /// A directory can't be read.
    pub fn find(&self, path: &str, follow: bool) -> io::Result<Option<Inode>> {
        Ok(self.walk(path, follow)?.map(|(_, inode)| inode))
    }

    /// The same with its path as it is without links, from the root, without a slash before it.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn find_real(&self, path: &str) -> io::Result<Option<(Vec<u8>, Inode)>> {
        self.walk(path, true)
    }

    fn walk(&self, path: &str, follow: bool) -> io::Result<Option<(Vec<u8>, Inode)>> {
        let mut links = 0;
        let mut names: Vec<Vec<u8>> = split(path.as_bytes());
        names.reverse();
        // The directories on the way by number, each with the name that led on from it.
        let mut above: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut here = self.inode(ROOT)?;
        while let Some(name) = names.pop() {
            if name == b".." {
                if let Some((number, _)) = above.pop() {
                    here = self.inode(number)?;
                }
                continue;
            }
            if here.kind != FileKind::Directory {
                return Ok(None);
            }
            let Some(number) = self.lookup(&here, &name)? else {
                return Ok(None);
            };
            let found = self.inode(number)?;
            if found.kind == FileKind::Symlink && (follow || !names.is_empty()) {
                links += 1;
                if links > MOST_LINKS {
                    return Ok(None);
                }
                let target = self.read_link(&found)?;
                if target.starts_with(b"/") {
                    above.clear();
                    here = self.inode(ROOT)?;
                }
                names.extend(split(&target).into_iter().rev());
                continue;
            }
            above.push((std::mem::replace(&mut here, found).number, name));
            // Directories that are their own have paths without end.
            if above.len() as u64 > MAX_TARGET {
                return Ok(None);
            }
        }
        let names: Vec<&[u8]> = above.iter().map(|(_, name)| name.as_slice()).collect();
        Ok(Some((names.join(b"/".as_slice()), here)))
    }

    /// The content of a regular file, if there is one and it has at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub fn read_file(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(inode) = self.find(path, true)? else {
            return Ok(None);
        };
        if inode.kind != FileKind::File || inode.size > limit {
            return Ok(None);
        }
        let mut content = vec![0; inode.size as usize];
        self.read(&inode, 0, &mut content)?;
        Ok(Some(content))
    }
}

/// Whether a group has a copy of the superblock (`sparse_super`): 0, 1 and the powers of 3, 5 and 7.
fn has_copy(group: u64) -> bool {
    let is_power = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || [3, 5, 7].into_iter().any(is_power)
}

fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && name != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

impl Inode {
    fn parse(number: u32, bytes: &[u8]) -> io::Result<Self> {
        let short = |at: usize| u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let long = |at: usize| le32(bytes, at);
        let mode = short(0);
        let kind = match mode & 0o170_000 {
            0o100_000 => FileKind::File,
            0o040_000 => FileKind::Directory,
            0o120_000 => FileKind::Symlink,
            0o060_000 => FileKind::Block,
            0o020_000 => FileKind::Character,
            0o010_000 => FileKind::Fifo,
            0o140_000 => FileKind::Socket,
            _ => return Err(damaged(format!("inode {number} is of no known kind"))),
        };
        let extra_size = if bytes.len() > 130 {
            short(128) as usize
        } else {
            0
        };
        let has_extra = |end: usize| extra_size + 128 >= end && bytes.len() >= end;
        let seconds = i64::from(long(16).cast_signed());
        let mtime = if has_extra(140) {
            let extra = long(136);
            (
                seconds + (i64::from(extra & 3) << 32),
                (extra >> 2).min(999_999_999),
            )
        } else {
            (seconds, 0)
        };
        let (old, new) = (long(40), long(44));
        // kdev_t.h: old_decode_dev, new_decode_dev.
        let device = match (kind, old) {
            (FileKind::Block | FileKind::Character, 0) => {
                ((new & 0xF_FF00) >> 8, new & 0xFF | new >> 12 & 0xF_FF00)
            }
            (FileKind::Block | FileKind::Character, old) => (old >> 8 & 0xFF, old & 0xFF),
            _ => (0, 0),
        };
        let high_size = matches!(
            kind,
            FileKind::File | FileKind::Directory | FileKind::Symlink
        );
        Ok(Self {
            number,
            kind,
            mode: mode & 0o7777,
            uid: short(2) | short(120) << 16,
            gid: short(24) | short(122) << 16,
            size: u64::from(long(4))
                | if high_size {
                    u64::from(long(108)) << 32
                } else {
                    0
                },
            links: short(26),
            mtime,
            device,
            flags: long(32),
            block: std::array::from_fn(|index| bytes[40 + index]),
            attributes: u64::from(long(104)) | u64::from(short(118)) << 32,
            extra: bytes
                .get(128 + extra_size..)
                .map(<[u8]>::to_vec)
                .unwrap_or_default(),
        })
    }
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
