//! `mibe publish`.

use std::time::Instant;

use camino::Utf8Path;
use mibe_image::manifest::State;
use mibe_image::open::Image;
use mibe_image::progress::Event;
use mibe_imgapi::http::Cancel;
use mibe_imgapi::publish::{Directory, Outcome, STEP, Target, Wishes, publish};
use mibe_imgapi::pull::title;
use mibe_imgapi::servers::{Server, ServerType};

use super::image::{libraries, with_neighbours};
use super::{server, utf8};
use crate::cli::Publish;
use crate::error::{CommandError, Kind};
use crate::servers::{self, For};
use crate::signals::flag_on_signals;
use crate::{output, progress};

pub fn run(arguments: &Publish) -> Result<(), CommandError> {
    let cancel = Cancel::new(flag_on_signals()?);
    let libraries = with_neighbours(&arguments.image, libraries(&arguments.libraries)?);
    let origins: Result<Vec<_>, CommandError> = arguments
        .origins()
        .iter()
        .map(|path| utf8(path).map(Utf8Path::to_owned))
        .collect();
    let image = Image::open(&arguments.image, &libraries).map_err(mibe_build::BuildError::from)?;
    let target = target(arguments, &cancel)?;
    let wishes = Wishes {
        public: match (arguments.public, arguments.private) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
        icon: arguments.icon.clone(),
        chain: arguments.chain,
        activate: !arguments.no_activate,
    };
    let progress = progress::of(arguments.progress, false);
    let begun = Instant::now();
    let step = || STEP.to_owned();
    progress.event(Event::StepStarted { step: step() });
    let published = publish(&image, &libraries, &origins?, &target, &wishes, &*progress);
    let milliseconds = begun.elapsed().as_millis() as u64;
    progress.event(match &published {
        Ok(_) => Event::StepFinished {
            step: step(),
            milliseconds,
        },
        Err(error) => Event::StepFailed {
            step: step(),
            message: error.to_string(),
            milliseconds,
        },
    });
    for image in published? {
        let outcome = match image.outcome {
            Outcome::WasThere => "was there already".to_owned(),
            Outcome::Published(State::Active) => "published, active".to_owned(),
            Outcome::Published(state) => {
                format!("uploaded, {state}: publish it again without --no-activate to have it used")
            }
            Outcome::Pending => {
                "uploaded, pending: an admin of the server has to enable it".to_owned()
            }
        };
        output::line(format_args!(
            "{} {} {outcome}",
            image.manifest.uuid,
            title(&image.manifest)
        ));
    }
    Ok(())
}

fn target(arguments: &Publish, cancel: &Cancel) -> Result<Target, CommandError> {
    let to = &arguments.to;
    let said = servers::source(&arguments.credentials)?;
    let named = servers::servers()?;
    let known = named.list().into_iter().any(|(name, _)| name == *to);
    let folder = Utf8Path::new(to);
    if !known && !to.contains("://") {
        if to.contains('/') || to == "." || folder.is_dir() {
            let wrong = [
                ("--channel", arguments.channel.is_some()),
                ("--type", arguments.kind.is_some()),
                ("--private", arguments.private),
                ("--no-activate", arguments.no_activate),
                ("credentials", !said.is_empty()),
            ];
            if let Some((option, _)) = wrong.iter().find(|(_, there)| *there) {
                return Err(CommandError::new(
                    Kind::Usage,
                    format!("{option}: {to} is a folder, which knows no such thing"),
                ));
            }
            return Ok(Target::Directory(Directory::new(folder, cancel.clone())));
        }
        return Err(CommandError::new(
            Kind::Usage,
            format!("{to:?} is no server, no URL and no folder"),
        )
        .hint("`mibe server list` shows the servers; a folder that is not there yet is named with a / in it: ./public".to_owned()));
    }
    let (name, mut server): (String, Server) = named.find(to)?;
    if let Some(kind) = arguments.kind {
        server.kind = server::kind(kind);
    }
    if !said.is_empty() {
        server.credentials = said;
    }
    if server.kind == ServerType::Dsapi && arguments.channel.is_some() {
        return Err(CommandError::new(Kind::Usage, "a dsapid has no channels"));
    }
    let client = servers::client(
        &name,
        &server,
        For::Writing,
        arguments.channel.as_deref(),
        cancel,
    )?;
    Ok(Target::Server(Box::new(client), server.kind))
}
