//! `mibe build` with the local builder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use mibe_build::base::FetchBase;
use mibe_build::clean::Means;
use mibe_build::local::{LocalBuilder, LocalOptions};
use mibe_build::paths::Paths;
use mibe_home::Settings;
use mibe_image::progress::Progress;
use mibe_sandbox::{Agent, Cancel, Mode, Network};

use super::{build_all, build_options, clean_up, epoch, plans, resolvers, show_plan};
use crate::cli::{Build, NetworkName, SandboxName};
use crate::error::{CommandError, Kind};
use crate::signals;
use crate::site::Site;

pub fn run(
    arguments: &Build,
    site: &Site,
    progress: &Arc<dyn Progress>,
) -> Result<(), CommandError> {
    let flag = signals::flag_on_signals()?;
    #[cfg(feature = "servers")]
    let bases = crate::servers::Bases::new(&flag, progress.as_ref());
    #[cfg(feature = "servers")]
    let fetch: Option<&dyn FetchBase> = Some(&bases)
        .filter(|_| !arguments.no_pull && !arguments.dry_run)
        .map(|bases| bases as _);
    #[cfg(not(feature = "servers"))]
    let fetch: Option<&dyn FetchBase> = None;
    let plans = plans(arguments, site, None, fetch, progress.as_ref())?;
    if arguments.dry_run {
        for plan in &plans {
            show_plan(arguments, plan, None);
        }
        return Ok(());
    }
    let cancel = Cancel::from_flag(Arc::clone(&flag));
    let epoch = epoch()?;
    let paths = Paths::of_user()?;
    let agent = Agent::current();
    let means = Means {
        agent: &agent,
        // A host that can't be reached must not keep this machine from building.
        connect: &|_| Ok(None),
        timeout: Duration::from_secs(1),
    };
    clean_up(&paths, &means, progress.as_ref())?;
    // Until the end: a base that was found must not be cleaned away before it is unpacked.
    let _cache = paths.use_cache()?;
    let settings = &site.settings;
    let text = |key: &str| settings.text(key).map(ToOwned::to_owned);
    let options = LocalOptions {
        sandbox: mode(arguments, settings)?,
        network: network(arguments, settings)?,
        resolvers: resolvers(arguments, settings)?,
        mirror: arguments.mirror.clone().or_else(|| text("build.mirror")),
        keyring: arguments
            .keyring
            .clone()
            .or_else(|| text("build.keyring").map(PathBuf::from)),
        agent,
        paths: paths.clone(),
        cancel,
        epoch,
    };
    let mut builder = LocalBuilder::new(options, Arc::clone(progress))?;
    let options = build_options(arguments, site, paths)?;
    build_all(
        arguments,
        &options,
        &plans,
        &mut builder,
        &flag,
        progress.as_ref(),
    )
}

/// What was said, or else what is set: settings have the words of the command line.
fn said<T: ValueEnum + Copy>(
    said: Option<T>,
    set: Option<&str>,
) -> Result<Option<T>, CommandError> {
    match (said, set) {
        (Some(said), _) => Ok(Some(said)),
        (None, Some(word)) => T::from_str(word, false)
            .map(Some)
            .map_err(|error| CommandError::new(Kind::Usage, error)),
        (None, None) => Ok(None),
    }
}

fn mode(arguments: &Build, settings: &Settings) -> Result<Option<Mode>, CommandError> {
    let name = said(arguments.sandbox, settings.text("build.sandbox"))?;
    Ok(match name {
        Some(SandboxName::Auto) | None => None,
        Some(SandboxName::Root) => Some(Mode::Root),
        Some(SandboxName::Subuid) => Some(Mode::Subuid),
        Some(SandboxName::Single) => Some(Mode::Single),
    })
}

fn network(arguments: &Build, settings: &Settings) -> Result<Network, CommandError> {
    let name = said(arguments.network, settings.text("build.network"))?;
    Ok(match name {
        Some(NetworkName::Host) | None => Network::Host,
        Some(NetworkName::None) => Network::None,
    })
}
