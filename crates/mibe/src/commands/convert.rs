//! `mibe convert`.

use std::fs;
use std::io::Write as _;

use camino::Utf8Path;
use mibe_home::Home;
use mibe_recipe::{Dialect, convert};

use crate::cli::{Convert, DialectName};
use crate::commands::utf8;
use crate::error::{CommandError, Kind};
use crate::output;

#[expect(
    clippy::print_stderr,
    reason = "what the user should know beside the result"
)]
pub fn run(arguments: &Convert) -> Result<(), CommandError> {
    let repository = Home::find()?.repository(utf8(&arguments.repo)?)?;
    let from = source(&repository, arguments)?;
    let converted = convert(&repository, from).map_err(|found| {
        CommandError::new(
            Kind::Failed,
            format!("{} can't be converted", repository.join(from.file())),
        )
        .problems(found.0)
    })?;
    if converted.comments > 0 {
        eprintln!(
            "note: JSON has no comments; {} with one stay in {} only",
            if converted.comments == 1 {
                "a line".to_owned()
            } else {
                format!("{} lines", converted.comments)
            },
            repository.join(from.file())
        );
    }
    let to = repository.join(from.other().file());
    if !converted.kept.is_empty() {
        eprintln!(
            "note: {} stay as {to} had them: {} does not say them",
            converted.kept.join(", "),
            from.file()
        );
    }
    if arguments.stdout {
        output::text(&converted.text);
        return Ok(());
    }
    write(&to, &converted.text, arguments.force)?;
    output::line(format_args!("{to} written"));
    if from == Dialect::Shell {
        output::line(
            "Both stand there now, and manifest.json is what counts; `mibe check` tells when they differ.",
        );
    } else {
        output::line(
            "Both stand there now, and manifest.json still is what counts: remove it to go back to manifest.",
        );
    }
    Ok(())
}

/// The dialect that is read: the one there is, or the one that is not asked for.
fn source(repository: &Utf8Path, arguments: &Convert) -> Result<Dialect, CommandError> {
    let there = Dialect::of(repository);
    if let Some(to) = arguments.to {
        let from = match to {
            DialectName::Json => Dialect::Shell,
            DialectName::Shell => Dialect::Json,
        };
        if there.contains(&from) {
            return Ok(from);
        }
        return Err(CommandError::new(
            Kind::Usage,
            format!("{repository} has no {} to convert", from.file()),
        ));
    }
    match there.as_slice() {
        [from] => Ok(*from),
        [] => Err(CommandError::new(
            Kind::Failed,
            format!("{repository} has neither manifest nor manifest.json"),
        )),
        _ => Err(CommandError::new(Kind::Usage, format!("{repository} has manifest and manifest.json"))
            .hint("say with --to json or --to shell which of them is to be written from the other, and with --force that it may be replaced".to_owned())),
    }
}

/// Whole or not at all.
fn write(path: &Utf8Path, text: &str, force: bool) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::new(Kind::Failed, format!("can't write {path}: {error}"))
    };
    if !force && path.symlink_metadata().is_ok() {
        return Err(
            CommandError::new(Kind::Usage, format!("{path} is there already"))
                .hint("--force replaces it, --stdout prints what would be written".to_owned()),
        );
    }
    let folder = path.parent().unwrap_or(Utf8Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(file.path(), mode).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    if force {
        file.persist(path).map_err(|error| failed(error.error))?;
    } else {
        file.persist_noclobber(path)
            .map_err(|error| failed(error.error))?;
    }
    Ok(())
}
