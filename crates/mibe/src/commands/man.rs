//! `mibe man`.

use clap::CommandFactory as _;

use crate::cli::{Cli, Man};
use crate::error::{CommandError, Kind};
use crate::output;

pub fn run(arguments: &Man) -> Result<(), CommandError> {
    let written = if let Some(folder) = &arguments.folder {
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
    } else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        output::text(&String::from_utf8_lossy(&page));
        rendered
    };
    written.map_err(|error| {
        CommandError::new(Kind::Failed, format!("write the manual pages: {error}"))
    })
}
