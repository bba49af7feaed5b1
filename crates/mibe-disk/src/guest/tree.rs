//! The guest's files, whatever holds them.

use crate::ext4::{Ext4, FileKind};

/// Files of a guest by path from its root, without a slash before it. What can't be read is not there.
pub trait Tree {
    /// The content of a regular file of at most `limit` bytes, through links.
    fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>>;

    /// Bytes of a regular file, through links.
    fn size(&self, path: &str) -> Option<u64>;

    /// Whether there is a regular file, through links.
    fn is_file(&self, path: &str) -> bool {
        self.size(path).is_some()
    }

    /// Whether there is anything, a link that leads nowhere too.
    fn exists(&self, path: &str) -> bool;

    /// The names in a directory that are UTF-8, sorted.
    fn list(&self, path: &str) -> Vec<String>;
}

impl Tree for Ext4<'_> {
    fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        self.read_file(path, limit).ok().flatten()
    }

    fn size(&self, path: &str) -> Option<u64> {
        let inode = self.find(path, true).ok()??;
        (inode.kind == FileKind::File).then_some(inode.size)
    }

    fn exists(&self, path: &str) -> bool {
        matches!(self.find(path, false), Ok(Some(_)))
    }

    fn list(&self, path: &str) -> Vec<String> {
        let Ok(Some(directory)) = self.find(path, true) else {
            return Vec::new();
        };
        let entries = self.read_dir(&directory).unwrap_or_default();
        entries
            .into_iter()
            .filter_map(|entry| String::from_utf8(entry.name).ok())
            .collect()
    }
}
