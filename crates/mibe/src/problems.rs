//! Shows located problems of a repository: the line, with a mark under what is wrong.

use std::io::IsTerminal as _;

use mibe_recipe::{Problem, Severity};
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
};

use crate::output::plain;

/// Every problem as text for standard error, one after the other; empty if there is none.
pub fn render(problems: &[Problem]) -> String {
    render_all(problems, false, std::io::stderr().is_terminal())
}

/// The same with why each of them matters, for standard output.
pub fn render_with_reasons(problems: &[Problem]) -> String {
    render_all(problems, true, std::io::stdout().is_terminal())
}

fn render_all(problems: &[Problem], reasons: bool, terminal: bool) -> String {
    let theme = if std::env::var_os("NO_COLOR").is_some() || !terminal {
        GraphicalTheme::unicode_nocolor()
    } else {
        GraphicalTheme::unicode()
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
    let mut text = String::new();
    for problem in problems {
        let mut one = String::new();
        // Writing to a String cannot fail.
        let _ = handler.render_report(&mut one, report(problem, reasons).as_ref());
        text.push_str(one.trim_end());
        text.push_str("\n\n");
    }
    text
}

fn report(problem: &Problem, reasons: bool) -> Report {
    let severity = match problem.severity {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
        Severity::Info => miette::Severity::Advice,
    };
    let mut message = plain(&problem.message).into_owned();
    // A problem of the repository as a whole has no file, and names the repository itself. Lines with secrets are not shown.
    let shown = problem
        .location
        .as_ref()
        .filter(|place| !place.text.is_empty());
    if shown.is_none() && !problem.file.as_str().is_empty() {
        let place = problem.location.as_ref().map_or_else(String::new, |place| {
            format!(":{}:{}", place.line, place.column)
        });
        message = format!("{}{place}: {message}", plain(problem.file.as_str()));
    }
    let mut diagnostic = MietteDiagnostic::new(message)
        .with_code(problem.code.name())
        .with_severity(severity);
    let advice = plain(&problem.advice);
    if reasons {
        diagnostic = diagnostic.with_help(format!("{advice}\nwhy: {}", problem.code.why()));
    } else if !advice.is_empty() {
        diagnostic = diagnostic.with_help(advice.into_owned());
    }
    let Some(location) = shown else {
        return Report::new(diagnostic);
    };
    // One character stands for one: columns stay true, though bytes may not.
    let text = plain(&location.text);
    // Only the one line is at hand; empty lines before it give it its number.
    let before = location.line.saturating_sub(1) as usize;
    let start = before
        + text
            .char_indices()
            .nth(location.column.saturating_sub(1) as usize)
            .map_or(text.len(), |(index, _)| index);
    let length =
        (location.span.end - location.span.start).min((before + text.len()).saturating_sub(start));
    let source = format!("{}{text}\n", "\n".repeat(before));
    Report::new(diagnostic.with_label(LabeledSpan::at(start..start + length, "here")))
        .with_source_code(NamedSource::new(plain(problem.file.as_str()), source))
}
