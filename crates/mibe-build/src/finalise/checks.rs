//! What the users of an image may trip over, looked for in the finished tree.

mod programs;
mod settings;

use std::path::Path;

use mibe_sandbox::{Kind, Root};

use super::{Report, exists, shown, text};

/// The most findings of one kind that are named.
const NAMED: usize = 5;
/// Ids from here on belong to people, not to packages (Debian policy 9.2.2).
const FIRST_PERSON: u32 = 1000;
/// `nobody` and above: system ids again.
const LAST_PERSON: u32 = 59_999;

/// What was found of one kind: the first few, and how many in all, for a tree may hold any number.
#[derive(Default)]
struct Found {
    first: Vec<String>,
    count: usize,
}

impl Found {
    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(shown::path(path));
        }
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn named(&self) -> String {
        shown::list(&self.first, self.count, NAMED)
    }
}

/// Looks at `root` and warns; changes nothing.
pub fn check(root: &Root, report: &mut Report) {
    root_password(root, report);
    foreign_owners(root, report);
    keys_of_users(root, report);
    settings::check(root, report);
    programs::check(root, report);
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
    let mut found = Found::default();
    for top in ["etc", "var"] {
        owned_by_people(root, Path::new(top), &mut found);
    }
    if !found.is_empty() {
        report.warn(format!(
            "owned by a user of uid {FIRST_PERSON} or more, perhaps one of the build host: {}",
            found.named()
        ));
    }
}

fn owned_by_people(root: &Root, directory: &Path, found: &mut Found) {
    let Ok(entries) = root.read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = directory.join(&entry.name);
        if (FIRST_PERSON..=LAST_PERSON).contains(&entry.metadata.uid) {
            found.add(&path);
        }
        if entry.metadata.kind == Kind::Dir {
            owned_by_people(root, &path, found);
        }
    }
}

/// Unlike root's they are kept: an account with a key may be what the image is for.
fn keys_of_users(root: &Root, report: &mut Report) {
    let mut found = Found::default();
    let Ok(home) = root.resolve(Path::new("home")) else {
        return;
    };
    for user in root.read_dir(&home).unwrap_or_default() {
        for name in ["authorized_keys", "authorized_keys2"] {
            let path = home.join(&user.name).join(".ssh").join(name);
            if root.metadata(&path).is_ok_and(|there| there.size > 0) {
                found.add(&path);
            }
        }
    }
    if !found.is_empty() {
        report.warn(format!(
            "keys that open every instance of this image to whoever has their other half: {}; remove them in a step of the build unless that is meant",
            found.named()
        ));
    }
}

fn kernel(root: &Root) -> bool {
    root.read_dir(Path::new("boot")).is_ok_and(|entries| {
        entries
            .iter()
            .any(|entry| entry.name.to_string_lossy().starts_with("vmlinu"))
    })
}
