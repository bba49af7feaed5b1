//! How two images differ.

use std::collections::BTreeMap;

use serde::Serialize;
use zfs_stream::Kind;
use zfs_stream::read::{Event, Filesystem, Node};

use crate::chain::Chain;
use crate::digest::{Digest, Digests};
use crate::error::Error;
use crate::inventory::{self, Entries, Entry, Inventory, InventoryDiff};
use crate::listing::{FileEntry, escape};

/// A file that is in both images and differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedFile {
    /// Path, with `/` at its start, escaped.
    pub path: String,
    /// What differs: `type`, `content`, `target`, `device`, `mode`, `owner`, `xattrs`, `time`.
    pub what: Vec<&'static str>,
    /// What it was.
    pub from: FileEntry,
    /// What it is.
    pub to: FileEntry,
}

/// How two images differ.
#[derive(Clone, Debug, Serialize)]
pub struct ImageDiff {
    /// Files of the other image that are not in the one, by path.
    pub added: Vec<FileEntry>,
    /// Files of the one image that are not in the other.
    pub removed: Vec<FileEntry>,
    /// Files of both.
    pub changed: Vec<ChangedFile>,
    /// Packages, users, groups and services.
    #[serde(flatten)]
    pub inventory: InventoryDiff,
}

/// An image as it is compared.
struct Side {
    files: Filesystem,
    digests: Digests,
    inventory: Inventory,
}

/// Compares two images; where files differ in nothing but their times, only if `times` says so. Both are read twice.
///
/// # Errors
///
/// An image can't be read, or is the disk of a virtual machine.
pub fn diff(one: &Chain, other: &Chain, times: bool) -> Result<ImageDiff, Error> {
    let (one, other) = (side(one)?, side(other)?);
    let (from, to) = (paths(&one.files), paths(&other.files));
    let mut diff = ImageDiff {
        added: Vec::new(),
        removed: Vec::new(),
        changed: Vec::new(),
        inventory: InventoryDiff::between(&one.inventory, &other.inventory),
    };
    for (path, node) in &from {
        let old = one.files.node(*node);
        let new = to.get(path).and_then(|node| other.files.node(*node));
        match (old, new) {
            (Some(old), Some(new)) => {
                let what = differences((&one, old), (&other, new), times);
                if !what.is_empty() {
                    diff.changed.push(ChangedFile {
                        path: format!("/{}", escape(path)),
                        what,
                        from: entry(&one, path, old),
                        to: entry(&other, path, new),
                    });
                }
            }
            (Some(old), None) => diff.removed.push(entry(&one, path, old)),
            _ => {}
        }
    }
    for (path, node) in &to {
        if let (false, Some(new)) = (from.contains_key(path), other.files.node(*node)) {
            diff.added.push(entry(&other, path, new));
        }
    }
    Ok(diff)
}

fn entry(side: &Side, path: &[u8], node: &Node) -> FileEntry {
    let mut entry = FileEntry::new(&side.files, path, node);
    entry.sha256 = digest(side, node).map(|digest| crate::file::hex(&digest));
    entry
}

fn digest(side: &Side, node: &Node) -> Option<Digest> {
    (node.kind == Kind::File)
        .then(|| side.digests.get(node.object))
        .flatten()
}

fn paths(files: &Filesystem) -> BTreeMap<Vec<u8>, u64> {
    let mut paths = BTreeMap::new();
    let walked: Result<(), std::convert::Infallible> = files.walk(b"", &mut |path, node| {
        paths.insert(path.to_vec(), node.object);
        Ok(())
    });
    let Ok(()) = walked;
    paths
}

fn differences(
    (one, old): (&Side, &Node),
    (other, new): (&Side, &Node),
    times: bool,
) -> Vec<&'static str> {
    let mut what = Vec::new();
    if old.kind == new.kind {
        if digest(one, old) != digest(other, new) {
            what.push("content");
        }
        if old.target() != new.target() {
            what.push("target");
        }
        let is_device = matches!(old.kind, Kind::CharDevice | Kind::BlockDevice);
        if is_device && old.device() != new.device() {
            what.push("device");
        }
    } else {
        what.push("type");
    }
    if old.mode != new.mode {
        what.push("mode");
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        what.push("owner");
    }
    if one.files.xattrs(old) != other.files.xattrs(new) {
        what.push("xattrs");
    }
    let time = |node: &Node| (node.mtime, node.mtime_nanoseconds);
    if times && time(old) != time(new) {
        what.push("time");
    }
    what
}

/// Reads an image: its files and their digests, then what its databases are in.
fn side(chain: &Chain) -> Result<Side, Error> {
    let mut digests = Digests::default();
    let files = chain.files(&mut digests)?;
    digests
        .finish(&files)
        .map_err(|error| Error::io("digest the files of", chain.image().place(), error))?;
    let inventory = inventory(chain, &files)?;
    Ok(Side {
        files,
        digests,
        inventory,
    })
}

/// Where a zone's dataset has the zone's root.
const ZONE_ROOT: &[u8] = b"root/";
/// What is read of all databases together, in bytes. Holes make files large that are nothing in the stream.
const MAX_READ: u64 = 512 << 20;

/// A file that is read for the inventory.
struct Wanted {
    /// Its names, from the zone's root.
    paths: Vec<Vec<u8>>,
    /// How much of it.
    size: u64,
    content: Vec<u8>,
}

fn inventory(chain: &Chain, files: &Filesystem) -> Result<Inventory, Error> {
    let (mut entries, mut wanted, warnings) = wanted(files);
    if !wanted.is_empty() {
        let mut snapshot = chain.snapshot()?;
        let mut object = 0;
        while let Some(event) = snapshot.next().map_err(|error| chain.failed(error))? {
            match event {
                Event::Object(dnode) => object = dnode.object,
                Event::Data { offset, bytes } => {
                    if let Some(Wanted { size, content, .. }) = wanted.get_mut(&object)
                        && offset < *size
                    {
                        content.resize(offset as usize, 0);
                        let count = (*size - offset).min(bytes.len() as u64);
                        content.extend_from_slice(&bytes[..count as usize]);
                    }
                }
                Event::Spill(_) => {}
            }
        }
    }
    for mut file in wanted.into_values() {
        file.content.resize(file.size as usize, 0);
        for path in file.paths {
            entries.insert(path, Entry::File(file.content.clone()));
        }
    }
    let mut inventory = Inventory::read(&entries);
    inventory.warnings.extend(warnings);
    Ok(inventory)
}

/// What the inventory is made from: symbolic links, the files to read by their objects, and what is too large.
fn wanted(files: &Filesystem) -> (Entries, BTreeMap<u64, Wanted>, Vec<String>) {
    let (mut entries, mut wanted) = (Entries::new(), BTreeMap::<u64, Wanted>::new());
    let mut warnings = Vec::new();
    let mut total = 0_u64;
    // What is beside a zone's root is not the zone's, though it may be called the same.
    let is_zone = files
        .find(b"root/etc")
        .is_some_and(|node| node.kind == Kind::Directory);
    let root = if is_zone { ZONE_ROOT } else { b"" };
    let walked: Result<(), std::convert::Infallible> = files.walk(b"", &mut |path, node| {
        let Some(path) = path.strip_prefix(root) else {
            return Ok(());
        };
        let limit = inventory::limit(path);
        match node.kind {
            _ if limit == 0 => {}
            Kind::Symlink => {
                entries.insert(path.to_vec(), Entry::Symlink(node.target().to_vec()));
            }
            Kind::File if limit > 1 && node.size > limit => {
                warnings.push(format!("/{}: too large to be looked into", escape(path)));
            }
            Kind::File => {
                let size = node.size.min(limit);
                total = total.saturating_add(size);
                if total <= MAX_READ {
                    let file = wanted.entry(node.object).or_insert_with(|| Wanted {
                        paths: Vec::new(),
                        size,
                        content: Vec::new(),
                    });
                    file.paths.push(path.to_vec());
                    // One file may be wanted for more under another name.
                    file.size = file.size.max(size);
                } else if total - size <= MAX_READ {
                    warnings.push(format!(
                        "/{} and what comes after it: the databases of packages have more than {} MiB together",
                        escape(path),
                        MAX_READ >> 20
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    });
    let Ok(()) = walked;
    (entries, wanted, warnings)
}
