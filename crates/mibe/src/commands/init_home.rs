//! `mibe init-home`.

use std::path::Path;

use camino::Utf8Path;
use mibe_home::init::{self, Made};

use crate::cli::InitHome;
use crate::commands::utf8;
use crate::error::{CommandError, Kind};
use crate::output;

pub fn run(arguments: &InitHome) -> Result<(), CommandError> {
    let folder = arguments.folder.as_deref().unwrap_or(Path::new("."));
    let folder = utf8(folder)?;
    let program = std::env::current_exe().map_err(|error| {
        CommandError::new(Kind::Host, format!("mibe can't tell where it is: {error}"))
    })?;
    for made in init::home(folder, &program)? {
        match made {
            Made::New(path) => output::line(format_args!("made  {path}")),
            Made::Kept(path) => output::line(format_args!("kept  {path}")),
        }
    }
    let shown = if folder.as_str() == "." {
        Utf8Path::new("this folder")
    } else {
        folder
    };
    output::line(format_args!(
        "\n{shown} is a home now. Name your repositories in etc/repos.list, then:\n\n    mibe repos clone"
    ));
    Ok(())
}
