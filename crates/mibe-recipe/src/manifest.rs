//! What the keys of a manifest mean, whatever dialect they were written in.

use std::collections::BTreeMap;

use camino::Utf8Path;

use crate::dialect::Assignment;
use crate::naming::{
    NAME_LENGTH, VERSION_LENGTH, is_name_char, is_version_char, split_name_version,
};
use crate::problem::{Collector, Located, Problem, Severity};
use crate::recipe::{Network, Recipe};
use crate::suggest::nearest;
use crate::target;

/// Every key that a manifest may have, beside the networks that `networks` names.
const KEYS: &[&str] = &[
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
];

/// Longest of the values that no rule bounds.
pub(crate) const TEXT_LENGTH: usize = 1024;

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
pub(crate) fn interpret(assignments: Vec<Assignment>, problems: &mut Collector) -> Option<Fields> {
    let mut keys = Keys {
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
    let brand = keys.text("brand");
    let recipe = Recipe {
        directory: camino::Utf8PathBuf::new(),
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
                Severity::Warning,
                "duplicate-key",
                format!(
                    "`{}` is given a second time; the value of line {} is lost",
                    assignment.key.value, earlier.key.location.line
                ),
                "remove one of the two",
            ));
        }
        values.insert(assignment.key.value.clone(), assignment);
    }
    values
}

pub(crate) struct Keys<'a> {
    /// What has not been asked for yet.
    values: BTreeMap<String, Assignment>,
    /// Whether lines could not be read: what is missing may stand there.
    doubtful: bool,
    problems: &'a mut Collector,
}

impl Keys<'_> {
    pub(crate) fn error(
        &mut self,
        value: &Located<String>,
        code: &'static str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.problems
            .push(value.problem(Severity::Error, code, message, advice));
    }

    pub(crate) fn warn(
        &mut self,
        value: &Located<String>,
        code: &'static str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.problems
            .push(value.problem(Severity::Warning, code, message, advice));
    }

    /// The value of a key that stays, if it has one that is not empty.
    pub(crate) fn take(&self, key: &str) -> Option<Located<String>> {
        let value = &self.values.get(key)?.value;
        (!value.value.trim().is_empty()).then(|| value.clone())
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
            self.error(&value, "too-long", message, "shorten it");
            return None;
        }
        Some(value)
    }

    fn name_and_version(&mut self) -> (Option<Located<String>>, Option<Located<String>>) {
        let Some(name) = self.take("name") else {
            let version = self
                .take("version")
                .and_then(|version| self.version(version));
            if self.doubtful {
                return (None, version);
            }
            self.problems.push(Problem::of_file(
                Severity::Error,
                "missing-name",
                "manifest",
                "the image has no name",
                "add a line name=\"…\"",
            ));
            return (None, version);
        };
        if let Some(version) = self.take("version") {
            if name.value.ends_with(&format!("-{}", version.value)) {
                let message = format!(
                    "the name ends with the version: the image will be called {}-{}",
                    name.value, version.value
                );
                self.warn(
                    &name,
                    "version-in-name",
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
            self.error(
                &name,
                "missing-version",
                format!("the image has no version: there is no `version`, and the name `{}` ends with none", name.value),
                "add a line version=\"1.0.0\"",
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
            self.error(
                &name,
                "bad-name",
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
            self.error(
                &version,
                "bad-version",
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
            self.error(
                other,
                "contradiction",
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
                self.error(
                    &name,
                    "bad-network",
                    message,
                    "write networks=\"net0 net1\" and net0=\"public\"",
                );
                continue;
            }
            if networks.iter().any(|other| other.name == name.value) {
                let message = format!("the network `{}` is named twice", name.value);
                self.warn(&name, "duplicate-network", message, "remove one of the two");
                continue;
            }
            let description = self.text(&name).map(|text| text.value);
            if description.is_none() {
                let message = format!("nothing says what the network `{}` is for", name.value);
                self.warn(
                    &name,
                    "missing-network",
                    message,
                    format!("add a line {}=\"public\"", name.value),
                );
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
                Severity::Error,
                "contradiction",
                format!("`maxram` is below `minram` (line {})", least.location.line),
                "change one of the two",
            ));
        }
        if let Some(value) = self.take("metadata") {
            self.warn(
                &value,
                "unused-key",
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
                self.warn(
                    &key,
                    "unused-key",
                    message,
                    format!("add a line networks=\"{}\"", key.value),
                );
                continue;
            }
            let advice = nearest(&key, KEYS.iter().copied()).map_or_else(
                || "remove the line, or see the table of keys in README.md".to_owned(),
                |known| format!("did you mean `{known}`?"),
            );
            self.warn(
                &key,
                "unknown-key",
                format!("no such key: `{}`", key.value),
                advice,
            );
        }
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
