//! `mibe check`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use mibe_home::Home;
use mibe_recipe::{Checked, Code, Metadata, Problem, Recipe, Severity};

use crate::cli::Check;
use crate::commands::utf8;
use crate::error::{CommandError, Kind};
use crate::{output, problems};

pub fn run(arguments: &Check) -> Result<(), CommandError> {
    if let Some(name) = &arguments.explain {
        return explain(name);
    }
    let home = Home::find()?;
    let mut repositories = Vec::new();
    let mut unknown = Vec::new();
    for named in &arguments.repos {
        let named = utf8(named)?;
        match home.repository(named) {
            Ok(repository) => repositories.push(repository),
            // The others are checked all the same.
            Err(error) => {
                let finding = Problem::of_file(
                    Code::NoRepository,
                    "",
                    error.to_string(),
                    error.hints().join("; "),
                );
                repositories.push(named.to_owned());
                unknown.push((repositories.len() - 1, finding));
            }
        }
    }
    if repositories.is_empty() {
        repositories.push(".".into());
    }
    let mut checked = check_all(&repositories);
    for (index, finding) in unknown {
        checked[index].findings = vec![finding];
    }
    if arguments.json {
        for (repository, checked) in repositories.iter().zip(&checked) {
            output::line(json(repository, checked));
        }
    } else {
        for (repository, checked) in repositories.iter().zip(&checked) {
            show(repository, checked, repositories.len() == 1);
        }
    }
    verdict(arguments, &repositories, &checked)
}

/// Every repository, on all cores; results in the order of the repositories.
fn check_all(repositories: &[Utf8PathBuf]) -> Vec<Checked> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Checked>>> =
        repositories.iter().map(|_| Mutex::new(None)).collect();
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(repositories.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(repository), Some(slot)) =
                        (repositories.get(index), results.get(index))
                    else {
                        return;
                    };
                    let checked = mibe_recipe::check(repository);
                    if let Ok(mut slot) = slot.lock() {
                        *slot = Some(checked);
                    }
                }
            });
        }
    });
    results
        .into_iter()
        .zip(repositories)
        .map(|(slot, repository)| {
            slot.into_inner()
                .ok()
                .flatten()
                .unwrap_or_else(|| mibe_recipe::check(repository))
        })
        .collect()
}

fn count(checked: &Checked, severity: Severity) -> usize {
    checked
        .findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .count()
}

fn plural(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn show(repository: &Utf8Path, checked: &Checked, alone: bool) {
    let found: Vec<String> = [
        (Severity::Error, "error"),
        (Severity::Warning, "warning"),
        (Severity::Info, "note"),
    ]
    .into_iter()
    .filter_map(|(severity, what)| {
        let number = count(checked, severity);
        (number > 0).then(|| plural(number, what))
    })
    .collect();
    let found = if found.is_empty() {
        "nothing found".to_owned()
    } else {
        found.join(", ")
    };
    output::line(output::plain(&format!("{repository}: {found}")));
    if alone && let Some(recipe) = &checked.recipe {
        show_recipe(recipe);
    }
    if !checked.findings.is_empty() {
        output::line("");
        output::text(&problems::render_with_reasons(&checked.findings));
    }
}

/// What would be built, in few lines.
fn show_recipe(recipe: &Recipe) {
    let summary = recipe.summary();
    let base = summary
        .base
        .as_deref()
        .unwrap_or("a base that the command line must name");
    output::line(output::plain(&format!(
        "\n    {} {}, from {base}; {}, {} in copy/",
        summary.name,
        summary.version,
        plural(summary.packages.len(), "package"),
        plural(
            usize::try_from(summary.copy.files).unwrap_or(usize::MAX),
            "file"
        ),
    )));
    for (title, entries) in [
        (
            "metadata that its owner gives a machine",
            &recipe.customer_metadata,
        ),
        (
            "metadata that the operator gives a machine",
            &recipe.internal_metadata,
        ),
    ] {
        if !entries.is_empty() {
            output::line(format_args!("\n    {title}:\n"));
            show_metadata(entries);
        }
    }
}

fn show_metadata(entries: &[Metadata]) {
    let width = entries
        .iter()
        .map(|entry| entry.key.chars().count())
        .max()
        .unwrap_or_default()
        .min(40);
    for entry in entries {
        let kind = entry.kind.map_or("text", mibe_recipe::MetadataType::name);
        let mut marks = String::new();
        for (mark, set) in [("required", entry.required), ("secret", entry.secret)] {
            if set {
                marks.push_str(mark);
                marks.push_str("; ");
            }
        }
        let description = entry
            .description
            .as_deref()
            .unwrap_or_default()
            .replace('\n', " ");
        let line = format!(
            "      {:width$}  {kind:7}  {marks}{description}",
            entry.key.value
        );
        output::line(output::plain(line.trim_end()));
    }
}

fn json(repository: &Utf8Path, checked: &Checked) -> serde_json::Value {
    let findings: Vec<serde_json::Value> = checked.findings.iter().map(finding).collect();
    serde_json::json!({
        "repository": repository,
        "recipe": checked.recipe.as_ref().map(Recipe::summary),
        "findings": findings,
    })
}

fn finding(finding: &Problem) -> serde_json::Value {
    serde_json::json!({
        "code": finding.code,
        "severity": finding.severity,
        "file": finding.file,
        "line": finding.location.as_ref().map(|place| place.line),
        "column": finding.location.as_ref().map(|place| place.column),
        "message": finding.message,
        "why": finding.code.why(),
        "mend": finding.advice,
    })
}

fn verdict(
    arguments: &Check,
    repositories: &[Utf8PathBuf],
    checked: &[Checked],
) -> Result<(), CommandError> {
    let with = |severity: Severity| -> Vec<&str> {
        repositories
            .iter()
            .zip(checked)
            .filter(|(_, checked)| count(checked, severity) > 0)
            .map(|(repository, _)| repository.as_str())
            .collect()
    };
    let (errors, warnings) = (with(Severity::Error), with(Severity::Warning));
    if !arguments.json && repositories.len() > 1 {
        output::line(format_args!(
            "{} repositories: {} with errors, {} with warnings",
            repositories.len(),
            errors.len(),
            warnings.len()
        ));
    }
    let bad = if arguments.strict && errors.is_empty() {
        warnings
    } else {
        errors
    };
    if bad.is_empty() || (!arguments.strict && !checked.iter().any(Checked::has_errors)) {
        return Ok(());
    }
    Err(CommandError::new(
        Kind::Failed,
        format!("mend first: {}", bad.join(", ")),
    ))
}

fn explain(name: &str) -> Result<(), CommandError> {
    if name == "all" {
        output::text(&mibe_recipe::findings_page());
        return Ok(());
    }
    let Some(code) = Code::find(name) else {
        let hint = Code::nearest(name).map_or_else(
            || "`mibe check --explain all` lists them all".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(
            CommandError::new(Kind::Usage, format!("there is no finding `{name}`")).hint(hint),
        );
    };
    output::line(format_args!(
        "{code} ({})\n\n{}\n\nwhy   {}\nmend  {}",
        code.severity(),
        code.title(),
        code.why(),
        code.mend()
    ));
    Ok(())
}
