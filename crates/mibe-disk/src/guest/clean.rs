//! What of a guest's past is in it, and in no image: keys of its host, its machine-id, logs, what cloud-init did.

use serde::Serialize;

use super::tree::Tree;

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The file, or all that is in the directory and the directory, is removed.
    Remove,
    /// The file stays, and is empty.
    Empty,
}

/// Something of a guest's past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// Its path, from the root, without a slash before it.
    pub path: String,
    /// What it is.
    pub what: &'static str,
    /// What is done with it.
    pub action: Action,
}

/// Files in folders by how their names begin and end: folder, start, end, what they are.
const FILES: [(&str, &str, &str, &str); 14] = [
    ("etc/ssh", "ssh_host_", "_key", "key of its ssh server"),
    ("etc/ssh", "ssh_host_", "_key.pub", "key of its ssh server"),
    ("var/log", "cloud-init", ".log", "log"),
    ("var/log", "", ".gz", "log"),
    ("var/log", "", ".1", "log"),
    ("var/log", "installer", "", "log"),
    ("var/lib/dhcp", "", ".leases", "lease of an address"),
    (
        "var/lib/NetworkManager",
        "",
        ".lease",
        "lease of an address",
    ),
    ("var/lib/dhclient", "", ".leases", "lease of an address"),
    (
        "var/lib/systemd",
        "random-seed",
        "",
        "seed of random numbers",
    ),
    ("var/lib/systemd", "credential.secret", "", "key of its own"),
    ("var/lib/dbus", "machine-id", "", "identity"),
    ("root", ".bash_history", "", "history of commands"),
    (
        "etc/udev/rules.d",
        "70-persistent-net.rules",
        "",
        "names of its network cards",
    ),
];

/// Whole folders that go with all that is in them.
const FOLDERS: [(&str, &str); 6] = [
    ("var/lib/cloud/instances", "what cloud-init did"),
    ("var/lib/cloud/data", "what cloud-init did"),
    ("var/lib/cloud/sem", "what cloud-init did"),
    ("var/lib/cloud/handlers", "what cloud-init did"),
    ("var/lib/cloud/scripts/per-instance", "what cloud-init did"),
    ("var/log/journal", "log"),
];

/// Files that stay and are emptied.
const EMPTIED: [(&str, &str); 8] = [
    ("etc/machine-id", "identity"),
    ("var/log/wtmp", "log"),
    ("var/log/btmp", "log"),
    ("var/log/lastlog", "log"),
    ("var/log/syslog", "log"),
    ("var/log/messages", "log"),
    ("var/log/auth.log", "log"),
    ("var/log/secure", "log"),
];

/// The traces of a guest's past, sorted by path.
pub fn traces(tree: &dyn Tree) -> Vec<Trace> {
    let mut traces = Vec::new();
    let mut add = |path: String, what, action| traces.push(Trace { path, what, action });
    for (folder, start, end, what) in FILES {
        let names = tree.list(folder).into_iter();
        let fits = |name: &String| {
            name.starts_with(start) && name.ends_with(end) && name.len() >= start.len() + end.len()
        };
        let exact = end.is_empty() && start != "installer";
        for name in names.filter(|name| fits(name) && (!exact || name == start)) {
            add(format!("{folder}/{name}"), what, Action::Remove);
        }
    }
    for (folder, what) in FOLDERS {
        for name in tree.list(folder) {
            add(format!("{folder}/{name}"), what, Action::Remove);
        }
    }
    // A link to the folder of the machine that it was.
    if tree.exists("var/lib/cloud/instance") {
        add(
            "var/lib/cloud/instance".into(),
            "what cloud-init did",
            Action::Remove,
        );
    }
    for (path, what) in EMPTIED {
        // What systemd takes for none (machine-id(5)).
        let is_none = |content: Vec<u8>| content.trim_ascii() == b"uninitialized";
        if tree.size(path).is_some_and(|size| size > 0) && !tree.read(path, 64).is_some_and(is_none)
        {
            add(path.into(), what, Action::Empty);
        }
    }
    if let Some(content) = tree.read("etc/resolv.conf", 1 << 16) {
        let text = String::from_utf8_lossy(&content);
        if text
            .lines()
            .any(|line| line.trim_start().starts_with("nameserver"))
            && !text.contains("127.0.0.53")
        {
            add(
                "etc/resolv.conf".into(),
                "name servers of where it was",
                Action::Empty,
            );
        }
    }
    traces.sort_by(|one, other| one.path.cmp(&other.path));
    traces.dedup_by(|one, other| one.path == other.path);
    traces
}
