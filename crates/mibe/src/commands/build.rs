//! `mibe build`.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use mibe_build::build::{BuildOptions, Built, build};
use mibe_build::local::{LocalBuilder, LocalOptions};
use mibe_build::paths::Paths;
use mibe_build::plan::{Defaults, Plan, PlanOptions, Skip};
use mibe_build::{BuildError, clean};
use mibe_image::file::Compression;
use mibe_image::progress::{Event, Progress};
use mibe_sandbox::{Agent, Mode, Network};

use crate::cli::{Build, CompressionName, NetworkName, ProgressName, SandboxName, SkipName};
use crate::commands::utf8;
use crate::error::{CommandError, Kind};
use crate::{output, problems, progress, signals, units};

pub fn run(arguments: &Build) -> Result<(), CommandError> {
    let progress = progress::of(arguments.progress, arguments.verbose);
    let plans = plans(arguments, progress.as_ref())?;
    if arguments.dry_run {
        for plan in &plans {
            show_plan(arguments, plan);
        }
        return Ok(());
    }
    let cancel = signals::cancel_on_signals()?;
    let epoch = epoch()?;
    let paths = Paths::of_user()?;
    let agent = Agent::current();
    clean_up(&paths, &agent, progress.as_ref())?;
    // Until the end: a base that was found must not be cleaned away before it is unpacked.
    let _cache = paths.use_cache()?;
    let options = LocalOptions {
        sandbox: mode(arguments.sandbox),
        network: match arguments.network {
            NetworkName::Host => Network::Host,
            NetworkName::None => Network::None,
        },
        resolvers: arguments.resolver.clone(),
        mirror: arguments.mirror.clone(),
        keyring: arguments.keyring.clone(),
        agent,
        paths: paths.clone(),
        cancel: cancel.clone(),
        epoch,
    };
    let mut builder = LocalBuilder::new(options, Arc::clone(&progress))?;
    let options = BuildOptions {
        logs: arguments.logs.clone(),
        paths,
        force: arguments.force,
        keep_on_failure: arguments.keep_on_failure,
        timeout_customize: Duration::from_secs(arguments.timeout_customize),
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
fn plans(arguments: &Build, progress: &dyn Progress) -> Result<Vec<Plan>, CommandError> {
    let options = PlanOptions {
        base: arguments.base.clone(),
        compression: match arguments.compression {
            Some(CompressionName::Gzip) => Some(Compression::Gzip),
            Some(CompressionName::None) => Some(Compression::None),
            None => None,
        },
        output: utf8(&arguments.output)?.to_owned(),
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
        defaults: Defaults::default(),
    };
    let mut plans = Vec::new();
    for repository in &arguments.repos {
        let plan = Plan::make(utf8(repository)?, &options)?;
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

fn mode(name: SandboxName) -> Option<Mode> {
    match name {
        SandboxName::Auto => None,
        SandboxName::Root => Some(Mode::Root),
        SandboxName::Subuid => Some(Mode::Subuid),
        SandboxName::Single => Some(Mode::Single),
    }
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
