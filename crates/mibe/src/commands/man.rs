//! `mibe man`.

use clap::CommandFactory as _;

use crate::cli::{Cli, Man};
use crate::error::{CommandError, Kind};

pub fn run(arguments: &Man) -> Result<(), CommandError> {
    let written = match &arguments.folder {
        Some(folder) => std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), folder)),
        None => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout()),
    };
    written.map_err(|error| {
        CommandError::new(Kind::Failed, format!("write the manual pages: {error}"))
    })
}
