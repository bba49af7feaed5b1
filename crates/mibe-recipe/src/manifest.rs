//! What the keys of a manifest mean, whatever dialect they were written in.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::codes::Code;
use crate::dialect::{Assignment, Written};
use crate::metadata::Metadata;
use crate::naming::{
    NAME_LENGTH, VERSION_LENGTH, is_name_char, is_version_char, split_name_version,
};
use crate::problem::{Collector, Located, Problem};
use crate::recipe::{Network, Recipe, Target};
use crate::suggest::nearest;
use crate::target;

/// Every key that a manifest may have, beside the networks that `networks` names.
pub(crate) const KEYS: &[&str] = &[
    "name",
    "version",
    "description",
    "organization",
    "brand",
    "homepage",
    "users",
    "role",
    "lbaas",
    "billingtags",
    "urn",
    "base",
    "minram",
    "maxram",
    "manifest_uuid",
    "imageuuid",
    "owneruuid",
    "ownername",
    "restricted_to_uuid",
    "networks",
    "kernel_version",
    "min_platform",
    "compression",
    "os",
    "type",
    "metadata",
    "customer_metadata",
    "internal_metadata",
    "requirements",
    "base_checksum",
    "disk_size",
    "datasource",
];

/// Longest of the values that no rule bounds.
pub(crate) const TEXT_LENGTH: usize = 1024;

/// Largest tags of an image as JSON, in bytes: a rule of the image manifest.
const TAGS_SIZE: usize = 100 << 10;

/// What a manifest says: a recipe without the files beside it.
pub(crate) struct Fields(Recipe);

impl Fields {
    pub(crate) fn into_recipe(self, directory: &Utf8Path) -> Recipe {
        Recipe {
            directory: directory.to_owned(),
            ..self.0
        }
    }
}

/// Makes typed fields of assignments; `None` when the image would have no name or version.
pub(crate) fn interpret(
    assignments: Vec<Assignment>,
    file: &Utf8Path,
    problems: &mut Collector,
) -> Option<Fields> {
    let mut keys = Keys {
        file: file.to_owned(),
        doubtful: problems.has_errors(),
        values: last_ones(assignments, problems),
        problems,
    };
    let (name, version) = match keys.name_and_version() {
        (Some(name), Some(version)) => (Some(name), Some(version)),
        _ => (None, None),
    };
    let networks = keys.networks();
    let target = target::decide(
        [keys.take("type"), keys.take("brand"), keys.take("os")],
        keys.problems,
    );
    let is_hvm = target
        .as_ref()
        .is_some_and(|target| target.value == Target::Hvm);
    let brand = keys.text("brand");
    let recipe = Recipe {
        directory: Utf8PathBuf::new(),
        description: keys.description(),
        organization: keys.text("organization"),
        brand,
        homepage: keys.homepage(),
        users: keys.users(),
        role: keys.text("role"),
        lbaas: keys.lbaas(),
        billing_tags: keys.billing_tags(),
        urn: keys.text("urn"),
        base: keys.base(),
        min_ram: keys.ram("minram"),
        max_ram: keys.ram("maxram"),
        image_uuid: keys.image_uuid(),
        owner_uuid: keys.uuid("owneruuid"),
        owner_name: keys.text("ownername"),
        restricted_to: keys.uuid("restricted_to_uuid"),
        networks,
        kernel_version: keys.kernel_version(),
        min_platform: keys.min_platform(),
        compression: keys.compression(),
        customer_metadata: keys.metadata("customer_metadata"),
        internal_metadata: keys.metadata("internal_metadata"),
        requirements: keys.requirements(),
        disk: keys.disk(is_hvm),
        target,
        packages: Vec::new(),
        delete_packages: Vec::new(),
        motd: None,
        customize: None,
        copy: Vec::new(),
        name: name?,
        version: version?,
    };
    keys.finish(&recipe);
    Some(Fields(recipe))
}

/// The value that counts for each key: the last, as in a shell.
fn last_ones(
    assignments: Vec<Assignment>,
    problems: &mut Collector,
) -> BTreeMap<String, Assignment> {
    let mut values: BTreeMap<String, Assignment> = BTreeMap::new();
    for assignment in assignments {
        if let Some(earlier) = values.get(&assignment.key.value) {
            problems.push(assignment.key.problem(
                Code::DuplicateKey,
                format!(
                    "`{}` is given a second time; the value of line {} is lost",
                    assignment.key.value, earlier.key.location.line
                ),
                "remove one of the two",
            ));
        }
        values.insert(assignment.key.value.clone(), assignment);
    }
    // A description may have several lines; all else ends up where there is one.
    values.retain(|key, assignment| {
        let text = assignment.value.text().unwrap_or_default();
        let one_line = !KEYS.contains(&key.as_str()) || key == "description";
        if one_line || !text.contains('\n') {
            return true;
        }
        problems.push(assignment.value.problem(
            Code::ControlCharacter,
            format!("a line break in `{key}`"),
            "write it on one line",
        ));
        false
    });
    values
}

pub(crate) struct Keys<'a> {
    /// The manifest that a missing key belongs into.
    file: Utf8PathBuf,
    /// What has not been asked for yet.
    values: BTreeMap<String, Assignment>,
    /// Whether lines could not be read: what is missing may stand there.
    doubtful: bool,
    problems: &'a mut Collector,
}

impl Keys<'_> {
    /// Adds a problem at the place of a value.
    pub(crate) fn tell(
        &mut self,
        value: &Located<String>,
        code: Code,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.problems.push(value.problem(code, message, advice));
    }

    /// The value of a key that stays, if it has one that is not empty.
    pub(crate) fn take(&self, key: &str) -> Option<Located<String>> {
        let value = &self.values.get(key)?.value;
        let text = value.text()?;
        (!text.trim().is_empty()).then(|| value.with(text.to_owned()))
    }

    /// The value of a key whose only rule is its length.
    pub(crate) fn text(&mut self, key: &str) -> Option<Located<String>> {
        let value = self.take(key)?;
        self.bounded(value, key, TEXT_LENGTH)
    }

    pub(crate) fn bounded(
        &mut self,
        value: Located<String>,
        key: &str,
        most: usize,
    ) -> Option<Located<String>> {
        let length = value.value.chars().count();
        if length > most {
            let message =
                format!("`{key}` has {length} characters, of which an image takes {most}");
            self.tell(&value, Code::TooLong, message, "shorten it");
            return None;
        }
        Some(value)
    }

    /// How to add a key to the manifest.
    fn example(&self, key: &str, value: &str) -> String {
        if self.file.extension() == Some("json") {
            format!("add \"{key}\": \"{value}\"")
        } else {
            format!("add a line {key}=\"{value}\"")
        }
    }

    fn metadata(&self, key: &str) -> Vec<Metadata> {
        match self
            .values
            .get(key)
            .map(|assignment| &assignment.value.value)
        {
            Some(Written::Metadata(entries)) => entries.clone(),
            _ => Vec::new(),
        }
    }

    fn requirements(&self) -> Option<Located<serde_json::Map<String, serde_json::Value>>> {
        let value = &self.values.get("requirements")?.value;
        match &value.value {
            Written::Requirements(requirements) => Some(value.with(requirements.clone())),
            _ => None,
        }
    }

    fn name_and_version(&mut self) -> (Option<Located<String>>, Option<Located<String>>) {
        let Some(name) = self.take("name") else {
            let version = self
                .take("version")
                .and_then(|version| self.version(version));
            if self.doubtful {
                return (None, version);
            }
            let advice = self.example("name", "example");
            self.problems.push(Problem::of_file(
                Code::MissingName,
                self.file.clone(),
                "the image has no name",
                advice,
            ));
            if version.is_none() && !self.values.contains_key("version") {
                let advice = self.example("version", "1.0.0");
                self.problems.push(Problem::of_file(
                    Code::MissingVersion,
                    self.file.clone(),
                    "the image has no version",
                    advice,
                ));
            }
            return (None, version);
        };
        if let Some(version) = self.take("version") {
            if name.value.ends_with(&format!("-{}", version.value)) {
                let message = format!(
                    "the name ends with the version: the image will be called {}-{}",
                    name.value, version.value
                );
                self.tell(
                    &name,
                    Code::VersionInName,
                    message,
                    "leave the version out of the name",
                );
            }
            return (self.name(name), self.version(version));
        }
        let Some((before, after)) = split_name_version(&name.value) else {
            if self.doubtful {
                self.name(name);
                return (None, None);
            }
            let advice = self.example("version", "1.0.0");
            self.tell(
                &name,
                Code::MissingVersion,
                format!("the image has no version: there is no `version`, and the name `{}` ends with none", name.value),
                advice,
            );
            self.name(name);
            return (None, None);
        };
        let (before, after) = (name.with(before.to_owned()), name.with(after.to_owned()));
        (self.name(before), self.version(after))
    }

    fn name(&mut self, name: Located<String>) -> Option<Located<String>> {
        let name = self.bounded(name, "name", NAME_LENGTH)?;
        if let Some(bad) = name.value.chars().find(|&c| !is_name_char(c)) {
            let message = format!("`{bad}` can't be in an image's name");
            self.tell(
                &name,
                Code::BadName,
                message,
                "use letters, digits and . _ / - and blanks",
            );
            return None;
        }
        Some(name)
    }

    fn version(&mut self, version: Located<String>) -> Option<Located<String>> {
        let version = self.bounded(version, "version", VERSION_LENGTH)?;
        if let Some(bad) = version.value.chars().find(|&c| !is_version_char(c)) {
            let message = format!("`{bad}` can't be in an image's version");
            self.tell(
                &version,
                Code::BadVersion,
                message,
                "use letters, digits and . _ / + -",
            );
            return None;
        }
        Some(version)
    }

    /// `manifest_uuid`, which an older tool calls `imageuuid`.
    fn image_uuid(&mut self) -> Option<Located<String>> {
        let (one, other) = (self.uuid("manifest_uuid"), self.uuid("imageuuid"));
        if let (Some(one), Some(other)) = (&one, &other)
            && one.value != other.value
        {
            self.tell(
                other,
                Code::Contradiction,
                format!(
                    "`imageuuid` and `manifest_uuid` (line {}) name different images",
                    one.location.line
                ),
                "keep manifest_uuid alone",
            );
        }
        one.or(other)
    }

    /// `networks="net0 net1"`, with a key of the network's name for its description.
    fn networks(&mut self) -> Vec<Located<Network>> {
        let mut networks: Vec<Located<Network>> = Vec::new();
        for name in self.words("networks") {
            if !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
                || name.len() > 64
            {
                let message = format!(
                    "`{}` is no name of a network interface",
                    name.escape_debug()
                );
                self.tell(
                    &name,
                    Code::BadNetwork,
                    message,
                    "write networks=\"net0 net1\" and net0=\"public\"",
                );
                continue;
            }
            if networks.iter().any(|other| other.name == name.value) {
                let message = format!("the network `{}` is named twice", name.value);
                self.tell(
                    &name,
                    Code::DuplicateNetwork,
                    message,
                    "remove one of the two",
                );
                continue;
            }
            let description = self.text(&name).map(|text| text.value);
            if description.is_none() {
                let message = format!("nothing says what the network `{}` is for", name.value);
                let advice = self.example(&name.value, "public");
                self.tell(&name, Code::MissingNetwork, message, advice);
            }
            let description = description.unwrap_or_default();
            networks.push(name.with(Network {
                name: name.value.clone(),
                description,
            }));
        }
        networks
    }

    /// What only shows once all keys are known.
    fn finish(&mut self, recipe: &Recipe) {
        if let (Some(least), Some(most)) = (&recipe.min_ram, &recipe.max_ram)
            && least.value > most.value
        {
            self.problems.push(most.problem(
                Code::Contradiction,
                format!("`maxram` is below `minram` (line {})", least.location.line),
                "change one of the two",
            ));
        }
        let tags = serde_json::Value::Object(recipe.metadata_tags())
            .to_string()
            .len();
        if tags > TAGS_SIZE {
            self.problems.push(Problem::of_file(
                Code::TooLong,
                self.file.clone(),
                format!("what it says of metadata takes {tags} bytes as tags, of which an image takes {TAGS_SIZE}"),
                "shorten the descriptions",
            ));
        }
        for internal in &recipe.internal_metadata {
            let same = |customer: &&Metadata| customer.key.value == internal.key.value;
            if let Some(customer) = recipe.customer_metadata.iter().find(same) {
                self.problems.push(internal.key.problem(
                    Code::MetadataBoth,
                    format!(
                        "`{}` stands in customer_metadata too (line {})",
                        internal.key.value, customer.key.location.line
                    ),
                    "remove one of the two",
                ));
            }
        }
        self.disk_finish(recipe);
        if let Some(value) = self.take("metadata") {
            self.tell(
                &value,
                Code::UnusedKey,
                "`metadata` is not used",
                "metadata belongs to machines; remove the line",
            );
        }
        let unknown: Vec<Located<String>> = self
            .values
            .values()
            .map(|assignment| assignment.key.clone())
            .filter(|key| !KEYS.contains(&key.as_str()))
            .filter(|key| {
                !recipe
                    .networks
                    .iter()
                    .any(|network| network.name == key.value)
            })
            .collect();
        for key in unknown {
            if key
                .strip_prefix("net")
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
            {
                let message = format!("`{}` is not used: `networks` does not name it", key.value);
                self.tell(
                    &key,
                    Code::UnusedKey,
                    message,
                    format!("add a line networks=\"{}\"", key.value),
                );
                continue;
            }
            let advice = nearest(&key, KEYS.iter().copied()).map_or_else(
                || "remove the line, or see the table of keys in README.md".to_owned(),
                |known| format!("did you mean `{known}`?"),
            );
            self.tell(
                &key,
                Code::UnknownKey,
                format!("no such key: `{}`", key.value),
                advice,
            );
        }
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
