//! A disk made fit to be an image: as large as it should be, its datasource enabled, its past cleaned away; and what the image's manifest is to say of it.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::{Map, Value, json};

use crate::changes::Changes;
use crate::decide;
use crate::error::DiskError;
use crate::ext4::Ext4;
use crate::ext4::edit::{Change, Editor};
use crate::guest::clean::{Action, Trace};
use crate::guest::smartos_changes;
use crate::inspect::{Inspection, Os, Problem, Severity, inspect};
use crate::source::{MAX_DISK, Metered, Raw, Source};
use crate::table;
use crate::volume::MIB;

/// Where a guest's metadata come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datasource {
    /// cloud-init's datasource of SmartOS, on the second serial port.
    Smartos,
    /// A NoCloud disk that bhyve attaches (OS-8711).
    Nocloud,
    /// Whatever the guest has: nothing is changed.
    Keep,
}

/// Brands of virtual machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brand {
    /// kvm alone.
    Kvm,
    /// bhyve alone.
    Bhyve,
    /// Either.
    Any,
}

/// Firmware of bhyve's machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootrom {
    /// A BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

impl Bootrom {
    /// The word in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        }
    }
}

/// What somebody wants of a disk; `None` is for what it turns out to need.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Brands of machines.
    pub brand: Option<Brand>,
    /// Firmware.
    pub bootrom: Option<Bootrom>,
    /// Where metadata come from.
    pub datasource: Option<Datasource>,
    /// The family of the system.
    pub os: Option<Os>,
    /// Whether the guest's past is cleaned away.
    pub clean: bool,
    /// Seconds since 1970: the time of whatever is changed.
    pub now: i64,
}

/// A disk that is fit to be an image.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The family of the system.
    pub os: Os,
    /// The brand that machines must have.
    pub brand: Option<&'static str>,
    /// The firmware that they must have, only with a brand.
    pub bootrom: Option<&'static str>,
    /// Whether ssh keys arrive in the guest.
    pub ssh_key: bool,
    /// The user that cloud-init makes.
    pub default_user: Option<String>,
    /// Tags of the image that the platform heeds.
    pub tags: Map<String, Value>,
    /// What was done, for the log.
    pub notes: Vec<String>,
    /// What may not be as it was meant.
    pub warnings: Vec<Problem>,
}

/// How many times as much of the disk is read to put changes together as to look into it: there, each path is looked up by itself.
const PREPARING: u64 = 100;

/// The size of an image's disk: that of a disk, rounded up to a MiB, or the one that is wanted.
///
/// # Errors
///
/// What is wanted is less than the disk.
pub fn image_size(disk: u64, wanted: Option<u64>) -> Result<u64, DiskError> {
    let least = disk
        .checked_next_multiple_of(MIB)
        .filter(|&least| least <= MAX_DISK);
    let Some(least) = least else {
        return Err(DiskError::usage(
            format!("a disk of {disk} bytes is larger than any that is taken"),
            &[],
        ));
    };
    match wanted {
        Some(wanted) if wanted < least => Err(DiskError::usage(
            format!(
                "the disk has {:.2} GiB, and {:.2} are asked for: a disk can only be made larger",
                gibibytes(disk),
                gibibytes(wanted)
            ),
            &["ask for more, or leave out --size (of a build, disk_size in the manifest)"],
        )),
        Some(wanted) => Ok(wanted.next_multiple_of(MIB)),
        None => Ok(least),
    }
}

fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Makes the raw disk `disk` in the file `path` fit to be an image. `folder` is for what is needed meanwhile.
///
/// # Errors
///
/// It can't be made so, or not as it is wanted; the disk is of no use then.
pub fn prepare(
    disk: &Raw,
    path: &Path,
    wishes: &Wishes,
    folder: &Path,
    cancel: &AtomicBool,
) -> Result<Prepared, DiskError> {
    let read = || DiskError::io("read", path);
    let mut notes = Vec::new();
    if move_table(disk, path)? {
        notes.push("the second partition table was moved to the disk's end".to_owned());
    }
    let before = inspect(disk).map_err(read())?;
    decide::bootable(&before, wishes, path)?;
    let os = wishes.os.unwrap_or(before.os);
    let datasource = decide::datasource(&before, wishes, os, path)?;
    let editor = match before.root() {
        Some(root) if datasource != Datasource::Keep || wishes.clean => {
            Some(Editor::new(path, root.partition.start, wishes.now)?)
        }
        _ => None,
    };
    let mended = match &editor {
        Some(editor) => editor.prepare(folder, cancel)?,
        None => None,
    };
    let before = match mended {
        Some(words) => {
            notes.push(format!(
                "e2fsck mended the root file system: {}",
                words.trim()
            ));
            inspect(disk).map_err(read())?
        }
        None => before,
    };
    if let (Some(editor), Some(root)) = (&editor, before.root()) {
        let (start, size) = (root.partition.start, root.partition.size);
        let changes = {
            let metered = Metered::new(disk, PREPARING);
            let tree = Ext4::open(&metered, start, size).map_err(read())?;
            let changes = changes(&tree, &before, wishes, datasource, &mut notes);
            // What could not be read any more looks as if it were not there.
            metered.check().map_err(read())?;
            changes.map_err(read())?
        };
        editor.apply(&changes, folder, cancel)?;
        editor.discard(folder, cancel)?;
        editor.check(folder, cancel)?;
    }
    let after = inspect(disk).map_err(read())?;
    let cloud_init = after.cloud_init.as_ref();
    if datasource == Datasource::Smartos && !cloud_init.is_some_and(|found| found.smartos) {
        let why = cloud_init.map_or_else(
            || "there is no cloud-init".to_owned(),
            |found| {
                if found.datasources.is_empty() {
                    format!("it would not run: {}", found.reason)
                } else {
                    format!(
                        "it would try {}: {}",
                        found.datasources.join(", "),
                        found.reason
                    )
                }
            },
        );
        let mend = after
            .problems
            .iter()
            .find(|problem| problem.code == "kernel-command-line")
            .map(|problem| problem.mend.clone());
        let mut hints: Vec<&str> = mend.as_deref().into_iter().collect();
        hints.push("or leave it as it is: --datasource keep (of a build, datasource=\"keep\" in the manifest)");
        return Err(DiskError::disk(
            path,
            format!("cloud-init can't be made to use the metadata of SmartOS: {why}"),
            &hints,
        ));
    }
    let mut prepared = decide::requirements(&after, wishes, datasource)?;
    prepared.os = os;
    prepared.notes = notes;
    // What was seen to is no problem any more, nor is what was asked for.
    let settled = |code: &str| {
        datasource != Datasource::Smartos
            && matches!(
                code,
                "unreadable"
                    | "no-cloud-init"
                    | "datasource"
                    | "kernel-command-line"
                    | "unseen-list"
            )
    };
    prepared.warnings = after
        .problems
        .into_iter()
        .filter(|problem| problem.severity < Severity::Note && !settled(problem.code))
        .collect();
    prepared
        .warnings
        .extend(decide::other_system(wishes, before.os));
    Ok(prepared)
}

/// Refuses a disk that can't be made fit, as far as that can be told before anything is copied.
///
/// # Errors
///
/// It can't be made so, or not as it is wanted, or a program is missing.
pub fn check(disk: &dyn Source, path: &Path, wishes: &Wishes) -> Result<(), DiskError> {
    let found = inspect(disk).map_err(DiskError::on_disk("read", path))?;
    decide::bootable(&found, wishes, path)?;
    // A journal that was not carried out may have what is missing.
    let is_clean = !found
        .problems
        .iter()
        .any(|problem| problem.code == "not-clean");
    if !is_clean {
        return Ok(());
    }
    let os = wishes.os.unwrap_or(found.os);
    let datasource = decide::datasource(&found, wishes, os, path)?;
    decide::requirements(&found, wishes, datasource)?;
    if found.root().is_some() && (datasource != Datasource::Keep || wishes.clean) {
        Editor::programs()?;
    }
    Ok(())
}

/// What is to be changed of a guest's files; `notes` gets each in words.
fn changes(
    tree: &Ext4<'_>,
    before: &Inspection,
    wishes: &Wishes,
    datasource: Datasource,
    notes: &mut Vec<String>,
) -> io::Result<Vec<Change>> {
    let mut changes = Changes::new(tree, wishes.now);
    if datasource == Datasource::Smartos {
        for (name, content, why) in smartos_changes(tree) {
            let done = if let Some(content) = content {
                changes.write(&name, content)?;
                "written"
            } else {
                changes.remove(&name)?;
                "removed"
            };
            notes.push(format!("/{name} was {done}: {why}"));
        }
    }
    let traces: &[Trace] = if wishes.clean { &before.traces } else { &[] };
    for trace in traces {
        let (done, word) = match trace.action {
            Action::Remove => (changes.remove(&trace.path)?, "removed"),
            Action::Empty => (changes.empty(&trace.path)?, "emptied"),
        };
        if done {
            notes.push(format!("/{} was {word}: {}", trace.path, trace.what));
        }
    }
    Ok(changes.list)
}

/// Moves the second header of a GPT to the end of the raw disk `disk` in the file `path`; whether there was anything to do.
///
/// # Errors
///
/// The disk could not be read or written, or ends before its partitions.
pub fn move_table(disk: &Raw, path: &Path) -> Result<bool, DiskError> {
    match table::read(disk).map_err(DiskError::io("read", path))? {
        Some(table) if table.kind == table::TableKind::Gpt => table::grow(disk, disk.file())
            .map_err(DiskError::on_disk("move the partition table of", path)),
        _ => Ok(false),
    }
}

impl Prepared {
    /// The fields of an image manifest that are about the disk, without `requirements` and `tags`; `size` in bytes.
    pub fn fields(&self, size: u64) -> Map<String, Value> {
        let fields = json!({
            "type": "zvol",
            "os": self.os.name(),
            "nic_driver": "virtio",
            "disk_driver": "virtio",
            "cpu_type": "host",
            "image_size": size / MIB,
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    /// What machines need, beside networks.
    pub fn requirements(&self) -> Map<String, Value> {
        let mut requirements = Map::new();
        if let Some(brand) = self.brand {
            requirements.insert("brand".into(), brand.into());
        }
        if let Some(bootrom) = self.bootrom {
            requirements.insert("bootrom".into(), bootrom.into());
        }
        if self.ssh_key {
            requirements.insert("ssh_key".into(), true.into());
        }
        requirements
    }
}
