//! What a file system stream is made from.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// Type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// Named pipe.
    Fifo,
    /// Socket; never written to a stream.
    Socket,
}

impl Kind {
    /// The type bits of a mode (`S_IFMT`), the same on Linux and illumos.
    pub fn mode_bits(self) -> u32 {
        match self {
            Kind::Fifo => 0o010_000,
            Kind::CharDevice => 0o020_000,
            Kind::Directory => 0o040_000,
            Kind::BlockDevice => 0o060_000,
            Kind::File => 0o100_000,
            Kind::Symlink => 0o120_000,
            Kind::Socket => 0o140_000,
        }
    }

    /// The type of a mode, if there is one.
    pub fn of_mode(mode: u32) -> Option<Self> {
        [
            Kind::File,
            Kind::Directory,
            Kind::Symlink,
            Kind::CharDevice,
            Kind::BlockDevice,
            Kind::Fifo,
            Kind::Socket,
        ]
        .into_iter()
        .find(|kind| kind.mode_bits() == mode & 0o170_000)
    }
}

/// Which file it is: two paths with the same identity are links to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device (file system) it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// Number of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Device {
    /// Driver.
    pub major: u32,
    /// Instance.
    pub minor: u32,
}

/// What is known of a file.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Its type.
    pub kind: Kind,
    /// Permissions, set-uid, set-gid and sticky bits (07777; higher bits are not looked at).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links, in the tree or elsewhere; only whether it is more than one matters.
    pub links: u64,
    /// Length in bytes of a regular file; not looked at for others.
    pub size: u64,
    /// When it was last changed: seconds since 1970 (before it, if negative) and nanoseconds
    /// (0 to 999,999,999) after that second.
    pub mtime: (i64, u32),
    /// Device number of a device node.
    pub device: Device,
    /// Which file it is.
    pub identity: Identity,
    /// Whether the file may hold holes, so that [`Tree::next_data`] is worth a call.
    pub sparse: bool,
    /// Whether it may have extended attributes, so that [`Tree::xattrs`] is worth a call.
    pub has_xattrs: bool,
}

/// Entry of a directory.
#[derive(Debug, Clone)]
pub struct DirEntry {
    /// Its name: any bytes but `/` and NUL, at most 255.
    pub name: OsString,
    /// Its type.
    pub kind: Kind,
    /// Which file it is, if that is known without [`Tree::metadata`].
    pub identity: Option<Identity>,
}

/// Where in a file data lies, in bytes: what is between such ranges reads as zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataRange {
    /// First byte.
    pub start: u64,
    /// First byte after it; may lie beyond the end of the file.
    pub end: u64,
}

/// What a file system stream is made from.
///
/// Paths are relative to the root, which is the empty path; they have no `.` or `..` components. The tree must
/// not change while it is written: it is read twice, and a change that is noticed is an
/// error.
pub trait Tree {
    /// An open regular file, read from its start to its end. Where a read gives less than it has room for and what was
    /// read is as long as the metadata says, that is taken for the end.
    type File: io::Read;

    /// Metadata of `path`, without following it if it is a symbolic link.
    fn metadata(&mut self, path: &Path) -> io::Result<Metadata>;

    /// Entries of a directory in any order, without `.` and `..`.
    fn read_dir(&mut self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Calls `each` with the name, type and (if known) identity of every entry of a directory.
    ///
    /// Worth implementing where directories may be huge, since it needs no list of them.
    fn for_each_entry(
        &mut self,
        path: &Path,
        each: &mut dyn FnMut(&OsStr, Kind, Option<Identity>),
    ) -> io::Result<()> {
        for entry in self.read_dir(path)? {
            each(&entry.name, entry.kind, entry.identity);
        }
        Ok(())
    }

    /// Target of a symbolic link, at most 4095 bytes.
    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf>;

    /// Opens a regular file, without following a symbolic link.
    fn open(&mut self, path: &Path) -> io::Result<Self::File>;

    /// What [`Tree::metadata`] and, unless it is empty, [`Tree::open`] give for a file that was listed as a regular one.
    ///
    /// Worth implementing where that saves searches by path: the file may then be opened before anything is known
    /// of it. Without a file if it turns out to be no regular one; an empty one may be given or not.
    fn open_regular(&mut self, path: &Path) -> io::Result<(Metadata, Option<Self::File>)> {
        let metadata = self.metadata(path)?;
        let file = if metadata.kind == Kind::File && metadata.size > 0 {
            Some(self.open(path)?)
        } else {
            None
        };
        Ok((metadata, file))
    }

    /// The next range at or after `offset` that may hold data, or `None` if only a hole follows.
    ///
    /// Afterwards the file must be positioned at the range's start. Called only for files whose metadata
    /// says [`Metadata::sparse`], with offsets that never decrease and at which the file is
    /// positioned. The default takes everything for data.
    fn next_data(&mut self, file: &mut Self::File, offset: u64) -> io::Result<Option<DataRange>> {
        let _ = file;
        Ok(Some(DataRange {
            start: offset,
            end: u64::MAX,
        }))
    }

    /// Extended attributes of `path` by their full names (`user.mime_type`), in any order.
    ///
    /// They are stored under these names, as OpenZFS on Linux does with `xattr=dir`.
    fn xattrs(&mut self, path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>>;

    /// The same of a regular file that is open. Worth implementing where that saves a search by path.
    fn xattrs_of(
        &mut self,
        file: &mut Self::File,
        path: &Path,
    ) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        let _ = file;
        self.xattrs(path)
    }
}

/// Files that were left out: their number, and the names of the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many.
    pub count: u64,
    /// Paths of the first [`LeftOut::NAMED`] of them.
    pub first: Vec<PathBuf>,
}

impl LeftOut {
    /// How many are named.
    pub const NAMED: usize = 20;

    pub(crate) fn add(&mut self, path: impl FnOnce() -> PathBuf) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(path());
        }
    }
}
