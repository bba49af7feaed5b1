//! A repository with both manifests: `manifest.json` wins key by key, what only `manifest` says holds too.

use std::collections::BTreeMap;

use crate::codes::Code;
use crate::dialect::{Assignment, STRUCTURES, Written};
use crate::naming::split_name_version;
use crate::problem::Collector;

/// Characters of a value that a message shows.
const SHOWN: usize = 60;

/// The assignments of both; each key whose values differ is a finding.
pub(crate) fn merge(
    shell: Vec<Assignment>,
    json: Vec<Assignment>,
    problems: &mut Collector,
) -> Vec<Assignment> {
    let shell = split_name(shell, &json);
    let wins: BTreeMap<&str, &Assignment> = json
        .iter()
        .map(|assignment| (assignment.key.as_str(), assignment))
        .collect();
    let last: BTreeMap<&str, &Assignment> = shell
        .iter()
        .map(|assignment| (assignment.key.as_str(), assignment))
        .collect();
    for (key, loses) in last {
        let Some(wins) = wins.get(key) else { continue };
        if same(&wins.value.value, &loses.value.value) {
            continue;
        }
        problems.push(loses.value.problem(
            Code::Drift,
            {
                let (here, there) = shown(&loses.value.value, &wins.value.value);
                let line = wins.value.location.line;
                format!(
                    "`{key}` is {here} here and {there} in manifest.json (line {line}), which wins"
                )
            },
            "make both say the same, or remove one of the two manifests",
        ));
    }
    one_sided(&shell, &json, problems);
    let mut merged: Vec<Assignment> = shell
        .iter()
        .filter(|assignment| !wins.contains_key(assignment.key.as_str()))
        .cloned()
        .collect();
    merged.extend(json);
    merged
}

/// Tells of keys that one of the two has alone; what the older dialect never had is no matter.
fn one_sided(shell: &[Assignment], json: &[Assignment], problems: &mut Collector) {
    let sides = [(shell, json, "manifest.json"), (json, shell, "manifest")];
    for (has, lacks, file) in sides {
        for (index, assignment) in has.iter().enumerate() {
            let key = assignment.key.value.as_str();
            let said = assignment
                .value
                .value
                .text()
                .is_none_or(|text| !text.trim().is_empty());
            let told = has[..index].iter().any(|other| other.key.value == key);
            if !said
                || told
                || STRUCTURES.contains(&key)
                || lacks.iter().any(|other| other.key.value == key)
            {
                continue;
            }
            let (value, _) = shown(&assignment.value.value, &assignment.value.value);
            problems.push(assignment.key.problem(
                Code::OneSided,
                format!("`{key}` is {value} here, and {file} does not say it"),
                "say it in both, or remove one of the two manifests",
            ));
        }
    }
}

/// `name="example-1.0.0"` of the one dialect is name and version of the other.
fn split_name(mut shell: Vec<Assignment>, json: &[Assignment]) -> Vec<Assignment> {
    let has = |assignments: &[Assignment], wanted: &str| {
        assignments
            .iter()
            .any(|assignment| assignment.key.value == wanted)
    };
    if has(&shell, "version") || !has(json, "name") || !has(json, "version") {
        return shell;
    }
    let mut version = None;
    for assignment in shell
        .iter_mut()
        .filter(|assignment| assignment.key.value == "name")
    {
        let Some(text) = assignment.value.text().map(ToOwned::to_owned) else {
            continue;
        };
        if let Some((name, of_name)) = split_name_version(&text) {
            version = Some(Assignment {
                key: assignment.key.with("version".to_owned()),
                value: assignment.value.with(Written::Text(of_name.to_owned())),
            });
            assignment.value.value = Written::Text(name.to_owned());
        }
    }
    shell.extend(version);
    shell
}

fn same(one: &Written, other: &Written) -> bool {
    match (one, other) {
        (Written::Text(one), Written::Text(other)) => one.trim() == other.trim(),
        (Written::Metadata(one), Written::Metadata(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| one.summary() == other.summary())
        }
        (one, other) => one == other,
    }
}

/// Both values as a message shows them: long ones from a little before where they part.
fn shown(one: &Written, other: &Written) -> (String, String) {
    let (Some(one_text), Some(other_text)) = (one.text(), other.text()) else {
        return (of_parts(one), of_parts(other));
    };
    let (one, other) = (one_text.trim(), other_text.trim());
    let common = one
        .chars()
        .zip(other.chars())
        .take_while(|(one, other)| one == other)
        .count();
    let skipped = if common > SHOWN / 2 {
        common - SHOWN / 4
    } else {
        0
    };
    let short = |text: &str| {
        let rest: String = text.chars().skip(skipped).collect();
        let shown: String = rest.escape_debug().take(SHOWN).collect();
        let before = if skipped > 0 { "…" } else { "" };
        let after = if rest.escape_debug().count() > SHOWN {
            "…"
        } else {
            ""
        };
        format!("\"{before}{shown}{after}\"")
    };
    (short(one), short(other))
}

fn of_parts(value: &Written) -> String {
    match value {
        Written::Text(text) => format!(
            "\"{}\"",
            text.escape_debug().take(SHOWN).collect::<String>()
        ),
        Written::Metadata(entries) => format!("{} keys", entries.len()),
        Written::Requirements(_) => "something else".to_owned(),
    }
}
