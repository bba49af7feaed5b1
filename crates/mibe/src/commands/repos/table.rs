//! Tables of repositories.

use mibe_home::repos::{Outcome, Repository};

use crate::output;

/// Widest column of names.
const WIDTH: usize = 40;

fn width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names
        .map(|name| name.chars().count())
        .max()
        .unwrap_or_default()
        .min(WIDTH)
}

/// An outcome as a line.
pub fn line(outcome: &Outcome, width: usize) -> String {
    let line = format!(
        "{:width$}  {:12}  {}",
        outcome.name, outcome.state, outcome.detail
    );
    line.trim_end().to_owned()
}

/// All outcomes, then what to do about those that failed.
pub fn outcomes(outcomes: &[Outcome]) {
    let width = width(outcomes.iter().map(|outcome| outcome.name.as_str()));
    for outcome in outcomes {
        output::line(output::plain(&line(outcome, width)));
    }
    let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.failed) {
        let Some(advice) = &outcome.advice else {
            continue;
        };
        match told.iter_mut().find(|(other, _)| other == advice) {
            Some((_, names)) => names.push(&outcome.name),
            None => told.push((advice, vec![&outcome.name])),
        }
    }
    if !told.is_empty() {
        output::line("");
    }
    for (advice, names) in told {
        output::line(output::plain(&format!("{}: {advice}", names.join(", "))));
    }
    let failed = outcomes.iter().filter(|outcome| outcome.failed).count();
    let number = outcomes.len();
    let what = if number == 1 {
        "repository"
    } else {
        "repositories"
    };
    let missing = outcomes
        .iter()
        .filter(|outcome| outcome.state == "missing")
        .count();
    let missing = if missing == 0 {
        String::new()
    } else {
        format!(", {missing} not cloned")
    };
    output::line(format_args!("\n{number} {what}, {failed} failed{missing}"));
}

/// What the list names, and what else there is.
pub fn list(repositories: &[Repository]) {
    let width = width(
        repositories
            .iter()
            .map(|repository| repository.name.as_str()),
    );
    for repository in repositories {
        let state = match (repository.cloned, repository.listed) {
            (true, true) => "cloned",
            (true, false) => "not listed",
            (false, true) => "not cloned",
            (false, false) => "no git",
        };
        let reference = repository
            .reference
            .as_ref()
            .map_or_else(String::new, |reference| format!("  @{reference}"));
        let url = repository.url.as_deref().unwrap_or_default();
        let line = format!(
            "{:width$}  {state:10}  {}{reference}",
            repository.name,
            hidden(url)
        );
        output::line(output::plain(line.trim_end()));
    }
}

/// How each of them stands.
pub fn status(repositories: &[Repository]) {
    let width = width(
        repositories
            .iter()
            .map(|repository| repository.name.as_str()),
    );
    for repository in repositories {
        let mut words = Vec::new();
        if !repository.cloned {
            words.push(
                if repository.listed {
                    "not cloned"
                } else {
                    "no git repository"
                }
                .to_owned(),
            );
        } else if let Some(error) = &repository.error {
            words.push(error.clone());
        } else {
            match (&repository.branch, &repository.commit) {
                (_, None) => words.push("no commits".to_owned()),
                (Some(branch), _) => words.push(branch.clone()),
                (None, Some(commit)) => words.push(format!(
                    "detached at {}",
                    commit.get(..10).unwrap_or(commit)
                )),
            }
            for (number, what) in [
                (repository.ahead.unwrap_or_default(), "ahead"),
                (repository.behind.unwrap_or_default(), "behind"),
                (repository.changed, "changed"),
                (repository.untracked, "untracked"),
            ] {
                if number > 0 {
                    words.push(format!("{number} {what}"));
                }
            }
            if repository.branch.is_some()
                && repository.commit.is_some()
                && repository.ahead.is_none()
            {
                words.push("no upstream".to_owned());
            }
            if !repository.listed {
                words.push("not in the list".to_owned());
            }
        }
        output::line(output::plain(&format!(
            "{:width$}  {}",
            repository.name,
            words.join(", ")
        )));
    }
}

/// A URL without the password in it.
fn hidden(url: &str) -> String {
    if let Some((scheme, rest)) = url.split_once("://")
        && let Some((user, host)) = rest.split_once('@')
        && let Some((name, _)) = user.split_once(':')
        && !user.contains('/')
    {
        return format!("{scheme}://{name}:…@{host}");
    }
    url.to_owned()
}
