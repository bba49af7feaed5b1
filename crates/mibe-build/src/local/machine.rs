//! A sandbox as a build machine.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mibe_host::Outcome;
use mibe_sandbox::{Command, JobFiles, Mode, Network, Sandbox};

use super::{LocalOptions, jobs};
use crate::base_image::BaseImage;
use crate::capture::{CaptureOptions, Captured};
use crate::error::BuildError;
use crate::machine::{Machine, Script};
use crate::unpack_image::Unpacked;
use crate::work::{Work, WorkReport};

/// Name that a build machine goes by while scripts run in it.
pub(super) const HOSTNAME: &str = "mibe-build";

/// Variables of this host that a script needs to reach the network as the host does.
const PROXIES: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// Bytes free below which a failure of file work is likely one of a full disk.
const LITTLE_ROOM: u64 = 64 << 20;

/// A sandbox as a build machine.
pub(crate) struct LocalMachine {
    sandbox: Sandbox,
    options: Arc<LocalOptions>,
    resolv_conf: Vec<u8>,
}

impl LocalMachine {
    /// An empty machine in `directory`.
    pub(crate) fn create(
        options: &Arc<LocalOptions>,
        mode: Mode,
        directory: &Path,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            sandbox: Sandbox::create(&options.agent, directory, mode)?,
            resolv_conf: resolv_conf(&options.resolvers),
            options: Arc::clone(options),
        })
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    pub(super) fn into_sandbox(self) -> Sandbox {
        self.sandbox
    }

    /// Fills the machine with a base: an archive or a directory of this host.
    pub(super) fn fill(&self, base: &Path) -> Result<(), BuildError> {
        let failed = |source: BuildError| {
            match source {
            BuildError::Cancelled => BuildError::Cancelled,
            source => BuildError::Base {
                message: format!("{} can't be a base: {source}", base.display()),
                hints: vec![
                    "a base is the root file system of a Linux distribution: etc, usr/bin and an os-release or the like at its top"
                        .to_owned(),
                ],
                source: None,
            },
        }
        };
        if base.is_dir() {
            let base = fs::canonicalize(base).map_err(BuildError::io("find", base))?;
            let what = "copy the base";
            self.job::<_, ()>(jobs::COPY_DIRECTORY, what, &base, JobFiles::default())
                .map_err(failed)
        } else {
            let input = File::open(base).map_err(BuildError::io("read", base))?;
            let files = JobFiles {
                input: Some(input),
                ..JobFiles::default()
            };
            self.job::<_, ()>(jobs::UNPACK, "unpack the base", &(), files)
                .map_err(failed)
        }
    }

    /// Fills the machine with the zone's root of an image.
    pub(super) fn fill_from_image(&self, image: &BaseImage) -> Result<(), BuildError> {
        let args = jobs::UnpackImage {
            files: image.files()?,
            top: jobs::ZONE_ROOT.to_vec(),
            paths: Vec::new(),
            is_linux: !image.is_native(),
        };
        let what = "unpack the base";
        self.job::<_, Unpacked>(jobs::UNPACK_IMAGE, what, &args, JobFiles::default())
            .map(drop)
            .map_err(|source| match source {
                BuildError::Cancelled => BuildError::Cancelled,
                source => BuildError::Base {
                    message: format!("{} can't be a base: {source}", image.title()),
                    hints: vec!["`mibe image verify` looks into every part of an image".to_owned()],
                    source: None,
                },
            })
    }

    /// Settings of apt for the build only; `sources` replaces the image's own list where it is not empty.
    pub(super) fn apt_settings(
        &self,
        sources: &str,
        proxy: Option<&str>,
    ) -> Result<(), BuildError> {
        use crate::packages::{APT_CONFIG, APT_SETTINGS, APT_SOURCES};
        use crate::work::NewFile;
        let mut settings = format!("APT::Sandbox::User \"root\";\n{APT_SETTINGS}");
        if let Some(proxy) = proxy {
            // Writing to a String cannot fail.
            let _ = writeln!(settings, "Acquire::http::Proxy \"{proxy}\";");
        }
        let mut files = Vec::new();
        if !sources.is_empty() {
            let _ = writeln!(
                settings,
                "Dir::Etc::SourceList \"{APT_SOURCES}\";\nDir::Etc::SourceParts \"-\";"
            );
            files.push((APT_SOURCES, sources.to_owned()));
        }
        files.push((APT_CONFIG, settings));
        let files = files
            .into_iter()
            .map(|(path, content)| NewFile {
                path: PathBuf::from(path),
                mode: 0o644,
                content: content.into_bytes(),
            })
            .collect();
        self.file_work(&Work::Write(files)).map(drop)
    }

    fn file_work(&self, work: &Work) -> Result<WorkReport, BuildError> {
        self.job(jobs::WORK, work.name(), work, JobFiles::default())
    }

    /// Runs a job of [`JOBS`] in the machine; `what` says it in an error.
    pub(crate) fn job<A: serde::Serialize, R: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        what: &'static str,
        args: &A,
        files: JobFiles,
    ) -> Result<R, BuildError> {
        match self.sandbox.job(name, args, files, &self.options.cancel) {
            Ok(result) => Ok(result),
            // The signal that asks for an end may reach the agent, too.
            Err(_) if self.options.cancel.is_cancelled() => Err(BuildError::Cancelled),
            Err(mibe_sandbox::Error::Job { message, .. }) => Err(BuildError::Work {
                what,
                why: message,
                hints: self.little_room(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// What to do where the file system of build machines has hardly any space left. A job's error is words alone;
    /// whether it was a full disk, the disk knows.
    fn little_room(&self) -> Vec<String> {
        let machines = self.options.paths.machines();
        let Ok(stat) = rustix::fs::statvfs(&machines) else {
            return Vec::new();
        };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free > LITTLE_ROOM {
            return Vec::new();
        }
        vec![format!(
            "there are {} MiB left on the file system of {}: free some space, or set XDG_CACHE_HOME to a folder that has more",
            free >> 20,
            machines.display()
        )]
    }

    /// The environment that every script gets.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let mut environment: Vec<(String, String)> = [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LOGNAME", "root"),
            ("SHELL", "/bin/sh"),
            ("LC_ALL", "C.UTF-8"),
            ("TERM", "dumb"),
            // systemctl enables offline and does not try to start anything (systemctl(1)).
            ("SYSTEMD_OFFLINE", "1"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        environment.push((
            "SOURCE_DATE_EPOCH".to_owned(),
            self.options.epoch.to_string(),
        ));
        if self.options.network == Network::Host {
            environment.extend(
                PROXIES
                    .iter()
                    .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))),
            );
        }
        environment
    }
}

/// How a command in a sandbox ended, in the words of all builders.
pub(super) fn ended(outcome: mibe_sandbox::Outcome) -> Outcome {
    match outcome {
        mibe_sandbox::Outcome::Exited(status) => Outcome::Exited(status),
        mibe_sandbox::Outcome::Signaled(signal) => Outcome::Signaled(signal),
        mibe_sandbox::Outcome::TimedOut => Outcome::TimedOut,
        mibe_sandbox::Outcome::Cancelled => Outcome::Cancelled,
    }
}

impl Machine for LocalMachine {
    fn run(
        &mut self,
        script: &Script,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Outcome, BuildError> {
        let mut env: Vec<_> = self
            .environment()
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        env.extend(script.env.iter().cloned());
        let command = Command {
            env,
            cwd: PathBuf::from(&script.cwd),
            network: self.options.network,
            resolv_conf: self.resolv_conf.clone(),
            hostname: HOSTNAME.to_owned(),
            timeout: Some(script.timeout),
            // copy/ lays files into /tmp that customize looks for there.
            tmp_tmpfs: false,
            ..Command::new(script.argv.clone())
        };
        match ended(self.sandbox.run(&command, &self.options.cancel, output)?) {
            Outcome::Cancelled => Err(BuildError::Cancelled),
            outcome => Ok(outcome),
        }
    }

    fn work(&mut self, work: &Work) -> Result<WorkReport, BuildError> {
        self.file_work(work)
    }

    fn capture(
        &mut self,
        options: &CaptureOptions,
        out: &mut dyn Write,
    ) -> Result<Captured, BuildError> {
        let machine = &*self;
        let (captured, ()) = piped(
            |output| {
                let files = JobFiles {
                    output: Some(output),
                    ..JobFiles::default()
                };
                machine.job::<_, Captured>(jobs::CAPTURE, "capture", options, files)
            },
            |mut reader| {
                let mut buffer = vec![0; 1 << 18];
                loop {
                    match reader.read(&mut buffer) {
                        Ok(0) => return Ok(()),
                        Ok(count) => out
                            .write_all(&buffer[..count])
                            .map_err(BuildError::io("write", "the image"))?,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(BuildError::io("read", "the stream")(error)),
                    }
                }
            },
        )?;
        Ok(captured)
    }

    fn place(&self) -> String {
        format!("in {}", self.sandbox.dir().display())
    }

    fn destroy(self: Box<Self>) -> Result<(), BuildError> {
        Ok(self.sandbox.destroy()?)
    }
}

/// Has a job write into a pipe that `read` reads to its end; what both say. An error of `read` is the one that counts, since a job whose reader is gone
/// fails of that.
pub(super) fn piped<T: Send, R>(
    job: impl FnOnce(File) -> Result<T, BuildError> + Send,
    read: impl FnOnce(io::PipeReader) -> Result<R, BuildError>,
) -> Result<(T, R), BuildError> {
    let (reader, writer) = io::pipe().map_err(BuildError::io("make a pipe", "/"))?;
    // A stream comes in records of 128 KiB; the kernel's default pipe holds half of one.
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20);
    let output = File::from(std::os::fd::OwnedFd::from(writer));
    std::thread::scope(|scope| {
        let job = scope.spawn(move || job(output));
        let read = read(reader);
        let done = job.join().unwrap_or_else(|_| {
            Err(BuildError::Work {
                what: "work on the tree",
                why: "the thread that waits for it panicked".to_owned(),
                hints: Vec::new(),
            })
        });
        let read = read?;
        Ok((done?, read))
    })
}

/// What stands in resolv.conf while scripts run: the given name servers, or the host's file.
fn resolv_conf(resolvers: &[IpAddr]) -> Vec<u8> {
    if resolvers.is_empty() {
        // A host without one has no name service for its build machines either.
        return fs::read("/etc/resolv.conf").unwrap_or_default();
    }
    resolvers
        .iter()
        .flat_map(|address| format!("nameserver {address}\n").into_bytes())
        .collect()
}
