//! `mibe init`.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use mibe_home::Home;
use mibe_home::init::{self, NewRepository, Template};
use mibe_home::repos::{GitFailure, Limits, list};

use crate::cli::{Init, TypeName};
use crate::commands::repos::git;
use crate::commands::utf8;
use crate::error::{CommandError, Kind};
use crate::output;

/// How long git may take for a commit, or a push.
const TIMEOUT: Duration = Duration::from_secs(300);

pub fn run(arguments: &Init) -> Result<(), CommandError> {
    let template = match arguments.r#type {
        TypeName::Lx => Template::Lx,
        TypeName::Native => Template::Native,
        TypeName::Hvm => Template::Hvm,
    };
    let folder = place(&Home::find()?, utf8(&arguments.name)?);
    let url = arguments.git.as_deref().map(remote).transpose()?;
    make(&folder, template, url.as_deref(), false)?;
    output::line(format_args!("{folder} made\n"));
    let name = arguments.name.display();
    output::line(format_args!("    mibe check {name}"));
    match template {
        Template::Lx => output::line(format_args!("    mibe build {name}")),
        Template::Native => output::line(
            "\nThe programs of a native image run on SmartOS alone: it is built there.",
        ),
        Template::Hvm => output::line(
            "\nPut the vendor's disk where `base` in its manifest says, or change that.",
        ),
    }
    if arguments.git.is_some() {
        output::line(format_args!("    git -C {folder} push -u origin HEAD"));
    }
    Ok(())
}

/// What git takes as the URL of a remote, by the rules of etc/repos.list.
fn remote(text: &str) -> Result<String, CommandError> {
    let (entries, wrong) = list::parse(text, None);
    match (entries.as_slice(), wrong.first()) {
        ([entry], None) => Ok(entry.url.clone()),
        (_, wrong) => {
            let why = wrong.map_or("there is none", |wrong| wrong.message.as_str());
            Err(CommandError::new(Kind::Usage, format!("--git {text:?} is no URL: {why}"))
                .hint("write https://HOST/OWNER/NAME.git, git@HOST:OWNER/NAME.git, or the path of a repository".to_owned()))
        }
    }
}

/// A name goes into the home's repos/, a path where it says.
pub fn place(home: &Home, name: &Utf8Path) -> Utf8PathBuf {
    if home.is_found() && !name.as_str().contains('/') {
        home.repos().join(name)
    } else {
        name.to_owned()
    }
}

/// Makes a repository, with git where a URL is given.
pub fn make(
    folder: &Utf8Path,
    template: Template,
    url: Option<&str>,
    push: bool,
) -> Result<(), CommandError> {
    let git = url.map(|_| git()).transpose()?;
    init::repository(&NewRepository {
        folder,
        template,
        url,
    })?;
    let (Some(git), Some(url)) = (git, url) else {
        return Ok(());
    };
    let never = AtomicBool::new(false);
    let limits = Limits {
        timeout: TIMEOUT,
        cancel: &never,
    };
    let failed = |what: &str, failure: &GitFailure| {
        let error = CommandError::new(
            Kind::Failed,
            format!("{folder} is made, but {what}: {}", failure.message),
        );
        match failure.kind.advice() {
            Some(advice) => error.hint(advice.to_owned()),
            None => error.hint("git config --global user.name and user.email say who commits; then git commit in it".to_owned()),
        }
    };
    init::commit(&git, folder, Some(url), limits)
        .map_err(|failure| failed("git could not commit it", &failure))?;
    if push {
        init::push(&git, folder, limits)
            .map_err(|failure| failed("git could not push it", &failure))?;
    }
    Ok(())
}
