//! mibe called by the names of the shell mibe's commands: what they printed and how they ended, scripts rely on.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Parser as _;
use mibe_home::init::Template;
use mibe_home::{Home, Settings, repos};

use crate::cli::{Cli, Command};
use crate::commands::repos::{Cloning, Pulling, Task, read_list, side_by_side};
use crate::commands::{init, utf8};
use crate::error::{CommandError, Kind};
use crate::site::Site;
use crate::{commands, output, signals};

/// Runs the old command that mibe was called as, if it was.
pub fn run() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let called = PathBuf::from(arguments.next()?);
    let name = called.file_name()?.to_str()?.to_owned();
    let rest: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let result = match name.as_str() {
        "repo_cloneall" => all(&called, &rest, &Cloning),
        "repo_pullall" => all(&called, &rest, &Pulling),
        "repo_init" => repo_init(&called, &rest),
        "build_smartos" => build_smartos(&called, &rest),
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            error.exit_code()
        }
    })
}

#[expect(clippy::print_stderr, reason = "this is where errors meet the user")]
fn report(error: &CommandError) {
    eprint!("{}", error.render());
}

/// The shell mibe's home was the folder above the one with its commands.
fn home(called: &Path) -> Result<Home, CommandError> {
    if std::env::var_os("MIBE_HOME").is_none() {
        let found = if called.components().count() > 1 {
            Some(called.to_owned())
        } else {
            std::env::var_os("PATH").and_then(|path| {
                std::env::split_paths(&path)
                    .map(|folder| folder.join(called))
                    .find(|path| path.exists())
            })
        };
        let above = found
            .and_then(|path| path.parent().map(Path::to_owned))
            .and_then(|bin| bin.canonicalize().ok())
            .and_then(|bin| bin.parent().map(Path::to_owned))
            .and_then(|folder| Utf8PathBuf::try_from(folder).ok())
            .filter(|folder| folder.join("etc").is_dir());
        if let Some(folder) = above {
            return Ok(Home::at(&folder)?);
        }
    }
    let home = Home::find()?;
    if home.is_found() {
        Ok(home)
    } else {
        Err(CommandError::new(
            Kind::Usage,
            "there is no home here, nor above the folder of this command",
        )
        .hint("go to one, set MIBE_HOME, or make one with `mibe init-home`".to_owned()))
    }
}

/// `repo_cloneall` and `repo_pullall`: a repository that fails is told of, and the exit status stays 0.
fn all(called: &Path, rest: &[String], task: &dyn Task) -> Result<(), CommandError> {
    if let Some(argument) = rest.first() {
        return Err(usage(&format!("no arguments, and there is {argument:?}")));
    }
    let home = home(called)?;
    let settings = Settings::read(&home)?;
    if repos::server(&home, &settings)?.is_none() {
        return Err(CommandError::new(
            Kind::Failed,
            format!("{} names no GITSERVER", home.path("etc/repos.conf")),
        ));
    }
    let list = read_list(&home, &settings)?;
    let cancelled = signals::flag_on_signals()?;
    let jobs = settings.number("repos.jobs").unwrap_or(4);
    let timeout = settings.number("repos.timeout").unwrap_or(300);
    let outcomes = side_by_side(&home, &list.entries, jobs, timeout, &cancelled, task, true)?;
    for (outcome, entry) in outcomes.iter().zip(&list.entries) {
        let line = match outcome.state {
            "there" | "in the way" if task.doing() == "cloning" => {
                format!("* {} already exists, skipping.", outcome.name)
            }
            "missing" | "in the way" => format!("* {} doesn't exist, skipping.", outcome.name),
            "cloned" => format!("* Cloning {} into {}..", entry.url, outcome.name),
            _ if outcome.failed => format!(
                "* ERROR - Couldn't {} {} ({}: {}).",
                if task.doing() == "cloning" {
                    "clone"
                } else {
                    "pull"
                },
                entry.url,
                outcome.state,
                outcome.detail
            ),
            _ => format!(
                "* Pulling {} in {}..",
                entry.url,
                home.repos().join(&outcome.name)
            ),
        };
        output::line(output::plain(line.trim_end()));
    }
    if cancelled.load(std::sync::atomic::Ordering::SeqCst) {
        return Err(CommandError::new(Kind::Failed, "ended before all was done"));
    }
    Ok(())
}

/// `repo_init [-g] smartos NAME`.
fn repo_init(called: &Path, rest: &[String]) -> Result<(), CommandError> {
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    let (git, name) = match words.as_slice() {
        ["-g", "smartos", name] => (true, *name),
        ["smartos", name] => (false, *name),
        _ => return Err(usage("repo_init [-g] smartos REPOSITORY")),
    };
    if name.contains('/') || name.is_empty() {
        return Err(usage(
            "repo_init [-g] smartos REPOSITORY, a name without slashes",
        ));
    }
    let home = home(called)?;
    let settings = Settings::read(&home)?;
    let url = if git {
        let server = repos::server(&home, &settings)?.ok_or_else(|| {
            CommandError::new(
                Kind::Failed,
                format!("{} names no GITSERVER", home.path("etc/repos.conf")),
            )
        })?;
        let (entries, wrong) = repos::list::parse(name, Some(&server));
        match (entries.into_iter().next(), wrong.into_iter().next()) {
            (Some(entry), _) => Some(entry.url),
            (None, wrong) => {
                return Err(usage(
                    &wrong.map_or_else(String::new, |wrong| wrong.message),
                ));
            }
        }
    } else {
        None
    };
    let folder = home.repos().join(utf8(Path::new(name))?);
    output::line(format_args!(
        "* Populating {folder} SmartOS repository with build files.."
    ));
    init::make(
        Utf8Path::new(&folder),
        Template::Native,
        url.as_deref(),
        git,
    )?;
    output::line("* Done.");
    Ok(())
}

/// `build_smartos REPO`, or with the base and the build zone before it, as older ones wanted. The zone is made anew, so that its name says
/// nothing any more.
fn build_smartos(called: &Path, rest: &[String]) -> Result<(), CommandError> {
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    let (base, repository) = match words.as_slice() {
        [repository] => (None, *repository),
        [base, _zone, repository] => (Some(*base), *repository),
        _ => return Err(usage("build_smartos BUILD_REPO")),
    };
    let mut line = vec!["mibe", "build", "--builder", "smartos"];
    if let Some(base) = base {
        line.extend(["--base", base]);
    }
    line.extend(["--", repository]);
    let cli = Cli::try_parse_from(line).map_err(|error| usage(&error.to_string()))?;
    let Command::Build(arguments) = cli.command else {
        return Err(usage("build_smartos BUILD_REPO"));
    };
    let home = home(called)?;
    let settings = Settings::read(&home)?;
    commands::build::run_at(&arguments, &Site { home, settings })
}

fn usage(wanted: &str) -> CommandError {
    CommandError::new(Kind::Usage, format!("usage: {wanted}"))
}
