//! Lays an archive into a tree.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use mibe_sandbox::{Kind, Root};

use super::{ArchiveError, Member, MemberKind, TarReader};

/// Most members that are taken: some ten times those of a large distribution.
const MEMBERS: usize = 5_000_000;
/// Longest path that is taken: Linux' PATH_MAX.
const PATH: usize = 4096;
/// Most bytes that all paths of directories may have, as their times are kept to the end.
const DIRECTORIES: usize = 256 << 20;
/// Major and minor numbers of Linux have 12 and 20 bits.
const DEVICE: (u32, u32) = (0xfff, 0xf_ffff);
/// Attributes in which a sandbox keeps owners: those of an archive are of another one.
const OURS: &[u8] = b"user.mibe.";

/// What happens to a directory that the tree has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It takes the archive's mode, owner and time.
    Overwrite,
    /// It keeps its mode and owner, as dpkg has it for directories that packages share.
    Keep,
}

/// Lays every member of `archive` (a tar archive, decompressed) into `root`, ownership, modes and times included; returns how many.
///
/// # Errors
///
/// The archive is damaged, or a member can't be laid; what was laid before it stays.
pub fn unpack(root: &Root, archive: impl Read, existing: Existing) -> Result<usize, ArchiveError> {
    let mut reader = TarReader::new(archive);
    // Times of directories come last, as files that are laid into them change them.
    let mut directories = BTreeMap::new();
    let mut length = 0;
    let mut count = 0;
    while let Some(member) = reader.next_member()? {
        count += 1;
        if count > MEMBERS {
            return Err(member.error(format!("the archive has more than {MEMBERS} members")));
        }
        let path = inside(&member, member.name.as_bytes())?;
        lay(root, &mut reader, &member, &path, existing)?;
        if member.kind == MemberKind::Directory {
            let bytes = path.as_os_str().len();
            if directories.insert(path, member.mtime).is_none() {
                length += bytes;
            }
            if length > DIRECTORIES {
                return Err(member.error("the archive has too many directories of long names"));
            }
        }
    }
    reader.finish()?;
    for (path, (seconds, nanos)) in directories {
        // A later member may have put something else in its place.
        if let Ok(path) = root.resolve(&path) {
            root.set_mtime(&path, seconds, nanos)
                .or_else(ignore_absent)
                .map_err(|source| failed("set the time of", &path, source))?;
        }
    }
    Ok(count)
}

fn ignore_absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Io {
        action,
        path: format!("/{}", path.display()),
        source,
    }
}

/// A member's name as a path below the root.
fn inside(member: &Member, name: &[u8]) -> Result<PathBuf, ArchiveError> {
    if name.len() > PATH {
        return Err(member.error("the name is too long"));
    }
    if name.contains(&0) {
        return Err(member.error("the name has a zero byte"));
    }
    let mut path = PathBuf::new();
    for component in Path::new(std::ffi::OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(member.error("the name leaves the tree"));
            }
        }
    }
    Ok(path)
}

fn lay(
    root: &Root,
    reader: &mut TarReader<impl Read>,
    member: &Member,
    path: &Path,
    existing: Existing,
) -> Result<(), ArchiveError> {
    let fail = |error: io::Error| member.error(error);
    // One look is enough for most; the ways below take one for every component.
    let is_dir = |path: &Path| {
        root.metadata(path)
            .is_ok_and(|metadata| metadata.kind == Kind::Dir)
    };
    if let Some(parent) = path.parent()
        && !is_dir(parent)
    {
        root.create_dir_all(parent, 0o755).map_err(fail)?;
    }
    if member.kind == MemberKind::Directory {
        let there = if is_dir(path) {
            Some(path.to_owned())
        } else {
            root.resolve(path).ok().filter(|resolved| is_dir(resolved))
        };
        return match there {
            Some(_) if existing == Existing::Keep => Ok(()),
            // A link to a directory stays a link (merged /usr), and its target takes the metadata.
            Some(resolved) => dress(root, member, &resolved),
            None => {
                clear(root, path).map_err(fail)?;
                root.create_dir(path, 0o700).map_err(fail)?;
                dress(root, member, path)
            }
        };
    }
    if path.as_os_str().is_empty() {
        return Err(member.error("the root of the tree can only be a directory"));
    }
    if is_dir(path) {
        return Err(member.error("a directory of the archive stands there"));
    }
    match member.kind {
        MemberKind::File => {
            let mut file = root.create(path, 0o600).map_err(fail)?;
            reader.copy_content(member, &mut file)?;
        }
        MemberKind::HardLink => {
            let target = inside(member, member.link.as_bytes())?;
            if target != path {
                // Both may be the same file by another way, so nothing is cleared away first.
                root.hard_link(&target, path).map_err(|error| {
                    let target = super::shown(member.link.as_bytes());
                    member.error(format!("link to {target:?}: {error}"))
                })?;
            }
            // Its metadata is the target's.
            return Ok(());
        }
        MemberKind::Symlink => {
            clear(root, path).map_err(fail)?;
            root.symlink(Path::new(&member.link), path).map_err(fail)?;
        }
        MemberKind::Char | MemberKind::Block | MemberKind::Fifo => {
            clear(root, path).map_err(fail)?;
            let kind = match member.kind {
                MemberKind::Char => Kind::Char,
                MemberKind::Block => Kind::Block,
                _ => Kind::Fifo,
            };
            let (major, minor) = member.device;
            if major > DEVICE.0 || minor > DEVICE.1 {
                return Err(member.error(format!("there is no device {major}:{minor} on Linux")));
            }
            root.mknod(path, kind.to_mode() | 0o600, major, minor)
                .map_err(fail)?;
        }
        MemberKind::Directory => {}
    }
    dress(root, member, path)?;
    let (seconds, nanos) = member.mtime;
    root.set_mtime(path, seconds, nanos).map_err(fail)
}

/// Gives what was laid its owner, attributes and mode, in this order: the mode may forbid to set attributes, and a change of
/// the owner clears set-uid bits.
fn dress(root: &Root, member: &Member, path: &Path) -> Result<(), ArchiveError> {
    let fail = |error: io::Error| member.error(error);
    root.chown(path, member.uid, member.gid).map_err(fail)?;
    if member.kind == MemberKind::Symlink {
        return Ok(());
    }
    if matches!(member.kind, MemberKind::File | MemberKind::Directory) {
        for (name, value) in &member.xattrs {
            // Others (security labels, capabilities) mean nothing in a zone.
            if name.as_bytes().starts_with(b"user.") && !name.as_bytes().starts_with(OURS) {
                root.set_xattr(path, name, value).map_err(|error| {
                    let name = super::shown(name.as_bytes());
                    member.error(format!("set the attribute {name:?}: {error}"))
                })?;
            }
        }
    }
    root.chmod(path, member.mode).map_err(fail)
}

fn clear(root: &Root, path: &Path) -> io::Result<()> {
    match root.metadata(path) {
        Ok(metadata) if metadata.kind == Kind::Dir => root.remove_dir_all(path),
        Ok(_) => root.remove_file(path),
        Err(error) => ignore_absent(error),
    }
}
