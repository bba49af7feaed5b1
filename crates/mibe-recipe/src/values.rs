//! The rules of single values: each is checked where it stands, and typed.

use crate::codes::Code;
use crate::manifest::{Keys, TEXT_LENGTH};
use crate::naming::is_uuid;
use crate::problem::Located;

/// Longest description, in characters, and longest URL: the rules of the image manifest.
const DESCRIPTION_LENGTH: usize = 10_240;
const URL_LENGTH: usize = 1024;
const BILLING_TAG_LENGTH: usize = 128;

impl Keys<'_> {
    pub(crate) fn description(&mut self) -> Option<Located<String>> {
        let value = self.take("description")?;
        self.bounded(value, "description", DESCRIPTION_LENGTH)
    }

    pub(crate) fn homepage(&mut self) -> Option<Located<String>> {
        let value = self.take("homepage")?;
        let value = self.bounded(value, "homepage", URL_LENGTH)?;
        let rest = ["http://", "https://"]
            .iter()
            .find(|scheme| {
                value
                    .get(..scheme.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            })
            .map(|scheme| &value[scheme.len()..]);
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
            self.tell(
                &value,
                Code::BadHomepage,
                "the homepage is not an http or https URL, and image servers refuse such an image",
                "write it as https://…",
            );
            return None;
        }
        Some(value)
    }

    pub(crate) fn users(&mut self) -> Vec<Located<String>> {
        let mut users: Vec<Located<String>> = Vec::new();
        for user in self.words("users") {
            let name = &user.value;
            let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
                && name.len() <= 32;
            if !good {
                let message = format!("`{}` is no user name", name.escape_debug());
                self.tell(
                    &user,
                    Code::BadUser,
                    message,
                    "write user names with blanks between them: users=\"root admin\"",
                );
            } else if users.iter().any(|other| other.value == *name) {
                let message = format!("the user `{name}` is named twice");
                self.tell(&user, Code::DuplicateUser, message, "remove one of the two");
            } else {
                users.push(user);
            }
        }
        users
    }

    /// The words of a value, each with the place of the value.
    pub(crate) fn words(&self, key: &str) -> Vec<Located<String>> {
        self.take(key).map_or_else(Vec::new, |value| {
            value
                .split_whitespace()
                .map(|word| value.with(word.to_owned()))
                .collect()
        })
    }

    pub(crate) fn lbaas(&mut self) -> Option<Located<bool>> {
        let value = self.take("lbaas")?;
        match value.value.as_str() {
            "true" => Some(value.with(true)),
            "false" => Some(value.with(false)),
            _ => {
                self.tell(
                    &value,
                    Code::BadBoolean,
                    "`lbaas` is neither true nor false",
                    "write lbaas=true or leave it out",
                );
                None
            }
        }
    }

    pub(crate) fn billing_tags(&mut self) -> Vec<Located<String>> {
        self.words("billingtags")
            .into_iter()
            .filter_map(|tag| self.bounded(tag, "billingtags", BILLING_TAG_LENGTH))
            .collect()
    }

    pub(crate) fn base(&mut self) -> Option<Located<String>> {
        let value = self.take("base")?;
        let value = self.bounded(value, "base", TEXT_LENGTH)?;
        let hex = value.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        let dashes = value.matches('-').count();
        if hex && dashes == 4 && !is_uuid(&value.to_ascii_lowercase()) {
            let message = format!(
                "the base looks like a UUID, but has {} characters and not 36, or its dashes elsewhere",
                value.len()
            );
            self.tell(
                &value,
                Code::BadUuid,
                message,
                "copy it again from `imgadm list` or the image's page",
            );
            return None;
        }
        if is_uuid(&value.to_ascii_lowercase()) {
            return Some(value.with(value.to_ascii_lowercase()));
        }
        Some(value)
    }

    /// A whole number of MiB.
    pub(crate) fn ram(&mut self, key: &str) -> Option<Located<u32>> {
        let value = self.take(key)?;
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.value.parse::<u32>() {
            Ok(mebibytes) if digits && mebibytes > 0 => Some(value.with(mebibytes)),
            _ => {
                let message = format!("`{key}` is not a whole number of MiB above 0");
                self.tell(
                    &value,
                    Code::BadNumber,
                    message,
                    format!("write {key}=512 for 512 MiB"),
                );
                None
            }
        }
    }

    pub(crate) fn uuid(&mut self, key: &str) -> Option<Located<String>> {
        let value = self.take(key)?;
        let lower = value.to_ascii_lowercase();
        if is_uuid(&lower) {
            return Some(value.with(lower));
        }
        let message = format!("`{key}` is not a UUID");
        self.tell(
            &value,
            Code::BadUuid,
            message,
            "a UUID is 36 characters: 208f9314-29cf-4bec-9d8b-c0697d00c929",
        );
        None
    }

    pub(crate) fn kernel_version(&mut self) -> Option<Located<String>> {
        let value = self.take("kernel_version")?;
        let good = value.starts_with(|c: char| c.is_ascii_digit())
            && value.contains('.')
            && value.len() <= 64
            && value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c));
        if !good {
            self.tell(
                &value,
                Code::BadKernelVersion,
                "this is no version of a Linux kernel",
                "write it as kernel_version=\"5.10.0\"",
            );
            return None;
        }
        Some(value)
    }

    pub(crate) fn min_platform(&mut self) -> Option<Located<String>> {
        let value = self.take("min_platform")?;
        let number = |range: std::ops::Range<usize>| {
            value.get(range).and_then(|text| text.parse::<u32>().ok())
        };
        let good = value.len() == 16
            && value.bytes().enumerate().all(|(index, byte)| match index {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            })
            && number(0..4) >= Some(2012)
            && number(4..6).is_some_and(|month| (1..=12).contains(&month))
            && number(6..8).is_some_and(|day| (1..=31).contains(&day))
            && number(9..11) < Some(24)
            && number(11..13) < Some(60)
            && number(13..15) < Some(60);
        if !good {
            self.tell(
                &value,
                Code::BadPlatform,
                "this is no version of a SmartOS platform",
                "write the time that `uname -v` shows on it: min_platform=\"20220407T001427Z\"",
            );
            return None;
        }
        Some(value)
    }

    pub(crate) fn compression(&mut self) -> Option<Located<String>> {
        let value = self.take("compression")?;
        match value.value.as_str() {
            "gzip" | "none" => Some(value),
            "gz" => Some(value.with("gzip".to_owned())),
            other => {
                let message = format!(
                    "the compression `{}` can't be written",
                    other.escape_debug()
                );
                self.tell(
                    &value,
                    Code::BadCompression,
                    message,
                    "write compression=gzip, which every server takes, or none",
                );
                None
            }
        }
    }
}
