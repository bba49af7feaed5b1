//! Lays a directory of this host into a tree.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use mibe_sandbox::{Kind, Root};

use super::ArchiveError;

/// Copies everything below `source` into `root`: owners, modes, times, hard links, devices and user attributes; sockets are
/// left out, and so are other file systems mounted below it.
///
/// # Errors
///
/// A file could not be read or written; the error names it.
pub fn copy_directory(root: &Root, source: &Path) -> Result<u64, ArchiveError> {
    let metadata = fs::metadata(source).map_err(|error| failed(source, error))?;
    let mut copier = Copier {
        root,
        device: metadata.dev(),
        links: HashMap::new(),
        count: 0,
    };
    copier.dress(source, Path::new(""), &metadata)?;
    copier.directory(source, Path::new(""))?;
    copier.time(Path::new(""), &metadata, source)?;
    Ok(copier.count)
}

fn failed(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Io {
        action: "copy",
        path: path.display().to_string(),
        source,
    }
}

struct Copier<'a> {
    root: &'a Root,
    /// The file system of the source.
    device: u64,
    /// First names of files with several, by device (a file can be mounted) and inode.
    links: HashMap<(u64, u64), PathBuf>,
    count: u64,
}

impl Copier<'_> {
    fn directory(&mut self, from: &Path, to: &Path) -> Result<(), ArchiveError> {
        let mut names = fs::read_dir(from)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.file_name()))
                    .collect::<io::Result<Vec<OsString>>>()
            })
            .map_err(|error| failed(from, error))?;
        names.sort();
        for name in names {
            self.entry(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    }

    fn entry(&mut self, from: &Path, to: &Path) -> Result<(), ArchiveError> {
        let fail = |error: io::Error| failed(from, error);
        let metadata = fs::symlink_metadata(from).map_err(fail)?;
        let kind = metadata.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        self.count += 1;
        if !kind.is_dir() && metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&inode) {
                return self.root.hard_link(first, to).map_err(fail);
            }
            self.links.insert(inode, to.to_owned());
        }
        if kind.is_dir() {
            self.root.create_dir(to, 0o700).map_err(fail)?;
            self.dress(from, to, &metadata)?;
            // A mount point comes along, what is mounted there does not.
            if metadata.dev() == self.device {
                self.directory(from, to)?;
            }
        } else if kind.is_symlink() {
            let target = fs::read_link(from).map_err(fail)?;
            self.root.symlink(&target, to).map_err(fail)?;
            self.root
                .chown(to, metadata.uid(), metadata.gid())
                .map_err(fail)?;
        } else if kind.is_file() {
            let mut file = self.root.create(to, 0o600).map_err(fail)?;
            let mut source = fs::File::open(from).map_err(fail)?;
            io::copy(&mut source, &mut file).map_err(fail)?;
            self.dress(from, to, &metadata)?;
        } else {
            let kind = if kind.is_char_device() {
                Kind::Char
            } else if kind.is_block_device() {
                Kind::Block
            } else {
                Kind::Fifo
            };
            let device = metadata.rdev();
            let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
            self.root
                .mknod(to, kind.to_mode() | 0o600, major, minor)
                .map_err(fail)?;
            self.dress(from, to, &metadata)?;
        }
        self.time(to, &metadata, from)
    }

    fn dress(&self, from: &Path, to: &Path, metadata: &fs::Metadata) -> Result<(), ArchiveError> {
        let fail = |error: io::Error| failed(from, error);
        self.root
            .chown(to, metadata.uid(), metadata.gid())
            .map_err(fail)?;
        self.root
            .chmod(to, metadata.permissions().mode() & 0o7777)
            .map_err(fail)?;
        if metadata.is_file() || metadata.is_dir() {
            for (name, value) in user_xattrs(from).map_err(fail)? {
                self.root.set_xattr(to, &name, &value).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn time(&self, to: &Path, metadata: &fs::Metadata, from: &Path) -> Result<(), ArchiveError> {
        let nanos = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        self.root
            .set_mtime(to, metadata.mtime(), nanos)
            .map_err(|error| failed(from, error))
    }
}

/// The user attributes of a file of this host; none where the file system has none.
fn user_xattrs(path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    use rustix::io::Errno;
    /// The kernel's limits (XATTR_LIST_MAX, XATTR_SIZE_MAX).
    const LIMIT: usize = 65536;
    let mut list = vec![0_u8; LIMIT];
    let length = match rustix::fs::llistxattr(path, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Vec::new();
    for name in list[..length].split(|byte| *byte == 0) {
        // mibe's own are those of another sandbox.
        if name.starts_with(b"user.") && !name.starts_with(b"user.mibe.") {
            let name = OsStr::from_bytes(name);
            let mut value = vec![0_u8; LIMIT];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
            value.truncate(length);
            xattrs.push((name.to_owned(), value));
        }
    }
    xattrs.sort();
    Ok(xattrs)
}
