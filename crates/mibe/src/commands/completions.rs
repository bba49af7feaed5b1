//! `mibe completions`.

use clap::CommandFactory as _;

use crate::cli::{Cli, Completions};
use crate::error::CommandError;

pub fn run(arguments: &Completions) -> Result<(), CommandError> {
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "mibe",
        &mut std::io::stdout(),
    );
    Ok(())
}
