//! Whether everything in a file system leads where it should.

use super::error::{Place, Problem, ReadError};
use super::filesystem::{Filesystem, name_of};
use super::node::Node;
use super::snapshot::Snapshot;
use crate::tree::Kind;

/// Longest path that is told, in bytes; no system takes one as long.
const MAX_PATH: usize = 32 << 10;

/// How many things wrong are told.
const MAX_FINDINGS: usize = 100;

/// Where a file was met.
#[derive(Debug, Clone, Copy, Default)]
struct References {
    /// How often it is an entry.
    names: u32,
    /// How many directories are entries of it.
    directories: u32,
    /// Where it was met last.
    directory: u64,
}

impl Filesystem {
    /// Makes sure that everything leads where it should: what would keep one from going through the files is an error, the
    /// rest is noted among the findings.
    pub(super) fn check<R: std::io::Read>(
        &mut self,
        snapshot: &Snapshot<R>,
    ) -> Result<(), ReadError> {
        let fail = |object: u64, problem: Problem| {
            let mut place: Place = snapshot.place();
            place.object = Some(object);
            Err(problem.at(place))
        };
        match self.node(self.root) {
            Some(node) if node.kind == Kind::Directory => {}
            _ => return fail(self.root, "the root is no directory".into()),
        }
        let mut references = vec![References::default(); self.nodes.len()];
        for directory in &self.directories {
            for entry in self
                .entries
                .get(directory.first as usize..directory.end as usize)
                .unwrap_or_default()
            {
                let Ok(index) = self
                    .nodes
                    .binary_search_by_key(&entry.object, |node| node.object)
                else {
                    return fail(
                        directory.object,
                        Problem::Broken(format!(
                            "the entry {:?} leads to object {}, which is not there",
                            String::from_utf8_lossy(name_of(&self.names, entry)),
                            entry.object
                        )),
                    );
                };
                let node = &self.nodes[index];
                if entry.kind != 0 && u32::from(entry.kind) << 12 != node.kind.mode_bits() {
                    return fail(
                        directory.object,
                        Problem::Broken(format!(
                            "the entry {:?} is of another type than object {}, which it leads to",
                            String::from_utf8_lossy(name_of(&self.names, entry)),
                            entry.object
                        )),
                    );
                }
                let seen = &mut references[index];
                seen.names = seen.names.saturating_add(1);
                seen.directory = directory.object;
                if node.kind == Kind::Directory {
                    if seen.names > 1 || node.object == self.root {
                        return fail(node.object, "a directory is in two places".into());
                    }
                    if let Ok(index) = self
                        .nodes
                        .binary_search_by_key(&directory.object, |node| node.object)
                    {
                        references[index].directories += 1;
                    }
                }
            }
        }
        self.note_findings(&references);
        self.check_paths().or_else(|object| {
            fail(
                object,
                Problem::Broken(format!("a path is longer than {MAX_PATH} bytes")),
            )
        })
    }

    /// Paths would grow without end, and what is done with each of them with it.
    fn check_paths(&self) -> Result<(), u64> {
        self.walk(b"", &mut |path, node| {
            if path.len() > MAX_PATH {
                return Err(node.object);
            }
            Ok(())
        })
    }

    fn note_findings(&mut self, references: &[References]) {
        let mut hidden: Vec<u64> = self.nodes.iter().map(Node::xattr_directory).collect();
        hidden.sort_unstable();
        let mut unlinked = std::mem::take(&mut self.unlinked);
        unlinked.sort_unstable();
        let mut found = Vec::new();
        for (node, seen) in self.nodes.iter().zip(references) {
            let names = seen.names;
            let mut note = |what: String| {
                if found.len() < MAX_FINDINGS {
                    found.push(format!("object {}: {what}", node.object));
                }
            };
            let is_unlinked = unlinked.binary_search(&node.object).is_ok();
            let is_hidden_directory = hidden.binary_search(&node.object).is_ok();
            if names == 0 && node.object != self.root && !is_unlinked && !is_hidden_directory {
                note("is in no directory".to_owned());
                continue;
            }
            if is_unlinked {
                continue;
            }
            if node.kind == Kind::Directory {
                let entries = self.listing(node.object).len() as u64;
                if node.size != entries + 2 {
                    note(format!(
                        "a directory of {entries} entries has size {}, which should be {}",
                        node.size,
                        entries + 2
                    ));
                }
                let links = seen.directories + 2;
                if node.links != links && !is_hidden_directory {
                    note(format!(
                        "a directory has {} links instead of {links}",
                        node.links
                    ));
                }
            } else if node.links != names {
                note(format!("has {} links and {names} names", node.links));
            }
            if node.kind == Kind::Symlink && node.target().len() as u64 != node.size {
                note(format!(
                    "a symbolic link has a target of {} bytes and says {}",
                    node.target().len(),
                    node.size
                ));
            }
            if node.xattr_directory() != 0
                && self
                    .node(node.xattr_directory())
                    .is_none_or(|node| node.kind != Kind::Directory)
            {
                note("its extended attributes are in no directory".to_owned());
            }
            if node.kind == Kind::Directory && names == 1 && seen.directory != node.parent {
                note(format!(
                    "is in object {} and says it is in {}",
                    seen.directory, node.parent
                ));
            }
        }
        self.unlinked = unlinked;
        self.findings.extend(found);
    }
}
