//! `manifest.json`, the newer dialect: the same keys, with metadata and requirements.

use crate::codes::Code;
use crate::dialect::json::{self, Json, Node};
use crate::dialect::structure::Reader;
use crate::dialect::{Assignment, STRUCTURES, Written};
use crate::problem::{Collector, Source, Span};

/// What a manifest.json is.
pub(crate) enum Contents {
    /// A manifest.
    Manifest(Vec<Assignment>),
    /// A payload of `vmadm create`; the key that shows it.
    Payload(&'static str),
    /// Neither; the problems say why.
    Wrong,
}

/// Keys of a machine that no image has.
const OF_MACHINES: [&str; 8] = [
    "image_uuid",
    "nics",
    "autoboot",
    "max_physical_memory",
    "zfs_io_priority",
    "filesystems",
    "disks",
    "resolvers",
];

/// Reads the file.
pub(crate) fn parse(source: Source<'_>, problems: &mut Collector) -> Contents {
    let whole = Span {
        start: 0,
        end: source.bytes.len(),
    };
    let node = match json::parse(source, whole) {
        Ok(node) => node,
        Err(problem) => {
            problems.push(*problem);
            return Contents::Wrong;
        }
    };
    let mut reader = Reader {
        source,
        problems,
        at: None,
    };
    let Some(entries) = reader.object(node, "a manifest") else {
        return Contents::Wrong;
    };
    if let Some(sign) = payload_sign(&entries) {
        return Contents::Payload(sign);
    }
    let mut assignments = Vec::new();
    for (key, node) in entries {
        let span = node.span;
        for (name, value) in values(&mut reader, &key.text, node) {
            assignments.push(Assignment {
                key: source.locate(name, key.span),
                value: source.locate(value, inside(source, span)),
            });
        }
    }
    Contents::Manifest(assignments)
}

/// The key that shows that this is no manifest, but a payload of `vmadm create`.
pub(crate) fn payload_sign(entries: &[(json::Key, Node)]) -> Option<&'static str> {
    let has = |wanted: &str| entries.iter().any(|(key, _)| key.text == wanted);
    OF_MACHINES
        .into_iter()
        .find(|key| has(key) && !has("version"))
}

/// The bytes of a string without its quotes, so that a message marks the value itself.
fn inside(source: Source<'_>, span: Span) -> Span {
    if source.bytes.get(span.start) == Some(&b'"') && span.end > span.start + 1 {
        Span {
            start: span.start + 1,
            end: span.end - 1,
        }
    } else {
        span
    }
}

/// What an entry says, in the words of the shell dialect.
fn values(reader: &mut Reader<'_, '_>, key: &str, node: Node) -> Vec<(String, Written)> {
    if matches!(node.value, Json::Null) {
        return Vec::new();
    }
    if STRUCTURES.contains(&key) {
        let value = reader.value(key, node);
        return value
            .map(|value| (key.to_owned(), value))
            .into_iter()
            .collect();
    }
    let one = |text: String| vec![(key.to_owned(), Written::Text(text))];
    match (key, node.value) {
        ("minram" | "maxram" | "disk_size" | "metadata", Json::Number(text)) => one(text),
        ("lbaas", Json::Bool(value)) => one(value.to_string()),
        ("users" | "networks" | "billingtags", Json::List(nodes)) => list(reader, key, nodes),
        (_, Json::Text(text)) => match text.chars().find(|&c| is_steering(c)) {
            None => one(text),
            Some(bad) => {
                let message = format!(
                    "the control character U+{:04X} in `{}`",
                    u32::from(bad),
                    key.escape_debug()
                );
                reader.tell(node.span, Code::ControlCharacter, message, "remove it");
                Vec::new()
            }
        },
        (key, value) if crate::manifest::KEYS.contains(&key) => {
            let message = format!("`{key}` must be a string, and is {}", value.kind());
            let advice = match &value {
                Json::Number(text) => format!("write \"{text}\", in double quotes"),
                _ => "write it as one string in double quotes".to_owned(),
            };
            reader.tell(node.span, Code::JsonType, message, advice);
            Vec::new()
        }
        // Of no known meaning; what becomes of it is said where the keys are known.
        (_, value) => {
            let mut text = String::new();
            value.write(&mut text, None);
            one(text)
        }
    }
}

/// Which keys may have several lines is decided where the keys are known.
fn is_steering(character: char) -> bool {
    character.is_control() && character != '\t' && character != '\n'
}

/// A list of words: strings, or objects with a name (and, for networks, a description).
fn list(reader: &mut Reader<'_, '_>, key: &str, nodes: Vec<Node>) -> Vec<(String, Written)> {
    let mut words = Vec::new();
    let mut more = Vec::new();
    for node in nodes {
        let (name, description) = match &node.value {
            Json::Text(text) => (Some(text), None),
            Json::Object(entries) if key != "billingtags" => {
                let field = |wanted: &str| {
                    entries
                        .iter()
                        .rev()
                        .find_map(|(key, node)| match &node.value {
                            Json::Text(text) if key.text == wanted => Some(text),
                            _ => None,
                        })
                };
                (field("name"), field("description"))
            }
            _ => (None, None),
        };
        let Some(name) = name.filter(|name| {
            !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
        }) else {
            let message = format!("`{key}` must be words, and this is none");
            let advice = match key {
                "networks" => {
                    "write [\"net0\"] or [{\"name\": \"net0\", \"description\": \"public\"}]"
                }
                _ => "write [\"one\", \"other\"]",
            };
            reader.tell(node.span, Code::JsonType, message, advice);
            continue;
        };
        words.push(name.clone());
        if key == "networks"
            && let Some(description) = description
        {
            more.push((name.clone(), Written::Text(description.clone())));
        }
    }
    more.insert(0, (key.to_owned(), Written::Text(words.join(" "))));
    more
}
