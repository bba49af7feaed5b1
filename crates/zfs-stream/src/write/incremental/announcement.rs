//! Objects that are announced once it is known that they differ.

use std::io::Write;

use super::super::WriteError;
use super::super::output::Sealer;
use super::super::records::{NewObject, RecordWriter};
use crate::format::MAX_BLOCK;
use crate::format::znode::BONUS_SA;
use crate::read::Dnode;

/// An object as it is to be announced.
pub(super) struct Announcement {
    pub object: u64,
    pub object_type: u32,
    pub bonus: Vec<u8>,
    pub spill: Option<Vec<u8>>,
    pub is_made: bool,
}

impl Announcement {
    /// Announces the object unless that is done; `base` is what it was.
    pub fn make<W: Write>(
        &mut self,
        block_size: u32,
        base: &Dnode,
        out: &mut RecordWriter<Sealer<W>>,
    ) -> Result<(), WriteError> {
        if self.is_made {
            return Ok(());
        }
        if base.slots > 1 {
            return Err(WriteError::Unsuitable(format!(
                "object {} has more metadata than older systems take (a large dnode)",
                self.object
            )));
        }
        if block_size as usize > MAX_BLOCK {
            return Err(WriteError::Unsuitable(format!(
                "object {} has blocks larger than the 128 KiB that older systems take",
                self.object
            )));
        }
        self.is_made = true;
        out.object(&NewObject {
            number: self.object,
            object_type: self.object_type,
            block_size: block_size as usize,
            bonus: Some((BONUS_SA, &self.bonus)),
            has_spill: self.spill.is_some(),
        })
    }

    /// Writes the spill block, after all blocks.
    pub fn finish<W: Write>(self, out: &mut RecordWriter<Sealer<W>>) -> Result<(), WriteError> {
        match self.spill {
            Some(spill) if self.is_made => out.spill(self.object, &spill),
            _ => Ok(()),
        }
    }
}
