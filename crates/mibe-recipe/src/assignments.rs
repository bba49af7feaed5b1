//! Files of shell assignments that are no manifests: `etc/repos.conf`, `.mibecfg`.

use camino::Utf8Path;

use crate::dialect::shell;
use crate::problem::{Collector, Located, Problem, Source};

/// A key and its value, each with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The key.
    pub key: Located<String>,
    /// The value, without quotes.
    pub value: Located<String>,
}

/// Reads assignments, without running a shell. Of lines that are none, a bounded number of problems tell.
pub fn assignments(file: &Utf8Path, text: &[u8]) -> (Vec<Assigned>, Vec<Problem>) {
    let mut problems = Collector::default();
    let source = Source { file, bytes: text };
    let assigned = shell::parse(source, &mut problems)
        .into_iter()
        .filter_map(|assignment| {
            let value = assignment.value.text()?.to_owned();
            Some(Assigned {
                value: assignment.value.with(value),
                key: assignment.key,
            })
        })
        .collect();
    (assigned, problems.finish())
}
