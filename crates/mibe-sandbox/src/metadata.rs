//! What a [`Root`](crate::Root) says about an entry.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl Kind {
    /// Of the `S_IFMT` bits of a mode; unknown bits are a regular file.
    pub fn from_mode(mode: u32) -> Self {
        match mode & libc::S_IFMT {
            libc::S_IFDIR => Self::Dir,
            libc::S_IFLNK => Self::Symlink,
            libc::S_IFCHR => Self::Char,
            libc::S_IFBLK => Self::Block,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFSOCK => Self::Socket,
            _ => Self::File,
        }
    }

    /// The `S_IFMT` bits of a mode.
    pub fn to_mode(self) -> u32 {
        match self {
            Self::File => libc::S_IFREG,
            Self::Dir => libc::S_IFDIR,
            Self::Symlink => libc::S_IFLNK,
            Self::Char => libc::S_IFCHR,
            Self::Block => libc::S_IFBLK,
            Self::Fifo => libc::S_IFIFO,
            Self::Socket => libc::S_IFSOCK,
        }
    }
}

/// An entry of a sandbox's tree, as the image will have it: ownership, kind and device numbers are the ledger's
/// where the file system can't hold them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Hard links.
    pub nlink: u64,
    /// Bytes (of a symlink: of its target; of a device: 0).
    pub size: u64,
    /// Last change of content: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number of a device, otherwise (0, 0).
    pub rdev: (u32, u32),
    /// File system it is on; with `ino` tells hard links.
    pub dev: u64,
    /// Inode number on `dev`.
    pub ino: u64,
    /// Blocks of 512 bytes that it takes.
    pub blocks: u64,
}

/// A name in a directory and what it stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The name, any bytes but `/` and NUL.
    pub name: OsString,
    /// What it stands for; a symlink is not followed.
    pub metadata: Metadata,
}
