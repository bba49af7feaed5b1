//! What a disk is: all that can be told of it without changing it.

use std::io;

use serde::Serialize;

use crate::ext4::Ext4;
use crate::filesystem::{self, FileSystem, Kind};
use crate::guest::boot::{self, BootMode};
use crate::guest::clean::{self, Trace};
use crate::guest::{CloudInit, System};
use crate::source::{Metered, Part, Source};
use crate::table::{self, Partition, Table};

/// Families of systems, as image manifests tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Os {
    /// Linux.
    Linux,
    /// A BSD.
    Bsd,
    /// Windows.
    Windows,
    /// Anything else.
    Other,
}

impl Os {
    /// The word in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Bsd => "bsd",
            Self::Windows => "windows",
            Self::Other => "other",
        }
    }
}

/// A part of the disk: a partition, or the whole where it has none.
#[derive(Clone, Debug, Serialize)]
pub struct PartReport {
    /// Where it is.
    #[serde(flatten)]
    pub partition: Partition,
    /// What is in it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<FileSystem>,
    /// What the guest has it for ("root", "boot").
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<&'static str>,
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Machines of the image will not work as they should, unless something is done.
    Error,
    /// It may not be what was meant.
    Warning,
    /// An import sees to it.
    Note,
}

/// Something that is not as it should be, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Its name, which stays the same ("no-cloud-init").
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

/// What is known of a disk.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Bytes of the disk.
    pub size: u64,
    /// Its partition table, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<table::TableKind>,
    /// Its parts, by number.
    pub parts: Vec<PartReport>,
    /// What firmware boots it.
    pub boot: BootMode,
    /// The family of its system.
    pub os: Os,
    /// Which system it is, where its files can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// The kernel's command line, and the file that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<(String, String)>,
    /// Its cloud-init, where its files can be read and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// What of its past is in it.
    pub traces: Vec<Trace>,
    /// What is not as it should be, what matters most first.
    pub problems: Vec<Problem>,
}

impl Inspection {
    /// The part that has the guest's root, if its files can be read.
    pub fn root(&self) -> Option<&PartReport> {
        self.parts.iter().find(|part| part.holds == Some("root"))
    }

    /// The kind of what most likely has the guest's files, where they can't be read.
    pub fn unreadable(&self) -> Option<Kind> {
        if self.root().is_some() {
            return None;
        }
        let kinds = || {
            self.parts
                .iter()
                .filter_map(|part| part.filesystem.as_ref())
                .map(|found| found.kind)
        };
        let candidates = [
            Kind::Lvm,
            Kind::Luks,
            Kind::Xfs,
            Kind::Btrfs,
            Kind::Ufs,
            Kind::Zfs,
            Kind::Ntfs,
            Kind::Ext4,
        ];
        candidates
            .into_iter()
            .find(|kind| kinds().any(|there| there == *kind))
    }
}

/// Looks at a disk.
///
/// # Errors
///
/// It could not be read, or leads in circles. What is wrong with it otherwise is a problem that is told.
pub fn inspect(disk: &dyn Source) -> io::Result<Inspection> {
    let metered = Metered::new(disk, 1);
    let inspection = look(&metered);
    metered.check()?;
    inspection
}

fn look(disk: &dyn Source) -> io::Result<Inspection> {
    let table = table::read(disk)?;
    let mut problems = Vec::new();
    let mut parts = parts(disk, table.as_ref())?;
    let boot = BootMode::of(disk, table.as_ref())?;
    if let Some(table) = &table {
        for message in &table.problems {
            add(
                &mut problems,
                "partition-table",
                Severity::Warning,
                message.clone(),
                if message.contains("beyond the end") {
                    "was the disk downloaded whole? compare its checksum"
                } else {
                    "look at the disk with sgdisk --verify or fdisk"
                },
            );
        }
    }
    let labels: Vec<String> = parts
        .iter()
        .filter_map(|part| Some(part.filesystem.as_ref()?.label.clone()))
        .collect();
    let mut inspection = Inspection {
        size: disk.size(),
        table: table.as_ref().map(|table| table.kind),
        boot,
        os: Os::Other,
        system: None,
        command_line: None,
        cloud_init: None,
        traces: Vec::new(),
        parts: Vec::new(),
        problems: Vec::new(),
    };
    let mut trees: Vec<(usize, Ext4<'_>)> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let is_ext4 = part
            .filesystem
            .as_ref()
            .is_some_and(|found| found.kind == Kind::Ext4);
        if !is_ext4 {
            continue;
        }
        match Ext4::open(disk, part.partition.start, part.partition.size) {
            Ok(tree) => trees.push((index, tree)),
            Err(error) => add(
                &mut problems,
                "file-system",
                Severity::Warning,
                format!("{}: {error}", part_name(&part.partition)),
                "look at it with e2fsck -fn",
            ),
        }
    }
    let root = trees
        .iter()
        .find_map(|(index, tree)| Some((*index, tree, System::of(tree)?)));
    if let Some((index, tree, system)) = root {
        parts[index].holds = Some("root");
        let own = boot::command_line(tree, "boot/");
        inspection.command_line = own.or_else(|| {
            trees
                .iter()
                .filter(|(other, _)| *other != index)
                .find_map(|(other, tree)| {
                    let line = boot::command_line(tree, "")?;
                    parts[*other].holds = Some("boot");
                    Some(line)
                })
        });
        let line = inspection
            .command_line
            .as_ref()
            .map_or("", |(line, _)| line);
        inspection.cloud_init = CloudInit::of(tree, line, &labels);
        inspection.traces = clean::traces(tree);
        inspection.os = if system.id == "freebsd" {
            Os::Bsd
        } else {
            Os::Linux
        };
        inspection.system = Some(system);
        if !tree.is_clean() {
            add(
                &mut problems,
                "not-clean",
                Severity::Note,
                "the root file system was not unmounted in order".into(),
                "an import has e2fsck carry out its journal first",
            );
        }
    } else {
        inspection.os = family(&parts);
    }
    inspection.parts = parts;
    judge(&inspection, &mut problems);
    problems.sort_by_key(|problem| problem.severity);
    inspection.problems = problems;
    Ok(inspection)
}

/// The parts of a disk and what is in them.
fn parts(disk: &dyn Source, table: Option<&Table>) -> io::Result<Vec<PartReport>> {
    let whole = [Partition {
        number: 0,
        start: 0,
        size: disk.size(),
        kind: String::new(),
        name: String::new(),
        uuid: String::new(),
        active: false,
    }];
    let partitions = table.map_or(whole.as_slice(), |table| table.partitions.as_slice());
    let mut parts = Vec::new();
    for partition in partitions {
        parts.push(PartReport {
            filesystem: filesystem::identify(&Part::new(disk, partition.start, partition.size))?,
            partition: partition.clone(),
            holds: None,
        });
    }
    Ok(parts)
}

/// The family of a system whose files can't be read, by its partitions.
fn family(parts: &[PartReport]) -> Os {
    let kind = |kind: Kind| {
        parts.iter().any(|part| {
            part.filesystem
                .as_ref()
                .is_some_and(|found| found.kind == kind)
        })
    };
    let named = |start: &str| {
        parts
            .iter()
            .any(|part| part.partition.kind_name().starts_with(start))
    };
    if kind(Kind::Ufs) || named("FreeBSD") || named("OpenBSD") || named("NetBSD") {
        Os::Bsd
    } else if kind(Kind::Ntfs) || named("Windows reserved") {
        Os::Windows
    } else if [Kind::Xfs, Kind::Btrfs, Kind::Ext4, Kind::Lvm, Kind::Luks]
        .into_iter()
        .any(kind)
    {
        Os::Linux
    } else {
        Os::Other
    }
}

fn part_name(partition: &Partition) -> String {
    match partition.number {
        0 => "the disk".into(),
        number => format!("partition {number}"),
    }
}

fn add(
    problems: &mut Vec<Problem>,
    code: &'static str,
    severity: Severity,
    message: String,
    mend: &str,
) {
    problems.push(Problem {
        code,
        severity,
        message,
        mend: mend.to_owned(),
    });
}

/// Finds what will not work.
fn judge(inspection: &Inspection, problems: &mut Vec<Problem>) {
    let mut add =
        |code, severity, message: String, mend: &str| add(problems, code, severity, message, mend);
    let is_iso = inspection.parts.iter().any(|part| {
        part.filesystem
            .as_ref()
            .is_some_and(|found| found.kind == Kind::Iso9660)
    });
    if is_iso {
        add(
            "installation-medium",
            Severity::Error,
            "this is an installation medium, or a live system: machines of it would start installing".into(),
            "take the vendor's cloud image (a qcow2 or raw disk) instead",
        );
    } else if inspection.table.is_none()
        && inspection
            .parts
            .iter()
            .all(|part| part.filesystem.is_none())
    {
        add(
            "no-partitions",
            Severity::Error,
            "there is no partition table and no file system: nothing can boot from it".into(),
            "is it the right file, downloaded whole and unpacked?",
        );
    } else if !inspection.boot.bios && !inspection.boot.uefi {
        add(
            "not-bootable",
            Severity::Error,
            "neither a BIOS nor UEFI finds anything to boot".into(),
            "take a disk with a boot loader; disks that are booted with a kernel from outside have none",
        );
    } else if !inspection.boot.bios {
        add(
            "uefi-only",
            Severity::Note,
            "it boots by UEFI alone, which kvm has not".into(),
            "an import requires the brand bhyve and its bootrom uefi",
        );
    }
    let by_tag = "import it with --datasource nocloud: bhyve then gives the guest a NoCloud disk (no ssh keys, no user-script), or with --datasource keep as it is";
    if let Some(kind) = inspection.unreadable() {
        let mend = if matches!(inspection.os, Os::Windows) {
            "an import leaves it as it is; cloudbase-init in the guest reads metadata by itself"
                .to_owned()
        } else {
            by_tag.to_owned()
        };
        let severity = if matches!(inspection.os, Os::Linux) {
            Severity::Warning
        } else {
            Severity::Note
        };
        add(
            "unreadable",
            severity,
            format!(
                "the guest's files are on {}, which can't be read here: what its cloud-init will do is not known",
                kind.name()
            ),
            &mend,
        );
    }
    let Some(cloud_init) = &inspection.cloud_init else {
        if inspection.root().is_some() {
            add(
                "no-cloud-init",
                Severity::Error,
                "there is no cloud-init: the guest will know neither its ssh keys nor its name nor its address".into(),
                "take the vendor's cloud image, or build one from this disk with cloud-init among its packages (mibe build, type=zvol), or import it with --datasource keep",
            );
        }
        return;
    };
    if !cloud_init.smartos {
        let message = if cloud_init.datasources.is_empty() {
            format!("cloud-init will not run on SmartOS: {}", cloud_init.reason)
        } else {
            format!(
                "cloud-init will try {} on SmartOS: {}",
                cloud_init.datasources.join(", "),
                cloud_init.reason
            )
        };
        add(
            "datasource",
            Severity::Note,
            message,
            "an import enables the datasource of SmartOS",
        );
    }
    let ties: Vec<&str> = cloud_init
        .on_command_line
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "cloud-init=enabled")
        .collect();
    if !ties.is_empty() {
        let file = inspection
            .command_line
            .as_ref()
            .map_or("", |(_, file)| file);
        add(
            "kernel-command-line",
            Severity::Error,
            format!(
                "the kernel's command line tells cloud-init what to do: {} (in /{file})",
                ties.join(" ")
            ),
            "take it away in the guest (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub), or in a build from this disk (mibe build, type=zvol) with sed",
        );
    }
    for file in &cloud_init.unseen_lists {
        add(
            "unseen-list",
            Severity::Warning,
            format!(
                "{file} lists datasources one a line, which ds-identify does not see: only where it decides nothing does cloud-init heed it"
            ),
            "write the list on one line: datasource_list: [ A, B ]",
        );
    }
    let traces = inspection.traces.len();
    if traces > 0 {
        add(
            "traces",
            Severity::Note,
            format!("{traces} files are of this one machine: host keys, identity, logs"),
            "an import cleans them away (--no-clean keeps them)",
        );
    }
}
