//! The log of a build: everything its scripts printed, and the last of it at hand for an error.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::BuildError;

/// Lines kept for an error.
const TAIL: usize = 25;
/// Bytes kept of a line; scripts print progress bars and base64.
const LINE: usize = 400;

/// An open log.
#[derive(Debug)]
pub struct BuildLog {
    path: PathBuf,
    file: File,
    lines: Lines,
}

/// The lines of a program's output, of which the last are kept.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    tail: VecDeque<String>,
    line: Vec<u8>,
    /// A carriage return came last: of a line's end, or of a progress bar.
    returned: bool,
}

impl Lines {
    /// Output as it comes; `each` is called with every line that it completes, fit for a terminal.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for &byte in bytes {
            if byte == b'\n' {
                let text = printable(&self.line);
                self.line.clear();
                each(&text);
                if self.tail.len() == TAIL {
                    self.tail.pop_front();
                }
                self.tail.push_back(text);
            } else if byte != b'\r' {
                if self.returned {
                    // A progress bar writes over itself.
                    self.line.clear();
                }
                if self.line.len() < LINE {
                    self.line.push(byte);
                }
            }
            self.returned = byte == b'\r';
        }
    }

    /// The last lines, oldest first, one that was not ended among them.
    pub fn tail(&self) -> Vec<String> {
        let mut tail: Vec<_> = self.tail.iter().cloned().collect();
        if !self.line.is_empty() {
            tail.push(printable(&self.line));
        }
        tail
    }
}

/// The last that a program said, in one line, fit for a terminal; `None` if it said nothing.
pub(crate) fn last_words(printed: &[u8]) -> Option<String> {
    /// Lines that an error is worth.
    const MOST: usize = 8;
    let mut lines = Lines::default();
    lines.take(printed, |_| {});
    let said: Vec<String> = lines
        .tail()
        .into_iter()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let from = said.len().saturating_sub(MOST);
    (!said.is_empty()).then(|| said[from..].join(" "))
}

impl BuildLog {
    /// Starts the log `folder/name`, making the folder.
    ///
    /// # Errors
    ///
    /// The file could not be made.
    pub fn create(folder: &Path, name: &str) -> Result<Self, BuildError> {
        fs::create_dir_all(folder).map_err(BuildError::io("make", folder))?;
        let path = folder.join(name);
        let file = File::create(&path).map_err(BuildError::io("write", &path))?;
        Ok(Self {
            path,
            file,
            lines: Lines::default(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts a part of the log; the tail starts anew with it.
    pub fn section(&mut self, title: &str) {
        self.lines = Lines::default();
        self.write(format!("==> {title}\n").as_bytes());
    }

    /// A line of mibe's own.
    pub fn note(&mut self, text: &str) {
        self.write(format!("mibe: {text}\n").as_bytes());
    }

    /// Output of a script, as it comes; `line` is called with every line that it completes.
    pub fn output(&mut self, bytes: &[u8], line: impl FnMut(&str)) {
        self.write(bytes);
        self.lines.take(bytes, line);
    }

    /// The last lines of the part at hand, fit for a terminal.
    pub fn tail(&self) -> Vec<String> {
        self.lines.tail()
    }

    /// A log that can't be written must not end a build that goes well: the tail still works.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.file.write_all(bytes);
    }
}

/// A line without what could steer a terminal.
fn printable(line: &[u8]) -> String {
    let mut text = String::new();
    let mut characters = String::from_utf8_lossy(line).into_owned();
    characters.retain(|character| character != '\u{fffd}');
    let mut characters = characters.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // Colours and cursor movements (ECMA-48 control sequences) end in a letter.
            '\u{1b}' => {
                if characters.peek() == Some(&'[') {
                    characters.find(|next| ('\u{40}'..='\u{7e}').contains(next) && *next != '[');
                }
            }
            '\t' => text.push_str("    "),
            _ if character.is_control() => {}
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_holds_the_last_lines_without_control_characters() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = BuildLog::create(&folder.path().join("logs"), "x.log").unwrap();
        log.section("one");
        for number in 0..40 {
            log.output(format!("line {number}\n").as_bytes(), |_| {});
        }
        log.output(b"of another system\r\n", |line| {
            assert_eq!(line, "of another system");
        });
        log.output(b"10%\r20%\r\x1b[31mred\x1b[0m\x07\ttab", |_| {});
        let tail = log.tail();
        assert_eq!(tail.len(), TAIL + 1);
        assert_eq!(tail[0], "line 16");
        assert_eq!(tail[TAIL], "red    tab");
        let text = fs::read_to_string(log.path()).unwrap();
        assert!(text.starts_with("==> one\nline 0\n"));
    }
}
