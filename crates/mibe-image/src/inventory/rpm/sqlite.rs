//! One table of an SQLite file (its "Database File Format"), of which each row is a blob.

use super::{Damage, MAX_HEADER};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Size in bytes of the file's header, on the first page.
const HEADER: usize = 100;
/// Kinds of pages of a table's tree: with pages below, and with rows.
const INNER: u8 = 5;
const LEAF: u8 = 13;
/// Deepest tree: with two pages below each there are more pages than a file can have.
const DEPTH: usize = 40;

struct Database<'a> {
    file: &'a [u8],
    page_size: usize,
    /// Bytes of a page that are used.
    usable: usize,
    /// Pages still to be looked at: no tree has more than the file.
    left: usize,
}

/// Calls `each` with the second column of every row of a table.
pub(super) fn each_blob(
    file: &[u8],
    table: &[u8],
    each: &mut dyn FnMut(&[u8]) -> Result<(), Damage>,
) -> Result<(), Damage> {
    if !file.starts_with(MAGIC) || file.len() < HEADER {
        return Err("is no SQLite file");
    }
    let page_size = match u16::from_be_bytes([file[16], file[17]]) {
        1 => 65536,
        size => usize::from(size),
    };
    let usable = page_size
        .checked_sub(file[20].into())
        .filter(|usable| *usable >= 480);
    let usable = usable
        .filter(|_| page_size.is_power_of_two())
        .ok_or("has pages of an impossible size")?;
    let mut database = Database {
        file,
        page_size,
        usable,
        left: 2 * file.len() / page_size + 2,
    };
    // The first page has the table of tables: type, name, table, root page, statement.
    let mut root = None;
    database.rows(1, DEPTH, &mut |row| {
        let columns = columns(row)?;
        if let [kind, name, _, page, ..] = columns[..]
            && kind == b"table"
            && name == table
        {
            root = Some(
                page.iter()
                    .fold(0, |number: usize, byte| number << 8 | usize::from(*byte)),
            );
        }
        Ok(())
    })?;
    let root = root.ok_or("has no table of packages")?;
    database.rows(root, DEPTH, &mut |row| match columns(row)?[..] {
        [_, blob, ..] => each(blob),
        _ => Err("a row has no package"),
    })
}

/// A number of one to nine bytes, and what follows it.
fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Damage> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        if index == 8 {
            return Ok((number << 8 | u64::from(*byte), &bytes[9..]));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok((number, &bytes[index + 1..]));
        }
    }
    Err("a number is cut short")
}

/// The columns of a row.
fn columns(row: &[u8]) -> Result<Vec<&[u8]>, Damage> {
    let damaged = "a row is damaged";
    let (size, _) = varint(row)?;
    let size = usize::try_from(size).map_err(|_| damaged)?;
    let mut types = row.get(..size).ok_or(damaged)?;
    let mut data = &row[size..];
    types = varint(types)?.1;
    let mut columns = Vec::new();
    while !types.is_empty() {
        let (kind, rest) = varint(types)?;
        types = rest;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err(damaged),
            kind => (kind - 12) / 2,
        };
        let length = usize::try_from(length).map_err(|_| damaged)?;
        columns.push(data.get(..length).ok_or(damaged)?);
        data = &data[length..];
    }
    Ok(columns)
}

impl Database<'_> {
    fn page(&mut self, number: usize) -> Result<&'_ [u8], Damage> {
        self.left = self.left.checked_sub(1).ok_or("its pages go in a circle")?;
        let start = number
            .checked_sub(1)
            .and_then(|number| number.checked_mul(self.page_size));
        let page = start.and_then(|start| self.file.get(start..start.checked_add(self.page_size)?));
        page.ok_or("it leads to a page that is not there")
    }

    /// Calls `each` with every row of a tree.
    fn rows(
        &mut self,
        number: usize,
        depth: usize,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let damaged = "a page is damaged";
        let depth = depth.checked_sub(1).ok_or(damaged)?;
        let page = self.page(number)?.to_vec();
        let header = if number == 1 { HEADER } else { 0 };
        let short = |at: usize| {
            let bytes = page.get(at..at + 2)?.try_into().ok()?;
            Some(usize::from(u16::from_be_bytes(bytes)))
        };
        let long = |at: usize| super::number(&page, at, u32::from_be_bytes);
        let count = short(header + 3).ok_or(damaged)?;
        let kind = page.get(header).copied();
        let cells = header + if kind == Some(INNER) { 12 } else { 8 };
        for cell in 0..count {
            let at = short(cells + 2 * cell).ok_or(damaged)?;
            match kind {
                Some(INNER) => self.rows(long(at).ok_or(damaged)?, depth, each)?,
                Some(LEAF) => {
                    let cell = page.get(at..self.usable).ok_or(damaged)?;
                    each(&self.payload(cell)?)?;
                }
                _ => return Err(damaged),
            }
        }
        if kind == Some(INNER) {
            self.rows(long(header + 8).ok_or(damaged)?, depth, each)?;
        }
        Ok(())
    }

    /// The payload of a row: in its page, or on in a chain of pages.
    fn payload(&mut self, cell: &[u8]) -> Result<Vec<u8>, Damage> {
        let damaged = "a row is damaged";
        let (size, rest) = varint(cell)?;
        let (_, rest) = varint(rest)?;
        let size = usize::try_from(size).ok();
        let size = size
            .filter(|size| *size <= MAX_HEADER.min(self.file.len()))
            .ok_or(damaged)?;
        let most = self.usable - 35;
        if size <= most {
            return rest.get(..size).map(<[u8]>::to_vec).ok_or(damaged);
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let here = least + (size - least) % (self.usable - 4);
        let here = if here <= most { here } else { least };
        let mut content = rest.get(..here).ok_or(damaged)?.to_vec();
        let mut next = super::number(rest, here, u32::from_be_bytes).ok_or(damaged)?;
        while content.len() < size {
            let usable = self.usable;
            let page = self.page(next)?;
            next = super::number(page, 0, u32::from_be_bytes).ok_or(damaged)?;
            let part = page.get(4..usable).ok_or(damaged)?;
            let now = part.len().min(size - content.len());
            content.extend_from_slice(&part[..now]);
        }
        Ok(content)
    }
}
