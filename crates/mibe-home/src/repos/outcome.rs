//! What became of a repository.

use serde::Serialize;

use crate::repos::git::Failure;

/// What became of a repository; the words for it are the same for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What became of it, in one or two words ("cloned", "up to date", "dirty").
    pub state: &'static str,
    /// What is to be said of it; one line, may be empty.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Whether what was asked for was not done.
    pub failed: bool,
}

impl Outcome {
    pub(crate) fn good(name: &str, state: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            state,
            detail: detail.into(),
            advice: None,
            failed: false,
        }
    }

    pub(crate) fn bad(
        name: &str,
        state: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            advice: Some(advice.into()),
            failed: true,
            ..Self::good(name, state, detail)
        }
    }

    pub(crate) fn failure(name: &str, failure: &Failure) -> Self {
        Self {
            advice: failure.kind.advice().map(ToOwned::to_owned),
            failed: true,
            ..Self::good(name, "failed", failure.message.clone())
        }
    }
}

/// `1 commit`, `2 commits`.
pub(crate) fn plural(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
