//! What is wrong with a repository, and where.

use std::fmt;
use std::ops::Deref;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::codes::Code;

/// Characters of a source line that a [`Location`] keeps for display.
const TEXT_CHARS: usize = 400;

/// Problems kept of one file; what comes after them is most likely the same mistake again.
const PROBLEMS_PER_FILE: usize = 50;

/// Problems kept of a whole repository.
const PROBLEMS: usize = 500;

/// Whether a problem stops a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The repository can't be built.
    Error,
    /// It can, but is likely not what was meant.
    Warning,
    /// Worth knowing.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// A range of bytes of a file, `end` not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// A place in a text file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The bytes meant; they never leave their line.
    pub span: Span,
    /// Line, counted from 1.
    pub line: u32,
    /// Column of the first byte, counted in characters from 1.
    pub column: u32,
    /// The line, without its end; a very long one is cut off.
    pub text: String,
}

/// A value with the place where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The file, relative to the repository.
    pub file: Utf8PathBuf,
    /// Where in the file.
    pub location: Location,
}

impl<T> Located<T> {
    /// The same place with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located {
            value: change(self.value),
            file: self.file,
            location: self.location,
        }
    }

    /// The same place with another value.
    pub fn with<U>(&self, value: U) -> Located<U> {
        Located {
            value,
            file: self.file.clone(),
            location: self.location.clone(),
        }
    }

    /// A problem at this place.
    pub fn problem(
        &self,
        code: Code,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Problem {
        Problem {
            code,
            severity: code.severity(),
            file: self.file.clone(),
            location: Some(self.location.clone()),
            message: message.into(),
            advice: advice.into(),
        }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// One thing that is wrong with a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A short name that stays the same between versions (Code::UnclosedQuote).
    pub code: Code,
    /// Whether it stops the build; that of its kind.
    pub severity: Severity,
    /// The file, relative to the repository; empty for the repository itself.
    pub file: Utf8PathBuf,
    /// Where in the file; `None` when all of it is meant.
    pub location: Option<Location>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl Problem {
    /// A problem with a file as a whole.
    pub fn of_file(
        code: Code,
        file: impl Into<Utf8PathBuf>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity: code.severity(),
            file: file.into(),
            location: None,
            message: message.into(),
            advice: advice.into(),
        }
    }

    /// A problem at `span` of a text.
    pub fn in_text(
        code: Code,
        file: &Utf8Path,
        text: &[u8],
        span: Span,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Source { file, bytes: text }
            .locate((), span)
            .problem(code, message, advice)
    }

    /// Whether it stops the build.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// `manifest:3:6: error: the quote is never closed`
impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.as_str().is_empty() {
            write!(out, "{}", self.file)?;
            if let Some(place) = &self.location {
                write!(out, ":{}:{}", place.line, place.column)?;
            }
            out.write_str(": ")?;
        }
        write!(out, "{}: {}", self.severity, self.message)
    }
}

/// Why a repository can't be built: at least one error, and the warnings found beside it; errors first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub(crate) fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(out, "{end}{problem}\n  {}", problem.advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Gathers the problems of a repository, a bounded number of each file.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    problems: Vec<Problem>,
    left_out: usize,
}

impl Collector {
    pub(crate) fn push(&mut self, problem: Problem) {
        // An error must not be lost behind warnings: it is what stops the build.
        if self.problems.len() >= PROBLEMS && (self.has_errors() || !problem.is_error()) {
            self.left_out += 1;
            return;
        }
        let of_file = self
            .problems
            .iter()
            .filter(|other| other.file == problem.file && other.severity == problem.severity)
            .count();
        if of_file < PROBLEMS_PER_FILE {
            self.problems.push(problem);
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// All of them, errors first, in the order of files and lines.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        let line = |problem: &Problem| {
            problem
                .location
                .as_ref()
                .map_or(0, |place| place.span.start)
        };
        self.problems.sort_by(|one, other| {
            (one.severity, &one.file, line(one)).cmp(&(other.severity, &other.file, line(other)))
        });
        if self.left_out > 0 {
            self.problems.push(Problem::of_file(
                Code::MoreProblems,
                "",
                format!("{} more problems are not shown", self.left_out),
                "mend the ones shown, then try again",
            ));
        }
        self.problems
    }
}

/// The text of a file, and its name in problems.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a Utf8Path,
    pub(crate) bytes: &'a [u8],
}

impl Source<'_> {
    /// Where `span` is; `line` is the line's number and `line_start` its first byte.
    pub(crate) fn location(&self, span: Span, line: u32, line_start: usize) -> Location {
        let rest = self.bytes.get(line_start..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'\n');
        let text = &rest[..end.unwrap_or(rest.len())];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let before = self.bytes.get(line_start..span.start).unwrap_or_default();
        // Four bytes are the longest character: no more of a line of a megabyte is looked at.
        let shown = String::from_utf8_lossy(&text[..text.len().min(4 * TEXT_CHARS)]);
        Location {
            span,
            line,
            column: 1 + String::from_utf8_lossy(before).chars().count() as u32,
            text: shown.chars().take(TEXT_CHARS).collect(),
        }
    }

    /// The value at its place, found by counting lines: for those who don't know it.
    pub(crate) fn locate<T>(&self, value: T, span: Span) -> Located<T> {
        let before = &self.bytes[..span.start.min(self.bytes.len())];
        let line_start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let line = before.split(|&byte| byte == b'\n').count() as u32;
        let end = self.bytes[span.start.min(self.bytes.len())..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(self.bytes.len(), |length| span.start + length);
        let span = Span {
            start: span.start,
            end: span.end.min(end).max(span.start),
        };
        self.located(value, span, line, line_start)
    }

    pub(crate) fn located<T>(
        &self,
        value: T,
        span: Span,
        line: u32,
        line_start: usize,
    ) -> Located<T> {
        Located {
            value,
            file: self.file.to_owned(),
            location: self.location(span, line, line_start),
        }
    }
}
