//! Fields of a tar header (POSIX.1-2024 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

/// Bytes of a header, and what everything in an archive is filled up to.
pub(super) const BLOCK: usize = 512;

const CHECKSUM: Range<usize> = 148..156;

/// A header with the right checksum.
pub(super) struct Header([u8; BLOCK]);

impl Header {
    /// `None` where the checksum is wrong. Some old programs summed signed bytes.
    pub(super) fn new(bytes: &[u8; BLOCK]) -> Option<Self> {
        let plain = |index: usize| {
            // The checksum counts as eight spaces.
            if CHECKSUM.contains(&index) {
                b' '
            } else {
                bytes[index]
            }
        };
        let unsigned: i64 = (0..BLOCK).map(|index| i64::from(plain(index))).sum();
        let signed: i64 = (0..BLOCK)
            .map(|index| i64::from(plain(index).cast_signed()))
            .sum();
        let sum = number(&bytes[CHECKSUM])?;
        (sum == unsigned || sum == signed).then_some(Self(*bytes))
    }

    /// The type of the member.
    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn is_gnu(&self) -> bool {
        self.0[257..265] == *b"ustar  \0"
    }

    fn is_ustar(&self) -> bool {
        self.0[257..263] == *b"ustar\0"
    }

    /// The name, of both fields where the format has two.
    pub(super) fn name(&self) -> OsString {
        let name = OsStr::from_bytes(text(&self.0[..100]));
        let prefix = text(&self.0[345..500]);
        if self.is_ustar() && !prefix.is_empty() {
            let mut whole = OsStr::from_bytes(prefix).to_owned();
            whole.push("/");
            whole.push(name);
            whole
        } else {
            name.to_owned()
        }
    }

    /// Target of a link.
    pub(super) fn link(&self) -> OsString {
        OsStr::from_bytes(text(&self.0[157..257])).to_owned()
    }

    /// All numbers are `None` where the field holds none.
    pub(super) fn mode(&self) -> Option<u32> {
        number(&self.0[100..108]).map(|mode| (mode & 0o7777) as u32)
    }

    /// An owner that is out of range comes as the one that no file can have.
    pub(super) fn uid(&self) -> Option<u32> {
        number(&self.0[108..116]).map(|id| u32::try_from(id).unwrap_or(u32::MAX))
    }

    pub(super) fn gid(&self) -> Option<u32> {
        number(&self.0[116..124]).map(|id| u32::try_from(id).unwrap_or(u32::MAX))
    }

    /// Length of what follows.
    pub(super) fn size(&self) -> Option<u64> {
        number(&self.0[124..136]).and_then(size)
    }

    /// Seconds since 1970.
    pub(super) fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    /// Major and minor number; the oldest format has none.
    pub(super) fn device(&self) -> Option<(u32, u32)> {
        if !self.is_ustar() && !self.is_gnu() {
            return Some((0, 0));
        }
        let field = |range| number(&self.0[range]).and_then(|number| u32::try_from(number).ok());
        Some((field(329..337)?, field(337..345)?))
    }

    /// The entries of GNU's old sparse map in the header, and whether blocks of more follow.
    pub(super) fn sparse(&self) -> (&[u8], bool) {
        (&self.0[386..482], self.0[482] != 0)
    }

    /// Length of a sparse file of GNU's old format.
    pub(super) fn real_size(&self) -> Option<u64> {
        number(&self.0[483..495]).and_then(size)
    }
}

/// A length that leaves room for sums.
pub(super) fn size(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|size| *size < 1 << 62)
}

/// What is before the first zero byte.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// Octal digits between spaces and zero bytes (nothing is 0), or GNU's base 256 with a sign.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let start = if first & 0x40 == 0 { 0 } else { -1_i128 };
        let bytes = std::iter::once(first & 0x3f | if start < 0 { 0xc0 } else { 0 })
            .chain(field[1..].iter().copied());
        let mut value = start;
        for byte in bytes {
            // The longest field has 12 bytes, so that nothing is lost.
            value = value << 8 | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let blank = |byte: &u8| matches!(byte, 0 | b' ');
    let start = field.iter().position(|byte| !blank(byte));
    let digits = &field[start.unwrap_or(field.len())..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    // What comes after a zero byte says nothing.
    if rest
        .iter()
        .take_while(|byte| **byte != 0)
        .any(|byte| *byte != b' ')
    {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value
            .checked_mul(8)
            .map(|value| value + i64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_of_all_forms() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\0\0\0\0", Some(0)),
            (b"    ", Some(0)),
            (b"12 \0junk", Some(0o12)),
            (b"12 3\0", None),
            (b"8\0", None),
            (b"-1\0", None),
            (b"+1\0", None),
            (b"\x80\0\0\0\xff\xff\xff\xff", Some(0xffff_ffff)),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                Some(-1),
            ),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (
                b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
                Some(i64::MAX),
            ),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }
}
