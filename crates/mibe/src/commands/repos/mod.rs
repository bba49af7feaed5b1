//! `mibe repos`: the repositories named in `etc/repos.list`.

pub mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camino::Utf8Path;
use indicatif::{ProgressBar, ProgressStyle};
use mibe_home::repos::pool::{self, Step};
use mibe_home::repos::{self, Entry, Git, Limits, List, Outcome};
use mibe_home::{Home, HomeError, Settings};

use crate::cli::{ReposCommand, ReposList, ReposWork};
use crate::error::{CommandError, Kind};
use crate::site::Site;
use crate::{output, signals};

/// Repositories that are worked on at once at one server, and seconds for one of them, where nothing says otherwise.
const JOBS: u64 = 4;
const TIMEOUT: u64 = 300;

pub fn run(command: &ReposCommand) -> Result<(), CommandError> {
    let Site { home, settings } = Site::find()?;
    match command {
        ReposCommand::Clone(arguments) => work(&home, &settings, arguments, &Cloning),
        ReposCommand::Pull(arguments) => work(&home, &settings, arguments, &Pulling),
        ReposCommand::List(arguments) => list(&home, &settings, arguments, false),
        ReposCommand::Status(arguments) => list(&home, &settings, arguments, true),
    }
}

/// What is done with each repository.
pub trait Task: Sync {
    /// While it is done ("cloning").
    fn doing(&self) -> &'static str;
    /// Does it.
    fn task(&self, git: &Git, entry: &Entry, repos: &Utf8Path, limits: Limits<'_>) -> Outcome;
}

/// `clone`.
pub struct Cloning;
/// `pull`.
pub struct Pulling;

impl Task for Cloning {
    fn doing(&self) -> &'static str {
        "cloning"
    }

    fn task(&self, git: &Git, entry: &Entry, repos: &Utf8Path, limits: Limits<'_>) -> Outcome {
        repos::clone(git, entry, repos, limits)
    }
}

impl Task for Pulling {
    fn doing(&self) -> &'static str {
        "pulling"
    }

    fn task(&self, git: &Git, entry: &Entry, repos: &Utf8Path, limits: Limits<'_>) -> Outcome {
        repos::pull(git, entry, repos, limits)
    }
}

/// The system's git.
pub fn git() -> Result<Git, CommandError> {
    Git::find().ok_or_else(|| {
        CommandError::new(Kind::Host, "git is not on PATH")
            .hint("install it: apt-get install git, or pkgin install git".to_owned())
    })
}

/// The list, with what is wrong in it told.
#[expect(clippy::print_stderr, reason = "what is wrong in the list")]
pub fn read_list(home: &Home, settings: &Settings) -> Result<List, CommandError> {
    let list = repos::read(home, settings)?;
    let path = home.path("etc/repos.list");
    for wrong in &list.wrong {
        let place = format!("{path}:{}:{}", wrong.line, wrong.column);
        eprintln!(
            "{}",
            output::plain(&format!(
                "{place}: error: {} ({})",
                wrong.message, wrong.advice
            ))
        );
    }
    Ok(list)
}

/// The entries that are named, or all.
fn chosen(list: &List, names: &[String]) -> Result<Vec<Entry>, CommandError> {
    if names.is_empty() {
        return Ok(list.entries.clone());
    }
    names
        .iter()
        .map(|name| {
            list.entries
                .iter()
                .find(|entry| entry.name == *name)
                .cloned()
                .ok_or_else(|| {
                    let known = list.entries.iter().map(|entry| entry.name.as_str());
                    let near = mibe_recipe::likeliest(name, known, 5);
                    let error = CommandError::new(
                        Kind::Usage,
                        format!("the list names no repository `{name}`"),
                    );
                    if near.is_empty() {
                        error.hint("`mibe repos list` shows those that it names".to_owned())
                    } else {
                        error.hint(format!("did you mean {}?", near.join(", ")))
                    }
                })
        })
        .collect()
}

fn work(
    home: &Home,
    settings: &Settings,
    arguments: &ReposWork,
    task: &dyn Task,
) -> Result<(), CommandError> {
    let list = read_list(home, settings)?;
    let entries = chosen(&list, &arguments.names)?;
    let jobs = arguments
        .jobs
        .or(settings.number("repos.jobs"))
        .unwrap_or(JOBS);
    let timeout = arguments
        .timeout
        .or(settings.number("repos.timeout"))
        .unwrap_or(TIMEOUT);
    let cancelled = signals::flag_on_signals()?;
    let quiet = arguments.json || arguments.quiet;
    let outcomes = side_by_side(home, &entries, jobs, timeout, &cancelled, task, quiet)?;
    if arguments.json {
        for outcome in &outcomes {
            output::line(serde_json::json!(outcome));
        }
    } else {
        table::outcomes(&outcomes);
    }
    let mut failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.failed)
        .map(|outcome| outcome.name.as_str())
        .collect();
    if cancelled.load(Ordering::SeqCst) {
        return Err(CommandError::new(Kind::Failed, "ended before all was done"));
    }
    if !list.wrong.is_empty() {
        failed.push("lines of the list that can't be used");
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(CommandError::new(
            Kind::Failed,
            format!("not done: {}", failed.join(", ")),
        ))
    }
}

/// Works on all entries at once; outcomes are in the order of the list.
pub fn side_by_side(
    home: &Home,
    entries: &[Entry],
    jobs: u64,
    timeout: u64,
    cancelled: &Arc<AtomicBool>,
    task: &dyn Task,
    quiet: bool,
) -> Result<Vec<Outcome>, CommandError> {
    let git = git()?;
    let folder = home.repos();
    std::fs::create_dir_all(&folder).map_err(|error| {
        CommandError::new(Kind::Failed, format!("can't make {folder}: {error}"))
    })?;
    repos::clean(&folder)?;
    let limits = Limits {
        timeout: Duration::from_secs(timeout),
        cancel: cancelled,
    };
    let shown = Shown::new(entries.len(), task.doing(), quiet);
    let done = pool::run(
        entries,
        usize::try_from(jobs).unwrap_or(usize::MAX),
        cancelled,
        |entry| task.task(&git, entry, &folder, limits),
        |step| shown.step(&step),
    );
    shown.end();
    Ok(done.into_iter().flatten().collect())
}

/// A bar on a terminal, a line a repository elsewhere.
struct Shown {
    bar: ProgressBar,
    doing: &'static str,
    lines: bool,
}

impl Shown {
    fn new(count: usize, doing: &'static str, quiet: bool) -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let bar = if quiet || !terminal {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(count as u64)
        };
        if let Ok(style) = ProgressStyle::with_template("{pos}/{len} {wide_msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            doing,
            lines: !quiet && !terminal,
        }
    }

    #[expect(clippy::print_stderr, reason = "progress")]
    fn step(&self, step: &Step<'_, Outcome>) {
        match step {
            Step::Started(entry) => self
                .bar
                .set_message(format!("{} {}", self.doing, entry.name)),
            Step::Finished(_, outcome) => {
                self.bar.inc(1);
                // On a terminal the bar tells how far it is, and the table comes right after it.
                if self.lines {
                    eprintln!("{}", output::plain(&table::line(outcome, 0)));
                }
            }
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn list(
    home: &Home,
    settings: &Settings,
    arguments: &ReposList,
    look: bool,
) -> Result<(), CommandError> {
    // Without a list, what is in repos/ can still be told of.
    let list = match repos::read(home, settings) {
        Err(HomeError::NoList(_)) if home.repos().is_dir() => List {
            entries: Vec::new(),
            wrong: Vec::new(),
        },
        _ => read_list(home, settings)?,
    };
    let git = git()?;
    let folder = home.repos();
    let named = repos::names(&list.entries, &folder);
    let repositories: Vec<_> = named
        .iter()
        .map(|(name, entry)| repos::look(&git, name, entry.as_ref(), &folder))
        .collect();
    if repositories.is_empty() && !arguments.json {
        output::line(format_args!(
            "{} names no repository, and there is none in {folder}",
            home.path("etc/repos.list")
        ));
    }
    if arguments.json {
        for repository in &repositories {
            output::line(serde_json::json!(repository));
        }
    } else if look {
        table::status(&repositories);
    } else {
        table::list(&repositories);
    }
    if list.wrong.is_empty() {
        Ok(())
    } else {
        Err(CommandError::new(
            Kind::Failed,
            "the list has lines that can't be used",
        ))
    }
}
