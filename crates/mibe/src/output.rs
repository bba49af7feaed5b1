//! What meets a terminal or a pipe: text that can't steer the one, and lines that survive the end of the other
//! (`mibe doctor | head -1`).

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::Write as _;

/// Writes a line of a command's result.
///
/// `println!` would panic where the reader is gone, in the middle of a build perhaps; a result that nobody wants
/// to read is no error.
pub fn line(text: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes a result that is a text by itself, as [`line`] does.
pub fn text(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A text without what could steer a terminal: names of files and lines of manifests are whatever somebody made them.
pub fn plain(text: &str) -> Cow<'_, str> {
    let steers = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if text.contains(steers) {
        text.replace(steers, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// A line of a listing: what could steer a terminal stands as `\xNN`, byte by byte, as in the paths of listings.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\x{byte:02x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

/// Writes a table, its columns as wide as what is in them; the last may be as long as it likes.
#[cfg(feature = "servers")]
pub fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| visible(cell)))
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    for row in &rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        line(cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::{plain, visible};

    #[test]
    fn lines_stay_lines() {
        assert_eq!(visible("a b é"), "a b é");
        assert_eq!(
            visible("\u{1b}[2J\n\u{9b}\t"),
            "\\x1b[2J\\x0a\\xc2\\x9b\\x09"
        );
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("a\tb\nc é"), "a\tb\nc é");
        assert_eq!(
            plain("\u{1b}]0;x\u{7}\r\u{9b}2J"),
            "\u{fffd}]0;x\u{fffd}\u{fffd}\u{fffd}2J"
        );
    }
}
