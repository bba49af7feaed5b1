//! The first reading of a tree: hard links and totals.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::links::Links;
use super::listing::Listing;
use super::{At as _, WriteError};
use crate::tree::{Identity, Kind, Tree};

/// What the first reading found.
#[derive(Debug)]
pub(super) struct Survey {
    /// Files with several links.
    pub links: Links,
    /// Bytes of regular files, each counted once.
    pub file_bytes: u64,
    /// Whether identities in listings are those of metadata (on some overlays they are not).
    pub listings_identify: bool,
}

/// A directory whose subdirectories are being surveyed.
struct Level {
    /// Names of the subdirectories yet to be surveyed, each followed by its length.
    names: Vec<u8>,
}

impl Survey {
    /// Surveys a tree.
    pub fn of<T: Tree>(tree: &mut T) -> Result<Self, WriteError> {
        let root = tree.metadata(Path::new("")).at("read", Path::new(""))?;
        if root.kind != Kind::Directory {
            return Err(WriteError::Unstorable {
                path: PathBuf::new(),
                reason: "it is no directory",
            });
        }
        let mut survey = Self {
            links: Links::default(),
            file_bytes: 0,
            listings_identify: true,
        };
        let mut path = PathBuf::new();
        let mut levels = vec![survey.directory(tree, &mut path)?];
        while let Some(level) = levels.last_mut() {
            let Some(length) = level.names.pop() else {
                levels.pop();
                path.pop();
                continue;
            };
            let start = level.names.len() - usize::from(length);
            path.push(OsStr::from_bytes(&level.names[start..]));
            level.names.truncate(start);
            levels.push(survey.directory(tree, &mut path)?);
        }
        Ok(survey)
    }

    /// Surveys the files of a directory.
    fn directory<T: Tree>(
        &mut self,
        tree: &mut T,
        path: &mut PathBuf,
    ) -> Result<Level, WriteError> {
        let listing = Listing::read(tree, path, |identity| identity.map_or(0, fingerprint))?;
        let mut level = Level { names: Vec::new() };
        for (_, entry) in listing.iter() {
            match entry.kind {
                Kind::Directory => {
                    level.names.extend_from_slice(entry.name);
                    level.names.push(entry.name.len() as u8);
                    continue;
                }
                Kind::Socket => continue,
                _ => {}
            }
            path.push(OsStr::from_bytes(entry.name));
            let metadata = tree.metadata(path).at("read", path)?;
            path.pop();
            let mut counts = true;
            if metadata.links > 1 {
                counts = self.links.count(metadata.identity);
                self.listings_identify &= entry.tag == fingerprint(metadata.identity);
            }
            if counts && metadata.kind == Kind::File {
                self.file_bytes = self.file_bytes.saturating_add(metadata.size);
            }
        }
        level.names.shrink_to_fit();
        Ok(level)
    }
}

/// Enough of an identity to see that another isn't the same; never 0.
fn fingerprint(identity: Identity) -> u32 {
    let mixed =
        (identity.inode ^ identity.device.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as u32 | 1
}
