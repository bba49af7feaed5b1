//! Values with parts: metadata keys and requirements.

use serde_json::{Map, Value};

use crate::codes::Code;
use crate::dialect::json::{self, Json, Node};
use crate::dialect::{Assignment, STRUCTURES, Written};
use crate::metadata::{Metadata, MetadataType};
use crate::problem::{Collector, Located, Source, Span};

/// Longest metadata key, in characters, and longest description.
const KEY_LENGTH: usize = 256;
const DESCRIPTION_LENGTH: usize = 10_240;

/// Reads structures: where they stand, and whom to tell of mistakes.
pub(crate) struct Reader<'a, 'b> {
    pub(crate) source: Source<'a>,
    pub(crate) problems: &'b mut Collector,
    /// The value that all mistakes are shown at, when places inside of it are not those of the file.
    pub(crate) at: Option<Span>,
}

impl Reader<'_, '_> {
    pub(crate) fn tell(
        &mut self,
        span: Span,
        code: Code,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let place = self.located((), span);
        self.problems.push(place.problem(code, message, advice));
    }

    fn located<T>(&self, value: T, span: Span) -> Located<T> {
        self.source.locate(value, self.at.unwrap_or(span))
    }

    /// The entries of an object, the last of equal ones, in the order of their first.
    pub(crate) fn object(&mut self, node: Node, what: &str) -> Option<Vec<(json::Key, Node)>> {
        let Json::Object(entries) = node.value else {
            let message = format!("{what} must be an object, and is {}", node.value.kind());
            self.tell(
                node.span,
                Code::JsonType,
                message,
                "write it as {\"key\": …}",
            );
            return None;
        };
        Some(self.once(entries))
    }

    fn once(&mut self, entries: Vec<(json::Key, Node)>) -> Vec<(json::Key, Node)> {
        let mut kept: Vec<(json::Key, Node)> = Vec::with_capacity(entries.len());
        let mut places = std::collections::HashMap::new();
        for (key, node) in entries {
            if let Some(&place) = places.get(&key.text) {
                let message = format!(
                    "`{}` stands twice in this object; the last one counts",
                    key.text.escape_debug()
                );
                self.tell(
                    key.span,
                    Code::JsonDuplicate,
                    message,
                    "remove one of the two",
                );
                kept[place] = (key, node);
            } else {
                places.insert(key.text.clone(), kept.len());
                kept.push((key, node));
            }
        }
        kept
    }

    pub(crate) fn value(&mut self, key: &str, node: Node) -> Option<Written> {
        match key {
            "requirements" => self.requirements(node).map(Written::Requirements),
            _ => self.metadata(key, node).map(Written::Metadata),
        }
    }

    fn metadata(&mut self, what: &str, node: Node) -> Option<Vec<Metadata>> {
        let entries = self.object(node, &format!("`{what}`"))?;
        let mut metadata = Vec::new();
        for (key, node) in entries {
            let bad = key.text.is_empty()
                || key.text.chars().count() > KEY_LENGTH
                || key
                    .text
                    .contains(|c: char| c.is_whitespace() || c.is_control());
            if bad {
                let shown: String = key.text.escape_debug().take(80).collect();
                self.tell(
                    key.span,
                    Code::MetadataKey,
                    format!("`{shown}` can't be a metadata key"),
                    "use letters, digits and signs without blanks, at most 256 of them",
                );
                continue;
            }
            let key = self.located(key.text, key.span);
            if let Some(entry) = self.entry(key, node) {
                metadata.push(entry);
            }
        }
        Some(metadata)
    }

    fn entry(&mut self, key: Located<String>, node: Node) -> Option<Metadata> {
        let mut entry = Metadata {
            key,
            kind: None,
            description: None,
            required: false,
            secret: false,
        };
        let shown = entry.key.value.clone();
        for (field, node) in self.object(node, &format!("what is said of `{shown}`"))? {
            match (field.text.as_str(), node.value) {
                (_, Json::Null) => {}
                ("type", Json::Text(name)) => entry.kind = self.kind(node.span, &name),
                ("description", Json::Text(text)) => {
                    entry.description = self.description(node.span, text);
                }
                ("required", Json::Bool(value)) => entry.required = value,
                ("secret", Json::Bool(value)) => entry.secret = value,
                ("type" | "description", value) => {
                    let message = format!(
                        "`{}` of `{shown}` must be a string, and is {}",
                        field.text,
                        value.kind()
                    );
                    self.tell(
                        node.span,
                        Code::JsonType,
                        message,
                        "put it in double quotes",
                    );
                }
                ("required" | "secret", value) => {
                    let message = format!(
                        "`{}` of `{shown}` must be true or false, and is {}",
                        field.text,
                        value.kind()
                    );
                    self.tell(
                        node.span,
                        Code::JsonType,
                        message,
                        "write true or false, without quotes",
                    );
                }
                (other, _) => {
                    let message = format!("`{}` of `{shown}` is not used", other.escape_debug());
                    self.tell(
                        field.span,
                        Code::MetadataField,
                        message,
                        "used are type, description, required and secret",
                    );
                }
            }
        }
        Some(entry)
    }

    fn kind(&mut self, span: Span, name: &str) -> Option<MetadataType> {
        match name {
            "text" => return Some(MetadataType::Text),
            "boolean" => return Some(MetadataType::Boolean),
            "number" => return Some(MetadataType::Number),
            _ => {}
        }
        let (meant, advice) = match name {
            "bool" => (Some(MetadataType::Boolean), "write boolean"),
            "string" => (Some(MetadataType::Text), "write text"),
            "integer" | "int" | "float" => (Some(MetadataType::Number), "write number"),
            _ => (None, "write text, boolean or number"),
        };
        let message = format!("no such type of metadata: `{}`", name.escape_debug());
        self.tell(span, Code::MetadataType, message, advice);
        meant
    }

    fn description(&mut self, span: Span, text: String) -> Option<String> {
        if text.chars().count() > DESCRIPTION_LENGTH {
            self.tell(
                span,
                Code::TooLong,
                format!("a description of more than {DESCRIPTION_LENGTH} characters"),
                "shorten it",
            );
            return None;
        }
        if let Some(bad) = text
            .chars()
            .find(|&c| c.is_control() && c != '\n' && c != '\t')
        {
            let message = format!(
                "the control character U+{:04X} in a description",
                u32::from(bad)
            );
            self.tell(span, Code::ControlCharacter, message, "remove it");
            return None;
        }
        (!text.is_empty()).then_some(text)
    }

    /// The form is that of `requirements` in an image manifest; image servers look closer.
    fn requirements(&mut self, node: Node) -> Option<Map<String, Value>> {
        let mut requirements = Map::new();
        for (key, node) in self.object(node, "`requirements`")? {
            let good = match key.text.as_str() {
                "min_ram" | "max_ram" => match &node.value {
                    Json::Number(text) => text.parse::<u32>().is_ok_and(|mebibytes| mebibytes > 0),
                    _ => false,
                },
                "networks" => match &node.value {
                    Json::List(networks) => {
                        networks.iter().all(|network| is_network(&network.value))
                    }
                    _ => false,
                },
                "min_platform" | "max_platform" => match &node.value {
                    Json::Object(entries) => entries
                        .iter()
                        .all(|(_, node)| matches!(node.value, Json::Text(_))),
                    _ => false,
                },
                "brand" | "bootrom" => matches!(node.value, Json::Text(_)),
                "ssh_key" => matches!(node.value, Json::Bool(_)),
                other => {
                    let message = format!(
                        "`{}` is no requirement of images, and image servers refuse it",
                        other.escape_debug()
                    );
                    self.tell(
                        key.span,
                        Code::JsonType,
                        message,
                        "there are networks, brand, bootrom, ssh_key, min_ram, max_ram, min_platform and max_platform",
                    );
                    continue;
                }
            };
            if good {
                requirements.insert(key.text, node.value.to_serde());
            } else {
                let advice = match key.text.as_str() {
                    "min_ram" | "max_ram" => "write a whole number of MiB, without quotes",
                    "networks" => "write [{\"name\": \"net0\", \"description\": \"public\"}]",
                    "min_platform" | "max_platform" => "write {\"7.0\": \"20220407T001427Z\"}",
                    "ssh_key" => "write true or false, without quotes",
                    _ => "write a string",
                };
                let message = format!("`{}` of the requirements can't be this", key.text);
                self.tell(node.span, Code::JsonType, message, advice);
            }
        }
        Some(requirements)
    }
}

fn is_network(network: &Json) -> bool {
    let Json::Object(entries) = network else {
        return false;
    };
    entries.iter().any(|(key, _)| key.text == "name")
        && entries
            .iter()
            .all(|(_, node)| matches!(node.value, Json::Text(_)))
}

/// Reads the values of a shell manifest that are JSON.
pub(crate) fn read_embedded(
    source: Source<'_>,
    assignments: &mut Vec<Assignment>,
    problems: &mut Collector,
) {
    assignments.retain_mut(|assignment| {
        let Some(text) = assignment.value.text() else {
            return true;
        };
        if !STRUCTURES.contains(&assignment.key.as_str()) || text.trim().is_empty() {
            return true;
        }
        let span = assignment.value.location.span;
        let plain = source.bytes.get(span.start..span.end) == Some(text.as_bytes());
        let parsed = if plain {
            json::parse(source, span)
        } else {
            let inner = Source {
                file: source.file,
                bytes: text.as_bytes(),
            };
            json::parse(
                inner,
                Span {
                    start: 0,
                    end: text.len(),
                },
            )
            .map_err(|mut problem| {
                problem.location = Some(assignment.value.location.clone());
                problem
            })
        };
        let node = match parsed {
            Ok(node) => node,
            Err(problem) => {
                problems.push(*problem);
                return false;
            }
        };
        let mut reader = Reader {
            source,
            problems,
            at: (!plain).then_some(span),
        };
        match reader.value(&assignment.key, node) {
            Some(value) => {
                assignment.value.value = value;
                true
            }
            None => false,
        }
    });
}
