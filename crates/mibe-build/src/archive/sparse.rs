//! Sparse files in tar archives, in GNU tar's formats (GNU tar manual, "Storing Sparse Files"): the old one of type `S`,
//! and pax versions 0.0, 0.1 and 1.0.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::ArchiveError;
use super::header::number;

/// Most pieces of one file that are taken.
const PIECES: usize = 1 << 16;

/// Where data belongs: offset in the file and length.
pub(super) type Map = Vec<(u64, u64)>;

/// What went wrong with a map.
pub(super) enum MapError {
    Archive(ArchiveError),
    Invalid(&'static str),
}

/// Takes the entries of an old sparse header: twelve bytes of offset and twelve of length each.
pub(super) fn old(entries: &[u8], map: &mut Map) -> Result<(), &'static str> {
    for entry in entries.chunks_exact(24) {
        let (offset, length) = entry.split_at(12);
        if offset[0] == 0 || length[0] == 0 {
            continue;
        }
        let value = |field| number(field).and_then(|value| u64::try_from(value).ok());
        let bad = "a sparse map with a bad number";
        map.push((value(offset).ok_or(bad)?, value(length).ok_or(bad)?));
        if map.len() > PIECES {
            return Err("a sparse file in too many pieces");
        }
    }
    Ok(())
}

/// Checks that pieces ascend, stay inside the file and take just the data that is stored.
pub(super) fn check(map: &[(u64, u64)], size: u64, stored: u64) -> Result<(), &'static str> {
    let mut end = 0;
    let mut data = 0_u64;
    for (offset, length) in map {
        if *offset < end {
            return Err("a sparse map that goes backwards");
        }
        end = offset
            .checked_add(*length)
            .filter(|end| *end <= size)
            .ok_or("a sparse map that leaves the file")?;
        data += *length;
    }
    if data > stored {
        return Err("a sparse map of more data than is stored");
    }
    Ok(())
}

/// The `GNU.sparse.*` values of a pax header.
#[derive(Clone, Debug, Default)]
pub(super) struct Pax {
    major: Option<u64>,
    name: Option<OsString>,
    size: Option<u64>,
    map: Option<Map>,
    /// Version 0.0: an offset that waits for its length.
    offset: Option<u64>,
}

impl Pax {
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        match key {
            b"major" => self.major = Some(number()?),
            b"name" => self.name = Some(OsStr::from_bytes(value).to_owned()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"offset" => self.offset = Some(number()?),
            b"numbytes" => {
                let map = self.map.get_or_insert_default();
                if map.len() >= PIECES {
                    return None;
                }
                map.push((self.offset.take()?, number()?));
            }
            b"map" => {
                let numbers: Option<Vec<u64>> = std::str::from_utf8(value)
                    .ok()?
                    .split(',')
                    .filter(|number| !number.is_empty())
                    .map(|number| number.parse().ok())
                    .collect();
                let numbers = numbers?;
                if numbers.len() % 2 != 0 || numbers.len() / 2 > PIECES {
                    return None;
                }
                self.map = Some(
                    numbers
                        .chunks_exact(2)
                        .map(|two| (two[0], two[1]))
                        .collect(),
                );
            }
            _ => {}
        }
        Some(())
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.major.is_some() || self.size.is_some()
    }

    pub(super) fn name(&self) -> Option<OsString> {
        self.name.clone()
    }

    pub(super) fn real_size(&self) -> Option<u64> {
        self.size
    }

    /// The map: of the header, or (version 1.0) of the blocks that the data starts with.
    pub(super) fn map(
        self,
        mut block: impl FnMut(&mut [u8; 512]) -> Result<(), ArchiveError>,
    ) -> Result<Map, MapError> {
        if self.major != Some(1) {
            return Ok(self.map.unwrap_or_default());
        }
        let mut text = Numbers::default();
        let mut next = || text.next(&mut block);
        let count = next()?;
        if count > PIECES as u64 {
            return Err(MapError::Invalid("a sparse file in too many pieces"));
        }
        (0..count).map(|_| Ok((next()?, next()?))).collect()
    }
}

/// Decimal numbers, one a line, in blocks.
#[derive(Default)]
struct Numbers {
    block: Option<[u8; 512]>,
    place: usize,
}

impl Numbers {
    fn next(
        &mut self,
        read: &mut impl FnMut(&mut [u8; 512]) -> Result<(), ArchiveError>,
    ) -> Result<u64, MapError> {
        let mut number = 0_u64;
        loop {
            if self.place == 512 || self.block.is_none() {
                let mut block = [0; 512];
                read(&mut block).map_err(MapError::Archive)?;
                self.block = Some(block);
                self.place = 0;
            }
            let byte = self.block.map_or(0, |block| block[self.place]);
            self.place += 1;
            match byte {
                b'\n' => return Ok(number),
                b'0'..=b'9' => {
                    number = number
                        .checked_mul(10)
                        .and_then(|number| number.checked_add(u64::from(byte - b'0')))
                        .ok_or(MapError::Invalid("a sparse map with a bad number"))?;
                }
                _ => return Err(MapError::Invalid("a sparse map with a bad number")),
            }
        }
    }
}
