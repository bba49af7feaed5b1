//! What is installed in the file system of a zone: packages, users, services, as its own databases have it.
//!
//! Files are asked for first ([`is_wanted`]), then read ([`Inventory::read`]), since an image's stream is read from its start to its
//! end. What can't be read is told among the warnings, never passed over.

mod accounts;
mod packages;
mod rpm;
mod services;

use std::collections::BTreeMap;

use serde::Serialize;

pub use packages::Package;

/// Largest database that is taken, in bytes; those of a large distribution have some 10 MiB.
const MAX_DATABASE: u64 = 128 << 20;
/// Largest of the small files, of which there may be thousands.
const MAX_FILE: u64 = 1 << 20;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file and what is in it.
    File(Vec<u8>),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
}

/// Entries by their paths from the zone's root, without `/` at their start.
pub type Entries = BTreeMap<Vec<u8>, Entry>;

/// How much of a file is wanted at most, in bytes; 0 if it is not. Of symbolic links the target is always at hand.
pub fn limit(path: &[u8]) -> u64 {
    if packages::is_database(path) || rpm::is_database(path) {
        MAX_DATABASE
    } else if packages::is_small(path) || accounts::is_wanted(path) {
        MAX_FILE
    } else {
        // Of others it is enough that they are there.
        u64::from(services::is_wanted(path) || packages::is_sign(path) || rpm::is_sign(path))
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// Numbers of the user and of the first group.
    pub uid: String,
    /// See `uid`.
    pub gid: String,
    /// Home directory.
    pub home: String,
    /// Shell.
    pub shell: String,
}

/// What is installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// Packages by manager and name: `dpkg:bash`, `rpm:glibc.i686`.
    pub packages: BTreeMap<String, Package>,
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Groups by name: number and members.
    pub groups: BTreeMap<String, String>,
    /// Services that are started, by the system that starts them and name: `systemd:ssh.service`. The value is what starts
    /// them (`multi-user.target.wants`, `rc2.d`, `default`).
    pub services: BTreeMap<String, String>,
    /// What could not be read.
    pub warnings: Vec<String>,
}

impl Inventory {
    /// Reads what stands in the wanted files.
    pub fn read(entries: &Entries) -> Self {
        let mut inventory = Self::default();
        packages::read(entries, &mut inventory);
        rpm::read(entries, &mut inventory);
        accounts::read(entries, &mut inventory);
        services::read(entries, &mut inventory);
        inventory
    }
}

/// How two things of one name differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change<T> {
    /// In the one.
    pub from: T,
    /// In the other.
    pub to: T,
}

/// What was added, removed and changed, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changes<T> {
    /// In the other alone.
    pub added: BTreeMap<String, T>,
    /// In the one alone.
    pub removed: BTreeMap<String, T>,
    /// In both, and not the same.
    pub changed: BTreeMap<String, Change<T>>,
}

impl<T: Clone + PartialEq> Changes<T> {
    fn between(one: &BTreeMap<String, T>, other: &BTreeMap<String, T>) -> Self {
        let only = |these: &BTreeMap<String, T>, those: &BTreeMap<String, T>| {
            these
                .iter()
                .filter(|(name, _)| !those.contains_key(*name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        Self {
            added: only(other, one),
            removed: only(one, other),
            changed: one
                .iter()
                .filter_map(|(name, from)| {
                    let to = other.get(name).filter(|to| *to != from)?;
                    let (from, to) = (from.clone(), to.clone());
                    Some((name.clone(), Change { from, to }))
                })
                .collect(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// How two inventories differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InventoryDiff {
    /// Packages; changed ones have another version or size.
    pub packages: Changes<Package>,
    /// Users.
    pub users: Changes<User>,
    /// Groups.
    pub groups: Changes<String>,
    /// Services that are started.
    pub services: Changes<String>,
    /// What could not be read of the one or the other.
    pub warnings: Vec<String>,
}

impl InventoryDiff {
    /// From the one to the other.
    pub fn between(one: &Inventory, other: &Inventory) -> Self {
        let mut warnings = one.warnings.clone();
        warnings.extend(
            other
                .warnings
                .iter()
                .filter(|warning| !one.warnings.contains(warning))
                .cloned(),
        );
        Self {
            packages: Changes::between(&one.packages, &other.packages),
            users: Changes::between(&one.users, &other.users),
            groups: Changes::between(&one.groups, &other.groups),
            services: Changes::between(&one.services, &other.services),
            warnings,
        }
    }
}

/// Text, with what is not UTF-8 replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lines without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}
