//! The guest on a disk: which system it is, what it boots from, what its cloud-init will do on SmartOS, what of its past is still in it.

pub mod boot;
pub mod clean;
mod cloud_init;
mod identify;
mod tree;

use serde::Serialize;

pub use self::cloud_init::{CloudInit, smartos_changes};
pub use self::identify::{Decision, Identify};
pub use self::tree::Tree;

/// Most bytes of os-release that are read.
const LIMIT: u64 = 1 << 20;

/// Which system it is, by its os-release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct System {
    /// `ID` ("debian").
    pub id: String,
    /// `PRETTY_NAME` ("Debian GNU/Linux 12 (bookworm)").
    pub title: String,
}

impl System {
    /// `None`: the tree is no system's root.
    pub fn of(tree: &dyn Tree) -> Option<Self> {
        let text = tree
            .read("etc/os-release", LIMIT)
            .or_else(|| tree.read("usr/lib/os-release", LIMIT))?;
        let text = String::from_utf8_lossy(&text);
        let value = |key: &str| {
            let line = text
                .lines()
                .rev()
                .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
            let value = line.unwrap_or_default().trim().trim_matches(['"', '\'']);
            let shown: String = value
                .chars()
                .filter(|character| !character.is_control())
                .take(200)
                .collect();
            shown
        };
        let id = value("ID");
        let title = value("PRETTY_NAME");
        let title = if title.is_empty() { id.clone() } else { title };
        Some(Self { id, title })
    }
}
