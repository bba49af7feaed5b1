//! The one error of the command line: what happened, why, and what to do next.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use mibe_build::{Blame, BuildError};
use mibe_home::HomeError;
use mibe_recipe::Problem;

use crate::output::plain;
use crate::problems;

/// What the exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The build or check failed: 1.
    Failed,
    /// mibe was called in a wrong way: 2.
    Usage,
    /// This host can't: 3.
    Host,
}

/// An error of a command.
#[derive(Debug)]
pub struct CommandError(Box<Details>);

#[derive(Debug)]
struct Details {
    kind: Kind,
    message: String,
    /// Errors below it, outermost first.
    causes: Vec<String>,
    problems: Vec<Problem>,
    /// What a script printed last, and where all of it is.
    output: Option<(Vec<String>, String)>,
    hints: Vec<String>,
}

impl CommandError {
    /// An error without a cause below it.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind,
            message: message.into(),
            causes: Vec::new(),
            problems: Vec::new(),
            output: None,
            hints: Vec::new(),
        }))
    }

    /// Adds what lies below it.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.0.causes.push(cause.into());
        self
    }

    /// Adds what is wrong with a repository; shown before the message.
    #[must_use]
    pub fn problems(mut self, problems: Vec<Problem>) -> Self {
        self.0.problems = problems;
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: String) -> Self {
        self.0.hints.push(hint);
        self
    }

    /// The exit status that tells its kind.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.0.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Host => 3,
        })
    }

    /// What happened.
    #[cfg(all(feature = "servers", feature = "local"))]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next.
    #[cfg(all(feature = "servers", feature = "local"))]
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// The error as people read it.
    pub fn render(&self) -> String {
        let mut text = problems::render(&self.0.problems);
        if let Some((tail, log)) = &self.0.output {
            if tail.is_empty() {
                text.push_str("  (it printed nothing)\n");
            }
            for line in tail {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  | {line}");
            }
            let _ = writeln!(text, "  all of its output: {log}");
        }
        let _ = writeln!(text, "error: {}", plain(&self.0.message));
        for cause in &self.0.causes {
            let _ = writeln!(text, "  caused by: {}", plain(cause));
        }
        for hint in &self.0.hints {
            let _ = writeln!(text, "  hint: {}", plain(hint));
        }
        text
    }

    /// The error as a JSON value, for `--progress json`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "event": "error",
            "version": mibe_image::progress::VERSION,
            "kind": match self.0.kind {
                Kind::Failed => "failed",
                Kind::Usage => "usage",
                Kind::Host => "host",
            },
            "message": self.0.message,
            "causes": self.0.causes,
            "hints": self.0.hints,
            "problems": self.0.problems,
            "output": self.0.output.as_ref().map(|(tail, _)| tail),
            "log": self.0.output.as_ref().map(|(_, log)| log),
        })
    }
}

impl From<HomeError> for CommandError {
    fn from(error: HomeError) -> Self {
        let hints = error.hints();
        let message = error.to_string();
        let (kind, problems) = match error {
            HomeError::Settings { problems, .. } => (Kind::Usage, problems),
            HomeError::Io { .. } => (Kind::Failed, Vec::new()),
            _ => (Kind::Usage, Vec::new()),
        };
        Self(Box::new(Details {
            kind,
            message,
            causes: Vec::new(),
            problems,
            output: None,
            hints,
        }))
    }
}

#[cfg(feature = "servers")]
impl From<mibe_imgapi::Error> for CommandError {
    fn from(error: mibe_imgapi::Error) -> Self {
        use mibe_imgapi::Error as Server;
        let kind = match error {
            Server::Usage { .. } | Server::Credentials(_) => Kind::Usage,
            Server::Image(error) => return BuildError::from(error).into(),
            _ => Kind::Failed,
        };
        let mut told = Self::new(kind, error.to_string());
        told.0.hints = error.hints();
        told
    }
}

impl From<BuildError> for CommandError {
    fn from(error: BuildError) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Errors that name their cause in their own text need not be told twice.
            if !error.to_string().contains(&text) {
                causes.push(text);
            }
            source = cause.source();
        }
        let kind = match error.blame() {
            Blame::Build => Kind::Failed,
            Blame::Usage => Kind::Usage,
            Blame::Host => Kind::Host,
        };
        let hints = error.hints();
        let message = error.to_string();
        let (problems, output) = match error {
            BuildError::Recipe { problems, .. } => (problems, None),
            BuildError::Script { tail, log, .. } => {
                let log = log.map_or_else(String::new, |log| log.display().to_string());
                (Vec::new(), Some((tail, log)))
            }
            _ => (Vec::new(), None),
        };
        Self(Box::new(Details {
            kind,
            message,
            causes,
            problems,
            output,
            hints,
        }))
    }
}
