//! What the users of an image may trip over, looked for in the finished tree.

use std::path::{Path, PathBuf};

use mibe_sandbox::{Kind, Root};

use super::{Report, exists, text};

/// The most findings of one kind that are named.
const NAMED: usize = 5;
/// Ids from here on belong to people, not to packages (Debian policy 9.2.2).
const FIRST_PERSON: u32 = 1000;
/// `nobody` and above: system ids again.
const LAST_PERSON: u32 = 59_999;

/// Looks at `root` and warns; changes nothing.
pub fn check(root: &Root, report: &mut Report) {
    root_password(root, report);
    foreign_owners(root, report);
    if !["sbin/init", "usr/sbin/init", "bin/init"]
        .iter()
        .any(|path| exists(root, path))
    {
        report.warn(
            "the image has no /sbin/init, so a zone of it cannot boot; install systemd-sysv, openrc or another init",
        );
    }
    if exists(root, "usr/lib/udev/rules.d") && exists(root, "lib/systemd/systemd-udevd") {
        report.warn("udev is installed; it does not work in an LX zone and slows its boot");
    }
    if kernel(root) {
        report.warn("a kernel is installed in /boot; an LX zone never uses it");
    }
}

fn root_password(root: &Root, report: &mut Report) {
    let shadow = text(root, "etc/shadow").unwrap_or_default();
    let password = shadow
        .lines()
        .find_map(|line| line.strip_prefix("root:"))
        .and_then(|rest| rest.split(':').next());
    match password {
        Some("") => report.warn("root has an empty password: anyone who reaches a login gets in"),
        Some(hash) if !hash.starts_with(['*', '!']) => {
            report.warn("root has a password, the same one in every instance of this image");
        }
        _ => {}
    }
}

fn foreign_owners(root: &Root, report: &mut Report) {
    let mut found = Vec::new();
    for top in ["etc", "var"] {
        owned_by_people(root, Path::new(top), &mut found);
    }
    if found.is_empty() {
        return;
    }
    let named: Vec<_> = found
        .iter()
        .take(NAMED)
        .map(|path| format!("/{}", path.display()))
        .collect();
    let more = found.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    report.warn(format!(
        "owned by a user of uid {FIRST_PERSON} or more, perhaps one of the build host: {}{more}",
        named.join(", ")
    ));
}

fn owned_by_people(root: &Root, directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = root.read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = directory.join(&entry.name);
        if (FIRST_PERSON..=LAST_PERSON).contains(&entry.metadata.uid) {
            found.push(path.clone());
        }
        if entry.metadata.kind == Kind::Dir {
            owned_by_people(root, &path, found);
        }
    }
}

fn kernel(root: &Root) -> bool {
    root.read_dir(Path::new("boot")).is_ok_and(|entries| {
        entries
            .iter()
            .any(|entry| entry.name.to_string_lossy().starts_with("vmlinu"))
    })
}
