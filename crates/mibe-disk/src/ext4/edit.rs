//! ext4 changed in place, without mounting: by debugfs, whose work e2fsck looks at.
//!
//! Both are e2fsprogs' own, the only programs besides the kernel that everybody trusts with these file systems. debugfs exits with 0 when a
//! command failed, so what it says on standard error counts, and e2fsck's word at the end.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use mibe_host::Outcome;

use super::xattr::Attributes;
use crate::error::DiskError;
use crate::tool::{self, Tool};

const DEBUGFS: Tool = Tool {
    program: "debugfs",
    package: "e2fsprogs",
};
const E2FSCK: Tool = Tool {
    program: "e2fsck",
    package: "e2fsprogs",
};

/// Longest line of a script (`BUFSIZ`), less some.
const LINE: usize = 8000;

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
    /// Sets how many names a file has.
    Links(Vec<u8>, u32),
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
        let purpose = "changing files on the disk";
        Ok(Self {
            debugfs: DEBUGFS.find(purpose)?,
            e2fsck: E2FSCK.find(purpose)?,
            disk: std::path::absolute(disk).map_err(DiskError::io("find", disk))?,
            offset,
            now,
        })
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
            Outcome::Exited(_) => Err(DiskError::disk(
                &self.disk,
                format!(
                    "the file system is damaged: {}",
                    String::from_utf8_lossy(&ended.stdout).trim()
                ),
                &["mend it by hand on a copy of the disk (e2fsck -f), and look at what it asks"],
            )),
            _ => Err(tool::failed(&E2FSCK, &ended)),
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
        let mut failed = tool::failed(&E2FSCK, &ended);
        if let DiskError::Tool { stderr, .. } = &mut failed {
            *stderr = String::from_utf8_lossy(&ended.stdout).into_owned();
        }
        Err(failed)
    }

    /// A time that is no earlier than any that the file system was worked on at, as e2fsck takes those after its own for wrong.
    fn time(&self) -> i64 {
        let read = || -> std::io::Result<[u8; 1024]> {
            let mut superblock = [0; 1024];
            fs::File::open(&self.disk)?.read_exact_at(&mut superblock, self.offset + 1024)?;
            Ok(superblock)
        };
        // s_mtime, s_wtime, s_lastcheck; without their eight upper bits, which count from 2106.
        let Ok(superblock) = read() else {
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
        let script = self.script(changes, folder)?;
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
            return Ok(());
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
                    "the file system is full: --size makes the disk larger, but its file system grows when it boots first",
                ]
            } else {
                &[]
            },
        ))
    }

    /// The commands of debugfs.
    fn script(&self, changes: &[Change], folder: &Path) -> Result<String, DiskError> {
        let mut script = Script {
            text: format!("set_current_time @{}\n", self.now.max(0)),
            folder,
            files: 0,
        };
        for change in changes {
            match change {
                Change::Remove(path) => script.command("rm", &[&absolute(path)])?,
                Change::RemoveDirectory(path) => script.command("rmdir", &[&absolute(path)])?,
                Change::Directory(path, metadata) => {
                    script.command("mkdir", &[&absolute(path)])?;
                    script.metadata(path, 0o040_000, metadata)?;
                }
                Change::File(path, content, metadata) => {
                    let source = match content {
                        Content::Bytes(bytes) => script.file(bytes)?,
                        Content::File(file) => {
                            std::path::absolute(file).map_err(DiskError::io("find", file))?
                        }
                    };
                    script.in_folder(path, |script, name| {
                        let source = source.as_os_str().as_encoded_bytes();
                        script.command("write", &[source, name])
                    })?;
                    script.metadata(path, 0o100_000, metadata)?;
                }
                Change::Symlink(path, target, metadata) => {
                    script.command("symlink", &[&absolute(path), target])?;
                    script.metadata(path, 0o120_000, metadata)?;
                }
                Change::Node(path, kind, (major, minor), metadata) => {
                    let (major, minor) = (major.to_string(), minor.to_string());
                    let (kind_bits, name) = match kind {
                        'b' => (0o060_000, b"b"),
                        'c' => (0o020_000, b"c"),
                        _ => (0o010_000, b"p"),
                    };
                    script.in_folder(path, |script, file| {
                        let mut arguments: Vec<&[u8]> = vec![file, name];
                        if *kind != 'p' {
                            arguments.extend([major.as_bytes(), minor.as_bytes()]);
                        }
                        script.command("mknod", &arguments)
                    })?;
                    script.metadata(path, kind_bits, metadata)?;
                }
                Change::Link(of, path, links) => {
                    script.command("ln", &[&absolute(of), &absolute(path)])?;
                    script.field(path, "links_count", &links.to_string())?;
                }
                Change::Links(path, links) => {
                    script.field(path, "links_count", &links.to_string())?;
                }
                Change::Metadata(path, metadata, removed) => {
                    for name in removed {
                        script.command("ea_rm", &[&absolute(path), name])?;
                    }
                    let kind = metadata.mode & 0o170_000;
                    script.metadata(path, kind, metadata)?;
                }
            }
        }
        Ok(script.text)
    }
}

/// Commands, one a line.
struct Script<'a> {
    text: String,
    folder: &'a Path,
    files: usize,
}

impl Script<'_> {
    fn command(&mut self, name: &str, arguments: &[&[u8]]) -> Result<(), DiskError> {
        let start = self.text.len();
        self.text.push_str(name);
        for argument in arguments {
            let text = std::str::from_utf8(argument)
                .ok()
                .filter(|text| !text.contains(['\n', '\r', '\0']));
            let Some(text) = text else {
                return Err(DiskError::disk(
                    Path::new(&*String::from_utf8_lossy(argument)),
                    "has a name that debugfs can't be told",
                    &[
                        "rename it in the build: names with line ends, or that are not UTF-8, can't be written to the disk",
                    ],
                ));
            };
            let _ = write!(self.text, " \"{}\"", text.replace('"', "\"\""));
        }
        if self.text.len() - start > LINE {
            return Err(DiskError::disk(
                Path::new(&*String::from_utf8_lossy(
                    arguments.first().copied().unwrap_or_default(),
                )),
                "has a path that is too long to be written to the disk",
                &[],
            ));
        }
        self.text.push('\n');
        Ok(())
    }

    /// Has commands run in the directory of a path that take the name in it as it stands, slashes and all.
    fn in_folder(
        &mut self,
        path: &[u8],
        commands: impl FnOnce(&mut Self, &[u8]) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let (folder, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (absolute(&path[..slash]), &path[slash + 1..]),
            None => (b"/".to_vec(), path),
        };
        self.command("cd", &[&folder])?;
        commands(self, name)?;
        self.command("cd", &[b"/"])
    }

    fn field(&mut self, path: &[u8], name: &str, value: &str) -> Result<(), DiskError> {
        self.command(
            "set_inode_field",
            &[&absolute(path), name.as_bytes(), value.as_bytes()],
        )
    }

    fn metadata(&mut self, path: &[u8], kind: u32, metadata: &Metadata) -> Result<(), DiskError> {
        self.field(
            path,
            "mode",
            &format!("0{:o}", kind | metadata.mode & 0o7777),
        )?;
        self.field(path, "uid", &metadata.uid.to_string())?;
        self.field(path, "gid", &metadata.gid.to_string())?;
        let (seconds, nanoseconds) = metadata.mtime;
        // Times before 1970, or of nanoseconds that are none, mean nothing here.
        let seconds = seconds.clamp(0, (1 << 34) - 1);
        self.field(path, "mtime", &format!("@{seconds}"))?;
        // The two lowest bits are those of seconds after 2038.
        let extra = nanoseconds.min(999_999_999) << 2 | ((seconds + (1 << 31)) >> 32) as u32 & 3;
        self.field(path, "mtime_extra", &extra.to_string())?;
        for (name, value) in &metadata.xattrs {
            let file = self.file(value)?;
            self.command(
                "ea_set",
                &[
                    b"-f",
                    file.as_os_str().as_encoded_bytes(),
                    &absolute(path),
                    name,
                ],
            )?;
        }
        Ok(())
    }

    /// A file of this machine with these bytes.
    fn file(&mut self, bytes: &[u8]) -> Result<PathBuf, DiskError> {
        self.files += 1;
        let folder =
            std::path::absolute(self.folder).map_err(DiskError::io("find", self.folder))?;
        let path = folder.join(format!("content-{}", self.files));
        fs::write(&path, bytes).map_err(DiskError::io("write", &path))?;
        Ok(path)
    }
}

fn absolute(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}
