//! The dependencies against deny.toml: licences, bans and sources, with nothing but cargo.
//!
//! cargo-deny reads the same file and knows more (licence texts, duplicates, advisories), but takes minutes
//! to build, so it is called where it is installed and these checks are made everywhere.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use spdx::{Expression, ParseMode};
use toml::Table;

use crate::failure::{Context, Failure};
use crate::project::{Project, find_program, metadata};

/// What deny.toml allows.
struct Policy {
    targets: Vec<String>,
    /// SPDX names, with their exception where there is one.
    allowed: Vec<String>,
    /// Further names for single packages.
    exceptions: BTreeMap<String, Vec<String>>,
    /// Packages that must not be there, and why.
    banned: BTreeMap<String, String>,
}

/// Checks the dependencies of the whole workspace, those of tests included.
pub fn check(project: &Project) -> Result<(), Failure> {
    let file = project.root.join("deny.toml");
    let text = fs::read_to_string(&file).context(|| format!("can't read {}", file.display()))?;
    let policy = Policy::read(&text)?;
    let mut arguments = vec!["--all-features"];
    for target in &policy.targets {
        arguments.extend(["--filter-platform", target]);
    }
    let metadata = metadata(&arguments)?;
    let packages = metadata["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let problems: Vec<String> = packages
        .iter()
        .flat_map(|package| policy.problems(package))
        .collect();
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() || packages.is_empty() {
        return Err(Failure::new(format!(
            "{} problems in {} dependencies",
            problems.len(),
            packages.len()
        )));
    }
    println!(
        "xtask: {} packages are as deny.toml wants them",
        packages.len()
    );
    if find_program("cargo-deny").is_some() {
        return project.cargo(&["deny", "check", "licenses", "bans", "sources"]);
    }
    Ok(())
}

impl Policy {
    fn read(text: &str) -> Result<Self, Failure> {
        let table: Table = text.parse().context(|| "deny.toml".to_owned())?;
        let list = |section: &str, key: &str| -> Vec<toml::Value> {
            let list = table
                .get(section)
                .and_then(|section| section.get(key))
                .and_then(toml::Value::as_array);
            list.cloned().unwrap_or_default()
        };
        let strings = |list: &[toml::Value]| -> Vec<String> {
            list.iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect()
        };
        let text_of = |item: &toml::Value, key: &str| {
            item.get(key)
                .and_then(toml::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let policy = Self {
            targets: strings(&list("graph", "targets")),
            allowed: strings(&list("licenses", "allow")),
            exceptions: list("licenses", "exceptions")
                .iter()
                .map(|item| {
                    let names = item.get("allow").and_then(toml::Value::as_array);
                    (
                        text_of(item, "crate"),
                        names.map(|names| strings(names)).unwrap_or_default(),
                    )
                })
                .collect(),
            banned: list("bans", "deny")
                .iter()
                .map(|item| (text_of(item, "crate"), text_of(item, "reason")))
                .collect(),
        };
        if policy.allowed.is_empty()
            || policy.banned.contains_key("")
            || policy.exceptions.contains_key("")
        {
            return Err(Failure::new("deny.toml: not in the form that xtask reads"));
        }
        Ok(policy)
    }

    /// What is wrong with one package of `cargo metadata`.
    fn problems(&self, package: &Value) -> Vec<String> {
        let name = package["name"].as_str().unwrap_or_default();
        let version = package["version"].as_str().unwrap_or_default();
        let mut problems = Vec::new();
        if let Some(reason) = self.banned.get(name) {
            problems.push(format!("{name} {version} is banned: {reason}"));
        }
        // No source is a path inside the workspace; git would be "git+…".
        if package["source"]
            .as_str()
            .is_some_and(|source| !source.starts_with("registry+"))
        {
            problems.push(format!("{name} {version} does not come from the registry"));
        }
        match package["license"].as_str() {
            None => problems.push(format!("{name} {version} states no licence")),
            Some(licence) => match self.is_allowed(name, licence) {
                Ok(true) => {}
                Ok(false) => problems.push(format!("{name} {version}: {licence} is not allowed")),
                Err(reason) => problems.push(format!("{name} {version}: {reason}")),
            },
        }
        problems
    }

    fn is_allowed(&self, package: &str, licence: &str) -> Result<bool, String> {
        // LAX takes the "MIT/Apache-2.0" of old packages.
        let expression =
            Expression::parse_mode(licence, ParseMode::LAX).map_err(|error| error.to_string())?;
        let exceptions = self
            .exceptions
            .get(package)
            .map(Vec::as_slice)
            .unwrap_or_default();
        Ok(expression.evaluate(|wanted| {
            let wanted = wanted.to_string();
            self.allowed
                .iter()
                .chain(exceptions)
                .any(|allowed| *allowed == wanted)
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(name: &str, licence: Option<&str>, source: Option<&str>) -> Vec<String> {
        let policy = Policy::read(include_str!("../../deny.toml")).unwrap();
        policy.problems(
            &json!({"name": name, "version": "1.0.0", "license": licence, "source": source}),
        )
    }

    #[test]
    fn expressions_are_weighed_by_the_list_of_the_project() {
        for fine in [
            "MIT",
            "MIT/Apache-2.0",
            "MIT OR GPL-3.0-only",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR LGPL-2.1-only",
        ] {
            assert_eq!(
                problems("x", Some(fine), Some("registry+x")),
                [""; 0],
                "{fine}"
            );
        }
        for wrong in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "LGPL-2.1-or-later",
            "AGPL-3.0",
            "bzip2-1.0.6",
            "nonsense",
        ] {
            assert_eq!(
                problems("x", Some(wrong), Some("registry+x")).len(),
                1,
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_exception_is_for_its_package_alone() {
        assert!(problems("libbz2-rs-sys", Some("bzip2-1.0.6"), Some("registry+x")).is_empty());
        assert_eq!(
            problems("libbz2-rs-sys", Some("GPL-2.0-only"), Some("registry+x")).len(),
            1
        );
    }

    #[test]
    fn bans_sources_and_missing_licences_are_seen() {
        assert_eq!(
            problems("openssl-sys", Some("MIT"), Some("registry+x")).len(),
            1
        );
        assert_eq!(
            problems("x", Some("MIT"), Some("git+https://example.com/x")).len(),
            1
        );
        assert_eq!(problems("x", None, None).len(), 1);
        assert!(problems("x", Some("MPL-2.0"), None).is_empty());
    }
}
