//! Words for people about a tree whose names and contents are anyone's: nothing of it reaches a terminal as it is.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The absolute path in the image of `path` (relative to its root or absolute), with everything escaped that a
/// terminal would obey (`\n` and other control characters, marks that turn the direction of writing) or that is no UTF-8.
pub fn path(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let mut shown = String::new();
    if !bytes.starts_with(b"/") {
        shown.push('/');
    }
    escape(bytes, &mut shown);
    shown
}

/// A name or a target as it is written, escaped as in [`path`].
pub fn name(name: impl AsRef<Path>) -> String {
    let mut shown = String::new();
    escape(name.as_ref().as_os_str().as_bytes(), &mut shown);
    shown
}

/// At most `most` of `items`, which are `count` in all: "a, b and 3 more".
pub fn list(items: &[String], count: usize, most: usize) -> String {
    let named = &items[..items.len().min(most)];
    let mut shown = named.join(", ");
    let more = count.saturating_sub(named.len());
    if more > 0 {
        // Writing to a String cannot fail.
        let _ = write!(shown, " and {more} more");
    }
    shown
}

fn escape(bytes: &[u8], shown: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char.is_control() || misleads(char) {
                shown.extend(char.escape_default());
            } else {
                shown.push(char);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
}

/// Characters that are not seen but change how their neighbours are (Unicode's Bidi_Control, zero width, line and
/// paragraph separators).
fn misleads(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        let hostile = OsStr::from_bytes(b"etc/a\x1b[2J\nwarning: b\x07\xff");
        assert_eq!(
            path(Path::new(hostile)),
            "/etc/a\\u{1b}[2J\\nwarning: b\\u{7}\\xff"
        );
        assert_eq!(name("a\u{202e}b\u{9b}c"), "a\\u{202e}b\\u{9b}c");
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        assert_eq!(path(Path::new("/etc/ä ö")), "/etc/ä ö");
        assert_eq!(name(r"dev-disk-by\x2duuid"), r"dev-disk-by\x2duuid");
    }

    #[test]
    fn long_lists_end_in_a_count() {
        let items = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        assert_eq!(list(&items, 3, 3), "a, b, c");
        assert_eq!(list(&items, 9, 2), "a, b and 7 more");
        assert_eq!(list(&[], 0, 2), "");
    }
}
