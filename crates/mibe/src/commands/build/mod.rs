//! `mibe build`.

#[cfg(feature = "local")]
mod local;
pub mod smartos;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camino::Utf8Path;
use mibe_build::base::FetchBase;
use mibe_build::build::{BuildOptions, Built, build};
use mibe_build::host_base::HostBases;
use mibe_build::machine::Builder;
use mibe_build::paths::Paths;
use mibe_build::plan::{Defaults, Plan, PlanOptions, Skip};
use mibe_build::{BuildError, clean};
use mibe_home::Settings;
use mibe_image::file::Compression;
use mibe_image::progress::{Event, Progress};

use crate::cli::{Build, BuilderName, CompressionName, ProgressName, SkipName};
use crate::commands::utf8;
use crate::error::{CommandError, Kind};
use crate::site::Site;
use crate::{output, problems, progress, units};

pub fn run(arguments: &Build) -> Result<(), CommandError> {
    run_at(arguments, &Site::find()?)
}

/// The same, in a home that was found before.
pub fn run_at(arguments: &Build, site: &Site) -> Result<(), CommandError> {
    misplaced(arguments)?;
    let progress = progress::of(arguments.progress, arguments.verbose);
    match arguments.builder {
        #[cfg(feature = "local")]
        BuilderName::Local => local::run(arguments, site, &progress),
        BuilderName::Smartos => smartos::run(arguments, site, progress.as_ref()),
    }
}

/// Refuses options of the other builder: they would do nothing.
fn misplaced(arguments: &Build) -> Result<(), CommandError> {
    let of_smartos = [
        ("--host", arguments.host.is_some()),
        ("--vm-spec", arguments.vm_spec.is_some()),
        ("--set", !arguments.set.is_empty()),
        ("--pool", arguments.pool.is_some()),
        ("--pkgsrc-mirror", arguments.pkgsrc_mirror.is_some()),
        ("--timeout-boot", arguments.timeout_boot.is_some()),
    ];
    #[cfg(feature = "local")]
    let of_local = [
        ("--sandbox", arguments.sandbox.is_some()),
        ("--network", arguments.network.is_some()),
        ("--mirror", arguments.mirror.is_some()),
        ("--keyring", arguments.keyring.is_some()),
        ("--origin", !arguments.origin.is_empty()),
    ];
    #[cfg(not(feature = "local"))]
    let of_local = [("--origin", !arguments.origin.is_empty())];
    let smartos = arguments.builder == BuilderName::Smartos;
    let (options, builder) = if smartos {
        (of_local.as_slice(), "local")
    } else {
        (of_smartos.as_slice(), "smartos")
    };
    match options.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((option, _)) => Err(CommandError::new(
            Kind::Usage,
            format!("{option} is an option of the {builder} builder"),
        )
        .hint(format!("add --builder {builder}, or leave {option} out"))),
    }
}

/// How builds are to go, whatever the builder.
fn build_options(
    arguments: &Build,
    site: &Site,
    paths: Paths,
) -> Result<BuildOptions, CommandError> {
    let seconds = |said: Option<u64>, key: &str, otherwise: u64| {
        let set = site.settings.number(key);
        Duration::from_secs(said.or(set).unwrap_or(otherwise))
    };
    Ok(BuildOptions {
        logs: site.logs(arguments.logs.as_deref())?.into(),
        paths,
        force: arguments.force,
        keep_on_failure: arguments.keep_on_failure,
        timeout_packages: seconds(None, "build.timeout_packages", 7200),
        timeout_customize: seconds(arguments.timeout_customize, "build.timeout_customize", 3600),
        epoch: epoch()?,
    })
}

/// Builds all plans, one after the other.
fn build_all(
    arguments: &Build,
    options: &BuildOptions,
    plans: &[Plan],
    builder: &mut dyn Builder,
    cancel: &AtomicBool,
    progress: &dyn Progress,
) -> Result<(), CommandError> {
    let mut failed = Vec::new();
    for plan in plans {
        if plans.len() > 1 {
            progress.event(Event::Message {
                text: format!("building {}", plan.repository),
            });
        }
        match build(plan, options, builder, progress) {
            Ok(built) => show_built(arguments, &built),
            Err(error) if plans.len() == 1 => return Err(error.into()),
            Err(error) => failed.push((plan, error)),
        }
        if cancel.load(Ordering::SeqCst) {
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
    host: Option<&dyn HostBases>,
    fetch: Option<&dyn FetchBase>,
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
        let plan = Plan::make(&repository, &options, host, fetch)?;
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
fn clean_up(
    paths: &Paths,
    means: &clean::Means<'_>,
    progress: &dyn Progress,
) -> Result<(), CommandError> {
    let options = clean::CleanOptions {
        caches: clean::Caches::Keep,
        kept: false,
        dry_run: false,
    };
    let cleaned = clean::clean(paths, means, options)?;
    for machine in cleaned.machines {
        progress.event(Event::Message {
            text: format!(
                "destroyed the build machine of an interrupted build of {}",
                machine.purpose
            ),
        });
    }
    for machine in cleaned.elsewhere {
        let zone = machine.zone.and_then(|zone| zone.host);
        progress.event(Event::Message {
            text: format!(
                "an interrupted build of {} has left its machine on {}; `mibe clean` destroys it",
                machine.purpose,
                zone.as_deref().unwrap_or("this machine")
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
pub(in crate::commands) fn epoch() -> Result<i64, CommandError> {
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

/// Shows a plan, and the spec of the build machine where it has one.
fn show_plan(arguments: &Build, plan: &Plan, spec: Option<(&serde_json::Value, &Vec<String>)>) {
    if arguments.progress == ProgressName::Json {
        let mut object = plan.json();
        if let Some((payload, notes)) = spec {
            object["spec"] = payload.clone();
            object["notes"] = notes.clone().into();
        }
        output::line(object);
        return;
    }
    output::line(format_args!("{}:", plan.repository));
    output::text(&plan.to_string());
    if let Some((payload, notes)) = spec {
        output::line("build machine (for vmadm create):");
        let text = serde_json::to_string_pretty(payload).unwrap_or_default();
        for line in text.lines() {
            output::line(format_args!("  {}", output::plain(line)));
        }
        for note in notes {
            output::line(format_args!("  note: {}", output::plain(note)));
        }
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
            "base": built.base.as_ref().map(|(title, uuid)| serde_json::json!({"title": title, "uuid": uuid})),
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
    let base = built
        .base
        .as_ref()
        .map_or_else(String::new, |(title, uuid)| {
            format!("base      {title}, {uuid}\n")
        });
    output::line(format_args!(
        "\nimage     {} {}\n\
         uuid      {}\n\
         {base}\
         {origin}\
         file      {} ({}; {} before compression{})\n\
         manifest  {}\n\
         log       {}\n\n\
         Copy both files to a SmartOS host and install them there with:\n\n    {install}",
        built.image.name,
        built.image.version,
        built.image.uuid,
        built.paths.file(),
        units::bytes(file.map_or(0, |file| file.size)),
        units::bytes(built.stream_size),
        built
            .entries
            .map_or_else(String::new, |entries| format!(", {entries} entries")),
        built.paths.manifest(),
        built.log.display(),
    ));
}

/// A path as a shell takes it.
pub(in crate::commands) fn quoted(path: &Utf8Path) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-+@%=:,".contains(character);
    if path.as_str().chars().all(plain) {
        path.to_string()
    } else {
        format!("'{}'", path.as_str().replace('\'', r"'\''"))
    }
}
