//! What developers of mibe run: tests with their real parts, checks and benchmarks.
//!
//! Called as `cargo xtask COMMAND`. Everything it makes stays under the target directory; the one thing
//! it changes on the machine is to install, by apt-get and as root only, the packages of [`parts`].
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a command line program"
)]

mod bench;
mod failure;
mod licences;
mod parts;
mod project;
mod rules;
mod test;

use std::process::ExitCode;

use failure::Failure;
use project::Project;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--slow] [--portable] [FILTER...]
                              install what the tests need and lack, build the oracle, run all tests
                              (those whose name contains FILTER; --slow: the long ones too;
                              --portable: without what needs Linux)
  parts                       only install and build what the tests need
  pages                       write docs/findings.md and docs/settings.md anew, which are made from the code
  lint                        rustfmt, clippy, and the two below
  rules                       the rules of the house that no other tool checks; shellcheck
  licences                    dependencies against deny.toml
  bench [--tree DIR] [--rounds N] [NAME...]
                              benchmarks: ratios measured side by side (--help lists them)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("xtask: {}", failure.message);
            }
            ExitCode::from(failure.status)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let Some((command, rest)) = arguments.split_first() else {
        return Err(Failure::usage(USAGE));
    };
    if matches!(command.as_str(), "help" | "--help" | "-h") {
        print!("{USAGE}");
        return Ok(());
    }
    // Before cargo is asked anything: what these take is measured.
    #[cfg(feature = "bench")]
    if let Some(program) = command.strip_prefix("__") {
        return bench::inner::run(program, rest);
    }
    let project = Project::find()?;
    match (command.as_str(), rest) {
        ("test", rest) => test::run(&project, rest),
        ("parts", []) => test::prepare(&project, false).map(drop),
        ("pages", []) => pages(&project),
        ("lint", []) => lint(&project),
        ("rules", []) => rules::check(&project),
        ("licences" | "licenses", []) => licences::check(&project),
        ("bench", rest) => bench::run(&project, rest),
        _ => Err(Failure::usage(USAGE)),
    }
}

/// The tests that hold the pages against the code write them, too.
fn pages(project: &Project) -> Result<(), Failure> {
    let mut command = project::cargo();
    command
        .current_dir(&project.root)
        .args([
            "test",
            "--quiet",
            "--package",
            "mibe-recipe",
            "--package",
            "mibe-home",
        ])
        .args(["--", "the_documentation_lists_them_all"])
        .env("MIBE_UPDATE_DOCS", "1");
    project::run(&mut command)
}

fn lint(project: &Project) -> Result<(), Failure> {
    project.cargo(&["fmt", "--all", "--check"])?;
    project.cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ])?;
    rules::check(project)?;
    licences::check(project)
}
