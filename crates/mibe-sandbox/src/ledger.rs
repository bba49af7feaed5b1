//! Who owns what, where the file system can't say so.
//!
//! In [`Mode::Single`] every inode really belongs to the one mapped user; an owner other than root:root is
//! written beside it. Regular files and directories carry it in the extended attribute `user.mibe.owner`
//! (`UID:GID`, or `UID:GID:c:MAJOR:MINOR` for a device node, which is a placeholder file). The kernel
//! refuses user attributes on symlinks, fifos and sockets: theirs is in a side table, the file `ledger`
//! of the sandbox. Its key is the inode number, its birth time and the file handle (which holds the inode's
//! generation on ext4, xfs and btrfs), so a rename keeps the entry and a later inode of the same number
//! does not get it. In [`Mode::Subuid`] ownership is real and only device nodes are placeholders.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, OFlags, Statx, XattrFlags};
use rustix::io::Errno;

use crate::metadata::Kind;
use crate::{Mode, sys};

/// The attribute's name.
pub(crate) const ATTRIBUTE: &CStr = c"user.mibe.owner";
/// Attributes whose names start so belong to this crate.
pub(crate) const PREFIX: &[u8] = b"user.mibe.";
/// The side table's name in the sandbox directory.
const SIDE: &CStr = c"ledger";
/// Where the side table is written anew.
const SIDE_NEW: &CStr = c"ledger.new";
/// A side table larger than this is damaged.
const SIDE_LIMIT: u64 = 256 << 20;

/// What the ledger says of an inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) device: Option<Device>,
}

/// What a placeholder file stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Device {
    /// [`Kind::Char`] or [`Kind::Block`].
    pub(crate) kind: Kind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Owner {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.split(':');
        let mut number = || parts.next()?.parse().ok();
        let (uid, gid) = (number()?, number()?);
        let device = match parts.next() {
            None => None,
            Some(letter) => {
                let kind = match letter {
                    "c" => Kind::Char,
                    "b" => Kind::Block,
                    _ => return None,
                };
                let mut number = || parts.next()?.parse().ok();
                Some(Device {
                    kind,
                    major: number()?,
                    minor: number()?,
                })
            }
        };
        Some(Self { uid, gid, device })
    }

    fn text(&self) -> String {
        let mut text = format!("{}:{}", self.uid, self.gid);
        if let Some(device) = self.device {
            let letter = if device.kind == Kind::Char { 'c' } else { 'b' };
            // Writing to a String can't fail.
            let _ = write!(text, ":{letter}:{}:{}", device.major, device.minor);
        }
        text
    }
}

/// An inode: `name` in `dir` (never followed), or `dir` itself when the name is empty.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a CStr,
}

impl<'a> Place<'a> {
    /// The inode behind a descriptor (`O_PATH` will do).
    pub(crate) fn of(fd: BorrowedFd<'a>) -> Self {
        Self { dir: fd, name: c"" }
    }

    pub(crate) fn stat(self) -> rustix::io::Result<Statx> {
        sys::statx(self.dir, self.name)
    }

    fn proc_path(self, proc_dir: &str) -> Vec<u8> {
        let mut path = format!("{proc_dir}self/fd/{}", self.dir.as_raw_fd()).into_bytes();
        if !self.name.is_empty() {
            path.push(b'/');
            path.extend_from_slice(self.name.to_bytes());
        }
        path
    }
}

#[derive(Debug)]
struct SideEntry {
    birth: (i64, u32),
    handle: Vec<u8>,
    owner: (u32, u32),
}

/// The ledger of one sandbox.
#[derive(Debug)]
pub(crate) struct Ledger {
    mode: Mode,
    /// How /proc is reached: "/proc/", or "" for a process whose working directory it is.
    proc_dir: &'static str,
    /// By file system (0: the tree's own, whose entries are kept in the file) and inode number.
    side: HashMap<(u64, u64), SideEntry>,
    side_file: Option<File>,
    tree_dev: u64,
}

impl Ledger {
    /// Reads the side table in the sandbox directory `dir`.
    pub(crate) fn open(
        mode: Mode,
        dir: BorrowedFd<'_>,
        proc_dir: &'static str,
    ) -> io::Result<Self> {
        let tree_dev = device_of(&sys::statx(dir, c"")?);
        let mut ledger = Self {
            mode,
            proc_dir,
            side: HashMap::new(),
            side_file: None,
            tree_dev,
        };
        if mode != Mode::Single {
            return Ok(ledger);
        }
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(rustix::fs::openat(dir, SIDE, flags, 0o600.into())?);
        if file.metadata()?.len() > SIDE_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the ledger is larger than 256 MiB",
            ));
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut lines = 0;
        for line in text.split_inclusive('\n') {
            // The last line may have been cut short by a kill; what it would have said did not happen.
            if line.ends_with('\n') && ledger.replay(line.trim_end()).is_none() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("ledger, line {}: not an entry", lines + 1),
                ));
            }
            lines += 1;
        }
        let live = ledger.side.len();
        let cut = !text.is_empty() && !text.ends_with('\n');
        if lines > 2 * live + 1000 || cut {
            file = ledger.rewrite(dir)?;
        }
        ledger.side_file = Some(file);
        Ok(ledger)
    }

    fn rewrite(&self, dir: BorrowedFd<'_>) -> io::Result<File> {
        let flags = OFlags::RDWR
            | OFlags::CREATE
            | OFlags::TRUNC
            | OFlags::APPEND
            | OFlags::CLOEXEC
            | OFlags::NOFOLLOW;
        let mut file = File::from(rustix::fs::openat(dir, SIDE_NEW, flags, 0o600.into())?);
        let mut text = String::new();
        for ((_, ino), entry) in self.side.iter().filter(|((dev, _), _)| *dev == 0) {
            side_line(
                &mut text,
                *ino,
                entry.birth,
                &entry.handle,
                Some(entry.owner),
            );
        }
        file.write_all(text.as_bytes())?;
        rustix::fs::renameat(dir, SIDE_NEW, dir, SIDE)?;
        Ok(file)
    }

    fn replay(&mut self, line: &str) -> Option<()> {
        let mut parts = line.split(' ');
        let ino = parts.next()?.parse().ok()?;
        let birth = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let handle = unhex(parts.next()?)?;
        let owner = match parts.next()? {
            "-" => None,
            uid => Some((uid.parse().ok()?, parts.next()?.parse().ok()?)),
        };
        self.put_side((0, ino), birth, handle, owner);
        Some(())
    }

    /// Only one inode of a number lives at a time: an older one's entry is dead and overwritten.
    fn put_side(
        &mut self,
        key: (u64, u64),
        birth: (i64, u32),
        handle: Vec<u8>,
        owner: Option<(u32, u32)>,
    ) {
        match owner {
            Some(owner) => drop(self.side.insert(
                key,
                SideEntry {
                    birth,
                    handle,
                    owner,
                },
            )),
            None => drop(self.side.remove(&key)),
        }
    }

    fn side_key(&self, stat: &Statx) -> (u64, u64) {
        let dev = device_of(stat);
        (if dev == self.tree_dev { 0 } else { dev }, stat.stx_ino)
    }

    fn side_lookup(&self, place: Place<'_>, stat: &Statx) -> Option<Owner> {
        let entry = self.side.get(&self.side_key(stat))?;
        let birth = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        let same = entry.birth == birth && entry.handle == sys::file_handle(place.dir, place.name);
        same.then_some(Owner {
            uid: entry.owner.0,
            gid: entry.owner.1,
            device: None,
        })
    }

    fn side_record(&mut self, place: Place<'_>, stat: &Statx, owner: Owner) -> io::Result<()> {
        let key = self.side_key(stat);
        let entry = (owner != Owner::default()).then_some((owner.uid, owner.gid));
        if entry.is_none() && !self.side.contains_key(&key) {
            return Ok(());
        }
        let birth = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        let handle = sys::file_handle(place.dir, place.name);
        if let (0, Some(file)) = (key.0, &mut self.side_file) {
            let mut line = String::new();
            side_line(&mut line, stat.stx_ino, birth, &handle, entry);
            file.write_all(line.as_bytes())?;
        }
        self.put_side(key, birth, handle, entry);
        Ok(())
    }

    /// What is written about an inode; `None` in [`Mode::Root`] and for what is root's.
    pub(crate) fn lookup(&self, place: Place<'_>, stat: &Statx) -> io::Result<Option<Owner>> {
        match (self.mode, Kind::from_mode(stat.stx_mode.into())) {
            (Mode::Subuid, Kind::File) => self.attribute(place),
            (Mode::Root | Mode::Subuid, _) => Ok(None),
            (Mode::Single, Kind::File | Kind::Dir) => match self.attribute(place)? {
                // A tmpfs of an older kernel knows no user attributes.
                None if !self.side.is_empty() => Ok(self.side_lookup(place, stat)),
                found => Ok(found),
            },
            (Mode::Single, _) => Ok(self.side_lookup(place, stat)),
        }
    }

    /// The same for a descriptor, in as few system calls as will do: almost every inode has no entry.
    pub(crate) fn lookup_quick(&self, place: Place<'_>) -> io::Result<Option<Owner>> {
        match self.attribute(place)? {
            None if !self.side.is_empty() => Ok(self.side_lookup(place, &place.stat()?)),
            found => Ok(found),
        }
    }

    /// The attribute of a regular file or directory.
    pub(crate) fn attribute(&self, place: Place<'_>) -> io::Result<Option<Owner>> {
        let mut buffer = [0u8; 96];
        let path = place.proc_path(self.proc_dir);
        let answer = if place.name.is_empty() {
            rustix::fs::getxattr(path.as_slice(), ATTRIBUTE, &mut buffer[..])
        } else {
            rustix::fs::lgetxattr(path.as_slice(), ATTRIBUTE, &mut buffer[..])
        };
        match answer {
            Ok(length) => match Owner::parse(buffer.get(..length).unwrap_or_default()) {
                Some(owner) => Ok(Some(owner)),
                None => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "damaged attribute user.mibe.owner",
                )),
            },
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down an owner; root:root without device is the absence of an entry.
    pub(crate) fn record(
        &mut self,
        place: Place<'_>,
        stat: &Statx,
        owner: Owner,
    ) -> io::Result<()> {
        match Kind::from_mode(stat.stx_mode.into()) {
            Kind::File | Kind::Dir => match self.record_attribute(place, owner) {
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    self.side_record(place, stat, owner)
                }
                answer => answer,
            },
            _ => self.side_record(place, stat, owner),
        }
    }

    fn record_attribute(&self, place: Place<'_>, owner: Owner) -> io::Result<()> {
        let path = place.proc_path(self.proc_dir);
        let follow = place.name.is_empty();
        if owner == Owner::default() {
            let answer = if follow {
                rustix::fs::removexattr(path.as_slice(), ATTRIBUTE)
            } else {
                rustix::fs::lremovexattr(path.as_slice(), ATTRIBUTE)
            };
            return match answer {
                Ok(()) | Err(Errno::NODATA) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        let text = owner.text();
        if follow {
            rustix::fs::setxattr(
                path.as_slice(),
                ATTRIBUTE,
                text.as_bytes(),
                XattrFlags::empty(),
            )?;
        } else {
            rustix::fs::lsetxattr(
                path.as_slice(),
                ATTRIBUTE,
                text.as_bytes(),
                XattrFlags::empty(),
            )?;
        }
        Ok(())
    }

    /// chown as the kernel does it for a privileged caller: `None` keeps, set-uid (and set-gid where the group may
    /// execute) of anything but a directory is cleared.
    pub(crate) fn chown(
        &mut self,
        place: Place<'_>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> io::Result<()> {
        let stat = place.stat()?;
        // The real chown to the real owner has the kernel clear the bits, by its own rules.
        let real = if self.mode == Mode::Single {
            (Some(0), Some(0))
        } else {
            (uid, gid)
        };
        sys::chown(place.dir, place.name, real.0, real.1)?;
        if self.mode != Mode::Single || (uid.is_none() && gid.is_none()) {
            return Ok(());
        }
        let mut owner = self.lookup(place, &stat)?.unwrap_or_default();
        owner.uid = uid.unwrap_or(owner.uid);
        owner.gid = gid.unwrap_or(owner.gid);
        self.record(place, &stat, owner)
    }

    /// Makes the placeholder of a device node; `mode` without the kind, subject to the umask.
    pub(crate) fn placeholder(
        &mut self,
        place: Place<'_>,
        mode: u32,
        owner: Owner,
    ) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(place.dir, place.name, flags, (mode & 0o7777).into())?;
        let result = self.record_attribute(Place::of(fd.as_fd()), owner);
        if result.is_err() {
            rustix::fs::unlinkat(place.dir, place.name, AtFlags::empty())?;
        }
        result
    }
}

fn device_of(stat: &Statx) -> u64 {
    rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

fn side_line(
    text: &mut String,
    ino: u64,
    birth: (i64, u32),
    handle: &[u8],
    owner: Option<(u32, u32)>,
) {
    // Writing to a String can't fail.
    let _ = write!(text, "{ino} {} {} x", birth.0, birth.1);
    for byte in handle {
        let _ = write!(text, "{byte:02x}");
    }
    let _ = match owner {
        Some((uid, gid)) => writeln!(text, " {uid} {gid}"),
        None => writeln!(text, " -"),
    };
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix('x')?.as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_owners_is_read_back() {
        let device = Some(Device {
            kind: Kind::Block,
            major: 8,
            minor: 17,
        });
        for owner in [
            Owner {
                uid: 1,
                gid: u32::MAX - 1,
                device: None,
            },
            Owner {
                uid: 0,
                gid: 6,
                device,
            },
        ] {
            assert_eq!(Owner::parse(owner.text().as_bytes()), Some(owner));
        }
        for bad in [
            "",
            "1",
            "1:",
            "1:2:x",
            "1:2:c:1",
            "a:b",
            "1:2:c:1:99999999999",
        ] {
            assert_eq!(Owner::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn handles_are_read_back() {
        let mut line = String::new();
        side_line(&mut line, 7, (1, 2), &[0, 255, 16], Some((3, 4)));
        assert_eq!(line, "7 1 2 x00ff10 3 4\n");
        assert_eq!(unhex("x00ff10"), Some(vec![0, 255, 16]));
        assert_eq!(unhex("x"), Some(vec![]));
        assert_eq!(unhex("x0g"), None);
    }
}
