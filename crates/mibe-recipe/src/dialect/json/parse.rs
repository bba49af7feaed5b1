//! The parser.

use super::{Json, Key, Node};
use crate::codes::Code;
use crate::problem::{Problem, Source, Span};

/// Deepest nesting that is read; a manifest has four levels.
pub(super) const DEPTH: usize = 32;

/// Reads the value that is all of `source.bytes[span]`.
///
/// # Errors
///
/// The first mistake.
pub(crate) fn parse(source: Source<'_>, span: Span) -> Result<Node, Box<Problem>> {
    let bytes = source.bytes.get(..span.end).unwrap_or(source.bytes);
    let rest = bytes.get(span.start..).unwrap_or_default();
    let start = span.start
        + if rest.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
    let text = bytes.get(start..).unwrap_or_default();
    let mut parser = Parser {
        bytes,
        at: start,
        depth: 0,
    };
    let node = match std::str::from_utf8(text) {
        Err(error) => {
            let at = start + error.valid_up_to();
            wrong(
                Span {
                    start: at,
                    end: at + 1,
                },
                Code::NotUtf8,
                "this byte is not UTF-8 text",
                "save the file as UTF-8",
            )
        }
        Ok(_) => parser.document(),
    };
    node.map_err(|wrong| {
        let place = source.locate((), wrong.span);
        Box::new(place.problem(wrong.code, wrong.message, wrong.advice))
    })
}

struct Wrong {
    span: Span,
    code: Code,
    message: String,
    advice: String,
}

fn wrong<T>(
    span: Span,
    code: Code,
    message: impl Into<String>,
    advice: impl Into<String>,
) -> Result<T, Wrong> {
    Err(Wrong {
        span,
        code,
        message: message.into(),
        advice: advice.into(),
    })
}

struct Parser<'a> {
    /// UTF-8 from the start of the value on.
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn here(&self, length: usize) -> Span {
        Span {
            start: self.at,
            end: (self.at + length).min(self.bytes.len()),
        }
    }

    /// The character at hand, for messages.
    fn shown(&self) -> (String, Span) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let text = std::str::from_utf8(rest).unwrap_or_default();
        match text.chars().next() {
            Some(c) if c.is_control() => {
                (format!("U+{:04X}", u32::from(c)), self.here(c.len_utf8()))
            }
            Some(c) => (format!("`{c}`"), self.here(c.len_utf8())),
            None => ("the end".to_owned(), self.here(0)),
        }
    }

    fn document(&mut self) -> Result<Node, Wrong> {
        self.blanks();
        if self.peek().is_none() {
            return wrong(
                self.here(0),
                Code::JsonSyntax,
                "there is nothing in it",
                "begin with {",
            );
        }
        let node = self.value()?;
        self.blanks();
        if self.peek().is_some() {
            let (shown, span) = self.shown();
            return wrong(
                span,
                Code::JsonSyntax,
                format!("{shown} after the end of the JSON value"),
                "remove what comes after the last closing bracket, or see whether one closes too early",
            );
        }
        Ok(node)
    }

    fn value(&mut self) -> Result<Node, Wrong> {
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Json::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$') => self.word()?,
            Some(b'\'') => {
                return wrong(
                    self.here(1),
                    Code::JsonSyntax,
                    "JSON has no single quotes",
                    "use the double quote \"",
                );
            }
            Some(b'/' | b'#') => return self.comment(),
            Some(b',' | b'}' | b']' | b':') => {
                let (shown, span) = self.shown();
                return wrong(
                    span,
                    Code::JsonSyntax,
                    format!("{shown} where a value should be"),
                    "write the value",
                );
            }
            _ => {
                let (shown, span) = self.shown();
                return wrong(
                    span,
                    Code::JsonSyntax,
                    format!("{shown} can't begin a value"),
                    "a value is a \"string\", a number, true, false, null, {…} or […]",
                );
            }
        };
        Ok(Node {
            span: Span {
                start,
                end: self.at,
            },
            value,
        })
    }

    fn comment<T>(&self) -> Result<T, Wrong> {
        wrong(
            self.here(1),
            Code::JsonSyntax,
            "JSON has no comments",
            "remove it",
        )
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json, Wrong>) -> Result<Json, Wrong> {
        self.depth += 1;
        if self.depth > DEPTH {
            return wrong(
                self.here(1),
                Code::JsonSyntax,
                format!("nested deeper than {DEPTH} levels"),
                "no manifest needs that: is it the right file?",
            );
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Json, Wrong> {
        let open = self.at;
        self.at += 1;
        let mut entries = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(b'"') => {}
                Some(b'}') if entries.is_empty() => {
                    self.at += 1;
                    return Ok(Json::Object(entries));
                }
                None => return never_closed(open, '{', '}'),
                Some(b'/' | b'#') => return self.comment(),
                Some(_) => {
                    let (shown, span) = self.shown();
                    return wrong(
                        span,
                        Code::JsonSyntax,
                        format!("{shown} where a key should be"),
                        "keys stand in double quotes: \"key\": \"value\"",
                    );
                }
            }
            let start = self.at;
            let text = self.string()?;
            let key = Key {
                span: Span {
                    start,
                    end: self.at,
                },
                text,
            };
            let end = self.at;
            self.blanks();
            if self.peek() != Some(b':') {
                if self.peek().is_none() {
                    return never_closed(open, '{', '}');
                }
                return wrong(
                    Span { start, end },
                    Code::JsonSyntax,
                    "there is no `:` after this key",
                    "write \"key\": \"value\"",
                );
            }
            self.at += 1;
            self.blanks();
            if self.peek().is_none() {
                return never_closed(open, '{', '}');
            }
            let node = self.value()?;
            entries.push((key, node));
            if self.after_item(open, b'}')? {
                return Ok(Json::Object(entries));
            }
        }
    }

    fn list(&mut self) -> Result<Json, Wrong> {
        let open = self.at;
        self.at += 1;
        let mut nodes = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(b']') if nodes.is_empty() => {
                    self.at += 1;
                    return Ok(Json::List(nodes));
                }
                None => return never_closed(open, '[', ']'),
                Some(_) => nodes.push(self.value()?),
            }
            if self.after_item(open, b']')? {
                return Ok(Json::List(nodes));
            }
        }
    }

    /// The comma or the closing bracket after an item; whether it was the bracket.
    fn after_item(&mut self, open: usize, close: u8) -> Result<bool, Wrong> {
        let end = self.at;
        self.blanks();
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(true)
            }
            Some(b',') => {
                let comma = self.here(1);
                self.at += 1;
                self.blanks();
                if self.peek() == Some(close) {
                    return wrong(
                        comma,
                        Code::TrailingComma,
                        format!("a comma before `{}`", char::from(close)),
                        "remove it: JSON wants commas between values only",
                    );
                }
                Ok(false)
            }
            None => never_closed(
                open,
                if close == b'}' { '{' } else { '[' },
                char::from(close),
            ),
            Some(b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b'a'..=b'z') => wrong(
                Span {
                    start: end.saturating_sub(1),
                    end,
                },
                Code::JsonSyntax,
                "there is no comma after this value",
                "put a comma between two values",
            ),
            Some(b'/' | b'#') => self.comment(),
            Some(_) => {
                let (shown, span) = self.shown();
                wrong(
                    span,
                    Code::JsonSyntax,
                    format!("{shown} where a comma or `{}` should be", char::from(close)),
                    "remove it, or put the value in quotes",
                )
            }
        }
    }

    fn word(&mut self) -> Result<Json, Wrong> {
        let start = self.at;
        while matches!(
            self.peek(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | b'-' | b'.')
        ) {
            self.at += 1;
        }
        match self.bytes.get(start..self.at) {
            Some(b"true") => Ok(Json::Bool(true)),
            Some(b"false") => Ok(Json::Bool(false)),
            Some(b"null") => Ok(Json::Null),
            word => {
                let word = String::from_utf8_lossy(word.unwrap_or_default());
                wrong(
                    Span {
                        start,
                        end: self.at,
                    },
                    Code::JsonSyntax,
                    format!(
                        "`{}` without quotes",
                        word.chars().take(40).collect::<String>()
                    ),
                    "put it in double quotes; without any stand numbers, true, false and null",
                )
            }
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Result<Json, Wrong> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        let mut good = whole == 1 || (whole > 1 && !leading_zero);
        if self.peek() == Some(b'.') {
            self.at += 1;
            good &= self.digits() > 0;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            good &= self.digits() > 0;
        }
        // 1.0.0 and 15.3.0a are versions, not numbers.
        while matches!(
            self.peek(),
            Some(b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' | b'+')
        ) {
            good = false;
            self.at += 1;
        }
        let text = String::from_utf8_lossy(self.bytes.get(start..self.at).unwrap_or_default());
        if !good || text.len() > 64 {
            return wrong(
                Span {
                    start,
                    end: self.at,
                },
                Code::JsonSyntax,
                "this is no number",
                "put it in double quotes if it is a version or another text",
            );
        }
        Ok(Json::Number(text.into_owned()))
    }

    fn string(&mut self) -> Result<String, Wrong> {
        let open = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let start = self.at;
            while self
                .peek()
                .is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
            {
                self.at += 1;
            }
            text.push_str(&String::from_utf8_lossy(
                self.bytes.get(start..self.at).unwrap_or_default(),
            ));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                None | Some(b'\n' | b'\r') => {
                    return wrong(
                        Span {
                            start: open,
                            end: self.at,
                        },
                        Code::JsonUnclosed,
                        "this string has no closing \" on its line",
                        "close it; a line break inside of a string is written \\n",
                    );
                }
                Some(byte) => {
                    return wrong(
                        self.here(1),
                        Code::ControlCharacter,
                        format!("the control character U+{byte:04X} in a string"),
                        "remove it; a tab is written \\t",
                    );
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Wrong> {
        let start = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(start),
            _ => {
                return wrong(
                    Span {
                        start,
                        end: (self.at + 1).min(self.bytes.len()),
                    },
                    Code::JsonSyntax,
                    "no such escape",
                    "a backslash is written \\\\ in JSON",
                );
            }
        };
        self.at += 1;
        Ok(plain)
    }

    /// `\uXXXX`, two of them for what is beyond the first plane.
    fn unicode(&mut self, start: usize) -> Result<char, Wrong> {
        let first = self.hex(start)?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                return half(start, self.at);
            }
            self.at += 1;
            let second = self.hex(start)?;
            if !(0xdc00..0xe000).contains(&second) {
                return half(start, self.at);
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).map_or_else(|| half(start, self.at), Ok)
    }

    /// The four digits after the `u` at hand.
    fn hex(&mut self, start: usize) -> Result<u32, Wrong> {
        let digits = self.bytes.get(self.at + 1..self.at + 5);
        let value = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match value {
            Some(value) => {
                self.at += 5;
                Ok(value)
            }
            None => wrong(
                Span {
                    start,
                    end: (self.at + 1).min(self.bytes.len()),
                },
                Code::JsonSyntax,
                "\\u wants four hexadecimal digits",
                "write the character itself",
            ),
        }
    }
}

fn half<T>(start: usize, end: usize) -> Result<T, Wrong> {
    wrong(
        Span { start, end },
        Code::JsonSyntax,
        "half a character: a surrogate without the other",
        "write the character itself",
    )
}

fn never_closed<T>(open: usize, bracket: char, close: char) -> Result<T, Wrong> {
    wrong(
        Span {
            start: open,
            end: open + 1,
        },
        Code::JsonUnclosed,
        format!("this `{bracket}` is never closed"),
        format!("add the `{close}` that belongs to it"),
    )
}
