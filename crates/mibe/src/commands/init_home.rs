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
    let mut scripts = Vec::new();
    for made in init::home(folder, &program)? {
        match made {
            Made::New(path) => output::line(format_args!("made  {path}")),
            Made::Kept(path) => {
                output::line(format_args!("kept  {path}"));
                let name = path.file_name().unwrap_or_default();
                let leads_here = path
                    .read_link_utf8()
                    .is_ok_and(|target| target.as_std_path() == program);
                if init::OLD_COMMANDS.contains(&name) && !leads_here {
                    scripts.push(path.to_string());
                }
            }
        }
    }
    if !scripts.is_empty() {
        output::line(format_args!(
            "\nThe commands that were there stay. To have mibe answer to their names, remove them and run this again:\n\n    rm {}",
            scripts.join(" ")
        ));
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
