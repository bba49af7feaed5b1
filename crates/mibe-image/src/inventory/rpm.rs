//! Databases of rpm: an SQLite file (rpm 4.16 and newer), ndb (SUSE), a Berkeley DB hash (CentOS up to 8).
//!
//! Each holds one header for each package. Only what leads to the headers is read of the three, with every step bounded: what is
//! damaged ends the reading, and is told.

mod bdb;
mod header;
mod ndb;
mod sqlite;

use super::packages::Package;
use super::{Entries, Entry, Inventory, text};

/// Where rpm keeps its database.
const FOLDERS: [&[u8]; 2] = [b"var/lib/rpm/", b"usr/lib/sysimage/rpm/"];
const SQLITE: &[u8] = b"rpmdb.sqlite";
/// What was written to the database and not yet taken into it.
const SQLITE_LOG: &[u8] = b"rpmdb.sqlite-wal";
const NDB: &[u8] = b"Packages.db";
const BDB: &[u8] = b"Packages";

/// Largest header of a package, in bytes: that of a kernel has some 3 MiB.
const MAX_HEADER: usize = 64 << 20;
/// Most packages that are taken.
const MAX_PACKAGES: usize = 1 << 17;

/// Why a database can't be read.
type Damage = &'static str;

fn name(path: &[u8]) -> Option<&[u8]> {
    FOLDERS.iter().find_map(|folder| path.strip_prefix(*folder))
}

/// Whether a path is that of a database.
pub(super) fn is_database(path: &[u8]) -> bool {
    name(path).is_some_and(|name| [SQLITE, NDB, BDB].contains(&name))
}

/// Whether a path is that of something whose being there is of interest.
pub(super) fn is_sign(path: &[u8]) -> bool {
    name(path) == Some(SQLITE_LOG)
}

pub(super) fn read(entries: &Entries, inventory: &mut Inventory) {
    for (path, entry) in entries {
        let (Entry::File(content), Some(name)) = (entry, name(path)) else {
            continue;
        };
        let mut warn = |what: &str| {
            let warning = format!("/{}: {what}", text(path));
            inventory.warnings.push(warning);
        };
        let mut packages = Vec::new();
        let mut each = |blob: &[u8]| {
            if packages.len() >= MAX_PACKAGES {
                return Err("has more packages than there can be");
            }
            packages.extend(header::package(blob)?);
            Ok(())
        };
        let read = match name {
            SQLITE => sqlite::each_blob(content, b"Packages", &mut each),
            NDB => ndb::each_blob(content, &mut each),
            BDB => bdb::each_blob(content, &mut each),
            SQLITE_LOG if !content.is_empty() => {
                warn("holds changes to the packages that were not read");
                continue;
            }
            _ => continue,
        };
        if let Err(damage) = read {
            warn(&format!("{damage}; what came before was read"));
        }
        for (name, package) in packages {
            // Several versions of one package may be installed, such as kernels.
            let mut key = format!("rpm:{name}");
            if inventory.packages.contains_key(&key) {
                key = format!("{key} {}", package.version);
            }
            inventory.packages.insert(key, package);
        }
    }
}

/// The 32-bit number at an offset.
fn number(bytes: &[u8], at: usize, decode: fn([u8; 4]) -> u32) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(decode(bytes.try_into().ok()?) as usize)
}
