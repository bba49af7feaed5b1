//! `mibe image diff`.

use mibe_image::diff::{ChangedFile, ImageDiff, diff};
use mibe_image::inventory::{Changes, Package, User};
use mibe_image::listing::FileEntry;

use super::{Output, Readings, failed, open_named};
use crate::cli;
use crate::error::{CommandError, Kind};
use crate::units;

pub fn run(arguments: &cli::ImageDiff) -> Result<(), CommandError> {
    if arguments.one == "-" && arguments.other == "-" {
        return Err(CommandError::new(
            Kind::Usage,
            "standard input can't be both images",
        ));
    }
    let one = open_named(&arguments.one, &arguments.libraries, Readings::Several)?;
    let other = open_named(&arguments.other, &arguments.libraries, Readings::Several)?;
    let diff = diff(&one, &other, arguments.times).map_err(failed)?;
    let mut out = Output::new();
    if arguments.json {
        out.json(&diff);
        return out.finish();
    }
    for line in lines(&diff) {
        if !out.line(&line) {
            break;
        }
    }
    out.finish()
}

fn lines(diff: &ImageDiff) -> Vec<String> {
    let mut lines = Vec::new();
    let files = diff.added.len() + diff.removed.len() + diff.changed.len();
    if files > 0 {
        let size = |files: &[FileEntry]| {
            let sizes = files.iter().filter(|file| file.kind == "file");
            units::bytes(sizes.map(|file| file.size).sum())
        };
        lines.push(format!(
            "files: {} added ({}), {} removed ({}), {} changed",
            diff.added.len(),
            size(&diff.added),
            diff.removed.len(),
            size(&diff.removed),
            diff.changed.len()
        ));
        lines.extend(diff.added.iter().map(|file| format!("  + {}", file.path)));
        lines.extend(diff.removed.iter().map(|file| format!("  - {}", file.path)));
        lines.extend(diff.changed.iter().map(changed));
    }
    section(
        &mut lines,
        "packages",
        &diff.inventory.packages,
        package,
        |from, to| {
            let growth = match (from.size, to.size) {
                (Some(from), Some(to)) if to >= from => format!(" (+{})", units::bytes(to - from)),
                (Some(from), Some(to)) => format!(" (-{})", units::bytes(from - to)),
                _ => String::new(),
            };
            format!("{} -> {}{growth}", from.version, to.version)
        },
    );
    section(
        &mut lines,
        "users",
        &diff.inventory.users,
        user,
        |from, to| format!("{} -> {}", user(from), user(to)),
    );
    section(
        &mut lines,
        "groups",
        &diff.inventory.groups,
        Clone::clone,
        |from, to| format!("{from} -> {to}"),
    );
    section(
        &mut lines,
        "services",
        &diff.inventory.services,
        Clone::clone,
        |from, to| format!("{from} -> {to}"),
    );
    if lines.is_empty() {
        lines.push("the images do not differ".to_owned());
    }
    let warnings = &diff.inventory.warnings;
    lines.extend(warnings.iter().map(|warning| format!("note: {warning}")));
    lines
}

fn package(package: &Package) -> String {
    match package.size {
        Some(size) => format!("{} ({})", package.version, units::bytes(size)),
        None => package.version.clone(),
    }
}

fn user(user: &User) -> String {
    format!("{}:{} {} {}", user.uid, user.gid, user.home, user.shell)
}

fn section<T: Clone + PartialEq>(
    lines: &mut Vec<String>,
    title: &str,
    changes: &Changes<T>,
    show: impl Fn(&T) -> String,
    show_change: impl Fn(&T, &T) -> String,
) {
    if changes.is_empty() {
        return;
    }
    lines.push(format!(
        "{title}: {} added, {} removed, {} changed",
        changes.added.len(),
        changes.removed.len(),
        changes.changed.len()
    ));
    for (name, value) in &changes.added {
        lines.push(format!("  + {name} {}", show(value)));
    }
    for (name, value) in &changes.removed {
        lines.push(format!("  - {name} {}", show(value)));
    }
    for (name, change) in &changes.changed {
        lines.push(format!(
            "  ~ {name} {}",
            show_change(&change.from, &change.to)
        ));
    }
}

fn changed(file: &ChangedFile) -> String {
    let (from, to) = (&file.from, &file.to);
    let details: Vec<String> = file
        .what
        .iter()
        .map(|what| {
            let (old, new) = match *what {
                "type" => (from.kind.to_owned(), to.kind.to_owned()),
                "content" => (units::bytes(from.size), units::bytes(to.size)),
                "target" => (
                    from.target.clone().unwrap_or_default(),
                    to.target.clone().unwrap_or_default(),
                ),
                "device" => (
                    from.rdev.clone().unwrap_or_default(),
                    to.rdev.clone().unwrap_or_default(),
                ),
                "mode" => (from.mode.clone(), to.mode.clone()),
                "owner" => (
                    format!("{}:{}", from.uid, from.gid),
                    format!("{}:{}", to.uid, to.gid),
                ),
                "time" => (from.mtime.clone(), to.mtime.clone()),
                _ => return (*what).to_owned(),
            };
            format!("{what} {old} -> {new}")
        })
        .collect();
    format!("  ~ {}  {}", file.path, details.join(", "))
}
