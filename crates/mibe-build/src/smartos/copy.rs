//! Files laid into a running zone, by its own shell and tar: links are followed inside of its root alone, as it has no other.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mibe_host::{Input, quote};
use rustix::fs::OFlags;

use super::tools::Tools;
use super::zlogin;
use crate::error::BuildError;
use crate::lay::{Entry, EntryKind};
use crate::work::NewFile;

/// The functions that the script of the entries calls.
const LAY: &str = include_str!("scripts/lay.sh");

/// Something to lay.
struct Item {
    path: PathBuf,
    mode: u32,
    what: What,
}

enum What {
    Directory,
    Bytes(Vec<u8>),
    File(PathBuf),
    Link(PathBuf),
}

impl What {
    fn name(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Bytes(_) | Self::File(_) => "file",
            Self::Link(_) => "symlink",
        }
    }
}

/// A zone to lay files into.
pub(super) struct Target<'a> {
    pub tools: &'a Tools,
    pub uuid: &'a str,
}

impl Target<'_> {
    /// Lays the entries of the folder `source`; their time becomes `mtime`, in seconds since 1970.
    pub fn lay(&self, source: &Path, entries: &[Entry], mtime: i64) -> Result<(), BuildError> {
        let items = entries.iter().map(|entry| Item {
            path: entry.path.clone(),
            mode: entry.mode,
            what: match &entry.kind {
                EntryKind::Directory => What::Directory,
                EntryKind::File => What::File(source.join(&entry.path)),
                EntryKind::Symlink(target) => What::Link(target.clone()),
            },
        });
        self.items("lay copy/ over the zone", "copy/", items.collect(), mtime)
    }

    /// Writes files, and the directories above them where there are none.
    pub fn write(&self, files: &[NewFile]) -> Result<(), BuildError> {
        let mut items: Vec<Item> = Vec::new();
        for file in files {
            let mut above: Vec<&Path> = file.path.ancestors().skip(1).collect();
            above.retain(|path| !path.as_os_str().is_empty());
            items.extend(above.into_iter().rev().map(|path| Item {
                path: path.to_owned(),
                mode: 0o755,
                what: What::Directory,
            }));
            items.push(Item {
                path: file.path.clone(),
                mode: file.mode,
                what: What::Bytes(file.content.clone()),
            });
        }
        let now = jiff::Timestamp::now().as_second();
        self.items("write files into the zone", "", items, now)
    }

    fn items(
        &self,
        what: &'static str,
        place: &str,
        items: Vec<Item>,
        mtime: i64,
    ) -> Result<(), BuildError> {
        let failed = |why: String| BuildError::Work {
            what,
            why,
            hints: Vec::new(),
        };
        // The words of the script come over standard input: a command line has its limits.
        let script = Input::Bytes(script(&items));
        let mut printed = Vec::new();
        let tools = self.tools;
        let ended = zlogin::run(
            tools,
            self.uuid,
            b"exec /bin/sh -s",
            script,
            tools.timeout(),
            &mut |bytes| zlogin::keep(&mut printed, bytes),
        )?;
        let said = String::from_utf8_lossy(&printed);
        let clash = said.lines().find_map(|line| {
            let mut words = line.strip_prefix("mibe-clash ")?.split(' ');
            let item = items.get(words.next()?.parse::<usize>().ok()?)?;
            Some((item, words.next()?))
        });
        if let Some((item, there)) = clash {
            let path = item.path.display();
            let there = match there {
                "directory" => "a directory",
                "link" => "a dangling link",
                _ => "a file",
            };
            return Err(failed(format!(
                "{place}{path}: the image has {there} at /{path}, which a {} can't replace",
                item.what.name()
            )));
        }
        if ended != zlogin::Ended::Exited(0) {
            let why = crate::log::last_words(&printed);
            return Err(failed(why.unwrap_or_else(|| format!("{ended:?}"))));
        }
        if items
            .iter()
            .all(|item| matches!(item.what, What::Directory))
        {
            return Ok(());
        }
        self.unpack(what, items, mtime)
    }

    /// Sends the archive; its writer and the zone's tar run side by side.
    fn unpack(&self, what: &'static str, items: Vec<Item>, mtime: i64) -> Result<(), BuildError> {
        let (reader, writer) = io::pipe().map_err(BuildError::io("make a pipe", "/"))?;
        let archive = std::thread::spawn(move || archive(writer, &items, mtime));
        let input = Input::Reader(Box::new(reader));
        let unpacked = zlogin::answer(
            self.tools,
            self.uuid,
            what,
            // p: modes as they are, whatever the umask. Root's tar gives root the files, as the archive says.
            b"cd / && exec tar xpf -",
            input,
        );
        let archived = archive.join().unwrap_or_else(|_| {
            Err(BuildError::Work {
                what,
                why: "the thread that archives the files panicked".to_owned(),
                hints: Vec::new(),
            })
        });
        match (unpacked, archived) {
            // A tar that reads no more is why its writer failed, not the other way round.
            (Err(error), Err(BuildError::Io { source, .. }))
                if source.kind() == io::ErrorKind::BrokenPipe =>
            {
                Err(error)
            }
            (_, Err(error)) => Err(error),
            (unpacked, Ok(())) => unpacked.map(drop),
        }
    }
}

/// The script that makes room.
fn script(items: &[Item]) -> Vec<u8> {
    let mut text = LAY.as_bytes().to_vec();
    text.extend_from_slice(b"entries() {\n:\n");
    for (index, item) in items.iter().enumerate() {
        let mut path = OsString::from("./");
        path.push(&item.path);
        let words = match item.what {
            What::Directory => format!("d {index} {:o} ", item.mode),
            _ => format!("f {index} "),
        };
        text.extend_from_slice(words.as_bytes());
        text.extend_from_slice(&quote(&path));
        text.push(b'\n');
    }
    text.extend_from_slice(b"}\nlay\nexit 0\n");
    text
}

/// Writes files and links as a tar archive: ustar, with pax records for names that are too long for it.
fn archive(out: impl Write, items: &[Item], mtime: i64) -> Result<(), BuildError> {
    let mut builder = tar::Builder::new(io::BufWriter::with_capacity(1 << 16, out));
    for item in items {
        let failed = |action| BuildError::io(action, item.path.clone());
        let mut header = tar::Header::new_ustar();
        header.set_mode(item.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(mtime).unwrap_or(0));
        match &item.what {
            What::Directory => {}
            What::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                append(&mut builder, header, item, bytes.as_slice()).map_err(failed("archive"))?;
            }
            What::File(path) => {
                let file = open(path).map_err(BuildError::io("read", path))?;
                let size = file.metadata().map_err(BuildError::io("read", path))?.len();
                header.set_size(size);
                let exact = Exact { file, left: size };
                append(&mut builder, header, item, exact).map_err(failed("archive"))?;
            }
            What::Link(_) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                append(&mut builder, header, item, io::empty()).map_err(failed("archive"))?;
            }
        }
    }
    builder
        .into_inner()
        .and_then(|mut out| out.flush())
        .map_err(BuildError::io("archive", "copy/"))
}

fn append(
    builder: &mut tar::Builder<impl Write>,
    mut header: tar::Header,
    item: &Item,
    content: impl Read,
) -> io::Result<()> {
    // One record of them all: of several in a row some readers take the last alone.
    let mut long: Vec<(&str, &[u8])> = Vec::new();
    if let What::Link(target) = &item.what {
        let target = target.as_os_str().as_bytes();
        if header.set_link_name_literal(target).is_err() {
            long.push(("linkpath", target));
        }
    }
    if header.set_path(&item.path).is_err() {
        long.push(("path", item.path.as_os_str().as_bytes()));
        // What goes by the header alone must not take it for another.
        header.set_path("mibe-long-name")?;
    }
    if !long.is_empty() {
        builder.append_pax_extensions(long)?;
    }
    header.set_cksum();
    builder.append(&header, content)
}

/// Opens a regular file of copy/; it may have changed since the repository was read.
fn open(path: &Path) -> io::Result<File> {
    let changed = || io::Error::other("changed its kind since the repository was read");
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(changed());
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(changed())
    }
}

/// As many bytes of a file as its header has said; one that shrank would shift all that follows.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::other("shrank while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}
