//! `mibe doctor`.

use mibe_build::doctor::{Check, Status, examine};
use mibe_build::paths::Paths;
use mibe_sandbox::Agent;

use crate::cli::Doctor;
use crate::error::{CommandError, Kind};

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub fn run(arguments: &Doctor) -> Result<(), CommandError> {
    let checks = examine(&Paths::of_user()?, &Agent::current());
    if arguments.json {
        println!("{}", serde_json::json!({ "checks": checks }));
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

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn show(check: &Check) {
    let mark = match check.status {
        Status::Works => "ok     ",
        Status::Lacks => "lacks  ",
        Status::Missing => "MISSING",
    };
    println!("{mark}  {:<26} {}", check.name, check.found);
    if let Some(remedy) = &check.remedy {
        println!("{:36} -> {remedy}", "");
    }
}
