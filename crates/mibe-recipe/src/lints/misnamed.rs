//! Files whose names are nearly those that a build reads.

use camino::Utf8Path;

use crate::codes::Code;
use crate::problem::{Collector, Problem};
use crate::suggest::nearest;

/// What a build reads at the top of a repository.
const READ: [&str; 7] = [
    "manifest",
    "manifest.json",
    "packages",
    "delete_packages",
    "customize",
    "motd",
    "copy",
];

/// Names that are near to one of these and mean something else.
const OTHERS: [&str; 4] = ["package.json", "packages.json", "mod", "cop"];

/// Entries at the top that are looked at.
const MOST: usize = 1000;

pub(super) fn check(directory: &Utf8Path, problems: &mut Collector) {
    // What can't be listed was told of when it was opened.
    let Ok(entries) = directory.read_dir_utf8() else {
        return;
    };
    let mut names: Vec<String> = entries
        .flatten()
        .take(MOST)
        .map(|entry| entry.file_name().to_owned())
        .collect();
    names.sort_unstable();
    for name in &names {
        let known = READ.contains(&name.as_str())
            || OTHERS.contains(&name.as_str())
            || name.starts_with('.');
        if known {
            continue;
        }
        let Some(meant) = nearest(name, READ) else {
            continue;
        };
        // Beside the one that is meant, it is most likely an older one on purpose.
        if names.iter().any(|other| other == meant) {
            continue;
        }
        problems.push(Problem::of_file(
            Code::UnreadFile,
            name.as_str(),
            format!("is not read: did you mean {meant}?"),
            format!("rename it to {meant}, or to something else"),
        ));
    }
}
