//! `mibe image extract`.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;

use mibe_build::BuildError;
use mibe_build::extract::{ExtractOptions, Extracted, extract, extract_tar};
use mibe_build::paths::Paths;
use mibe_image::listing;
use mibe_sandbox::{Agent, Cancel};

use super::{Output, Readings, open, trimmed};
use crate::cli::ImageExtract;
use crate::error::{CommandError, Kind};
use crate::{signals, units};

pub fn run(arguments: &ImageExtract) -> Result<(), CommandError> {
    // With --tar there is no folder: what stands there is a path in the image.
    let (folder, paths) = match (&arguments.tar, arguments.paths.split_first()) {
        (None, Some((folder, paths))) => (Some(folder), paths),
        (None, None) => {
            return Err(CommandError::new(
                Kind::Usage,
                "where to? name a folder, or a tar archive with --tar FILE",
            ));
        }
        (Some(_), _) => (None, arguments.paths.as_slice()),
    };
    let chain = open(&arguments.image, Readings::Several)?;
    let options = ExtractOptions {
        agent: Agent::current(),
        paths: paths.iter().map(|path| bytes(path.as_os_str())).collect(),
        cancel: Cancel::from_flag(signals::flag_on_signals()?),
    };
    let extracted = match (folder, &arguments.tar) {
        (Some(folder), _) => extract(&chain, folder, &options)?,
        (None, Some(tar)) => {
            let out = if tar.as_os_str() == "-" {
                rustix::io::dup(std::io::stdout())
                    .map(File::from)
                    .map_err(|error| BuildError::io("write", "standard output")(error.into()))?
            } else {
                File::create_new(tar).map_err(BuildError::io("write", tar))?
            };
            let scratch = Paths::of_user()?.machines();
            let extracted = extract_tar(&chain, &scratch, out, &options);
            if extracted.is_err() && tar.as_os_str() != "-" {
                // Half an archive is of no use to anybody.
                let _ = std::fs::remove_file(tar);
            }
            extracted?
        }
        (None, None) => return Ok(()),
    };
    if arguments
        .tar
        .as_ref()
        .is_none_or(|tar| tar.as_os_str() != "-")
    {
        report(&extracted, arguments.tar.is_some());
    }
    Ok(())
}

fn report(extracted: &Extracted, is_tar: bool) {
    let mut out = Output::new();
    let unpacked = &extracted.unpacked;
    out.line(&format!(
        "{} files, {}",
        unpacked.files,
        units::bytes(unpacked.bytes)
    ));
    if unpacked.sockets > 0 {
        out.line(&format!("left out: {} sockets", unpacked.sockets));
    }
    if unpacked.lost_xattrs > 0 {
        out.line(&format!(
            "left out: {} extended attributes that are not user.*",
            unpacked.lost_xattrs
        ));
    }
    if extracted.has_ledger && !is_tar {
        let more = extracted
            .ledger
            .as_ref()
            .map_or_else(String::new, |ledger| {
                format!(
                    ", those of links, fifos and sockets in {}",
                    ledger.display()
                )
            });
        out.line(&format!(
            "owners and devices are kept in the attribute user.mibe.owner of each file{more}; root gives files their owners (and the folder is closed to others, as set-uid files are yours in it)"
        ));
    }
}

/// A path in the image as the command line has it.
fn bytes(argument: &OsStr) -> Vec<u8> {
    let text = argument.to_str().and_then(listing::unescape);
    trimmed(text.as_deref().unwrap_or(argument.as_bytes())).to_vec()
}
