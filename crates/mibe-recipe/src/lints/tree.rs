//! The tree below `copy/`.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path};

use camino::Utf8Path;

use crate::codes::Code;
use crate::copy::{CopyEntry, EntryKind};
use crate::lints::secrets;
use crate::problem::{Collector, Problem};

/// Bytes of a file that are looked into for secrets.
const LOOKED_AT: u64 = 1 << 20;

/// Places of a machine that somebody works on.
const OF_HOSTS: [&str; 4] = ["/home/", "/Users/", "/Volumes/", "/private/"];

pub(super) fn check(directory: &Utf8Path, copy: &[CopyEntry], problems: &mut Collector) {
    let real = directory.canonicalize_utf8().ok();
    let paths: HashSet<&Path> = copy.iter().map(|entry| entry.path.as_path()).collect();
    let mut seen: HashMap<Vec<u8>, &Path> = HashMap::new();
    let mut bytes = Vec::new();
    for entry in copy {
        let lower = entry.path.as_os_str().as_bytes().to_ascii_lowercase();
        if let Some(other) = seen.insert(lower, &entry.path) {
            problems.push(of(
                &entry.path,
                Code::CaseClash,
                format!("differs from copy/{} by case only", shown(other)),
                "rename one of the two",
            ));
        }
        droppings(&entry.path, problems);
        let sticky_folder = entry.kind == EntryKind::Directory && entry.mode & 0o1000 != 0;
        if !matches!(entry.kind, EntryKind::Symlink(_)) && entry.mode & 0o002 != 0 && !sticky_folder
        {
            problems.push(of(
                &entry.path,
                Code::WorldWritable,
                format!("can be changed by everybody (mode {:04o})", entry.mode),
                "chmod o-w, and git add it again",
            ));
        }
        match &entry.kind {
            EntryKind::Symlink(target) => {
                let brought = |path: &Path| paths.contains(path);
                link(&entry.path, target, real.as_deref(), brought, problems);
            }
            EntryKind::File => {
                zoneinit(&entry.path, problems);
                bytes.clear();
                if read(directory, entry, &mut bytes) {
                    let file = format!("copy/{}", shown(&entry.path));
                    secrets::check(file.as_str().into(), &bytes, problems);
                }
            }
            EntryKind::Directory => {}
        }
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

fn of(path: &Path, code: Code, message: impl Into<String>, advice: &str) -> Problem {
    Problem::of_file(code, format!("copy/{}", shown(path)), message, advice)
}

/// The beginning of a file; whether it could be read.
fn read(directory: &Utf8Path, entry: &CopyEntry, bytes: &mut Vec<u8>) -> bool {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let path = directory.as_std_path().join("copy").join(&entry.path);
    // That it can't be read was told when the tree was listed.
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .and_then(|file| file.take(LOOKED_AT).read_to_end(bytes))
        .is_ok()
}

fn droppings(path: &Path, problems: &mut Collector) {
    let name = path
        .file_name()
        .map(std::os::unix::ffi::OsStrExt::as_bytes)
        .unwrap_or_default();
    let ends = |ending: &[u8]| name.len() > ending.len() && name.ends_with(ending);
    let what = if ends(b"~") || ends(b".orig") || ends(b".rej") {
        "an editor's or patch's copy of another file"
    } else if name.starts_with(b".") && (ends(b".swp") || ends(b".swo") || ends(b".swn")) {
        "a swap file of vim"
    } else if (name.len() > 2 && name.starts_with(b"#") && name.ends_with(b"#"))
        || name.starts_with(b".#")
    {
        "an unsaved file or a lock of Emacs"
    } else if name == b"Thumbs.db" || name == b"desktop.ini" {
        "what Windows leaves in folders"
    } else {
        return;
    };
    problems.push(of(
        path,
        Code::EditorDropping,
        format!("looks like {what}, and would be in the image"),
        "remove it, and name it in .gitignore",
    ));
}

fn link(
    path: &Path,
    target: &Path,
    repository: Option<&Utf8Path>,
    brought: impl Fn(&Path) -> bool,
    problems: &mut Collector,
) {
    if target.is_absolute() {
        let text = target.to_string_lossy();
        let of_host = OF_HOSTS.iter().any(|place| text.starts_with(place))
            || repository.is_some_and(|repository| target.starts_with(repository));
        if of_host {
            problems.push(of(
                path,
                Code::LinkToHost,
                format!(
                    "leads to {}, a place of the machine it was made on",
                    shown(target)
                ),
                "write the target as it is in the image",
            ));
        } else if !target.strip_prefix("/").is_ok_and(brought) {
            problems.push(of(
                path,
                Code::AbsoluteLink,
                format!("leads to {}, which copy/ does not bring", shown(target)),
                "nothing, if the base brings it",
            ));
        }
        return;
    }
    // How many folders above the link there still are.
    let mut depth = path.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::ParentDir if depth == 0 => {
                problems.push(of(
                    path,
                    Code::LinkClimbsOut,
                    format!("leads to {}, above the image's root", shown(target)),
                    "write a target that stays inside copy/",
                ));
                return;
            }
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
}

/// zoneinit sources `includes/*.sh` in the order of their names; the last of its own, `999-cleanup.sh`, removes it
/// (zoneinit, `includes/999-cleanup.sh`).
fn zoneinit(path: &Path, problems: &mut Collector) {
    let Ok(below) = path.strip_prefix("var/zoneinit/includes") else {
        return;
    };
    let name = below.as_os_str().as_bytes();
    if name.contains(&b'/') || name.starts_with(b".") {
        return;
    }
    let (message, advice) = if !name.ends_with(b".sh") {
        (
            "is never run: zoneinit runs *.sh only",
            "name it NN-what.sh, as in 31-mysql.sh, or put it elsewhere",
        )
    } else if name > b"999-cleanup.sh".as_slice() {
        (
            "comes after 999-cleanup.sh, with which zoneinit removes itself",
            "begin its name with two or three digits, as in 31-mysql.sh",
        )
    } else {
        return;
    };
    problems.push(of(path, Code::ZoneinitName, message, advice));
}
