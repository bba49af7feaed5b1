//! The languages that manifests are written in.
//!
//! Each dialect turns a file into [`Assignment`]s; what the keys mean is decided once, in `manifest.rs`.

pub(crate) mod json;
pub(crate) mod json_manifest;
pub(crate) mod shell;
mod shell_values;
pub(crate) mod shell_write;
pub(crate) mod structure;

use serde_json::{Map, Value};

use crate::metadata::Metadata;
use crate::problem::Located;

/// Keys whose values have parts. The shell dialect holds them as JSON in single quotes, which is what the other tool of this field makes of
/// them when it is asked for a shell manifest (deploy-zone, docs/building.md).
pub(crate) const STRUCTURES: [&str; 3] = ["customer_metadata", "internal_metadata", "requirements"];

/// A key with its value, each with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) key: Located<String>,
    pub(crate) value: Located<Written>,
}

/// A value as a manifest holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Written {
    Text(String),
    Metadata(Vec<Metadata>),
    Requirements(Map<String, Value>),
}

impl Written {
    /// The text, of values that are one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}
