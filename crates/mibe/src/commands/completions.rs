//! `mibe completions`.

use clap::CommandFactory as _;

use crate::cli::{Cli, Completions};
use crate::output;

pub fn run(arguments: &Completions) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "mibe", &mut script);
    output::text(&String::from_utf8_lossy(&script));
}
