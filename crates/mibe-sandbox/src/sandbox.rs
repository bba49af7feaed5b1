//! A sandbox as its caller holds it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::order::{Action, Files, Order, Reply};
use crate::session::{End, Halt, Session, lock};
use crate::{Agent, Cancel, Command, Error, Mode, Outcome, Unavailable, probe};

/// The record that makes a directory a sandbox.
const RECORD: &str = "sandbox.json";
/// Everything this crate puts into a sandbox directory besides the record and the tree.
const PARTS: &[&str] = &["ledger", "ledger.new", "resolv-made"];
/// The version of the layout.
const VERSION: u32 = 1;
/// A record larger than this is not one.
const RECORD_LIMIT: u64 = 65536;
/// How long to wait for an earlier user of the sandbox to end (a killed one's agent takes a moment).
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    mode: Mode,
}

/// Files handed to a job.
#[derive(Debug, Default)]
pub struct JobFiles {
    /// Read by the job.
    pub input: Option<File>,
    /// Written by the job.
    pub output: Option<File>,
}

/// A directory that holds a tree (`root`) and what is known about it. Nothing is mounted and nothing runs between two
/// calls; one call at a time (others wait up to ten seconds, then fail with [`Error::Busy`]).
#[derive(Debug)]
pub struct Sandbox {
    agent: Agent,
    dir: PathBuf,
    mode: Mode,
}

impl Sandbox {
    /// Tries whether `mode` works here: namespaces, maps, mounts, the seccomp filter, user attributes on the file system of
    /// `dir` (where sandboxes would live; a probe directory is made in it and removed).
    pub fn probe(agent: &Agent, mode: Mode, dir: &Path) -> Result<(), Unavailable> {
        probe::probe(agent, mode, dir)
    }

    /// Makes a sandbox: `dir` (which may exist if it is empty) with an empty tree, its root 0755 root:root.
    /// What was made is removed again if that fails.
    pub fn create(agent: &Agent, dir: &Path, mode: Mode) -> Result<Self, Error> {
        let dir = std::path::absolute(dir).map_err(Error::io("find", dir))?;
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        match builder.create(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut entries = fs::read_dir(&dir).map_err(Error::io("read", &dir))?;
                if entries.next().is_some() {
                    return Err(Error::Exists(dir));
                }
            }
            Err(error) => return Err(Error::io("create", &dir)(error)),
        }
        let sandbox = Self {
            agent: agent.clone(),
            dir,
            mode,
        };
        match sandbox.furnish() {
            Ok(()) => Ok(sandbox),
            Err(error) => {
                // The first error is the one to tell.
                let _ = sandbox.destroy();
                Err(error)
            }
        }
    }

    fn furnish(&self) -> Result<(), Error> {
        // The directory may have inherited a group that the maps don't have.
        let group = rustix::process::getegid();
        rustix::fs::chown(&self.dir, None, Some(group))
            .map_err(|e| Error::io("change the group of", &self.dir)(e.into()))?;
        let path = self.dir.join(RECORD);
        let text = serde_json::to_string(&Record {
            version: VERSION,
            mode: self.mode,
        })
        .map_err(|source| Error::Json {
            job: "create".to_owned(),
            source,
        })?;
        fs::write(&path, text).map_err(Error::io("write", &path))?;
        self.order(Action::Create).map(drop)
    }

    /// Opens a sandbox made earlier, also by a process that was killed; its mode is on record.
    pub fn open(agent: &Agent, dir: &Path) -> Result<Self, Error> {
        let dir = std::path::absolute(dir).map_err(Error::io("find", dir))?;
        let path = dir.join(RECORD);
        let not = |reason: String| Error::NotASandbox {
            path: dir.clone(),
            reason,
        };
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => {
                file.take(RECORD_LIMIT)
                    .read_to_string(&mut text)
                    .map_err(Error::io("read", &path))?;
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(not(format!("it has no {RECORD}")));
            }
            Err(error) => return Err(Error::io("open", &path)(error)),
        }
        let record: Record =
            serde_json::from_str(&text).map_err(|error| not(format!("{RECORD}: {error}")))?;
        if record.version != VERSION {
            return Err(not(format!(
                "its layout is of version {}, this program knows {VERSION}",
                record.version
            )));
        }
        Ok(Self {
            agent: agent.clone(),
            dir,
            mode: record.mode,
        })
    }

    /// How its files get their ownership.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs a command in the tree. What it (and whatever it starts) writes to standard output and error goes to `output`
    /// as it comes. When this returns, nothing that was started is left.
    pub fn run(
        &self,
        command: &Command,
        cancel: &Cancel,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Outcome, Error> {
        check(command)?;
        let order = Order {
            mode: self.mode,
            action: Action::Run(command.clone()),
        };
        let mut session = self.start(&order, JobFiles::default(), cancel)?;
        match session.wait(&order, cancel, command.timeout, true, output)? {
            End::Halted(Halt::TimedOut) => Ok(Outcome::TimedOut),
            End::Halted(Halt::Cancelled) => Ok(Outcome::Cancelled),
            End::Reply(Reply::Ended(outcome)) => Ok(outcome),
            End::Reply(reply) => Err(unexpected(reply)),
        }
    }

    /// Runs one of the functions given to [`agent_main`](crate::agent_main), in a process of its own that has the powers of the
    /// sandbox's root over the tree and sees the files of the host.
    pub fn job<A: Serialize, R: DeserializeOwned>(
        &self,
        job: &str,
        args: &A,
        files: JobFiles,
        cancel: &Cancel,
    ) -> Result<R, Error> {
        let json = |source| Error::Json {
            job: job.to_owned(),
            source,
        };
        let args = serde_json::to_value(args).map_err(json)?;
        let order = Order {
            mode: self.mode,
            action: Action::Job {
                name: job.to_owned(),
                args,
            },
        };
        let mut session = self.start(&order, files, cancel)?;
        match session.wait(&order, cancel, None, false, &mut |_| {})? {
            End::Halted(_) => Err(Error::Cancelled),
            End::Reply(Reply::Answer(value)) => serde_json::from_value(value).map_err(json),
            End::Reply(Reply::JobFailed(message)) => Err(Error::Job {
                job: job.to_owned(),
                message,
            }),
            End::Reply(reply) => Err(unexpected(reply)),
        }
    }

    /// Removes the sandbox's directory wholly, whatever the modes and owners in it. What others put beside the tree
    /// is left, and then an error.
    pub fn destroy(self) -> Result<(), Error> {
        // Where making it failed there may be no tree, nor a way to start an agent.
        let tree = self.dir.join("root");
        match fs::symlink_metadata(&tree) {
            Ok(_) => drop(self.order(Action::Destroy)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("look at", &tree)(error)),
        }
        // The record goes last: until then the rest can be found and removed.
        for name in PARTS.iter().chain([&RECORD]) {
            let path = self.dir.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        fs::remove_dir(&self.dir).map_err(Error::io("remove", &self.dir))
    }

    fn start(&self, order: &Order, files: JobFiles, cancel: &Cancel) -> Result<Session, Error> {
        let lock = lock(&self.dir.join(RECORD), cancel, PATIENCE)?;
        let files = Files {
            lock: Some(lock),
            input: files.input,
            output: files.output,
        };
        Session::start(&self.agent, &self.dir, order, &files)
    }

    /// An order without arguments, files or output.
    pub(crate) fn order(&self, action: Action) -> Result<Reply, Error> {
        let order = Order {
            mode: self.mode,
            action,
        };
        let never = Cancel::new();
        let mut session = self.start(&order, JobFiles::default(), &never)?;
        match session.wait(&order, &never, None, true, &mut |_| {})? {
            End::Reply(Reply::Failed(failure)) => Err(unexpected(Reply::Failed(failure))),
            End::Reply(reply) => Ok(reply),
            End::Halted(_) => Err(Error::Cancelled),
        }
    }
}

fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Failed(failure) => Error::Agent {
            stage: failure.stage,
            message: failure.message,
        },
        other => Error::Agent {
            stage: "read the agent's reply".to_owned(),
            message: format!("unexpected: {other:?}"),
        },
    }
}

/// What can be said before anything is started.
fn check(command: &Command) -> Result<(), Error> {
    use std::os::unix::ffi::OsStrExt;
    let fail = |text: String| Err(Error::Command(text));
    if command.argv.is_empty() {
        return fail("it is empty".to_owned());
    }
    let texts = command
        .argv
        .iter()
        .chain(command.env.iter().flat_map(|(name, value)| [name, value]));
    if texts.into_iter().any(|text| text.as_bytes().contains(&0)) {
        return fail("an argument or variable has a NUL byte in it".to_owned());
    }
    if let Some((name, _)) = command
        .env
        .iter()
        .find(|(n, _)| n.is_empty() || n.as_bytes().contains(&b'='))
    {
        return fail(format!(
            "{} is not a name of a variable",
            name.to_string_lossy()
        ));
    }
    if command.hostname.len() > 64 {
        return fail(format!(
            "the host name {} is longer than 64 bytes",
            command.hostname
        ));
    }
    match command.binds.iter().find(|bind| !bind.host.is_absolute()) {
        Some(bind) => fail(format!(
            "bind: {} must be an absolute path",
            bind.host.display()
        )),
        None => Ok(()),
    }
}
