//! `mibe completions`.

use clap::CommandFactory as _;

use crate::cli::{Cli, Completions};

pub fn run(arguments: &Completions) {
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "mibe",
        &mut std::io::stdout(),
    );
}
