//! Commands of debugfs, one a line.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::edit::{Change, Content, Metadata};
use crate::error::DiskError;

/// Longest line of a script (`BUFSIZ`), less some.
const LINE: usize = 8000;

/// The commands that carry out changes at a time, in seconds since 1970, in a file system with blocks of `block` bytes; what they need of this machine's files
/// goes into `folder`.
///
/// # Errors
///
/// A name or an attribute can't be told to debugfs, or `folder` not be written.
pub(super) fn of(
    changes: &[Change],
    now: i64,
    block: usize,
    folder: &Path,
) -> Result<String, DiskError> {
    let mut script = Script {
        text: format!("set_current_time @{}\n", now.max(0)),
        folder,
        block,
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
                // A name that ln has no room for in the directory's blocks is an error to it; to mknod, it is one block more.
                script.in_folder(path, |script, name| {
                    script.command("mknod", &[name, b"p"])?;
                    script.command("rm", &[name])
                })?;
                script.command("ln", &[&absolute(of), &absolute(path)])?;
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

/// Commands, one a line.
struct Script<'a> {
    text: String,
    folder: &'a Path,
    block: usize,
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
            // Header, entry and end of a block of attributes; of what is longer, debugfs would write a part.
            if value.len() + name.len() + 64 > self.block {
                return Err(DiskError::disk(
                    Path::new(&*String::from_utf8_lossy(path)),
                    format!(
                        "has an attribute of {} bytes, which can't be written to the disk",
                        value.len()
                    ),
                    &["take the attribute away in the build: setfattr -x NAME FILE"],
                ));
            }
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
