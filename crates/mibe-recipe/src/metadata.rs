//! What machines of an image are told: the keys of `customer_metadata` and `internal_metadata`, and the image tags that name them.
//!
//! The form of the tags is that of deploy-zone's `docs/metadata_tags.md`; `required` and `secret` are additions of mibe in the same
//! form.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::problem::Located;
use crate::recipe::Recipe;

/// What a metadata value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataType {
    /// Any text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
}

impl MetadataType {
    /// Its name in tags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Number => "number",
        }
    }
}

/// A metadata key that machines of the image read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The key: no blanks, at most 256 characters.
    pub key: Located<String>,
    /// What its value is; text, where nothing says so.
    pub kind: Option<MetadataType>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether machines can't do without.
    pub required: bool,
    /// Whether it should not be shown.
    pub secret: bool,
}

/// A metadata key without places, as [`crate::Summary`] has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetadataSummary {
    /// The key.
    pub key: String,
    /// What its value is.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<MetadataType>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether machines can't do without.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Whether it should not be shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

impl Metadata {
    /// Without its place.
    pub fn summary(&self) -> MetadataSummary {
        MetadataSummary {
            key: self.key.value.clone(),
            kind: self.kind,
            description: self.description.clone(),
            required: self.required,
            secret: self.secret,
        }
    }
}

impl Recipe {
    /// The image tags that tell of the metadata keys; empty when there are none.
    ///
    /// `customer_metadata_keys` holds the keys with blanks between them; `customer_metadata_type:KEY`,
    /// `customer_metadata_description:KEY`, `customer_metadata_required:KEY` and `customer_metadata_secret:KEY` say more where the
    /// manifest does; the same with `internal_`.
    pub fn metadata_tags(&self) -> Map<String, Value> {
        let mut tags = Map::new();
        for (prefix, entries) in [
            ("customer_metadata", &self.customer_metadata),
            ("internal_metadata", &self.internal_metadata),
        ] {
            if entries.is_empty() {
                continue;
            }
            let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
            tags.insert(format!("{prefix}_keys"), keys.join(" ").into());
            for entry in entries {
                let key = entry.key.as_str();
                if let Some(kind) = entry.kind {
                    tags.insert(format!("{prefix}_type:{key}"), kind.name().into());
                }
                if let Some(description) = &entry.description {
                    tags.insert(
                        format!("{prefix}_description:{key}"),
                        description.as_str().into(),
                    );
                }
                if entry.required {
                    tags.insert(format!("{prefix}_required:{key}"), true.into());
                }
                if entry.secret {
                    tags.insert(format!("{prefix}_secret:{key}"), true.into());
                }
            }
        }
        tags
    }
}
