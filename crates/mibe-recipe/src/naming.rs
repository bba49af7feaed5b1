//! Names and versions.

/// Longest name that every image server takes, in bytes.
pub(crate) const NAME_LENGTH: usize = 512;
/// Longest version that every image server takes, in bytes.
pub(crate) const VERSION_LENGTH: usize = 128;

/// The character of image names: `^[A-Za-z0-9._/ -]+$`.
pub(crate) fn is_name_char(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._/ -".contains(character)
}

/// The characters of image versions: `^[A-Za-z0-9._/+-]+$`.
pub(crate) fn is_version_char(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._/+-".contains(character)
}

/// Splits `example-1.0.0` into name and version.
///
/// A version begins after a `-` with a digit. Where several do:
///
/// 1. a last part that is a date (`20180323`, `20230101.1`) is the version: `ubuntu-20.04-20210413`;
/// 2. else it begins at the first part with a dot, and takes all that follows: `top-0.6.7-5` is version `0.6.7-5`
///    of `top`, `minimal-64-lts-19.4.0` is version `19.4.0` of `minimal-64-lts`;
/// 3. else it is the last such part: `debian-12` is version `12` of `debian`.
///
/// `None` when no part begins with a digit, or nothing would be left for the name.
pub fn split_name_version(text: &str) -> Option<(&str, &str)> {
    let starts: Vec<usize> = text
        .match_indices('-')
        .filter(|&(at, _)| at > 0 && text[at + 1..].starts_with(|c: char| c.is_ascii_digit()))
        .map(|(at, _)| at)
        .collect();
    let part = |at: usize| text[at + 1..].split('-').next().unwrap_or_default();
    let last = *starts.last()?;
    let is_last_part = !text[last + 1..].contains('-');
    let at = if is_last_part && is_date(part(last)) {
        last
    } else {
        starts
            .iter()
            .copied()
            .find(|&at| part(at).contains('.'))
            .unwrap_or(last)
    };
    Some((&text[..at], &text[at + 1..]))
}

/// `YYYYMMDD`, maybe with `.N` after it.
fn is_date(part: &str) -> bool {
    let date = part.split('.').next().unwrap_or_default();
    let number =
        |range: std::ops::Range<usize>| date.get(range).and_then(|text| text.parse::<u32>().ok());
    date.len() == 8
        && date.bytes().all(|byte| byte.is_ascii_digit())
        && number(0..4).is_some_and(|year| (2000..2100).contains(&year))
        && number(4..6).is_some_and(|month| (1..=12).contains(&month))
        && number(6..8).is_some_and(|day| (1..=31).contains(&day))
}

/// Whether the text is a UUID in lower-case hexadecimal, as image manifests want them.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_begin_at_the_right_place() {
        for (text, expected) in [
            ("example-1.0.0", Some(("example", "1.0.0"))),
            ("top-0.6.7-5", Some(("top", "0.6.7-5"))),
            ("base-15.4.1-1", Some(("base", "15.4.1-1"))),
            ("percona-15.3.0a", Some(("percona", "15.3.0a"))),
            ("core-mbox-20.1.0", Some(("core-mbox", "20.1.0"))),
            ("minimal-64-lts-19.4.0", Some(("minimal-64-lts", "19.4.0"))),
            (
                "base-64-lts-21.4.0-rc1",
                Some(("base-64-lts", "21.4.0-rc1")),
            ),
            ("centos-7-20180323", Some(("centos-7", "20180323"))),
            ("ubuntu-20.04-20210413", Some(("ubuntu-20.04", "20210413"))),
            ("debian-12-20230101.1", Some(("debian-12", "20230101.1"))),
            ("debian-12", Some(("debian", "12"))),
            ("python3-3.11", Some(("python3", "3.11"))),
            ("a--1", Some(("a-", "1"))),
            ("example", None),
            ("core-mbox", None),
            ("-1.0", None),
            ("1.0", None),
            ("name-v1.0", None),
            ("", None),
            ("-", None),
            ("é-1ü", Some(("é", "1ü"))),
        ] {
            assert_eq!(split_name_version(text), expected, "{text}");
        }
    }

    #[test]
    fn uuids_are_lower_case_and_whole() {
        assert!(is_uuid("208f9314-29cf-4bec-9d8b-c0697d00c929"));
        assert!(!is_uuid("208F9314-29cf-4bec-9d8b-c0697d00c929"));
        assert!(!is_uuid("208f9314-29cf-4bec-9d8b-c0697d00c9291"));
        assert!(!is_uuid("208f931429cf-4bec-9d8b-c0697d00c9-29"));
    }
}
