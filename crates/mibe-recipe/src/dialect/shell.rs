//! The `manifest` of the shell dialect: plain assignments, read without a shell.
//!
//! What is read means here what it means to a POSIX shell:
//!
//! ```sh
//! # a comment
//! name="example"; version='1.0.0'
//! minram=512
//! ```
//!
//! Whatever a shell would have to *do* (expansions, escapes, commands), and whatever spans lines, is an error: no
//! manifest ever published has it, and a manifest is no place for programs.

use crate::codes::Code;
use crate::dialect::{Assignment, Written};
use crate::problem::{Collector, Located, Source, Span};

/// Reads all assignments of `source`, in the order of the file. A line that is
/// wrong leaves a problem, and what was read of it before the mistake.
pub(crate) fn parse(source: Source<'_>, problems: &mut Collector) -> Vec<Assignment> {
    let mut assignments = Vec::new();
    let mut start = if source.bytes.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    };
    let mut number = 1;
    while start < source.bytes.len() {
        let rest = &source.bytes[start..];
        let length = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap_or(rest.len());
        let text = rest[..length]
            .strip_suffix(b"\r")
            .unwrap_or(&rest[..length]);
        let mut line = Line {
            source,
            text,
            start,
            number,
            at: 0,
        };
        if let Err(wrong) = line.read(&mut assignments) {
            let place: Located<()> = line.located((), wrong.from, wrong.to);
            problems.push(place.problem(wrong.code, wrong.message, wrong.advice));
        }
        start += length + 1;
        number += 1;
    }
    assignments
}

/// What is wrong with a line; `from` and `to` count from the line's start.
pub(super) struct Wrong {
    from: usize,
    to: usize,
    pub(super) code: Code,
    message: String,
    advice: String,
}

pub(super) struct Line<'a> {
    source: Source<'a>,
    pub(super) text: &'a [u8],
    /// Where the line begins in the file.
    start: usize,
    number: u32,
    /// The byte being looked at.
    pub(super) at: usize,
}

pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What a value without quotes may hold: nothing of it means anything to a shell there.
pub(super) fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./:+@%,=^-".contains(&byte)
}

impl Line<'_> {
    pub(super) fn located<T>(&self, value: T, from: usize, to: usize) -> Located<T> {
        let span = Span {
            start: self.start + from,
            end: self.start + to,
        };
        self.source.located(value, span, self.number, self.start)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn skip(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
    }

    /// The whole character at `at`, even when it is not ASCII, and its end.
    pub(super) fn character(&self, at: usize) -> (String, usize) {
        let rest = &self.text[at..];
        let length = match rest.first() {
            Some(0xc0..=0xdf) => 2,
            Some(0xe0..=0xef) => 3,
            Some(0xf0..=0xf7) => 4,
            _ => 1,
        };
        let rest = &rest[..length.min(rest.len())];
        let shown = match std::str::from_utf8(rest) {
            Ok(text) if !text.chars().any(char::is_control) => format!("`{text}`"),
            _ => rest
                .iter()
                .map(|byte| format!("byte 0x{byte:02x}"))
                .take(1)
                .collect(),
        };
        (shown, at + rest.len())
    }

    fn read(&mut self, assignments: &mut Vec<Assignment>) -> Result<(), Wrong> {
        loop {
            self.skip(is_blank);
            match self.peek() {
                None | Some(b'#') => return Ok(()),
                Some(_) => {}
            }
            let key = self.key()?;
            let value = self.value(&key)?;
            let value = value.map(Written::Text);
            assignments.push(Assignment { key, value });
            self.after_value()?;
        }
    }

    /// A key and the `=` after it.
    fn key(&mut self) -> Result<Located<String>, Wrong> {
        let from = self.at;
        self.skip(is_key);
        let word = String::from_utf8_lossy(&self.text[from..self.at]).into_owned();
        let after_word = self.at;
        if word.is_empty() {
            let (shown, to) = self.character(from);
            return Err(match self.text[from] {
                b'=' => wrong(
                    from,
                    to,
                    Code::MissingKey,
                    "there is no key before this `=`",
                    "write key=\"value\"",
                ),
                b';' => wrong(
                    from,
                    to,
                    Code::EmptyStatement,
                    "a `;` with nothing before it",
                    "remove it",
                ),
                _ => wrong(
                    from,
                    to,
                    Code::NotAnAssignment,
                    format!("{shown} can't begin a line"),
                    "a manifest holds key=\"value\" lines and # comments only",
                ),
            });
        }
        if self.peek() == Some(b'=') {
            if word.as_bytes()[0].is_ascii_digit() {
                return Err(wrong(
                    from,
                    after_word,
                    Code::BadKey,
                    format!("`{word}` begins with a digit, which a key can't"),
                    "see the table of keys in README.md",
                ));
            }
            self.at += 1;
            return Ok(self.located(word, from, after_word));
        }
        if matches!(
            word.as_str(),
            "export" | "declare" | "local" | "readonly" | "typeset" | "set"
        ) {
            return Err(wrong(
                from,
                after_word,
                Code::ShellCommand,
                format!("`{word}` is a shell command, and a manifest is not run by a shell"),
                format!("leave `{word}` out: the assignment alone is enough"),
            ));
        }
        let before_blanks = self.at;
        self.skip(is_blank);
        Err(match self.peek() {
            Some(b'=') => wrong(
                before_blanks,
                self.at + 1,
                Code::BlankBeforeEquals,
                format!("there must be no blank between `{word}` and `=`"),
                format!("write {word}=\"…\""),
            ),
            Some(b'+') if before_blanks == self.at => wrong(
                self.at,
                self.at + 1,
                Code::NotAnAssignment,
                format!("`{word}+=` would add to a value, which a manifest can't"),
                format!("write the whole value with {word}=\"…\""),
            ),
            Some(b':') => wrong(
                self.at,
                self.at + 1,
                Code::NotAnAssignment,
                format!("`{word}` is followed by `:` and not by `=`"),
                format!("write {word}=\"…\""),
            ),
            _ => wrong(
                from,
                after_word,
                Code::NotAnAssignment,
                format!("`{word}` is not an assignment"),
                "a manifest holds key=\"value\" lines and # comments only; nothing in it is run",
            ),
        })
    }

    /// What follows a value: a blank, a `;` or the end.
    fn after_value(&mut self) -> Result<(), Wrong> {
        match self.peek() {
            None => Ok(()),
            Some(b';') => {
                self.at += 1;
                Ok(())
            }
            Some(b'"' | b'\'') => Err(self.doubled_quote()),
            Some(b',') => Err(trailing_comma(self.at)),
            Some(byte) if is_blank(byte) => self.after_blank(),
            Some(_) => {
                let (shown, to) = self.character(self.at);
                Err(wrong(
                    self.at,
                    to,
                    Code::TextAfterQuote,
                    format!("{shown} right after the closing quote"),
                    "put all of the value inside the quotes, and each assignment on its own line",
                ))
            }
        }
    }

    /// Only another assignment, a comment, a `;` or the end may follow a value and a blank.
    fn after_blank(&mut self) -> Result<(), Wrong> {
        self.skip(is_blank);
        match self.peek() {
            None | Some(b'#') => return Ok(()),
            Some(b';') => {
                self.at += 1;
                return Ok(());
            }
            Some(_) => {}
        }
        let from = self.at;
        let word = self.text[from..]
            .iter()
            .take_while(|&&byte| is_key(byte))
            .count();
        if word > 0 && self.text.get(from + word) == Some(&b'=') {
            return Ok(());
        }
        let to = from
            + self.text[from..]
                .iter()
                .take_while(|&&byte| !is_blank(byte))
                .count();
        Err(wrong(
            from,
            to,
            Code::TextAfterValue,
            "this text after the value belongs to nothing",
            "a value with blanks needs quotes around all of it, a comment begins with #",
        ))
    }
}

pub(super) fn trailing_comma(at: usize) -> Wrong {
    wrong(
        at,
        at + 1,
        Code::TrailingComma,
        "a comma after the value",
        "remove it: a manifest is no list",
    )
}

pub(super) fn wrong(
    from: usize,
    to: usize,
    code: Code,
    message: impl Into<String>,
    advice: impl Into<String>,
) -> Wrong {
    Wrong {
        from,
        to,
        code,
        message: message.into(),
        advice: advice.into(),
    }
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
