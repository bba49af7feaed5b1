//! The order of Debian versions (Debian policy 5.6.12).

use std::cmp::Ordering;

/// Compares two versions.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (one_epoch, one) = epoch(one);
    let (other_epoch, other) = epoch(other);
    let (one_upstream, one_revision) = revision(one);
    let (other_upstream, other_revision) = revision(other);
    one_epoch
        .cmp(&other_epoch)
        .then_with(|| part(one_upstream.as_bytes(), other_upstream.as_bytes()))
        .then_with(|| part(one_revision.as_bytes(), other_revision.as_bytes()))
}

fn epoch(version: &str) -> (u64, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

fn revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// Digits and non-digits alternate; `~` sorts before everything, even the end; letters before the rest.
fn part(mut one: &[u8], mut other: &[u8]) -> Ordering {
    loop {
        if one.is_empty() && other.is_empty() {
            return Ordering::Equal;
        }
        let (one_text, one_rest) = split(one, |byte| !byte.is_ascii_digit());
        let (other_text, other_rest) = split(other, |byte| !byte.is_ascii_digit());
        let longest = one_text.len().max(other_text.len());
        for index in 0..longest {
            let order = weight(one_text.get(index)).cmp(&weight(other_text.get(index)));
            if order != Ordering::Equal {
                return order;
            }
        }
        let (one_number, one_rest) = split(one_rest, u8::is_ascii_digit);
        let (other_number, other_rest) = split(other_rest, u8::is_ascii_digit);
        let order = number(one_number, other_number);
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (one_rest, other_rest);
    }
}

fn split(bytes: &[u8], matching: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| !matching(byte))
        .unwrap_or(bytes.len());
    bytes.split_at(end)
}

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// Numbers of any length, leading zeroes left out.
fn number(one: &[u8], other: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| {
        let start = digits
            .iter()
            .position(|digit| *digit != b'0')
            .unwrap_or(digits.len());
        digits[start..].to_vec()
    };
    let (one, other) = (significant(one), significant(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(&other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_dpkg() {
        let ascending = [
            "~~",
            "~~a",
            "~",
            "0",
            "00001~rc1",
            "1.0~beta1~svc1",
            "1.0~beta1",
            "1.0",
            "1.0-1",
            "1.0-1.1",
            "1.0-2",
            "1.0a",
            "1.0+b1",
            "1.0.1",
            "1.9",
            "1.10",
            "1.10-1+deb12u1",
            "1.10-1+deb12u2",
            "2",
            "1:0.1",
            "1:0.2",
            "2:0",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("1.0-0", "1.0"), Ordering::Equal);
        assert_eq!(compare("0:1.01", "1.1"), Ordering::Equal);
    }
}
