//! `mibe disk inspect`.

use mibe_build::BuildError;
use mibe_build::disk::{self, DiskInput, Workshop};
use mibe_build::paths::Paths;
use mibe_disk::DiskError;
use mibe_disk::inspect::{Inspection, PartReport, Severity, inspect};
use mibe_disk::source::About;

use crate::cli::DiskInspect;
use crate::error::{CommandError, Kind};
use crate::signals::flag_on_signals;
use crate::{output, units};

/// Most files of a guest's past that people are shown: a hostile disk has hundreds of thousands.
const MOST_TRACES: usize = 200;

pub fn run(arguments: &DiskInspect) -> Result<(), CommandError> {
    let cancel = flag_on_signals()?;
    let Some(name) = arguments.file.to_str() else {
        return Err(CommandError::new(
            Kind::Usage,
            "the file's name is not UTF-8",
        ));
    };
    let paths = Paths::of_user()?;
    let workshop = Workshop::new(&paths, name)?;
    let input = DiskInput {
        name: name.to_owned(),
        checksum: None,
        backing: arguments.backing.clone(),
    };
    if input.is_url() {
        return Err(CommandError::new(
            Kind::Usage,
            "a disk is looked into where it is a file of this machine",
        )
        .hint("fetch it first (curl -LO URL); mibe disk import takes URLs".to_owned()));
    }
    let (opened, _) = disk::open(&input, &paths, workshop.path(), &cancel, &|_| {})?;
    let found = inspect(opened.source.as_ref())
        .map_err(|error| BuildError::from(DiskError::on_disk("read", &arguments.file)(error)))?;
    if arguments.json {
        let mut object =
            serde_json::json!({ "file": name, "version": mibe_image::progress::VERSION });
        for value in [
            serde_json::to_value(&opened.about),
            serde_json::to_value(&found),
        ] {
            let value =
                value.map_err(|error| CommandError::new(Kind::Failed, error.to_string()))?;
            if let (Some(object), serde_json::Value::Object(fields)) =
                (object.as_object_mut(), value)
            {
                object.extend(fields);
            }
        }
        output::line(object);
    } else {
        show(name, &opened.about, &found);
    }
    Ok(())
}

fn show(name: &str, about: &About, found: &Inspection) {
    let field = |name: &str, value: String| {
        output::line(format_args!("{name:<12}{}", output::plain(&value)));
    };
    field("disk", name.to_owned());
    let packing = about
        .packing
        .map_or_else(String::new, |packing| format!(", in {packing}"));
    let details = if about.details.is_empty() {
        String::new()
    } else {
        format!(", {}", about.details)
    };
    field(
        "format",
        format!(
            "{}{details}{packing} ({} in the file)",
            about.format,
            units::bytes(about.file_size)
        ),
    );
    field(
        "size",
        format!(
            "{} ({} bytes)",
            units::bytes(about.virtual_size),
            about.virtual_size
        ),
    );
    field(
        "partitions",
        match found.table {
            Some(kind) => format!("{:?}, {}", kind, found.parts.len()).to_ascii_uppercase(),
            None => "none".to_owned(),
        },
    );
    for part in &found.parts {
        output::line(format_args!(
            "{:<12}{}",
            "",
            output::plain(&partition(part))
        ));
    }
    field("boots by", found.boot.name().to_owned());
    field(
        "system",
        found
            .system
            .as_ref()
            .map_or_else(|| found.os.name().to_owned(), |system| system.title.clone()),
    );
    if let Some((line, file)) = &found.command_line {
        field("kernel", format!("{line} (/{file})"));
    }
    match &found.cloud_init {
        Some(cloud_init) => {
            let version = cloud_init
                .version
                .as_deref()
                .unwrap_or("of unknown version");
            let user = cloud_init
                .default_user
                .as_ref()
                .map_or_else(String::new, |user| format!(", makes the user {user}"));
            field("cloud-init", format!("{version}{user}"));
            let list = if cloud_init.datasources.is_empty() {
                "will not run".to_owned()
            } else {
                cloud_init.datasources.join(", ")
            };
            field("on SmartOS", format!("{list} ({})", cloud_init.reason));
        }
        None if found.root().is_some() => field("cloud-init", "none".to_owned()),
        None => field("cloud-init", "unknown".to_owned()),
    }
    if !found.traces.is_empty() {
        field("its past", format!("{} files", found.traces.len()));
        for trace in found.traces.iter().take(MOST_TRACES) {
            output::line(format_args!(
                "{:<12}/{} ({})",
                "",
                output::plain(&trace.path),
                trace.what
            ));
        }
    }
    if found.traces.len() > MOST_TRACES {
        field("", "and more, which --json tells".to_owned());
    }
    for problem in &found.problems {
        let word = match problem.severity {
            Severity::Error => "problem",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        output::line(format_args!(
            "\n{word}: {} [{}]\n  mend: {}",
            output::plain(&problem.message),
            problem.code,
            output::plain(&problem.mend)
        ));
    }
    if found.problems.is_empty() {
        output::line("\nno problem was found");
    }
}

/// A line about a partition.
fn partition(part: &PartReport) -> String {
    let mut words = Vec::new();
    if part.partition.number > 0 {
        words.push(format!(
            "{:>3}  {:>10}  {}",
            part.partition.number,
            units::bytes(part.partition.size),
            part.partition.kind_name()
        ));
    }
    if let Some(found) = &part.filesystem {
        words.push(found.kind.name().to_owned());
        if !found.label.is_empty() {
            words.push(format!("label {}", found.label));
        }
    }
    words.extend(part.holds.map(|holds| format!("the guest's {holds}")));
    words.join(", ")
}
