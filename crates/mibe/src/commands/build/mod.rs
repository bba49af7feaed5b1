//! `mibe build`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use clap::ValueEnum;
use mibe_build::build::{BuildOptions, Built, build};
use mibe_build::local::{LocalBuilder, LocalOptions};
use mibe_build::paths::Paths;
use mibe_build::plan::{Defaults, Plan, PlanOptions, Skip};
use mibe_build::{BuildError, clean};
use mibe_home::Settings;
use mibe_image::file::Compression;
use mibe_image::progress::{Event, Progress};
use mibe_sandbox::{Agent, Cancel, Mode, Network};

use crate::cli::{Build, CompressionName, NetworkName, ProgressName, SandboxName, SkipName};
use crate::commands::utf8;
use crate::error::{CommandError, Kind};
use crate::site::Site;
use crate::{output, problems, progress, signals, units};

pub fn run(arguments: &Build) -> Result<(), CommandError> {
    let progress = progress::of(arguments.progress, arguments.verbose);
    let site = Site::find()?;
    let plans = plans(arguments, &site, progress.as_ref())?;
    if arguments.dry_run {
        for plan in &plans {
            show_plan(arguments, plan);
        }
        return Ok(());
    }
    let cancel = Cancel::from_flag(signals::flag_on_signals()?);
    let epoch = epoch()?;
    let paths = Paths::of_user()?;
    let agent = Agent::current();
    clean_up(&paths, &agent, progress.as_ref())?;
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
        cancel: cancel.clone(),
        epoch,
    };
    let mut builder = LocalBuilder::new(options, Arc::clone(&progress))?;
    let options = BuildOptions {
        logs: site.logs(arguments.logs.as_deref())?.into(),
        paths,
        force: arguments.force,
        keep_on_failure: arguments.keep_on_failure,
        timeout_customize: Duration::from_secs(
            arguments
                .timeout_customize
                .or(settings.number("build.timeout_customize"))
                .unwrap_or(3600),
        ),
        epoch,
    };
    let mut failed = Vec::new();
    for plan in &plans {
        if plans.len() > 1 {
            progress.event(Event::Message {
                text: format!("building {}", plan.repository),
            });
        }
        match build(plan, &options, &mut builder, progress.as_ref()) {
            Ok(built) => show_built(arguments, &built),
            Err(error) if plans.len() == 1 => return Err(error.into()),
            Err(error) => failed.push((plan, error)),
        }
        if cancel.is_cancelled() {
            break;
        }
    }
    several(arguments, failed)
}

/// One repository that fails does not keep the others from being built; each error is shown at the end.
#[expect(clippy::print_stderr, reason = "the errors before the last")]
fn several(arguments: &Build, failed: Vec<(&Plan, BuildError)>) -> Result<(), CommandError> {
    let names: Vec<_> = failed
        .iter()
        .map(|(plan, _)| plan.repository.to_string())
        .collect();
    for (plan, error) in failed {
        let error = CommandError::from(error);
        if arguments.progress == ProgressName::Json {
            let mut object = error.json();
            object["repository"] = plan.repository.as_str().into();
            output::line(object);
        }
        eprint!("{}: {}", plan.repository, error.render());
    }
    if names.is_empty() {
        Ok(())
    } else {
        Err(CommandError::new(
            Kind::Failed,
            format!("not built: {}", names.join(", ")),
        ))
    }
}

/// All repositories are read before the first is built.
#[expect(clippy::print_stderr, reason = "warnings about repositories")]
fn plans(
    arguments: &Build,
    site: &Site,
    progress: &dyn Progress,
) -> Result<Vec<Plan>, CommandError> {
    let settings = &site.settings;
    let text = |key: &str| settings.text(key).map(ToOwned::to_owned);
    let options = PlanOptions {
        base: arguments.base.clone(),
        compression: match arguments.compression {
            Some(CompressionName::Gzip) => Some(Compression::Gzip),
            Some(CompressionName::None) => Some(Compression::None),
            None => None,
        },
        output: site.images(arguments.output.as_deref())?,
        libraries: match Paths::of_user() {
            Ok(paths) => vec![utf8(&paths.images())?.to_owned()],
            // A build says so itself; what is only looked at can do without.
            Err(_) => Vec::new(),
        },
        origins: arguments
            .origin
            .iter()
            .map(|path| utf8(path).map(ToOwned::to_owned))
            .collect::<Result<_, _>>()?,
        incremental: arguments.incremental,
        skip: arguments
            .skip
            .iter()
            .map(|skip| match skip {
                SkipName::Packages => Skip::Packages,
                SkipName::Customize => Skip::Customize,
            })
            .collect(),
        defaults: Defaults {
            base: text("build.base"),
            compression: settings.text("build.compression").map(|name| match name {
                "none" => Compression::None,
                _ => Compression::Gzip,
            }),
            owner: text("image.owner"),
            urn: settings
                .text("image.urn_cloud_name")
                .zip(settings.text("image.urn_creator_name"))
                .map(|(cloud, creator)| format!("{cloud}:{creator}")),
        },
    };
    let mut plans = Vec::new();
    for named in &arguments.repos {
        let repository = site.home.repository(utf8(named)?)?;
        let plan = Plan::make(&repository, &options)?;
        match arguments.progress {
            // A plan that is printed as JSON holds its warnings.
            ProgressName::Json if arguments.dry_run => {}
            ProgressName::Json => {
                for warning in &plan.warnings {
                    progress.event(Event::Warning {
                        text: warning.to_string(),
                        advice: Some(warning.advice.clone()).filter(|advice| !advice.is_empty()),
                    });
                }
            }
            ProgressName::None => {}
            _ => eprint!("{}", problems::render(&plan.warnings)),
        }
        if let Some(same) = plans
            .iter()
            .find(|other: &&Plan| other.image.manifest() == plan.image.manifest())
        {
            return Err(CommandError::new(
                Kind::Usage,
                format!(
                    "{} and {} would make the same image",
                    same.repository, plan.repository
                ),
            ));
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// What an earlier build that was killed left behind goes before the next one starts.
fn clean_up(paths: &Paths, agent: &Agent, progress: &dyn Progress) -> Result<(), CommandError> {
    let options = clean::CleanOptions {
        caches: clean::Caches::Keep,
        kept: false,
        dry_run: false,
    };
    let cleaned = clean::clean(paths, agent, options)?;
    for machine in cleaned.machines {
        progress.event(Event::Message {
            text: format!(
                "destroyed the build machine of an interrupted build of {}",
                machine.purpose
            ),
        });
    }
    for (path, error) in cleaned.failed {
        progress.event(Event::Warning {
            text: format!("{} could not be cleaned up: {error}", path.display()),
            advice: None,
        });
    }
    Ok(())
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

fn resolvers(arguments: &Build, settings: &Settings) -> Result<Vec<IpAddr>, CommandError> {
    if !arguments.resolver.is_empty() {
        return Ok(arguments.resolver.clone());
    }
    settings
        .list("build.resolvers")
        .iter()
        .map(|text| {
            text.parse().map_err(|_| {
                CommandError::new(
                    Kind::Usage,
                    format!("the setting build.resolvers has {text:?}, which is no IP address"),
                )
            })
        })
        .collect()
}

/// The time of the build: SOURCE_DATE_EPOCH (reproducible-builds.org), or now.
fn epoch() -> Result<i64, CommandError> {
    match std::env::var_os("SOURCE_DATE_EPOCH") {
        Some(text) => text
            .to_str()
            .and_then(|text| text.parse().ok())
            .filter(|epoch| *epoch >= 0 && mibe_build::manifest::published_at(*epoch).is_some())
            .ok_or_else(|| {
                CommandError::new(
                    Kind::Usage,
                    format!(
                        "SOURCE_DATE_EPOCH={} is not a number of seconds since 1970",
                        text.display()
                    ),
                )
            }),
        None => Ok(std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| now.as_secs().cast_signed())),
    }
}

fn show_plan(arguments: &Build, plan: &Plan) {
    if arguments.progress == ProgressName::Json {
        output::line(plan.json());
    } else {
        output::line(format_args!("{}:", plan.repository));
        output::text(&plan.to_string());
    }
}

fn show_built(arguments: &Build, built: &Built) {
    let install = format!(
        "imgadm install -m {} -f {}",
        quoted(built.paths.manifest()),
        quoted(built.paths.file())
    );
    if arguments.progress == ProgressName::Json {
        output::line(serde_json::json!({
            "event": "built",
            "version": mibe_image::progress::VERSION,
            "manifest": built.paths.manifest(),
            "file": built.paths.file(),
            "uuid": built.image.uuid,
            "origin": built.image.origin,
            "install": install,
            "log": built.log,
        }));
        return;
    }
    let file = built.image.files.iter().flatten().next();
    let origin = built
        .image
        .origin
        .as_ref()
        .map_or_else(String::new, |origin| {
            format!("origin    {origin}, which must be installed there first\n")
        });
    output::line(format_args!(
        "\nimage     {} {}\n\
         uuid      {}\n\
         {origin}\
         file      {} ({}; {} before compression, {} entries)\n\
         manifest  {}\n\
         log       {}\n\n\
         Copy both files to a SmartOS host and install them there with:\n\n    {install}",
        built.image.name,
        built.image.version,
        built.image.uuid,
        built.paths.file(),
        units::bytes(file.map_or(0, |file| file.size)),
        units::bytes(built.stream_size),
        built.entries,
        built.paths.manifest(),
        built.log.display(),
    ));
}

/// A path as a shell takes it.
fn quoted(path: &Utf8Path) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-+@%=:,".contains(character);
    if path.as_str().chars().all(plain) {
        path.to_string()
    } else {
        format!("'{}'", path.as_str().replace('\'', r"'\''"))
    }
}
