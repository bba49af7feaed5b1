//! `mibe image files`.

use std::ffi::OsStr;
use std::fmt::Write as _;

use mibe_image::digest::Digests;
use mibe_image::file::hex;
use mibe_image::listing::FileEntry;
use zfs_stream::Kind;
use zfs_stream::read::{Contents, Filesystem, NoContents, Node};

use super::{Output, Readings, failed, find, open, path_in_image};
use crate::cli::ImageFiles;
use crate::error::{CommandError, Kind as ErrorKind};

pub fn run(arguments: &ImageFiles) -> Result<(), CommandError> {
    let chain = open(&arguments.image, Readings::Once)?;
    let mut digests = Digests::default();
    let mut none = NoContents;
    let contents: &mut dyn Contents = if arguments.sha256 {
        &mut digests
    } else {
        &mut none
    };
    let files = chain.files(contents).map_err(failed)?;
    digests.finish(&files).map_err(|error| {
        CommandError::new(ErrorKind::Failed, format!("{}: {error}", chain.image()))
    })?;
    let path = arguments.path.as_deref().unwrap_or(OsStr::new(""));
    let path = path_in_image(&files, path);
    find(&files, &path)?;
    let mut out = Output::new();
    // What ends it early is told at the end.
    let _ = files.walk(&path, &mut |path, node| {
        let mut entry = FileEntry::new(&files, path, node);
        if arguments.sha256 && node.kind == Kind::File {
            entry.sha256 = digests.get(node.object).map(|digest| hex(&digest));
        }
        let goes_on = if arguments.json {
            out.json(&entry)
        } else {
            out.line(&text(arguments, &files, &entry, node))
        };
        if goes_on { Ok(()) } else { Err(()) }
    });
    out.finish()
}

fn text(arguments: &ImageFiles, files: &Filesystem, entry: &FileEntry, node: &Node) -> String {
    let mut line = String::new();
    if arguments.sha256 {
        line = format!("{:<64}  ", entry.sha256.as_deref().unwrap_or("-"));
    }
    if !arguments.long {
        return line + &entry.path;
    }
    let size = entry.rdev.clone().unwrap_or_else(|| entry.size.to_string());
    let mark = if files.xattrs(node).is_empty() {
        ' '
    } else {
        '@'
    };
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        "{}{mark} {:>3} {:>5} {:>5} {size:>10} {} {}",
        mode(node),
        entry.nlink,
        entry.uid,
        entry.gid,
        time(node.mtime),
        entry.path,
    );
    if let Some(target) = &entry.target {
        let _ = write!(line, " -> {target}");
    }
    line
}

/// Type and permissions as ls(1) has them.
fn mode(node: &Node) -> String {
    let mut text = String::from(match node.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    });
    for (shift, special, letters) in [
        (6, 0o4000, ['s', 'S']),
        (3, 0o2000, ['s', 'S']),
        (0, 0o1000, ['t', 'T']),
    ] {
        let bits = node.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (node.mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letters[0],
            (true, false) => letters[1],
        });
    }
    text
}

/// A time in UTC, or the seconds if no calendar has it.
fn time(seconds: i64) -> String {
    mibe_build::manifest::published_at(seconds).map_or_else(
        || seconds.to_string(),
        |text| text.replace('T', " ").replace('Z', ""),
    )
}
