//! The disk that a snapshot of a volume is.

use std::io::{self, Read};

use super::error::{Problem, ReadError};
use super::snapshot::{Event, Snapshot};
use super::zap::ZapReader;
use crate::format::record::OBJSET_VOLUME;
use crate::format::znode::{VOLUME_DATA, VOLUME_PROPERTIES};

/// What is known of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Bytes of the disk (`volsize`).
    pub size: u64,
    /// Bytes of a block (`volblocksize`).
    pub block_size: u32,
}

impl Volume {
    /// Reads all of a snapshot, which must be of a volume, and gives what is on its disk to `data`: offset and bytes,
    /// ascending; what is between is zeroes.
    ///
    /// # Errors
    ///
    /// The stream is damaged, not what it should be, or of a file system; `data` failed.
    pub fn read<R: Read>(
        snapshot: &mut Snapshot<R>,
        data: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<Self, ReadError> {
        if snapshot.header().objset_type != OBJSET_VOLUME {
            return Err(snapshot.error(Problem::Unsupported(
                "the stream is not of a volume, so there is no disk in it",
            )));
        }
        let mut volume = Self::default();
        let mut end = 0;
        let mut object = 0;
        let mut properties = None;
        loop {
            let done = match snapshot.next()? {
                None => break,
                Some(Event::Object(dnode)) => {
                    object = dnode.object;
                    if object == VOLUME_DATA {
                        volume.block_size = dnode.block_size;
                    } else if object == VOLUME_PROPERTIES {
                        properties = Some(ZapReader::new(dnode.block_size));
                    }
                    Ok(())
                }
                Some(Event::Data { offset, bytes }) => {
                    if object == VOLUME_DATA {
                        end = offset + bytes.len() as u64;
                        data(offset, bytes).map_err(Problem::Output)
                    } else if let (VOLUME_PROPERTIES, Some(zap)) = (object, &mut properties) {
                        zap.data(offset, bytes)
                    } else {
                        Ok(())
                    }
                }
                Some(Event::Spill(_)) => Ok(()),
            };
            done.map_err(|problem| snapshot.error(problem))?;
        }
        let size = match properties.map(ZapReader::finish).transpose() {
            Ok(properties) => properties.and_then(|zap| zap.number(b"size")),
            Err(problem) => return Err(snapshot.error(problem)),
        };
        volume.size = size.ok_or_else(|| snapshot.error("the volume has no size"))?;
        if volume.block_size == 0 {
            return Err(snapshot.error("the volume has no disk"));
        }
        if end > volume.size {
            return Err(snapshot.error("the volume has data beyond its end"));
        }
        Ok(volume)
    }
}
