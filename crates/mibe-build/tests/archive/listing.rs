//! Trees as text, one line a file, to compare them by.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use mibe_sandbox::{Kind, Metadata, Mode, Root};
use sha2::{Digest as _, Sha256};

/// What is compared of a file.
struct Line {
    path: PathBuf,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    rdev: (u32, u32),
    size: u64,
    inode: (u64, u64),
    content: String,
    xattrs: Vec<(OsString, Vec<u8>)>,
}

/// Whether this process may give files away and make devices; if not, neither is compared.
pub fn privileged() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn render(lines: Vec<Line>, owners: bool) -> Vec<String> {
    // Hard links show as the first name of their inode.
    let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut text = Vec::new();
    for line in lines {
        let name = first.entry(line.inode).or_insert(line.path.clone());
        let mut row = format!("{:?} {:?}", line.path, line.kind);
        if *name == line.path {
            if line.kind != Kind::Symlink {
                write!(row, " {:04o}", line.mode).unwrap();
            }
            if owners {
                write!(row, " {}:{}", line.owner.0, line.owner.1).unwrap();
            }
            write!(row, " {}.{:09}", line.mtime.0, line.mtime.1).unwrap();
            match line.kind {
                Kind::Char | Kind::Block => write!(row, " {:?}", line.rdev).unwrap(),
                Kind::File => write!(row, " {} bytes", line.size).unwrap(),
                _ => {}
            }
            let xattrs: Vec<_> = line
                .xattrs
                .iter()
                .map(|(name, value)| {
                    if value.len() < 16 {
                        format!("{name:?}: {:?}", String::from_utf8_lossy(value))
                    } else {
                        format!("{name:?}: {}", digest(&value[..]))
                    }
                })
                .collect();
            write!(row, " {} {xattrs:?}", line.content).unwrap();
        } else {
            write!(row, " = {name:?}").unwrap();
        }
        text.push(row);
    }
    text
}

fn digest(mut input: impl Read) -> String {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    // Sparse files of many gigabytes are told by their ends.
    for _ in 0..1 << 11 {
        let count = input.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
    }
    format!("{:x?}", &hash.finalize()[..8])
}

/// The tree of a sandbox, from inside.
pub fn of_root(root: &Root) -> Vec<String> {
    fn line(root: &Root, path: &Path, metadata: &Metadata) -> Line {
        Line {
            path: path.to_owned(),
            kind: metadata.kind,
            mode: metadata.mode,
            owner: (metadata.uid, metadata.gid),
            mtime: metadata.mtime,
            rdev: metadata.rdev,
            size: metadata.size,
            inode: (metadata.dev, metadata.ino),
            content: match metadata.kind {
                Kind::File => digest(root.open(path).unwrap()),
                Kind::Symlink => format!("-> {:?}", root.read_link(path).unwrap()),
                _ => String::new(),
            },
            xattrs: root.xattrs(path).unwrap(),
        }
    }
    fn walk(root: &Root, path: &Path, lines: &mut Vec<Line>) {
        for entry in root.read_dir(path).unwrap() {
            let path = path.join(&entry.name);
            lines.push(line(root, &path, &entry.metadata));
            if entry.metadata.kind == Kind::Dir {
                walk(root, &path, lines);
            }
        }
    }
    let top = Path::new("");
    let mut lines = vec![line(root, top, &root.metadata(top).unwrap())];
    walk(root, top, &mut lines);
    // In a user namespace everyone looks like root.
    render(lines, root.mode() == Mode::Root)
}

/// A tree of this host.
pub fn of_host(top: &Path) -> Vec<String> {
    fn walk(top: &Path, path: &Path, lines: &mut Vec<Line>) {
        let full = if path.as_os_str().is_empty() {
            top.to_owned()
        } else {
            top.join(path)
        };
        lines.push(host_line(&full, path));
        if lines.last().unwrap().kind == Kind::Dir {
            let mut names: Vec<OsString> = fs::read_dir(&full)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            for name in names {
                walk(top, &path.join(name), lines);
            }
        }
    }
    let mut lines = Vec::new();
    walk(top, Path::new(""), &mut lines);
    render(lines, privileged())
}

fn host_line(full: &Path, path: &Path) -> Line {
    let metadata = fs::symlink_metadata(full).unwrap();
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        Kind::Dir
    } else if kind.is_symlink() {
        Kind::Symlink
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_char_device() {
        Kind::Char
    } else if kind.is_block_device() {
        Kind::Block
    } else {
        Kind::File
    };
    let rdev = metadata.rdev();
    Line {
        path: path.to_owned(),
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec() as u32),
        rdev: (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
        size: metadata.len(),
        inode: (metadata.dev(), metadata.ino()),
        content: match kind {
            Kind::File => digest(fs::File::open(full).unwrap()),
            Kind::Symlink => format!("-> {:?}", fs::read_link(full).unwrap()),
            _ => String::new(),
        },
        xattrs: if matches!(kind, Kind::File | Kind::Dir) {
            user_xattrs(full)
        } else {
            Vec::new()
        },
    }
}

fn user_xattrs(path: &Path) -> Vec<(OsString, Vec<u8>)> {
    let mut list = vec![0_u8; 65536];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let mut xattrs = Vec::new();
    for name in list[..length].split(|byte| *byte == 0) {
        if name.starts_with(b"user.") {
            let name = OsStr::from_bytes(name);
            let mut value = vec![0_u8; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(length);
            xattrs.push((name.to_owned(), value));
        }
    }
    xattrs.sort();
    xattrs
}

/// Fails with the lines that differ.
pub fn assert_same(what: &str, ours: &[String], theirs: &[String]) {
    let only = |of: &[String], not: &[String]| {
        of.iter()
            .filter(|line| !not.contains(line))
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n  ")
    };
    assert!(
        ours == theirs,
        "{what}: the trees differ\nonly in the first:\n  {}\nonly in the second:\n  {}",
        only(ours, theirs),
        only(theirs, ours)
    );
}
