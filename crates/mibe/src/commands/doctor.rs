//! `mibe doctor`.

use mibe_build::doctor::{Check, Status, examine};
use mibe_build::paths::Paths;
use mibe_sandbox::Agent;

use crate::cli::Doctor;
use crate::error::{CommandError, Kind};
use crate::output;

pub fn run(arguments: &Doctor) -> Result<(), CommandError> {
    let checks = examine(&Paths::of_user()?, &Agent::current());
    if arguments.json {
        output::line(serde_json::json!({ "checks": checks }));
    } else {
        for check in &checks {
            show(check);
        }
    }
    let missing: Vec<_> = checks
        .iter()
        .filter(|check| check.status == Status::Missing)
        .map(|check| check.name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(
        Kind::Host,
        format!(
            "this machine can't build images yet: {}",
            missing.join(", ")
        ),
    ))
}

fn show(check: &Check) {
    let mark = match check.status {
        Status::Works => "ok     ",
        Status::Lacks => "lacks  ",
        Status::Missing => "MISSING",
    };
    output::line(format_args!("{mark}  {:<26} {}", check.name, check.found));
    if let Some(remedy) = &check.remedy {
        output::line(format_args!("{:36} -> {remedy}", ""));
    }
}
