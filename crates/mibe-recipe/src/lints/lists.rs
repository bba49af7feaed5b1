//! `packages` and `delete_packages` held against each other.

use std::collections::HashMap;

use crate::codes::Code;
use crate::problem::{Collector, Located};
use crate::recipe::Parts;

/// Endings of packages that package managers fetch by URL.
const ENDINGS: [&str; 8] = [
    ".tgz", ".txz", ".tbz", ".tzst", ".deb", ".rpm", ".apk", ".xbps",
];

pub(super) fn check(parts: &Parts, problems: &mut Collector) {
    let mut installed: HashMap<&str, &Located<String>> = HashMap::new();
    for entry in &parts.packages {
        let (name, _) = split(entry);
        if let Some(other) = installed.get(name)
            && other.value != entry.value
        {
            problems.push(entry.problem(
                Code::ConflictingPackages,
                format!(
                    "`{}` asks for another version than `{}` (line {})",
                    entry.value, other.value, other.location.line
                ),
                "remove one of the two",
            ));
        }
        installed.entry(name).or_insert(entry);
        if entry.contains("://") && !ENDINGS.iter().any(|ending| entry.ends_with(ending)) {
            problems.push(entry.problem(
                Code::OddUrl,
                format!("`{}` does not end as a package does", entry.value),
                "give the URL of the package's file: it ends with .tgz for pkgsrc, .deb or .rpm",
            ));
        }
    }
    for entry in &parts.delete_packages {
        let (name, _) = split(entry);
        if let Some(other) = installed.get(name) {
            problems.push(entry.problem(
                Code::DeletedAndInstalled,
                format!(
                    "`{name}` is deleted here and installed by packages (line {})",
                    other.location.line
                ),
                "remove it from one of the lists, unless its reinstallation is meant",
            ));
        }
    }
}

/// Name and version of `nginx`, `nginx=1.22.1`, `nginx>=1.2`, `libc6:i386`, `percona-server-5.6.13nb4` (pkgsrc) and
/// `https://…/nginx-1.2.tgz`.
fn split(entry: &str) -> (&str, &str) {
    let mut name = entry;
    if entry.contains("://") {
        name = entry.rsplit('/').next().unwrap_or(entry);
        if let Some(ending) = ENDINGS.iter().find(|ending| name.ends_with(*ending)) {
            name = &name[..name.len() - ending.len()];
        }
    }
    if let Some(at) = name.find(['=', '<', '>', '~']) {
        return name.split_at(at);
    }
    // pkgsrc: the version begins after the last dash, with a digit, and has a dot or a revision in it; php-8 and
    // lib-2 are names.
    match name.rsplit_once('-') {
        Some((before, version))
            if version.starts_with(|c: char| c.is_ascii_digit())
                && (version.contains('.') || version.contains("nb")) =>
        {
            (before, version)
        }
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn names_and_versions() {
        for (entry, expected) in [
            ("nginx", ("nginx", "")),
            ("nginx=1.22.1-9", ("nginx", "=1.22.1-9")),
            ("percona-client>=5.6.32", ("percona-client", ">=5.6.32")),
            ("percona-server-5.6.13nb4", ("percona-server", "5.6.13nb4")),
            ("gcc-12", ("gcc-12", "")),
            ("p5-DBD-percona56", ("p5-DBD-percona56", "")),
            (
                "https://example.com/All/SOGo-5.11.1.tgz",
                ("SOGo", "5.11.1"),
            ),
            ("libc6:i386", ("libc6:i386", "")),
        ] {
            assert_eq!(split(entry), expected, "{entry}");
        }
    }
}
