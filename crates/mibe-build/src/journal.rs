//! The journal of build machines: what must be destroyed if nobody else does.
//!
//! One file a machine, `ID.jsonl`: the first line names the machine, written and synced before anything of it
//! exists; further lines add files that the build is about to write. The file is locked for as long as the build's
//! process lives, so a lock that can be taken means the owner died. It is deleted after all that it names is gone.
//! No machine and no file of an image that no journal names is ever destroyed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::BuildError;

/// The format of the journal; a file of a newer one is left alone. Before 2, all machines were folders of this machine.
const VERSION: u32 = 2;

/// What a journal file says of its build machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    version: u32,
    /// The machine's id, unique among all builds.
    pub id: String,
    /// The builder that made it ("local").
    pub builder: String,
    /// The folder of this machine that holds all of the build machine; empty for one of a host.
    pub directory: PathBuf,
    /// The build machine, where it is a zone of a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneEntry>,
    /// What it was made for, for people.
    pub purpose: String,
    /// The process that made it.
    pub pid: u32,
    /// When, RFC 3339, UTC.
    pub started: String,
}

impl Entry {
    /// An entry of this process, with a fresh id.
    pub fn new(builder: &str, machines: &Path, purpose: &str) -> Self {
        let now = jiff::Timestamp::now();
        let random = uuid::Uuid::new_v4().simple().to_string();
        let id = format!("{}-{}", now.strftime("%Y%m%dT%H%M%SZ"), &random[..8]);
        Self {
            version: VERSION,
            directory: machines.join(&id),
            id,
            zone: None,
            builder: builder.to_owned(),
            purpose: purpose.to_owned(),
            pid: std::process::id(),
            started: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }
}

/// A zone of a SmartOS host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneEntry {
    /// The host as ssh takes it; `None` is this machine.
    pub host: Option<String>,
    /// Arguments of ssh before the host.
    #[serde(default)]
    pub ssh_arguments: Vec<String>,
    /// The host's own UUID (sysinfo(8)): a name may lead to another host one day.
    #[serde(default)]
    pub machine: Option<String>,
    /// The VM's UUID, made for this build.
    pub uuid: String,
    /// Its dataset, `POOL/UUID`.
    pub dataset: String,
    /// The snapshot of the base that vmadm makes for it where the base has none of its own (VM.js), `POOL/IMAGE@UUID`.
    pub origin: String,
}

impl ZoneEntry {
    /// How to look into it, in words.
    pub fn login(&self) -> String {
        let login = format!("zlogin {}", self.uuid);
        match &self.host {
            Some(host) => format!("log in with `ssh -t {host} {login}`"),
            None => format!("log in with `{login}`"),
        }
    }
}

/// A line after the first.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// A file is about to be written that must not stay if the build dies.
    Partial(PathBuf),
    /// An image is about to get its names.
    Publish(Publication),
    /// The machine stays until somebody asks for it to go.
    Kept,
    /// What makes the machine has ended: nothing of it can appear any more.
    Created,
}

/// The final names of an image. Its file without its manifest is no image, and in the way of the next build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The file, which comes first.
    pub file: PathBuf,
    /// The manifest.
    pub manifest: PathBuf,
}

/// The journal's folder.
#[derive(Clone, Debug)]
pub struct Journal {
    directory: PathBuf,
}

/// An open entry: locked, deleted by [`Record::strike`] alone.
#[derive(Debug)]
pub struct Record {
    /// What was written first.
    pub entry: Entry,
    /// Files that the build was writing, to be removed with the machine.
    pub partials: Vec<PathBuf>,
    /// The image that was about to get its names.
    pub publication: Option<Publication>,
    /// Whether the machine was left on purpose, to be looked into.
    pub kept: bool,
    /// Whether what makes the machine has ended, so that what is not there will not come.
    pub created: bool,
    path: PathBuf,
    file: File,
}

/// What the journal holds beside running builds.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Entries of builds whose process is gone, locked by this process now.
    pub dead: Vec<Record>,
    /// Entries of builds that still run.
    pub running: Vec<Entry>,
    /// Files that could not be understood, with the reason; they are left alone.
    pub unreadable: Vec<(PathBuf, String)>,
}

impl Journal {
    /// The journal in `directory`, which need not exist yet.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Writes down a machine that is about to be made.
    ///
    /// # Errors
    ///
    /// The journal could not be written; then nothing may be made.
    pub fn begin(&self, entry: Entry) -> Result<Record, BuildError> {
        fs::create_dir_all(&self.directory).map_err(BuildError::io("make", &self.directory))?;
        // Under a hidden name until it is locked, so that no other process takes it for a dead one.
        let hidden = self.directory.join(format!(".{}", entry.id));
        let path = self.directory.join(format!("{}.jsonl", entry.id));
        let write = || -> io::Result<File> {
            let mut file = OpenOptions::new()
                .append(true)
                .create_new(true)
                .open(&hidden)?;
            file.lock()?;
            append(&mut file, &entry)?;
            fs::rename(&hidden, &path)?;
            File::open(&self.directory)?.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(|error| {
            let _ = fs::remove_file(&hidden);
            BuildError::io("write the journal", &path)(error)
        })?;
        Ok(Record {
            entry,
            partials: Vec::new(),
            publication: None,
            kept: false,
            created: false,
            path,
            file,
        })
    }

    /// Everything in the journal, told apart by whether its process still lives.
    ///
    /// # Errors
    ///
    /// The folder could not be read.
    pub fn leftovers(&self) -> Result<Leftovers, BuildError> {
        let mut leftovers = Leftovers::default();
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(leftovers),
            Err(error) => return Err(BuildError::io("read", &self.directory)(error)),
        };
        let mut paths: Vec<_> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "jsonl")
            })
            .collect();
        paths.sort();
        for path in paths {
            match take(&path) {
                Ok(Some(Taken::Dead(record))) => leftovers.dead.push(record),
                Ok(Some(Taken::Running(entry))) => leftovers.running.push(entry),
                Ok(None) => {}
                Err(error) => leftovers.unreadable.push((path, error.to_string())),
            }
        }
        Ok(leftovers)
    }
}

impl Record {
    /// Writes down a file that is about to be written and must not stay if the build dies.
    ///
    /// # Errors
    ///
    /// The journal could not be written; then the file may not be made.
    pub fn add_partial(&mut self, partial: &Path) -> Result<(), BuildError> {
        self.append(&Line::Partial(partial.to_owned()))?;
        self.partials.push(partial.to_owned());
        Ok(())
    }

    /// Writes down the names that an image is about to get.
    ///
    /// # Errors
    ///
    /// The journal could not be written; then the image may not get them.
    pub fn publish(&mut self, publication: Publication) -> Result<(), BuildError> {
        self.append(&Line::Publish(publication.clone()))?;
        self.publication = Some(publication);
        Ok(())
    }

    /// Writes down that what makes the machine has ended.
    ///
    /// # Errors
    ///
    /// The journal could not be written.
    pub fn created(&mut self) -> Result<(), BuildError> {
        self.append(&Line::Created)?;
        self.created = true;
        Ok(())
    }

    /// Writes down that the machine stays until somebody asks for it to go: the next build does not.
    ///
    /// # Errors
    ///
    /// The journal could not be written.
    pub fn keep(mut self) -> Result<(), BuildError> {
        self.append(&Line::Kept)
    }

    fn append(&mut self, line: &Line) -> Result<(), BuildError> {
        append(&mut self.file, line).map_err(BuildError::io("write the journal", &self.path))
    }

    /// Strikes the machine out, after all that the entry names is gone.
    ///
    /// # Errors
    ///
    /// The journal's file could not be deleted; the next clean-up finds nothing behind it.
    pub fn strike(self) -> Result<(), BuildError> {
        fs::remove_file(&self.path).map_err(BuildError::io("delete", &self.path))
    }
}

enum Taken {
    Dead(Record),
    Running(Entry),
}

fn take(path: &Path) -> io::Result<Option<Taken>> {
    let mut file = match OpenOptions::new().read(true).append(true).open(path) {
        Ok(file) => file,
        // Struck out since the folder was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let locked = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(error)) => return Err(error),
    };
    // Its owner may have struck it out while the lock was waited for: then it is no longer under its name.
    match fs::metadata(path) {
        Ok(named) if named.ino() == file.metadata()?.ino() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let mut lines = text.lines();
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let entry: Entry = serde_json::from_str(lines.next().unwrap_or_default())?;
    if entry.version > VERSION {
        return Err(invalid("written by another version of mibe"));
    }
    if !locked {
        return Ok(Some(Taken::Running(entry)));
    }
    let mut record = Record {
        entry,
        partials: Vec::new(),
        publication: None,
        kept: false,
        created: false,
        path: path.to_owned(),
        file,
    };
    for line in lines {
        match serde_json::from_str(line) {
            Ok(Line::Partial(path)) => record.partials.push(path),
            Ok(Line::Publish(publication)) => record.publication = Some(publication),
            Ok(Line::Kept) => record.kept = true,
            Ok(Line::Created) => record.created = true,
            // A last line cut short by a crash named a file that was not made yet.
            Err(_) => break,
        }
    }
    Ok(Some(Taken::Dead(record)))
}

fn append<T: Serialize>(file: &mut File, line: &T) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    file.write_all(&bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_running_while_its_record_lives_and_dead_after() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().join("journal"));
        let entry = Entry::new("local", Path::new("/machines"), "test");
        let mut record = journal.begin(entry.clone()).unwrap();
        record.add_partial(Path::new("/images/x.partial")).unwrap();
        let running = journal.leftovers().unwrap();
        assert_eq!(running.running, vec![entry.clone()]);
        assert!(running.dead.is_empty());

        drop(record);
        let dead = journal.leftovers().unwrap().dead;
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].entry, entry);
        assert_eq!(dead[0].partials, vec![PathBuf::from("/images/x.partial")]);
        for record in dead {
            record.strike().unwrap();
        }
        assert!(journal.leftovers().unwrap().dead.is_empty());
    }

    #[test]
    fn a_cut_line_and_a_foreign_file_destroy_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().to_owned());
        let record = journal
            .begin(Entry::new("local", Path::new("/machines"), "test"))
            .unwrap();
        let path = record.path.clone();
        drop(record);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"partial\":\"/ima");
        fs::write(&path, text).unwrap();
        fs::write(folder.path().join("x.jsonl"), "{}").unwrap();
        let leftovers = journal.leftovers().unwrap();
        assert_eq!(leftovers.dead.len(), 1);
        assert!(leftovers.dead[0].partials.is_empty());
        assert_eq!(leftovers.unreadable.len(), 1);
    }
}
