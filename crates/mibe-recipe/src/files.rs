//! Reads the files at the top of a repository, each with a bound on its size.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};

use crate::codes::Code;
use crate::problem::{Collector, Problem, Problems, Source, Span};

/// Largest `manifest`, `packages`, `delete_packages` and `motd`, in bytes.
const TEXT_SIZE: u64 = 1 << 20;
/// Largest `manifest`, in bytes, and longest line of it: a description has at most 10240 characters.
const MANIFEST_SIZE: u64 = 128 << 10;
const MANIFEST_LINE: usize = 48 << 10;
/// Longest line of a list of packages, in bytes. Each word of a line is a place in it that problems may show: without a
/// bound the time and memory for them would grow with the square of the line.
const LIST_LINE: usize = 4 << 10;
/// Largest `customize`, in bytes: scripts that carry an archive in their tail exist.
const SCRIPT_SIZE: u64 = 16 << 20;

/// The script that finishes the image, run as `/root/customize` in the build machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customize {
    /// Its bytes.
    pub contents: Vec<u8>,
    /// Whether anyone may execute the file on this host; git on some systems loses that.
    pub executable: bool,
    /// What follows `#!` on the first line, trimmed ("/usr/bin/env bash").
    pub interpreter: Option<String>,
}

/// The folder of a repository.
pub(crate) struct Folder<'a> {
    directory: &'a Utf8Path,
    /// With no link in it: where a file's own link must stay inside.
    real: Utf8PathBuf,
}

/// A file's bytes and permission bits.
pub(crate) struct Contents {
    pub(crate) bytes: Vec<u8>,
    mode: u32,
}

impl<'a> Folder<'a> {
    /// Opens a folder, or tells why it is none.
    pub(crate) fn open(directory: &'a Utf8Path) -> Result<Self, Problems> {
        let none = |message: String, advice: &str| {
            Problems::one(Problem::of_file(Code::NoRepository, "", message, advice))
        };
        let advice = "give the path of a build repository: a folder with manifest, packages, customize and copy/";
        match fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let advice = match directory.parent() {
                    Some(parent) if !parent.as_str().is_empty() => {
                        format!("give the folder that it is in: {parent}")
                    }
                    _ => "give the folder that it is in: .".to_owned(),
                };
                return Err(none(format!("{directory} is not a folder"), &advice));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(none(format!("there is no folder {directory}"), advice));
            }
            Err(error) => return Err(none(format!("{directory} can't be read: {error}"), advice)),
        }
        if let Err(error) = fs::read_dir(directory) {
            return Err(none(
                format!("{directory} can't be read: {error}"),
                "make it readable for the user who builds",
            ));
        }
        let real = directory.canonicalize_utf8().map_err(|error| {
            none(
                format!("{directory} can't be read: {error}"),
                "make the folder readable, below a path that is UTF-8",
            )
        })?;
        Ok(Self { directory, real })
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        self.directory.join(name)
    }

    /// Whether something of that name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// `motd` or another file whose lines mean nothing.
    pub(crate) fn text(&self, name: &str, problems: &mut Collector) -> Option<Contents> {
        self.file(name, TEXT_SIZE, problems)
    }

    /// `manifest` or `manifest.json`.
    pub(crate) fn manifest(&self, name: &str, problems: &mut Collector) -> Option<Contents> {
        let contents = self.file(name, MANIFEST_SIZE, problems)?;
        short_lines(name, contents, MANIFEST_LINE, problems)
    }

    /// A list of packages.
    pub(crate) fn list(&self, name: &str, problems: &mut Collector) -> Option<Contents> {
        let contents = self.file(name, TEXT_SIZE, problems)?;
        short_lines(name, contents, LIST_LINE, problems)
    }

    /// Reads a file. Nothing when it isn't there, nothing and a problem when it can't be had.
    fn file(&self, name: &str, bound: u64, problems: &mut Collector) -> Option<Contents> {
        match self.try_file(name, bound) {
            Ok(contents) => contents,
            Err(problem) => {
                problems.push(*problem);
                None
            }
        }
    }

    fn try_file(&self, name: &str, bound: u64) -> Result<Option<Contents>, Box<Problem>> {
        let path = self.path(name);
        let wrong = |code, message: String, advice: &str| {
            Box::new(Problem::of_file(code, name, message, advice))
        };
        let unreadable = |error: &io::Error| {
            wrong(
                Code::Unreadable,
                format!("can't be read: {error}"),
                "make it readable for the user who builds",
            )
        };
        let link = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata.file_type().is_symlink(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&error)),
        };
        // A repository from elsewhere must not bring the builder's own files into an image.
        if link {
            let real = path.canonicalize().map_err(|error| unreadable(&error))?;
            if !real.starts_with(&self.real) {
                return Err(wrong(
                    Code::LinkLeadsOut,
                    "is a link to a file outside of the repository".to_owned(),
                    "replace the link by the file",
                ));
            }
        }
        let flags = rustix::fs::OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(&path)
            .map_err(|error| unreadable(&error))?;
        let metadata = file.metadata().map_err(|error| unreadable(&error))?;
        if !metadata.is_file() {
            return Err(wrong(
                Code::NotAFile,
                "is not a regular file".to_owned(),
                "replace it by a file",
            ));
        }
        let mut bytes = Vec::new();
        file.take(bound + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&error))?;
        if bytes.len() as u64 > bound {
            return Err(wrong(
                Code::TooLarge,
                format!("is larger than {bound} bytes"),
                "this is more than such a file can sensibly hold: is it the right one?",
            ));
        }
        Ok(Some(Contents {
            bytes,
            mode: metadata.permissions().mode(),
        }))
    }

    /// `customize`, which every repository must have.
    pub(crate) fn customize(&self, problems: &mut Collector) -> Option<Customize> {
        const NAME: &str = "customize";
        if !self.has(NAME) {
            problems.push(Problem::of_file(
                Code::MissingCustomize,
                NAME,
                "there is no customize script",
                "add one, if only of the two lines `#!/bin/bash` and `exit 0`, and make it executable",
            ));
            return None;
        }
        let Contents {
            bytes: contents,
            mode,
        } = self.file(NAME, SCRIPT_SIZE, problems)?;
        let executable = mode & 0o111 != 0;
        if !executable {
            problems.push(Problem::of_file(
                Code::NotExecutable,
                NAME,
                "is not executable; it is run all the same",
                "chmod +x customize, and git add it again",
            ));
        }
        let interpreter = interpreter(&contents);
        if interpreter.is_none() {
            problems.push(Problem::of_file(
                Code::NoInterpreter,
                NAME,
                "does not begin with #! and an interpreter; it is run by /bin/sh",
                "begin it with #!/bin/bash",
            ));
        }
        if contents.starts_with(b"#!")
            && contents
                .iter()
                .take_while(|&&b| b != b'\n')
                .any(|&b| b == b'\r')
        {
            problems.push(Problem::of_file(
                Code::CarriageReturn,
                NAME,
                "has Windows line ends, with which its interpreter won't be found",
                "save it with Unix line ends",
            ));
        }
        Some(Customize {
            contents,
            executable,
            interpreter,
        })
    }
}

fn interpreter(script: &[u8]) -> Option<String> {
    let line = script
        .strip_prefix(b"#!")?
        .split(|&byte| byte == b'\n')
        .next()?;
    // The kernel reads no more than 256 bytes of that line.
    let text = String::from_utf8_lossy(&line[..line.len().min(254)])
        .trim()
        .to_owned();
    (!text.is_empty()).then_some(text)
}

/// The contents, unless a line of them is longer than `most` bytes: then a problem that shows it.
fn short_lines(
    name: &str,
    contents: Contents,
    most: usize,
    problems: &mut Collector,
) -> Option<Contents> {
    let mut start = 0;
    for (line, number) in contents.bytes.split(|&byte| byte == b'\n').zip(1..) {
        if line.len() > most {
            let source = Source {
                file: name.into(),
                bytes: &contents.bytes,
            };
            let span = Span {
                start,
                end: start + line.len(),
            };
            problems.push(source.located((), span, number, start).problem(
                Code::LongLine,
                format!("a line of {} bytes; {most} are the most", line.len()),
                "break it into several lines",
            ));
            return None;
        }
        start += line.len() + 1;
    }
    Some(contents)
}

#[cfg(test)]
mod tests {
    use super::interpreter;

    #[test]
    fn interpreters() {
        assert_eq!(
            interpreter(b"#!/usr/bin/bash\nset -e\n").as_deref(),
            Some("/usr/bin/bash")
        );
        assert_eq!(
            interpreter(b"#! /usr/bin/env bash -e\r\n").as_deref(),
            Some("/usr/bin/env bash -e")
        );
        assert_eq!(interpreter(b"#!/bin/sh").as_deref(), Some("/bin/sh"));
        assert_eq!(interpreter(b"#!\n"), None);
        assert_eq!(interpreter(b"echo #!/bin/sh\n"), None);
        assert_eq!(interpreter(b""), None);
    }
}
