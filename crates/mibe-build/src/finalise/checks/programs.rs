//! Programs that are there but can't do their work in an instance.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use mibe_sandbox::{Kind, Metadata, Root};

use super::Found;
use crate::finalise::{Report, shown};

/// Programs that packages give a file capability (cap_net_raw) where they can and the set-uid bit where they can't.
const RAW_SOCKETS: &[&str] = &["ping", "ping6", "fping", "mtr-packet"];

pub fn check(root: &Root, report: &mut Report) {
    capabilities(root, report);
    guest_tools(root, report);
}

/// A tree carries no security.capability: it is dropped when a base is unpacked and refused in the sandbox.
fn capabilities(root: &Root, report: &mut Report) {
    let mut bare = BTreeSet::new();
    for folder in ["bin", "usr/bin", "sbin", "usr/sbin"] {
        for name in RAW_SOCKETS {
            let Ok(path) = root.resolve(&Path::new(folder).join(name)) else {
                continue;
            };
            // A link to busybox or toybox is another matter: those are never privileged.
            let itself = path
                .file_name()
                .is_some_and(|file| RAW_SOCKETS.iter().any(|known| file == *known));
            let unprivileged = root
                .metadata(&path)
                .is_ok_and(|metadata| metadata.kind == Kind::File && metadata.mode & 0o4000 == 0);
            if itself && unprivileged {
                bare.insert(shown::path(&path));
            }
        }
    }
    if !bare.is_empty() {
        let bare: Vec<_> = bare.into_iter().collect();
        let chmod = bare.join(" ");
        report.warn(format!(
            "only root can use {}: images carry no file capabilities, and the set-uid bit is not set; for all users run `chmod u+s {chmod}` in a step of the build",
            bare.join(", ")
        ));
    }
}

/// The base's own guest tools, as published images have them, are kept; see that they can run.
fn guest_tools(root: &Root, report: &mut Report) {
    let Ok(top) = root.resolve(Path::new("lib/smartdc")) else {
        return;
    };
    let mut foreign = Found::default();
    let mut inert = Found::default();
    look(root, &top, &mut |path, metadata| {
        if metadata.uid != 0 {
            foreign.add(path);
        }
        if metadata.kind == Kind::File && metadata.mode & 0o111 == 0 && script(root, path) {
            inert.add(path);
        }
    });
    if !foreign.is_empty() {
        report.warn(format!(
            "guest tools that root does not own though root runs them at boot: {}",
            foreign.named()
        ));
    }
    if !inert.is_empty() {
        report.warn(format!(
            "guest tools that are not executable, so an instance may not count as provisioned: {}",
            inert.named()
        ));
    }
}

fn look(root: &Root, top: &Path, see: &mut dyn FnMut(&Path, &Metadata)) {
    let mut pending: Vec<PathBuf> = vec![top.to_owned()];
    if let Ok(metadata) = root.metadata(top) {
        see(top, &metadata);
    }
    while let Some(directory) = pending.pop() {
        for entry in root.read_dir(&directory).unwrap_or_default() {
            let path = directory.join(&entry.name);
            see(&path, &entry.metadata);
            if entry.metadata.kind == Kind::Dir {
                pending.push(path);
            }
        }
    }
}

/// Begins as a script does and isn't one of those that others only read (common.lib).
fn script(root: &Root, path: &Path) -> bool {
    let library = path
        .extension()
        .is_some_and(|extension| ["lib", "sh"].iter().any(|name| extension == *name));
    let mut start = [0; 2];
    !library
        && root
            .open(path)
            .and_then(|mut file| file.read_exact(&mut start))
            .is_ok()
        && start == *b"#!"
}
