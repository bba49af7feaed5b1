//! The disk of a virtual machine as a build machine: its root file system laid into a sandbox, and what changed there brought back to the disk.

mod difference;
mod frames;
mod unpack;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mibe_disk::ext4::Ext4;
use mibe_disk::ext4::edit::{Change, Content, Editor, Metadata};
use mibe_disk::inspect::{Inspection, inspect};
use mibe_disk::prepare::{self, Wishes};
use mibe_disk::source::{Format, Raw, Source};
use mibe_disk::{DiskError, table, volume};
use mibe_host::Outcome;
use mibe_sandbox::{JobFiles, JobInput, Root};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zfs_stream::StreamOptions;

use self::difference::Found;
use super::jobs;
use super::machine::{LocalMachine, piped};
use crate::capture::{CaptureOptions, Captured, Difference, DiskFacts};
use crate::disk::{self, Workshop};
use crate::error::BuildError;
use crate::machine::{Machine, Script};
use crate::plan::DiskPlan;
use crate::unpack_image::is_foreign;
use crate::work::{Work, WorkReport};

/// What e2fsck keeps for itself.
const LOST_AND_FOUND: &str = "lost+found";

/// Room that is left on a file system beside what is brought to it, for its own tables and directories.
const LITTLE: u64 = 4 << 20;

/// Most bytes of a guest's configuration that are read.
const LIMIT: u64 = 1 << 20;

/// Whether an attribute of a disk's file has a place in a tree.
fn is_laid(name: &[u8]) -> bool {
    !is_foreign(name)
}

/// A disk that a build starts from.
pub(super) struct DiskBase {
    workshop: Workshop,
    disk: Raw,
    path: PathBuf,
    block_size: u32,
    /// Whether it is larger than the base's disk.
    is_larger: bool,
}

impl DiskBase {
    /// Copies what the plan names into a folder of its own, as large as it is to be.
    pub(super) fn resolve(
        plan: &DiskPlan,
        image: Option<&crate::base_image::BaseImage>,
        paths: &crate::paths::Paths,
        purpose: &str,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Self, BuildError> {
        let workshop = Workshop::new(paths, purpose)?;
        let folder = workshop.path();
        let path = folder.join("disk.raw");
        let (disk, block_size, before) = if let Some(image) = image {
            image.volume(&path, plan.size, cancel)?
        } else {
            let Some(input) = &plan.input else {
                return Err(BuildError::usage("the base was not looked for", &[]));
            };
            let (opened, file) = disk::open(input, paths, folder, cancel, &|_| {})?;
            let size = prepare::image_size(opened.about.virtual_size, plan.size)?;
            let disk = disk::work_copy(input, &opened, &file, &path, size, cancel, &mut |_| {})?;
            (disk, volume::BLOCK_SIZE, opened.about.virtual_size)
        };
        Ok(Self {
            workshop,
            path,
            block_size,
            is_larger: disk.size() >= before + volume::MIB,
            disk,
        })
    }
}

/// A machine that works on a disk.
pub(super) struct DiskMachine {
    machine: LocalMachine,
    base: DiskBase,
    /// What the base is called, for errors.
    title: String,
    wishes: Wishes,
    cancel: Arc<AtomicBool>,
    /// First byte and bytes of the root file system.
    root: (u64, u64),
    /// Where the guest has other file systems.
    mounts: Vec<PathBuf>,
    notes: Vec<String>,
}

/// What jobs are told.
#[derive(Serialize, Deserialize)]
struct Order {
    start: u64,
    size: u64,
    epoch: i64,
    mounts: Vec<PathBuf>,
}

impl DiskMachine {
    /// A machine that works on `base`; `machine` is empty.
    pub(super) fn new(
        machine: LocalMachine,
        base: DiskBase,
        title: &str,
        plan: &DiskPlan,
        epoch: i64,
        cancel: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            machine,
            base,
            title: title.to_owned(),
            wishes: plan.wishes(epoch),
            cancel: Arc::clone(cancel),
            root: (0, 0),
            mounts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Makes the disk sound and as large as it is to be, and lays its root file system into the tree.
    pub(super) fn fill(&mut self) -> Result<(), BuildError> {
        self.open()?;
        self.machine.apt_settings("", None)
    }

    fn open(&mut self) -> Result<(), BuildError> {
        let path = self.base.path.clone();
        let folder = self.base.workshop.path().to_owned();
        let read = || DiskError::io("read", &path);
        prepare::move_table(&self.base.disk, &path).map_err(|error| self.named(error))?;
        let found = inspect(&self.base.disk)
            .map_err(read())
            .map_err(|error| self.named(error))?;
        let Some(part) = found.root() else {
            return Err(self.unreadable(&found));
        };
        let (number, start, size) = (
            part.partition.number,
            part.partition.start,
            part.partition.size,
        );
        let editor = Editor::new(&path, start, self.wishes.now)?;
        let mended = editor
            .prepare(&folder, &self.cancel)
            .map_err(|error| self.named(error))?;
        self.notes.extend(
            mended.map(|words| format!("e2fsck mended the root file system: {}", words.trim())),
        );
        self.root = (start, size);
        let disk = &self.base.disk;
        let larger = match number {
            _ if !self.base.is_larger => None,
            // The file system is the disk.
            0 => Some(disk.size()),
            number => table::extend(disk, disk.file(), number)
                .map_err(DiskError::io("change the partition table of", &path))?,
        };
        match larger {
            Some(size) => {
                self.root.1 = size;
                editor.grow(size, &folder, &self.cancel)?;
                self.notes
                    .push(format!("the root file system has {} MiB now", size >> 20));
            }
            None if self.base.is_larger => {
                return Err(BuildError::Base {
                    message: format!(
                        "{} can't be made larger with its root file system: partition {number} is not the last of the disk, or a logical one",
                        self.title
                    ),
                    hints: vec!["leave disk_size out".to_owned()],
                    source: None,
                });
            }
            None => {}
        }
        {
            let tree = Ext4::open(&self.base.disk, start, self.root.1)
                .map_err(read())
                .map_err(|error| self.named(error))?;
            self.mounts = mounts(&tree);
        }
        let order = self.order();
        let files = JobFiles {
            input: Some(File::open(&path).map_err(BuildError::io("open", &path))?),
            ..JobFiles::default()
        };
        let what = "lay the disk's files";
        self.machine
            .job::<_, ()>(jobs::UNPACK_DISK, what, &order, files)
            .map_err(|source| match source {
                BuildError::Cancelled => BuildError::Cancelled,
                source => BuildError::Base {
                    message: format!("{} can't be a base: {source}", self.title),
                    hints: vec!["`mibe disk inspect` looks into a disk".to_owned()],
                    source: None,
                },
            })
    }

    fn order(&self) -> Order {
        Order {
            start: self.root.0,
            size: self.root.1,
            epoch: self.wishes.now,
            mounts: self.mounts.clone(),
        }
    }

    /// An error of the copy is one of the base.
    fn named(&self, error: DiskError) -> BuildError {
        error.named(&self.base.path, self.title.as_ref()).into()
    }

    fn unreadable(&self, found: &Inspection) -> BuildError {
        let wrong = found.problems.iter().find(|problem| {
            matches!(
                problem.code,
                "no-partitions" | "installation-medium" | "file-system"
            )
        });
        let what = match (wrong, found.unreadable()) {
            (Some(problem), _) => problem.message.clone(),
            (None, Some(kind)) => format!(
                "its files are on {}, and mibe builds on ext4 alone",
                kind.name()
            ),
            (None, None) => "no file system with an os-release in it was found".to_owned(),
        };
        BuildError::Base {
            message: format!("{} can't be a base: {what}", self.title),
            hints: std::iter::once("`mibe disk inspect` tells what is on a disk")
                .chain(
                    wrong
                        .is_none()
                        .then_some("`mibe disk import` makes an image of the disk as it is"),
                )
                .map(ToOwned::to_owned)
                .collect(),
            source: None,
        }
    }

    /// Brings what differs in the tree to the disk.
    fn bring(&mut self) -> Result<Found, BuildError> {
        let folder = self.base.workshop.path().to_owned();
        let input = File::open(&self.base.path).map_err(BuildError::io("open", &self.base.path))?;
        let order = self.order();
        let (found, changes) = piped(
            |output| {
                let files = JobFiles {
                    input: Some(input),
                    output: Some(output),
                };
                let what = "compare the tree with the disk";
                self.machine
                    .job::<_, Found>(jobs::DISK_DIFFERENCE, what, &order, files)
            },
            |reader| frames::read(reader, &folder),
        )?;
        let Some(changes) = changes else {
            return Err(BuildError::Work {
                what: "compare the tree with the disk",
                why: "it ended early".to_owned(),
                hints: Vec::new(),
            });
        };
        if !found.beyond.is_empty() {
            return Err(BuildError::Work {
                what: "bring the files to the disk",
                why: format!(
                    "the build changed files where the guest has another partition, which would hide them: /{}",
                    found.beyond.join(", /")
                ),
                hints: vec![
                    "keep packages that write there (kernels, boot loaders) out of the build: mibe changes the root file system alone"
                        .to_owned(),
                ],
            });
        }
        self.room(&found)?;
        let editor = Editor::new(&self.base.path, self.root.0, self.wishes.now)?;
        editor
            .apply(&changes, &folder, &self.cancel)
            .map_err(|error| self.named(error))?;
        if !changes.is_empty()
            && let Some(mark) = self.relabel()?
        {
            editor.apply(&[mark], &folder, &self.cancel)?;
        }
        for change in &changes {
            if let Change::File(_, Content::File(file), _) = change {
                std::fs::remove_file(file).map_err(BuildError::io("remove", file))?;
            }
        }
        editor.check(&folder, &self.cancel)?;
        Ok(found)
    }

    /// What has a guest with SELinux label its files anew: those that the build wrote have no labels.
    fn relabel(&mut self) -> Result<Option<Change>, BuildError> {
        const MARK: &str = ".autorelabel";
        let (start, size) = self.root;
        let read = || DiskError::io("read", &self.base.path);
        let tree = Ext4::open(&self.base.disk, start, size).map_err(read())?;
        let config = tree
            .read_file("etc/selinux/config", LIMIT)
            .map_err(read())?
            .unwrap_or_default();
        let config = String::from_utf8_lossy(&config);
        let mode = config
            .lines()
            .rev()
            .find_map(|line| line.trim().strip_prefix("SELINUX="));
        let is_used = matches!(mode, Some("enforcing" | "permissive"));
        if !is_used || tree.find(MARK, false).map_err(read())?.is_some() {
            return Ok(None);
        }
        self.notes
            .push("the guest will label its files when it boots first, for SELinux".to_owned());
        let metadata = Metadata::of_root(0o644, self.wishes.now);
        Ok(Some(Change::File(
            MARK.into(),
            Content::Bytes(Vec::new()),
            metadata,
        )))
    }

    /// Refuses what has no room on the disk before debugfs meets its end.
    fn room(&self, found: &Found) -> Result<(), BuildError> {
        let (start, size) = self.root;
        let tree = Ext4::open(&self.base.disk, start, size)
            .map_err(DiskError::io("read", &self.base.path))?;
        let room = tree.free().saturating_add(found.freed);
        if found.bytes.saturating_add(LITTLE) <= room {
            return Ok(());
        }
        Err(BuildError::Work {
            what: "bring the files to the disk",
            why: format!(
                "{} MiB are to come, and the root file system has {} MiB free",
                found.bytes >> 20,
                room >> 20
            ),
            hints: vec!["ask for a larger disk in the manifest: disk_size=10 (GiB)".to_owned()],
        })
    }
}

impl Machine for DiskMachine {
    fn run(
        &mut self,
        script: &Script,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Outcome, BuildError> {
        self.machine.run(script, output)
    }

    fn work(&mut self, work: &Work) -> Result<WorkReport, BuildError> {
        self.machine.work(work)
    }

    fn capture(
        &mut self,
        options: &CaptureOptions,
        out: &mut dyn Write,
    ) -> Result<Captured, BuildError> {
        let found = self.bring()?;
        let (path, folder) = (self.base.path.clone(), self.base.workshop.path().to_owned());
        let disk = &self.base.disk;
        let prepared = prepare::prepare(disk, &path, &self.wishes, &folder, &self.cancel)
            .map_err(|error| self.named(error))?;
        let digested = volume::digest(disk, self.base.block_size, &path, &self.cancel)?;
        let stream = StreamOptions {
            to_name: options.snapshot.clone(),
            to_guid: digested.guid,
            creation_time: options.epoch.max(0).cast_unsigned(),
        };
        volume::write(
            disk,
            self.base.block_size,
            &stream,
            out,
            &self.cancel,
            &mut |_| {},
        )?;
        let mut warnings: Vec<String> = found
            .lost_capabilities
            .iter()
            .map(|path| {
                format!("/{path} had file capabilities, and the build wrote it anew without them")
            })
            .collect();
        warnings.extend(
            prepared
                .warnings
                .iter()
                .map(|problem| format!("{}; {}", problem.message, problem.mend)),
        );
        let notes = self.notes.drain(..).chain(prepared.notes.iter().cloned());
        Ok(Captured {
            guid: digested.guid,
            digest: digested.digest,
            entries: Some(found.entries),
            sockets: found.sockets,
            difference: Some(Difference {
                new: found.new,
                changed: found.changed,
                removed: found.removed,
            }),
            disk: Some(DiskFacts {
                notes: notes.collect(),
                warnings,
                fields: prepared.fields(disk.size()),
                requirements: prepared.requirements(),
                tags: prepared.tags,
                default_user: prepared.default_user,
            }),
        })
    }

    fn place(&self) -> String {
        self.machine.place()
    }

    fn destroy(self: Box<Self>) -> Result<(), BuildError> {
        let workshop = self.base.workshop;
        Box::new(self.machine).destroy()?;
        workshop.remove()
    }
}

/// Where a guest mounts other file systems, by its fstab.
fn mounts(tree: &Ext4<'_>) -> Vec<PathBuf> {
    let text = tree.read_file("etc/fstab", LIMIT);
    let text = text.ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let places = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let place = words.nth(1)?.strip_prefix('/')?.trim_end_matches('/');
            let kind = words.next()?;
            // What is mounted there is empty at each boot, whatever is below it.
            (!place.is_empty() && kind != "tmpfs").then(|| PathBuf::from(place))
        });
    places.collect()
}

/// The root file system that a job is to read.
fn with_disk<T>(
    order: &Order,
    input: Option<File>,
    work: impl FnOnce(&Ext4<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let file = input.ok_or("no disk to read")?;
    let failed = |error: io::Error| error.to_string();
    let disk = Raw::open(file, Format::Raw).map_err(failed)?;
    let tree = Ext4::open(&disk, order.start, order.size).map_err(failed)?;
    work(&tree)
}

/// The job that lays a disk's files.
pub(super) fn unpack_job(root: &Root, input: JobInput) -> Result<Value, String> {
    let order: Order = jobs::arguments(input.args)?;
    with_disk(&order, input.input, |tree| {
        unpack::unpack(root, tree)?;
        crate::archive::check_root(root).map_err(|error| error.to_string())
    })?;
    Ok(Value::Null)
}

/// The job that tells what is to change on a disk.
pub(super) fn difference_job(root: &Root, input: JobInput) -> Result<Value, String> {
    let order: Order = jobs::arguments(input.args)?;
    let mut out = io::BufWriter::with_capacity(1 << 18, jobs::output(input.output)?);
    let found = with_disk(&order, input.input, |tree| {
        difference::difference(root, tree, order.epoch, &order.mounts, &mut out)
    })?;
    out.flush().map_err(|error| error.to_string())?;
    jobs::answer(found)
}
