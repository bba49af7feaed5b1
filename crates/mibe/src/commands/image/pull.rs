//! `mibe image pull`.

use mibe_build::paths::Paths;
use mibe_image::open::Libraries;
use mibe_imgapi::http::Cancel;
use mibe_imgapi::pull::{Puller, title};

use super::{libraries, utf8};
use crate::cli::{self, ImagePull};
use crate::error::CommandError;
use crate::signals::flag_on_signals;
use crate::{output, progress, servers};

pub fn run(arguments: &ImagePull) -> Result<(), CommandError> {
    let cancel = Cancel::new(flag_on_signals()?);
    let clients = servers::clients(&arguments.server, arguments.channel.as_deref(), &cancel)?;
    let folder = match &arguments.into {
        Some(folder) => folder.clone(),
        None => utf8(&Paths::of_user()?.images())?.to_owned(),
    };
    // What is elsewhere does not count where a folder is named: it is to hold all.
    let libraries = match &arguments.into {
        Some(folder) => Libraries::new([folder.clone()]),
        None => libraries(&cli::Libraries {
            images: None,
            origin: Vec::new(),
        })?,
    };
    let progress = progress::of(arguments.progress, false);
    let puller = Puller {
        servers: &clients,
        libraries: &libraries,
        folder: &folder,
        progress: &*progress,
    };
    for image in servers::pull(&puller, &arguments.images)? {
        let from = match &image.from {
            Some(server) => format!("from {server}"),
            None => "was here already".to_owned(),
        };
        output::line(format_args!(
            "{} {} {from}: {}",
            image.manifest.uuid,
            title(&image.manifest),
            image.path
        ));
    }
    Ok(())
}
