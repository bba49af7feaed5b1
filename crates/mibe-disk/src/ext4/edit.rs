//! ext4 changed in place, without mounting: by debugfs, whose work e2fsck looks at.
//!
//! Both are e2fsprogs' own, the only programs besides the kernel that everybody trusts with these file systems. debugfs exits with 0 when a
//! command failed, so what it says on standard error counts, and e2fsck's word at the end.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use mibe_host::Outcome;

use super::script;
use super::xattr::Attributes;
use crate::error::DiskError;
use crate::scratch;
use crate::tool::{self, Tool};

const DEBUGFS: Tool = Tool {
    program: "debugfs",
    package: "e2fsprogs",
};
const RESIZE2FS: Tool = Tool {
    program: "resize2fs",
    package: "e2fsprogs",
};
const E2FSCK: Tool = Tool {
    program: "e2fsck",
    package: "e2fsprogs",
};

/// Runs of e2fsck in which it may find something to mend before it discards.
const TRIES: usize = 3;

/// Owner, mode and time of a new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits, with set-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes, as system calls have them.
    pub xattrs: Attributes,
}

impl Metadata {
    /// Of a file or directory of root.
    pub fn of_root(mode: u32, mtime: i64) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            mtime: (mtime, 0),
            xattrs: Vec::new(),
        }
    }
}

/// What a new file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Those of a file of this machine.
    File(PathBuf),
}

/// A change. Paths count from the root, without a slash before or after them; none of their directories may be a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Removes a file, or one of its names.
    Remove(Vec<u8>),
    /// Removes a directory, which must be empty by then.
    RemoveDirectory(Vec<u8>),
    /// Makes a directory.
    Directory(Vec<u8>, Metadata),
    /// Makes a file.
    File(Vec<u8>, Content, Metadata),
    /// Makes a symbolic link to a target.
    Symlink(Vec<u8>, Vec<u8>, Metadata),
    /// Makes a device (`b` or `c`, major, minor) or a pipe (`p`).
    Node(Vec<u8>, char, (u32, u32), Metadata),
    /// Gives a file another name; it will have so many.
    Link(Vec<u8>, Vec<u8>, u32),
    /// Sets what is known of a file or directory; the attributes named last are removed.
    Metadata(Vec<u8>, Metadata, Vec<Vec<u8>>),
}

/// Changes a file system in a raw disk.
#[derive(Clone, Debug)]
pub struct Editor {
    debugfs: PathBuf,
    e2fsck: PathBuf,
    disk: PathBuf,
    /// First byte of the file system on the disk.
    offset: u64,
    /// The time of whatever is changed, seconds since 1970.
    now: i64,
}

impl Editor {
    /// For the file system at byte `offset` of the raw disk `disk`; what changes has the time `now`.
    ///
    /// # Errors
    ///
    /// The programs are not there.
    pub fn new(disk: &Path, offset: u64, now: i64) -> Result<Self, DiskError> {
        let (debugfs, e2fsck) = Self::programs()?;
        let disk = std::path::absolute(disk).map_err(DiskError::io("find", disk))?;
        if disk.as_os_str().as_encoded_bytes().contains(&b'?') {
            return Err(DiskError::usage(
                format!(
                    "e2fsprogs takes what follows a question mark for an option, and {} has one",
                    disk.display()
                ),
                &["have disks worked on elsewhere: set XDG_CACHE_HOME to a folder without one"],
            ));
        }
        Ok(Self {
            debugfs,
            e2fsck,
            disk,
            offset,
            now,
        })
    }

    /// Where debugfs and e2fsck are.
    ///
    /// # Errors
    ///
    /// They are nowhere.
    pub fn programs() -> Result<(PathBuf, PathBuf), DiskError> {
        let purpose = "changing files on the disk";
        Ok((DEBUGFS.find(purpose)?, E2FSCK.find(purpose)?))
    }

    fn device(&self) -> OsString {
        let mut device = self.disk.as_os_str().to_owned();
        device.push(format!("?offset={}", self.offset));
        device
    }

    /// Has e2fsck look at the file system and mend what is safe to mend: a journal that was not carried out, counts that are off. What it mended, if anything.
    ///
    /// # Errors
    ///
    /// The file system is damaged so that only people can decide how to mend it.
    pub fn prepare(&self, folder: &Path, cancel: &AtomicBool) -> Result<Option<String>, DiskError> {
        let ended = self.e2fsck("-fp", folder, cancel)?;
        match ended.outcome {
            Outcome::Exited(0) => Ok(None),
            Outcome::Exited(1) => Ok(Some(String::from_utf8_lossy(&ended.stdout).into_owned())),
            // Bit 4: what it did not mend by itself (e2fsck(8)); what is beyond is of the program.
            Outcome::Exited(status) if status & !7 == 0 => Err(DiskError::disk(
                &self.disk,
                format!(
                    "the file system is damaged: {}",
                    String::from_utf8_lossy(&ended.stdout).trim()
                ),
                &["mend it by hand on a copy of the disk (e2fsck -f), and look at what it asks"],
            )),
            _ => Err(unable(&ended)),
        }
    }

    /// Has e2fsck say that the file system is sound.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn check(&self, folder: &Path, cancel: &AtomicBool) -> Result<(), DiskError> {
        let ended = self.e2fsck("-fn", folder, cancel)?;
        if ended.outcome == Outcome::Exited(0) {
            return Ok(());
        }
        let mut failed = unable(&ended);
        if let DiskError::Tool { stderr, .. } = &mut failed
            && !ended.stdout.is_empty()
        {
            *stderr = String::from_utf8_lossy(&ended.stdout).into_owned();
        }
        Err(failed)
    }

    /// Has the file system take `size` bytes of its partition, which is as large; it must have been looked at before.
    ///
    /// # Errors
    ///
    /// It could not be made so large.
    pub fn grow(&self, size: u64, folder: &Path, cancel: &AtomicBool) -> Result<(), DiskError> {
        let program = RESIZE2FS.find("a larger file system")?;
        let io = || DiskError::io("change", &self.disk);
        // resize2fs cuts a file where the file system ends, whatever offset it is told: so it gets a file of its own.
        let aside = folder.join("file-system");
        let disk = fs::File::options()
            .read(true)
            .write(true)
            .open(&self.disk)
            .map_err(io())?;
        let alone = scratch::SparseFile::create(&aside)?.finish(size)?;
        scratch::copy_range(&disk, self.offset, &alone, 0, size, cancel).map_err(io())?;
        let time = self.time().to_string();
        // Sectors, as blocks are of any size.
        let arguments = [
            aside.clone().into_os_string(),
            format!("{}s", size / 512).into(),
        ];
        // The second is the older name of the first.
        let environment = [
            ("SOURCE_DATE_EPOCH", time.clone()),
            ("E2FSPROGS_FAKE_TIME", time),
        ];
        let ended = tool::run_any(&program, arguments, folder, &environment, cancel)?;
        if ended.outcome != Outcome::Exited(0) {
            return Err(tool::failed(&RESIZE2FS, &ended));
        }
        scratch::clear(&disk, self.offset, size).map_err(io())?;
        scratch::copy_range(&alone, 0, &disk, self.offset, size, cancel).map_err(io())?;
        fs::remove_file(&aside).map_err(DiskError::io("remove", &aside))
    }

    /// Has the blocks that no file has be holes of the disk's file: what was removed is nobody's to find, and takes no room.
    ///
    /// # Errors
    ///
    /// The file system turned out not to be sound, or that of this machine has no holes.
    pub fn discard(&self, folder: &Path, cancel: &AtomicBool) -> Result<(), DiskError> {
        if !scratch::has_holes(folder).map_err(DiskError::io("try holes in", folder))? {
            return Err(DiskError::disk(
                folder,
                "is on a file system whose files have no holes, so that what was removed from the disk would stay in its free blocks",
                &[
                    "have disks worked on elsewhere: set XDG_CACHE_HOME to a folder on ext4, xfs, btrfs, zfs or tmpfs",
                ],
            ));
        }
        let time = [("E2FSCK_TIME", self.time().to_string())];
        // It gives up discarding in a run that mends anything.
        for _ in 0..TRIES {
            let arguments = ["-fp".into(), "-E".into(), "discard".into(), self.device()];
            let ended = tool::run_any(&self.e2fsck, arguments, folder, &time, cancel)?;
            match ended.outcome {
                Outcome::Exited(0) => return Ok(()),
                Outcome::Exited(1) => {}
                _ => return Err(unable(&ended)),
            }
        }
        Err(DiskError::disk(
            &self.disk,
            format!("e2fsck mended the file system {TRIES} times, and finds it in need again"),
            &[],
        ))
    }

    /// Bytes of a block.
    fn block_size(&self) -> Result<usize, DiskError> {
        let superblock = self
            .superblock()
            .map_err(DiskError::io("read", &self.disk))?;
        Ok(1024 << super::le32(&superblock, 0x18).min(6))
    }

    fn superblock(&self) -> std::io::Result<[u8; 1024]> {
        let mut superblock = [0; 1024];
        fs::File::open(&self.disk)?.read_exact_at(&mut superblock, self.offset + 1024)?;
        Ok(superblock)
    }

    /// A time that is no earlier than any that the file system was worked on at, as e2fsck takes those after its own for wrong.
    fn time(&self) -> i64 {
        // s_mtime, s_wtime, s_lastcheck; without their eight upper bits, which count from 2106.
        let Ok(superblock) = self.superblock() else {
            return self.now;
        };
        let times = [0x2C, 0x30, 0x40].map(|at| i64::from(super::le32(&superblock, at)));
        times.into_iter().fold(self.now, i64::max)
    }

    fn e2fsck(
        &self,
        how: &str,
        folder: &Path,
        cancel: &AtomicBool,
    ) -> Result<tool::Ended, DiskError> {
        let time = [("E2FSCK_TIME", self.time().to_string())];
        tool::run_any(
            &self.e2fsck,
            [how.into(), self.device()],
            folder,
            &time,
            cancel,
        )
    }

    /// Carries out changes, in their order. `folder` is for what is needed meanwhile.
    ///
    /// # Errors
    ///
    /// A change could not be made; the file system is in between then.
    pub fn apply(
        &self,
        changes: &[Change],
        folder: &Path,
        cancel: &AtomicBool,
    ) -> Result<(), DiskError> {
        if changes.is_empty() {
            return Ok(());
        }
        let script = script::of(changes, self.now, self.block_size()?, folder)?;
        let path = folder.join("debugfs.script");
        fs::write(&path, script).map_err(DiskError::io("write", &path))?;
        let arguments = [
            "-w".into(),
            "-f".into(),
            path.clone().into_os_string(),
            self.device(),
        ];
        let ended = tool::run_any(&self.debugfs, arguments, folder, &[], cancel)?;
        let _ = fs::remove_file(&path);
        let errors: Vec<&str> = std::str::from_utf8(&ended.stderr)
            .unwrap_or("what can't be read")
            .lines()
            // It names its version there, too.
            .filter(|line| !line.is_empty() && !line.starts_with("debugfs 1."))
            .collect();
        if ended.outcome == Outcome::Exited(0) && errors.is_empty() {
            // debugfs leaves the blocks of attributes behind of what it removes.
            return self.prepare(folder, cancel).map(drop);
        }
        let full = errors
            .iter()
            .any(|line| line.contains("Could not allocate"));
        let message = format!(
            "the file system could not be changed: {}",
            errors.join("; ")
        );
        let message: String = message.chars().take(2000).collect();
        Err(DiskError::disk(
            &self.disk,
            message,
            if full {
                &[
                    "the file system is full, and an import's --size makes only the disk larger; disk_size in the manifest of a build makes both larger",
                ]
            } else {
                &[]
            },
        ))
    }
}

/// The error of e2fsck that can't do its work at all.
fn unable(ended: &tool::Ended) -> DiskError {
    let said = String::from_utf8_lossy(&ended.stderr);
    if said.contains("unsupported feature") || said.contains("newer version of e2fsck") {
        return DiskError::NotSupported {
            message: format!(
                "the file system has features that this machine's e2fsck does not know: {}",
                said.trim()
            ),
            hint: "install a newer e2fsprogs, or do this on a machine that has one".to_owned(),
        };
    }
    tool::failed(&E2FSCK, ended)
}
