//! JSON (RFC 8259) with a place for every value, so that whatever is wrong can be shown where it stands.

mod parse;

use std::fmt::Write as _;

use crate::problem::Span;

pub(crate) use parse::parse;

/// A value and its bytes in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Json,
}

/// Objects keep the order of the file, and keys that stand twice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(Key, Node)>),
}

/// A key of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) span: Span,
    pub(crate) text: String,
}

impl Json {
    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// The same value for those who don't care for places. Of equal keys the last counts.
    pub(crate) fn to_serde(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            // What is too large for serde_json's numbers can't be put into an image's manifest either.
            Self::Number(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            Self::Text(text) => Value::String(text.clone()),
            Self::List(nodes) => nodes.iter().map(|node| node.value.to_serde()).collect(),
            Self::Object(entries) => entries
                .iter()
                .map(|(key, node)| (key.text.clone(), node.value.to_serde()))
                .collect(),
        }
    }

    /// The value as text: with line breaks and `indent` blanks a level, or on one line without a blank.
    pub(crate) fn write(&self, out: &mut String, indent: Option<usize>) {
        self.write_at(out, indent, 0);
    }

    fn write_at(&self, out: &mut String, indent: Option<usize>, level: usize) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(text) => out.push_str(text),
            Self::Text(text) => write_text(out, text),
            Self::List(nodes) => {
                let items: Vec<(Option<&Key>, &Node)> =
                    nodes.iter().map(|node| (None, node)).collect();
                write_items(out, ('[', ']'), &items, indent, level);
            }
            Self::Object(entries) => {
                let items: Vec<(Option<&Key>, &Node)> = entries
                    .iter()
                    .map(|(key, node)| (Some(key), node))
                    .collect();
                write_items(out, ('{', '}'), &items, indent, level);
            }
        }
    }
}

fn write_items(
    out: &mut String,
    (open, close): (char, char),
    items: &[(Option<&Key>, &Node)],
    indent: Option<usize>,
    level: usize,
) {
    let line = |out: &mut String, level: usize| {
        if let Some(width) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * level));
        }
    };
    out.push(open);
    for (index, (key, node)) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        line(out, level + 1);
        if let Some(key) = key {
            write_text(out, &key.text);
            out.push_str(if indent.is_some() { ": " } else { ":" });
        }
        node.value.write_at(out, indent, level + 1);
    }
    if !items.is_empty() {
        line(out, level);
    }
    out.push(close);
}

/// A string with its quotes.
pub(crate) fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Beyond ASCII for the terminal's sake: C1 controls steer some.
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
