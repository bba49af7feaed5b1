//! What is in `repos/`, without asking any server.

use std::time::Duration;

use camino::Utf8Path;
use serde::Serialize;

use crate::repos::git::{Git, Limits};
use crate::repos::list::Entry;

/// A repository as it stands in `repos/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repository {
    /// Its folder below `repos/`.
    pub name: String,
    /// Whether the list names it.
    pub listed: bool,
    /// What the list clones it from, or what it was cloned from.
    pub url: Option<String>,
    /// What the list has behind the `@`.
    pub reference: Option<String>,
    /// Whether it is there, and a git repository.
    pub cloned: bool,
    /// The branch that is checked out.
    pub branch: Option<String>,
    /// The commit that is checked out.
    pub commit: Option<String>,
    /// Commits that its upstream has not, as far as the last pull knows.
    pub ahead: Option<usize>,
    /// Commits of its upstream that it has not.
    pub behind: Option<usize>,
    /// Files that are changed.
    pub changed: usize,
    /// Files that git does not know.
    pub untracked: usize,
    /// Why git can't tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The entries of the list in its order, then what else is in `repos`.
pub fn names(entries: &[Entry], repos: &Utf8Path) -> Vec<(String, Option<Entry>)> {
    let mut names: Vec<(String, Option<Entry>)> = entries
        .iter()
        .map(|entry| (entry.name.clone(), Some(entry.clone())))
        .collect();
    let mut others: Vec<String> = repos.read_dir_utf8().map_or_else(
        |_| Vec::new(),
        |found| {
            found
                .flatten()
                .filter(|entry| entry.path().is_dir())
                .map(|entry| entry.file_name().to_owned())
                .filter(|name| {
                    !name.starts_with('.') && !entries.iter().any(|entry| entry.name == *name)
                })
                .collect()
        },
    );
    others.sort_unstable();
    names.extend(others.into_iter().map(|name| (name, None)));
    names
}

/// Looks at one of them.
pub fn look(git: &Git, name: &str, entry: Option<&Entry>, repos: &Utf8Path) -> Repository {
    let folder = repos.join(name);
    let mut repository = Repository {
        name: name.to_owned(),
        listed: entry.is_some(),
        url: entry.map(|entry| entry.url.clone()),
        reference: entry.and_then(|entry| entry.reference.clone()),
        cloned: folder.join(".git").exists(),
        branch: None,
        commit: None,
        ahead: None,
        behind: None,
        changed: 0,
        untracked: 0,
        error: None,
    };
    if !repository.cloned {
        return repository;
    }
    let never = std::sync::atomic::AtomicBool::new(false);
    let until = Limits {
        timeout: Duration::from_secs(60),
        cancel: &never,
    }
    .start();
    let tame = [
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "core.fsmonitor=false",
    ];
    if repository.url.is_none() {
        let url = git.must(["remote", "get-url", "origin"], Some(&folder), &until);
        repository.url = url.ok().map(|output| output.stdout.trim().to_owned());
    }
    let arguments = tame.into_iter().chain([
        "status",
        "--porcelain=v2",
        "--branch",
        "--untracked-files=normal",
    ]);
    match git.must(arguments, Some(&folder), &until) {
        Ok(output) => fill(&mut repository, &output.stdout),
        Err(failure) => repository.error = Some(failure.message),
    }
    repository
}

/// Reads `git status --porcelain=v2 --branch` (git-status, "Porcelain Format Version 2").
fn fill(repository: &mut Repository, status: &str) {
    for line in status.lines() {
        let Some(header) = line.strip_prefix("# branch.") else {
            match line.as_bytes().first() {
                Some(b'1' | b'2' | b'u') => repository.changed += 1,
                Some(b'?') => repository.untracked += 1,
                _ => {}
            }
            continue;
        };
        match header.split_once(' ') {
            Some(("oid", commit)) if commit != "(initial)" => {
                repository.commit = Some(commit.to_owned());
            }
            Some(("head", branch)) if branch != "(detached)" => {
                repository.branch = Some(branch.to_owned());
            }
            Some(("ab", counts)) => {
                let mut counts = counts
                    .split(' ')
                    .map(|count| count.trim_start_matches(['+', '-']).parse().ok());
                repository.ahead = counts.next().flatten();
                repository.behind = counts.next().flatten();
            }
            _ => {}
        }
    }
}
