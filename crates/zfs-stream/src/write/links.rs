//! Files with several links.

use std::collections::HashMap;

use crate::tree::Identity;

/// A file with several links.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    /// Links inside the tree, as counted by the survey.
    pub count: u32,
    /// Links met while directories are written.
    pub met: u32,
    /// Its object, or 0 before the first is met.
    pub object: u64,
}

/// All files that have several links, inside the tree or not, by numbers from 0.
#[derive(Debug, Default)]
pub(super) struct Links {
    numbers: HashMap<Identity, u32>,
    all: Vec<Link>,
}

impl Links {
    /// Counts a link to a file; says whether it is the first.
    pub fn count(&mut self, identity: Identity) -> bool {
        let number = *self
            .numbers
            .entry(identity)
            .or_insert(self.all.len() as u32);
        if number as usize == self.all.len() {
            self.all.push(Link::default());
        }
        let link = &mut self.all[number as usize];
        link.count += 1;
        link.count == 1
    }

    /// Number of a file, if it is one with several links.
    pub fn find(&self, identity: Identity) -> Option<u32> {
        self.numbers.get(&identity).copied()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn get(&self, number: u32) -> Link {
        self.all[number as usize]
    }

    /// Meets a link; if it is the first to its file, that takes the next object number, and `true` is
    /// returned.
    pub fn meet(&mut self, number: u32, next_object: u64) -> bool {
        let link = &mut self.all[number as usize];
        link.met += 1;
        if link.object == 0 {
            link.object = next_object;
            return true;
        }
        false
    }

    /// Whether every link counted was met, and no other.
    pub fn all_met(&self) -> bool {
        self.all.iter().all(|link| link.met == link.count)
    }
}
