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
struct Wrong {
    from: usize,
    to: usize,
    code: Code,
    message: String,
    advice: String,
}

struct Line<'a> {
    source: Source<'a>,
    text: &'a [u8],
    /// Where the line begins in the file.
    start: usize,
    number: u32,
    /// The byte being looked at.
    at: usize,
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What a value without quotes may hold: nothing of it means anything to a shell there.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./:+@%,=^-".contains(&byte)
}

impl Line<'_> {
    fn located<T>(&self, value: T, from: usize, to: usize) -> Located<T> {
        let span = Span {
            start: self.start + from,
            end: self.start + to,
        };
        self.source.located(value, span, self.number, self.start)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
    }

    /// The whole character at `at`, even when it is not ASCII, and its end.
    fn character(&self, at: usize) -> (String, usize) {
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

    fn value(&mut self, key: &str) -> Result<Located<String>, Wrong> {
        match self.peek() {
            Some(b'"' | b'\'') => self.quoted(key),
            Some(b'$') if self.text.get(self.at + 1) == Some(&b'\'') => self.quoted(key),
            Some(byte) if is_blank(byte) => {
                let from = self.at;
                self.skip(is_blank);
                match self.peek() {
                    None | Some(b'#' | b';') => {
                        self.at = from;
                        Ok(self.located(String::new(), from, from))
                    }
                    Some(_) => Err(wrong(
                        from,
                        self.at,
                        Code::BlankAfterEquals,
                        format!("there must be no blank between `{key}=` and its value"),
                        format!("write {key}=\"…\""),
                    )),
                }
            }
            _ => self.bare(key),
        }
    }

    /// One quoted part, or several with nothing between them: `'it'"'"'s'` is `it's` to a shell.
    fn quoted(&mut self, key: &str) -> Result<Located<String>, Wrong> {
        let open = self.at;
        let mut value = Vec::new();
        let mut parts = 0;
        let mut last = open;
        loop {
            let start = self.at;
            let part = match (self.peek(), self.text.get(self.at + 1)) {
                (Some(b'$'), Some(b'\'')) => self.escaped(key),
                (Some(quote @ (b'"' | b'\'')), _) => self.part(quote, key),
                _ => break,
            };
            match part {
                Ok(bytes) => value.extend_from_slice(&bytes),
                // A quote too many: what comes before it is the value, what follows is told of as text after it.
                Err(wrong) if parts > 0 && wrong.code == Code::UnclosedQuote => {
                    self.at = start;
                    break;
                }
                Err(wrong) => return Err(wrong),
            }
            parts += 1;
            last = self.at - 1;
        }
        if parts == 1 && self.text[open] != b'$' {
            return self.text_of(open + 1, last);
        }
        let place = self.located((), open + 1, last);
        let text = String::from_utf8(value).map_err(|error| {
            wrong(
                open,
                last,
                Code::NotUtf8,
                format!("this value is not UTF-8 text: {}", error.utf8_error()),
                "save the file as UTF-8",
            )
        })?;
        if let Some(bad) = text
            .chars()
            .find(|&c| c.is_control() && c != '\t' && c != '\n')
        {
            return Err(wrong(
                open,
                last,
                Code::ControlCharacter,
                format!("the control character U+{:04X} in a value", u32::from(bad)),
                "remove it",
            ));
        }
        Ok(place.with(text))
    }

    /// What stands between two quotes.
    fn part(&mut self, quote: u8, key: &str) -> Result<Vec<u8>, Wrong> {
        let open = self.at;
        let from = open + 1;
        let Some(length) = self.text[from..].iter().position(|&byte| byte == quote) else {
            return Err(self.unclosed(open, key, quote));
        };
        let to = from + length;
        for at in from..to {
            if quote == b'"' && matches!(self.text[at], b'$' | b'`' | b'\\') {
                return Err(self.expansion(
                    at,
                    "put the value in single quotes, where it stands for itself",
                ));
            }
        }
        self.at = to + 1;
        Ok(self.text[from..to].to_vec())
    }

    /// `$'…'`, how bash writes line breaks: `mibe convert` does so too.
    fn escaped(&mut self, key: &str) -> Result<Vec<u8>, Wrong> {
        let open = self.at;
        self.at += 2;
        let mut bytes = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.unclosed(open, key, b'\'')),
                Some(b'\'') => {
                    self.at += 1;
                    return Ok(bytes);
                }
                Some(b'\\') => {
                    bytes.push(match self.text.get(self.at + 1) {
                        Some(b'n') => b'\n',
                        Some(b't') => b'\t',
                        Some(&byte @ (b'\\' | b'\'' | b'"')) => byte,
                        _ => {
                            return Err(wrong(
                                self.at,
                                (self.at + 2).min(self.text.len()),
                                Code::Escape,
                                "an escape that is not read here",
                                r#"read are \n, \t, \\, \' and \""#,
                            ));
                        }
                    });
                    self.at += 2;
                }
                Some(byte) => {
                    bytes.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn unclosed(&self, open: usize, key: &str, quote: u8) -> Wrong {
        let mark = char::from(quote);
        wrong(
            open,
            self.text.len(),
            Code::UnclosedQuote,
            format!("the value of `{key}` has no closing {mark}"),
            format!(
                "close the quote on the same line: a value can't span lines, nor hold a {mark}"
            ),
        )
    }

    fn doubled_quote(&self) -> Wrong {
        wrong(
            self.at,
            self.at + 1,
            Code::DoubledQuote,
            format!(
                "another {} right after the closing quote",
                char::from(self.text.get(self.at).copied().unwrap_or(b'"'))
            ),
            "remove it; a value that holds one kind of quote goes into the other kind",
        )
    }

    fn bare(&mut self, key: &str) -> Result<Located<String>, Wrong> {
        let from = self.at;
        self.skip(is_bare);
        let to = self.at;
        match self.peek() {
            None | Some(b' ' | b'\t' | b';') => {}
            Some(b'$' | b'`' | b'\\') => {
                return Err(self.expansion(to, "write the value itself, in single quotes"));
            }
            Some(b'"' | b'\'') => {
                return Err(wrong(
                    to,
                    to + 1,
                    Code::QuoteInsideValue,
                    format!("a quote inside the value of `{key}`, which began without one"),
                    format!("put the whole value in quotes: {key}=\"…\""),
                ));
            }
            Some(_) => {
                let (shown, end) = self.character(to);
                let advice = if ["`“`", "`”`", "`„`", "`‘`", "`’`"].contains(&shown.as_str())
                {
                    "use the plain quotes \" or '".to_owned()
                } else {
                    format!("put the value in quotes: {key}=\"…\"")
                };
                return Err(wrong(
                    to,
                    end,
                    Code::NeedsQuotes,
                    format!("{shown} can't stand in a value without quotes"),
                    advice,
                ));
            }
        }
        if self.text[from..to].ends_with(b",") {
            return Err(trailing_comma(to - 1));
        }
        self.text_of(from, to)
    }

    /// The value between two places, which must be UTF-8 with no control characters but tabs.
    fn text_of(&self, from: usize, to: usize) -> Result<Located<String>, Wrong> {
        let bytes = &self.text[from..to];
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let at = from + error.valid_up_to();
            wrong(
                at,
                at + 1,
                Code::NotUtf8,
                "this byte is not UTF-8 text",
                "save the file as UTF-8",
            )
        })?;
        if let Some((at, bad)) = text
            .char_indices()
            .find(|&(_, c)| c.is_control() && c != '\t')
        {
            let at = from + at;
            return Err(wrong(
                at,
                at + bad.len_utf8(),
                Code::ControlCharacter,
                format!("the control character U+{:04X} in a value", u32::from(bad)),
                "remove it",
            ));
        }
        Ok(self.located(text.to_owned(), from, to))
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

    fn expansion(&self, at: usize, advice: &str) -> Wrong {
        let (code, message) = match (self.text[at], self.text.get(at + 1)) {
            (b'$', Some(b'(')) => (
                Code::CommandSubstitution,
                "`$(` would run a command, and a manifest is not run by a shell",
            ),
            (b'`', _) => (
                Code::CommandSubstitution,
                "a backtick would run a command, and a manifest is not run by a shell",
            ),
            (b'\\', _) => (
                Code::Escape,
                "a backslash is an escape to a shell, and a manifest has none",
            ),
            _ => (
                Code::Expansion,
                "`$` would be replaced by a shell, and a manifest is not run by one",
            ),
        };
        wrong(at, at + 1, code, message, advice)
    }
}

fn trailing_comma(at: usize) -> Wrong {
    wrong(
        at,
        at + 1,
        Code::TrailingComma,
        "a comma after the value",
        "remove it: a manifest is no list",
    )
}

fn wrong(
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
