//! A hash database of Berkeley DB (`dbinc/db_page.h`): pages of pairs, and chains of pages for what is longer. The order of bytes is
//! that of the machine that wrote it.

use super::{Damage, MAX_HEADER, number};

/// `DB_HASHMAGIC`
const MAGIC: u32 = 0x0006_1561;
/// Size in bytes of a page's header.
const HEADER: usize = 26;
/// Page types `P_HASH_UNSORTED` and `P_HASH`.
const HASH: [u8; 2] = [2, 13];
/// `P_OVERFLOW`
const OVERFLOW: u8 = 7;
/// A value that stands in the page (`H_KEYDATA`), or in a chain of pages (`H_OFFPAGE`).
const HERE: u8 = 1;
const ELSEWHERE: u8 = 3;

struct Database<'a> {
    file: &'a [u8],
    page_size: usize,
    decode: fn([u8; 4]) -> u32,
    is_little: bool,
}

pub(super) fn each_blob(
    file: &[u8],
    each: &mut dyn FnMut(&[u8]) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let magic = |decode| number(file, 12, decode) == Some(MAGIC as usize);
    let is_little = magic(u32::from_le_bytes);
    if !is_little && !magic(u32::from_be_bytes) {
        return Err("is no hash database of Berkeley DB");
    }
    let decode = if is_little {
        u32::from_le_bytes
    } else {
        u32::from_be_bytes
    };
    let page_size = number(file, 20, decode)
        .filter(|size| size.is_power_of_two() && (512..=65536).contains(size))
        .ok_or("has pages of an impossible size")?;
    let database = Database {
        file,
        page_size,
        decode,
        is_little,
    };
    for page in file.chunks_exact(page_size).skip(1) {
        if HASH.contains(&page[25]) {
            database.pairs(page, each)?;
        }
    }
    Ok(())
}

impl Database<'_> {
    fn short(&self, page: &[u8], at: usize) -> Option<usize> {
        let bytes = page.get(at..at + 2)?.try_into().ok()?;
        let number = if self.is_little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        };
        Some(number.into())
    }

    /// The values of a page; each follows its key, from the end of the page on.
    fn pairs(
        &self,
        page: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let damaged = "a page is damaged";
        let entries = self.short(page, 20).ok_or(damaged)?;
        for entry in (1..entries).step_by(2) {
            let start = self.short(page, HEADER + 2 * entry).ok_or(damaged)?;
            let end = self.short(page, HEADER + 2 * (entry - 1)).ok_or(damaged)?;
            let value = page.get(start..end.min(page.len())).ok_or(damaged)?;
            match value.first() {
                // Under the key 0 is a counter of 4 bytes.
                Some(&HERE) if value.len() > 8 => each(&value[1..])?,
                Some(&ELSEWHERE) => {
                    let first = number(value, 4, self.decode).ok_or(damaged)?;
                    let length = number(value, 8, self.decode).ok_or(damaged)?;
                    each(&self.chain(first, length)?)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What stands in a chain of pages.
    fn chain(&self, mut number_: usize, length: usize) -> Result<Vec<u8>, Damage> {
        let damaged = "a chain of pages is damaged";
        // A chain that goes in a circle would not end before this.
        if length > MAX_HEADER.min(self.file.len()) {
            return Err(damaged);
        }
        let mut content = Vec::new();
        while content.len() < length {
            let start = number_.checked_mul(self.page_size).ok_or(damaged)?;
            let page = self
                .file
                .get(start..start + self.page_size)
                .ok_or(damaged)?;
            let filled = self.short(page, 22).ok_or(damaged)?;
            let part = page.get(HEADER..HEADER + filled).ok_or(damaged)?;
            if page[25] != OVERFLOW || part.is_empty() {
                return Err(damaged);
            }
            content.extend_from_slice(part);
            number_ = number(page, 16, self.decode).ok_or(damaged)?;
        }
        content.truncate(length);
        Ok(content)
    }
}
