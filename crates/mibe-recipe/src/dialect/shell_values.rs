//! The values of the shell dialect: bare, quoted, put together of quoted parts.

use super::shell::{Line, Wrong, is_bare, is_blank, trailing_comma, wrong};
use crate::codes::Code;
use crate::problem::Located;

impl Line<'_> {
    /// The value of a key, at hand.
    pub(super) fn value(&mut self, key: &str) -> Result<Located<String>, Wrong> {
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

    pub(super) fn doubled_quote(&self) -> Wrong {
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
