//! A manifest of one dialect written in the other.
//!
//! | shell | `manifest.json` |
//! |---|---|
//! | `key="text"` | `"key": "text"` |
//! | `minram=512`, `lbaas=true` | a number, a boolean |
//! | `customer_metadata='{…}'` | an object |
//!
//! What was read of either is read of the other: unknown keys come through, and of a key that stands twice the last value. Comments are
//! lost, for JSON has none.

use camino::Utf8Path;

use crate::codes::Code;
use crate::dialect::json::{self, Json, Key, Node};
use crate::dialect::json_manifest::payload_sign;
use crate::dialect::{STRUCTURES, shell, shell_write};
use crate::files::Folder;
use crate::manifest::KEYS;
use crate::naming::split_name_version;
use crate::problem::{Collector, Problem, Problems, Source, Span};

/// The languages of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `manifest`, shell assignments.
    Shell,
    /// `manifest.json`.
    Json,
}

impl Dialect {
    /// Name of its file.
    pub fn file(self) -> &'static str {
        match self {
            Self::Shell => "manifest",
            Self::Json => "manifest.json",
        }
    }

    /// The one that it is converted into.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Shell => Self::Json,
            Self::Json => Self::Shell,
        }
    }

    /// Those that a repository has.
    pub fn of(directory: &Utf8Path) -> Vec<Self> {
        [Self::Shell, Self::Json]
            .into_iter()
            .filter(|dialect| directory.join(dialect.file()).symlink_metadata().is_ok())
            .collect()
    }
}

/// A manifest in another dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The file's contents.
    pub text: String,
    /// Lines of the original with comments, which JSON can't hold.
    pub comments: usize,
    /// Keys that only the manifest that is replaced has, and that were taken over from it.
    pub kept: Vec<String>,
}

/// The manifest of a repository that is in `from`, in the other dialect.
///
/// # Errors
///
/// It can't be read; the problems say where. What it means is not looked at.
pub fn convert(directory: &Utf8Path, from: Dialect) -> Result<Converted, Problems> {
    let folder = Folder::open(directory)?;
    let mut problems = Collector::default();
    let contents = folder.manifest(from.file(), &mut problems);
    let Some(contents) = contents.filter(|_| !problems.has_errors()) else {
        return Err(Problems(problems.finish()));
    };
    // What only the one that is to be replaced says must not be lost.
    let old = folder
        .manifest(from.other().file(), &mut Collector::default())
        .map(|contents| contents.bytes);
    convert_texts(&contents.bytes, from, old.as_deref())
}

/// A manifest in the dialect `from`, in the other one.
///
/// # Errors
///
/// As [`convert`].
pub fn convert_text(bytes: &[u8], from: Dialect) -> Result<Converted, Problems> {
    convert_texts(bytes, from, None)
}

fn convert_texts(bytes: &[u8], from: Dialect, old: Option<&[u8]>) -> Result<Converted, Problems> {
    let mut problems = Collector::default();
    let source = Source {
        file: from.file().into(),
        bytes,
    };
    let converted = match from {
        Dialect::Shell => Some(to_json(source, old, &mut problems)),
        Dialect::Json => to_shell(source, old, &mut problems),
    };
    match converted {
        Some(converted) if !problems.has_errors() => Ok(converted),
        _ => Err(Problems(problems.finish())),
    }
}

fn node(value: Json) -> Node {
    Node {
        span: Span::default(),
        value,
    }
}

fn to_json(source: Source<'_>, old: Option<&[u8]>, problems: &mut Collector) -> Converted {
    let mut entries: Vec<(Key, Node)> = Vec::new();
    for assignment in shell::parse(source, problems) {
        let key = assignment.key.value;
        let text = assignment.value.text().unwrap_or_default();
        let value = match key.as_str() {
            "minram" | "maxram" | "disk_size"
                if text
                    .parse::<u32>()
                    .is_ok_and(|number| number.to_string() == text) =>
            {
                Json::Number(text.to_owned())
            }
            "lbaas" if text == "true" || text == "false" => Json::Bool(text == "true"),
            known if KEYS.contains(&known) && !STRUCTURES.contains(&known) => {
                Json::Text(text.to_owned())
            }
            _ => structure(text).unwrap_or_else(|| Json::Text(text.to_owned())),
        };
        entries.retain(|(other, _)| other.text != key);
        entries.push((
            Key {
                span: Span::default(),
                text: key,
            },
            node(value),
        ));
    }
    let mut kept = Vec::new();
    for (key, node) in old.map(object).unwrap_or_default() {
        if !says(&entries, &key.text) && !matches!(node.value, Json::Null) {
            kept.push(key.text.clone());
            entries.retain(|(other, _)| other.text != key.text);
            entries.push((key, node));
        }
    }
    let mut text = String::new();
    Json::Object(entries).write(&mut text, Some(2));
    text.push('\n');
    let comments = source
        .bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| line.trim_ascii_start().starts_with(b"#"))
        .count();
    Converted {
        text,
        comments,
        kept,
    }
}

/// The entries of a manifest.json that can be read; none of one that can't, or is no manifest.
fn object(bytes: &[u8]) -> Vec<(Key, Node)> {
    let source = Source {
        file: "manifest.json".into(),
        bytes,
    };
    let whole = Span {
        start: 0,
        end: bytes.len(),
    };
    match json::parse(source, whole).map(|node| node.value) {
        Ok(Json::Object(entries)) if payload_sign(&entries).is_none() => entries,
        _ => Vec::new(),
    }
}

/// Whether a key has a value that says something. A version may stand in the name.
fn says(entries: &[(Key, Node)], key: &str) -> bool {
    let text = |wanted: &str| {
        entries
            .iter()
            .rev()
            .find_map(|(key, node)| match &node.value {
                Json::Null => None,
                Json::Text(text) if key.text == wanted => Some(text.as_str()),
                _ if key.text == wanted => Some("something"),
                _ => None,
            })
    };
    text(key).is_some_and(|text| !text.trim().is_empty())
        || (key == "version" && text("name").is_some_and(|name| split_name_version(name).is_some()))
}

/// The object or list that a text is.
fn structure(text: &str) -> Option<Json> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let source = Source {
        file: "manifest".into(),
        bytes: text.as_bytes(),
    };
    let whole = Span {
        start: 0,
        end: text.len(),
    };
    json::parse(source, whole).ok().map(|node| node.value)
}

fn to_shell(source: Source<'_>, old: Option<&[u8]>, problems: &mut Collector) -> Option<Converted> {
    let whole = Span {
        start: 0,
        end: source.bytes.len(),
    };
    let node = match json::parse(source, whole) {
        Ok(node) => node,
        Err(problem) => {
            problems.push(*problem);
            return None;
        }
    };
    let span = node.span;
    let Json::Object(entries) = node.value else {
        let place = source.locate((), span);
        problems.push(place.problem(
            Code::JsonType,
            format!("a manifest must be an object, and is {}", node.value.kind()),
            "write it as {\"name\": …}",
        ));
        return None;
    };
    if let Some(sign) = payload_sign(&entries) {
        problems.push(Problem::of_file(
            Code::VmadmPayload,
            "manifest.json",
            format!("is a payload of `vmadm create` (it has `{sign}`), not a manifest"),
            "rename it to vm.json",
        ));
        return None;
    }
    let mut out = String::new();
    for (index, (key, node)) in entries.iter().enumerate() {
        if entries[index + 1..]
            .iter()
            .any(|(other, _)| other.text == key.text)
        {
            continue;
        }
        if !is_variable(&key.text) {
            problems.push(no_variable(source, key.span, &key.text));
            continue;
        }
        write(&mut out, source, key, node, problems);
    }
    let mut kept: Vec<String> = Vec::new();
    let old = old.map(|bytes| {
        let source = Source {
            file: "manifest".into(),
            bytes,
        };
        shell::parse(source, &mut Collector::default())
    });
    // Of equal keys the last counts.
    for assignment in old.iter().flatten().rev() {
        let key = &assignment.key.value;
        let text = assignment.value.text().unwrap_or_default();
        if !says(&entries, key) && !kept.contains(key) && !text.trim().is_empty() {
            kept.push(key.clone());
            shell_write::line(&mut out, key, text, false);
        }
    }
    Some(Converted {
        text: out,
        comments: 0,
        kept,
    })
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn no_variable(source: Source<'_>, span: Span, name: &str) -> Problem {
    source.locate((), span).problem(
        Code::BadKey,
        format!(
            "`{}` can't be the name of a shell variable",
            name.escape_debug()
        ),
        "use letters, digits and _; the first must be no digit",
    )
}

fn write(out: &mut String, source: Source<'_>, key: &Key, node: &Node, problems: &mut Collector) {
    match &node.value {
        // Says nothing in either dialect.
        Json::Null => shell_write::line(out, &key.text, "", false),
        Json::Bool(value) => shell_write::line(out, &key.text, &value.to_string(), true),
        Json::Number(text) => shell_write::line(out, &key.text, text, true),
        Json::Text(text) => {
            if let Some(bad) = text
                .chars()
                .find(|&c| c.is_control() && c != '\t' && c != '\n')
            {
                problems.push(source.locate((), node.span).problem(
                    Code::ControlCharacter,
                    format!("the control character U+{:04X} in a value", u32::from(bad)),
                    "remove it",
                ));
                return;
            }
            shell_write::line(out, &key.text, text, false);
        }
        Json::List(nodes) if matches!(key.text.as_str(), "users" | "billingtags" | "networks") => {
            words(out, source, key, nodes, problems);
        }
        value @ (Json::List(_) | Json::Object(_)) => {
            let mut text = String::new();
            value.write(&mut text, None);
            shell_write::line(out, &key.text, &text, false);
        }
    }
}

/// Words with blanks between them, and the descriptions of networks.
fn words(
    out: &mut String,
    source: Source<'_>,
    key: &Key,
    nodes: &[Node],
    problems: &mut Collector,
) {
    let mut words = Vec::new();
    let mut more = Vec::new();
    for node in nodes {
        let field = |wanted: &str| match &node.value {
            Json::Text(text) if wanted == "name" => Some(text),
            Json::Object(entries) => {
                entries
                    .iter()
                    .rev()
                    .find_map(|(key, node)| match &node.value {
                        Json::Text(text) if key.text == wanted => Some(text),
                        _ => None,
                    })
            }
            _ => None,
        };
        match field("name") {
            Some(name) if !name.is_empty() && !name.contains(char::is_whitespace) => {
                words.push(name.as_str());
                if key.text == "networks" {
                    let description = field("description").filter(|_| key.text == "networks");
                    if description.is_some() && !is_variable(name) {
                        problems.push(no_variable(source, node.span, name));
                    }
                    more.extend(description.map(|description| (name, description)));
                }
            }
            _ => problems.push(source.locate((), node.span).problem(
                Code::JsonType,
                format!("`{}` must be words, and this is none", key.text),
                "write [\"one\", \"other\"]",
            )),
        }
    }
    shell_write::line(out, &key.text, &words.join(" "), false);
    for (name, description) in more {
        shell_write::line(out, name, description, false);
    }
}
