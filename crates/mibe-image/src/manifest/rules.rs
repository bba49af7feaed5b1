//! The rules that types don't express.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::file::FinishedFile;
use crate::manifest::{FileCompression, ImageType, Manifest, Requirements};

const NAME_LENGTH: usize = 512;
const VERSION_LENGTH: usize = 128;
const DESCRIPTION_LENGTH: usize = 10_240;
const URL_LENGTH: usize = 1024;
const BILLING_TAG_LENGTH: usize = 128;
const TAGS_LENGTH: usize = 100 << 10;
/// Platforms older than images of version 2.
const OLDEST_PLATFORM: u32 = 2012;

/// A rule that a manifest breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, with dots between levels ("requirements.min_ram").
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.field, self.message)
    }
}

#[derive(Default)]
struct Rules(Vec<Violation>);

impl Rules {
    fn must(&mut self, holds: bool, field: &str, message: impl Into<String>) {
        if !holds {
            self.0.push(Violation {
                field: field.to_owned(),
                message: message.into(),
            });
        }
    }

    fn uuid(&mut self, text: &str, field: &str) {
        self.must(
            is_uuid(text),
            field,
            "is not a UUID in lower-case hexadecimal",
        );
    }

    fn url(&mut self, url: Option<&String>, field: &str) {
        let Some(url) = url else { return };
        let http = ["http://", "https://"].iter().any(|scheme| {
            url.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
                && url.len() > scheme.len()
        });
        self.must(http, field, "is not an http or https URL");
        self.at_most(url, URL_LENGTH, field);
    }

    /// Lengths count as JavaScript counts them: in UTF-16 units.
    fn at_most(&mut self, text: &str, most: usize, field: &str) {
        let length = text.encode_utf16().count();
        self.must(
            length <= most,
            field,
            format!("has {length} characters, of which {most} may be"),
        );
    }
}

impl Manifest {
    /// Every rule that the manifest breaks; none for one that image servers and `imgadm` take.
    pub fn validate(&self) -> Vec<Violation> {
        let mut rules = Rules::default();
        rules.uuid(&self.uuid, "uuid");
        if let Some(owner) = &self.owner {
            rules.uuid(owner, "owner");
        }
        if let Some(origin) = &self.origin {
            rules.uuid(origin, "origin");
        }
        for account in self.acl.iter().flatten() {
            rules.uuid(account, "acl");
        }
        let name_char = |c: char| c.is_ascii_alphanumeric() || "._/ -".contains(c);
        let good = !self.name.is_empty() && self.name.chars().all(name_char);
        rules.must(
            good,
            "name",
            "must be of letters, digits, . _ / - and blanks",
        );
        rules.at_most(&self.name, NAME_LENGTH, "name");
        let version_char = |c: char| c.is_ascii_alphanumeric() || "._/+-".contains(c);
        let good = !self.version.is_empty() && self.version.chars().all(version_char);
        rules.must(good, "version", "must be of letters, digits and . _ / + -");
        rules.at_most(&self.version, VERSION_LENGTH, "version");
        if let Some(description) = &self.description {
            rules.at_most(description, DESCRIPTION_LENGTH, "description");
        }
        rules.url(self.homepage.as_ref(), "homepage");
        rules.url(self.eula.as_ref(), "eula");
        if let Some(time) = &self.published_at {
            rules.must(
                is_time(time),
                "published_at",
                "is not of the form YYYY-MM-DDTHH:MM:SSZ or YYYY-MM-DDTHH:MM:SS.mmmZ",
            );
        }
        if self.activated == Some(true) {
            rules.must(
                self.published_at.is_some(),
                "published_at",
                "must be there when activated is true",
            );
            rules.must(
                self.files.is_some(),
                "files",
                "must be there when activated is true",
            );
        }
        self.files_rules(&mut rules);
        if let Some(requirements) = &self.requirements {
            requirements.rules(&mut rules);
        }
        for tag in self.billing_tags.iter().flatten() {
            rules.at_most(tag, BILLING_TAG_LENGTH, "billing_tags");
        }
        for (name, value) in self.traits.iter().flatten() {
            let good = matches!(value, Value::String(_) | Value::Bool(_) | Value::Array(_));
            rules.must(
                good,
                "traits",
                format!("{name} is neither a string, a boolean nor an array"),
            );
        }
        if let Some(tags) = &self.tags {
            let length =
                serde_json::to_string(tags).map_or(usize::MAX, |json| json.encode_utf16().count());
            rules.must(
                length <= TAGS_LENGTH,
                "tags",
                format!("are {length} characters of JSON, of which {TAGS_LENGTH} may be"),
            );
        }
        rules.must(
            self.inherited_directories.is_none() || self.kind == ImageType::ZoneDataset,
            "inherited_directories",
            "can only be in an image of type zone-dataset",
        );
        self.volume_rules(&mut rules);
        rules.0
    }

    fn files_rules(&self, rules: &mut Rules) {
        let Some(files) = &self.files else { return };
        let most = if self.kind == ImageType::Lxd { 2 } else { 1 };
        rules.must(
            files.len() <= most,
            "files",
            format!("has {} entries, of which {most} may be", files.len()),
        );
        for file in files {
            rules.must(
                is_hex(&file.sha1, 40),
                "files",
                "has a sha1 that is not 40 lower-case hexadecimal digits",
            );
            rules.must(file.size > 0, "files", "has a size of 0");
            if let Some(guid) = &file.dataset_guid {
                let good = guid
                    .parse::<u64>()
                    .is_ok_and(|number| number > 0 && number.to_string() == *guid);
                rules.must(
                    good,
                    "files",
                    "has a dataset_guid that is not a positive 64-bit number in decimal",
                );
            }
            if let Some(md5) = &file.md5 {
                let base64 = md5.len() == 24 && md5.ends_with("==");
                rules.must(
                    is_hex(md5, 32) || base64,
                    "files",
                    "has an md5 that is not 32 hexadecimal digits",
                );
            }
        }
    }

    fn volume_rules(&self, rules: &mut Rules) {
        let volume = self.kind == ImageType::Zvol;
        let drivers = [
            ("nic_driver", &self.nic_driver),
            ("disk_driver", &self.disk_driver),
            ("cpu_type", &self.cpu_type),
        ];
        for (field, value) in drivers {
            rules.must(
                value.is_none() || volume,
                field,
                "can only be in an image of type zvol",
            );
            rules.must(
                value.as_ref().is_none_or(|value| !value.is_empty()),
                field,
                "is empty",
            );
        }
        rules.must(
            self.image_size.is_none() || volume,
            "image_size",
            "can only be in an image of type zvol",
        );
        rules.must(self.image_size != Some(0), "image_size", "is 0");
        rules.must(
            self.channels.is_none(),
            "channels",
            "can only be in an image on a server that has channels",
        );
    }

    /// Where the manifest does not say of a file what the file is.
    pub(crate) fn differences(&self, file: &FinishedFile) -> Vec<Violation> {
        let mut rules = Rules::default();
        match self.files.as_deref() {
            Some([entry]) => {
                rules.must(
                    entry.sha1 == file.sha1,
                    "files",
                    format!("has another sha1 than the file, {}", file.sha1),
                );
                rules.must(
                    entry.size == file.size,
                    "files",
                    format!("has another size than the file, {}", file.size),
                );
                let compression = FileCompression::from(file.compression);
                rules.must(
                    entry.compression == compression,
                    "files",
                    format!("has another compression than the file, {compression}"),
                );
            }
            _ => rules.must(false, "files", "must have one entry"),
        }
        rules.0
    }
}

impl Requirements {
    fn rules(&self, rules: &mut Rules) {
        for (field, value) in [
            ("requirements.min_ram", self.min_ram),
            ("requirements.max_ram", self.max_ram),
        ] {
            rules.must(value != Some(0), field, "is 0");
        }
        if let (Some(least), Some(most)) = (self.min_ram, self.max_ram) {
            rules.must(
                least <= most,
                "requirements.max_ram",
                format!("is below min_ram, {least}"),
            );
        }
        platform_rules(
            self.min_platform.as_ref(),
            "requirements.min_platform",
            rules,
        );
        platform_rules(
            self.max_platform.as_ref(),
            "requirements.max_platform",
            rules,
        );
        if let Some(bootrom) = &self.bootrom {
            let field = "requirements.bootrom";
            rules.must(
                self.brand.as_deref() == Some("bhyve"),
                field,
                "can only be with the brand bhyve",
            );
            rules.must(
                matches!(bootrom.as_str(), "bios" | "uefi"),
                field,
                "is neither bios nor uefi",
            );
        }
    }
}

fn platform_rules(platforms: Option<&BTreeMap<String, String>>, field: &str, rules: &mut Rules) {
    let Some(platforms) = platforms else { return };
    rules.must(!platforms.is_empty(), field, "is empty");
    for (release, platform) in platforms {
        rules.must(
            is_platform(platform),
            field,
            format!("for {release} is not of the form YYYYMMDDTHHMMSSZ, from 2012 on"),
        );
    }
}

pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `text` has the form of `form`, in which `0` stands for any digit.
fn has_form(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, wanted)| {
            if wanted == b'0' {
                byte.is_ascii_digit()
            } else {
                byte == wanted
            }
        })
}

/// A time of `published_at`; other digits of a second than none or three are refused by servers.
pub(crate) fn is_time(text: &str) -> bool {
    (has_form(text, "0000-00-00T00:00:00Z") || has_form(text, "0000-00-00T00:00:00.000Z"))
        && text.parse::<jiff::Timestamp>().is_ok()
}

fn is_platform(text: &str) -> bool {
    if !has_form(text, "00000000T000000Z") {
        return false;
    }
    let number = |range: std::ops::Range<usize>| {
        text.get(range)
            .and_then(|digits| digits.parse::<u32>().ok())
    };
    number(0..4) >= Some(OLDEST_PLATFORM)
        && number(4..6).is_some_and(|month| (1..=12).contains(&month))
        && number(6..8).is_some_and(|day| (1..=31).contains(&day))
        && number(9..11) < Some(24)
        && number(11..13) < Some(60)
        && number(13..15) < Some(60)
}
