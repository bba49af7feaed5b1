//! `mibe disk`.

mod import;
mod inspect;

use crate::cli::DiskCommand;
use crate::error::CommandError;

pub fn run(command: &DiskCommand) -> Result<(), CommandError> {
    match command {
        DiskCommand::Inspect(arguments) => inspect::run(arguments),
        DiskCommand::Import(arguments) => import::run(arguments),
    }
}
