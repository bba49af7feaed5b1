//! Standard output, which whoever reads it may close early (`mibe doctor | head -1`).

use std::fmt;
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
