//! A zone of a SmartOS host as a build machine.

mod capture;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mibe_host::{Host, Input, Outcome, quote, quote_all};
use serde_json::{Map, Value};

use super::builder::SmartosOptions;
use super::copy::Target;
use super::destroy;
use super::tools::{Asked, Tools, text};
use super::zlogin::{self, Ended, os};
use crate::capture::{CaptureOptions, Captured};
use crate::error::BuildError;
use crate::host_base::HostBase;
use crate::journal::ZoneEntry;
use crate::lay::EntryKind;
use crate::leftovers::{EMPTIED, IDENTITY, OF_A_ZONE, REMOVED, SCRATCH};
use crate::machine::{Machine, Script};
use crate::packages::{APT_CONFIG, APT_SETTINGS, PackageManager};
use crate::work::{NewFile, Work, WorkReport};

/// What is done in a stopped zone.
const CLEAN: &str = include_str!("scripts/clean.sh");

/// How long a zone that stops itself may take to do so.
const STOPPING: Duration = Duration::from_secs(60);

/// What scripts call that prepare an image; it ends by halting the zone.
const PREPARE_IMAGE: &[u8] = b"sm-prepare-image";

/// A zone.
pub(super) struct Zone {
    tools: Tools,
    host: Arc<dyn Host>,
    options: Arc<SmartosOptions>,
    entry: ZoneEntry,
    /// Of the build, as the journal knows it.
    id: String,
    base: HostBase,
    incremental: bool,
    /// The directory in the global zone that is the dataset.
    path: String,
    /// The name that it goes by.
    hostname: String,
    stopped: bool,
    /// Whether customize halts the zone by itself.
    halts: bool,
    /// Files and links that the repository has laid in: they are the author's, whatever their names.
    laid: Vec<PathBuf>,
}

impl Zone {
    #[expect(clippy::too_many_arguments, reason = "all that a zone is known by")]
    pub fn new(
        tools: &Tools,
        host: &Arc<dyn Host>,
        options: &Arc<SmartosOptions>,
        zone: &ZoneEntry,
        id: &str,
        base: &HostBase,
        incremental: bool,
        vm: &Map<String, Value>,
    ) -> Result<Self, BuildError> {
        let said = |key: &str| vm.get(key).and_then(Value::as_str).unwrap_or_default();
        let (dataset, zonepath) = (said("zfs_filesystem"), said("zonepath"));
        if dataset != zone.dataset || !zonepath.starts_with('/') || !zonepath.ends_with(&zone.uuid)
        {
            return Err(BuildError::Work {
                what: "look at the zone",
                why: format!(
                    "vmadm says it is {dataset} at {zonepath}, and it should be {}",
                    zone.dataset
                ),
                hints: Vec::new(),
            });
        }
        Ok(Self {
            tools: tools.clone(),
            host: Arc::clone(host),
            options: Arc::clone(options),
            entry: zone.clone(),
            id: id.to_owned(),
            base: base.clone(),
            incremental,
            path: zonepath.to_owned(),
            hostname: said("hostname").to_owned(),
            stopped: false,
            halts: false,
            laid: Vec::new(),
        })
    }

    fn is_native(&self) -> bool {
        self.base.manifest.kind == mibe_image::manifest::ImageType::ZoneDataset
    }

    fn target(&self) -> Target<'_> {
        Target {
            tools: &self.tools,
            uuid: &self.entry.uuid,
        }
    }

    fn answer(&self, what: &'static str, script: &str) -> Result<String, BuildError> {
        zlogin::answer(
            &self.tools,
            &self.entry.uuid,
            what,
            script.as_bytes(),
            Input::Nothing,
        )
    }

    /// Finds the package manager and the name of what is in the zone.
    fn inspect(&self) -> Result<WorkReport, BuildError> {
        let mut script = String::new();
        for (index, (_, path)) in PackageManager::PROGRAMS.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = writeln!(
                script,
                "[ ! -x /{path} ] || printf 'mibe-manager %s\\n' {index}"
            );
        }
        script.push_str(
            "for file in /etc/os-release /etc/product; do\n\
             [ ! -r $file ] || sed -n -e 's/^PRETTY_NAME=/mibe-name /p' -e 's/^ *Image: /mibe-name /p' $file\n\
             done\nexit 0\n",
        );
        let printed = self.answer("look at the zone", &script)?;
        let after = |mark: &str| {
            printed
                .lines()
                .find_map(|line| line.strip_prefix(mark))
                .map(|rest| rest.trim().trim_matches('"').to_owned())
        };
        let manager = after("mibe-manager ")
            .and_then(|index| index.parse::<usize>().ok())
            .and_then(|index| PackageManager::PROGRAMS.get(index))
            .map(|(manager, _)| *manager);
        Ok(WorkReport {
            package_manager: manager,
            distribution: after("mibe-name ").unwrap_or_else(|| self.base.title()),
            ..WorkReport::default()
        })
    }

    /// What holds for the build alone; [`Self::finalise`] undoes it.
    fn prepare(&mut self) -> Result<(), BuildError> {
        if !self.is_native() {
            let file = NewFile {
                path: APT_CONFIG.trim_start_matches('/').into(),
                mode: 0o644,
                content: APT_SETTINGS.as_bytes().to_vec(),
            };
            return self.target().write(&[file]);
        }
        let Some(mirror) = &self.options.pkgsrc_mirror else {
            return Ok(());
        };
        // The path of each repository stays: it says which of the quarterly sets an image is made of.
        let script = format!(
            "conf=/opt/local/etc/pkgin/repositories.conf\n\
             [ -f $conf ] || {{ echo \"the base has no $conf\"; exit 1; }}\n\
             mkdir -p /.mibe && cp $conf /.mibe/repositories.conf &&\n\
             sed -e {} $conf > /.mibe/repositories.conf.ours &&\n\
             cat /.mibe/repositories.conf.ours > $conf",
            text(&quote(os(format!(
                "s|^\\([a-z][a-z]*\\)://[^/]*|{}|",
                mirror
                    .trim_end_matches('/')
                    .replace(['\\', '|', '&', '\n'], "")
            )
            .as_bytes())))
        );
        self.answer("set the mirror of pkgsrc", &script).map(drop)
    }

    fn state(&self) -> Result<String, BuildError> {
        let vm = self.tools.vm(&self.entry.uuid)?;
        let state = vm.as_ref().and_then(|vm| vm.get("state"));
        Ok(state.and_then(Value::as_str).unwrap_or("gone").to_owned())
    }

    /// Waits for a zone that goes down by itself; says whether it did.
    fn goes_down(&self) -> Result<bool, BuildError> {
        let until = Instant::now() + STOPPING;
        loop {
            match self.state()?.as_str() {
                "stopped" => return Ok(true),
                "gone" | "failed" => return Ok(false),
                _ if Instant::now() >= until => return Ok(false),
                _ => std::thread::sleep(Duration::from_millis(200)),
            }
            if self
                .tools
                .cancel()
                .load(std::sync::atomic::Ordering::SeqCst)
            {
                return Err(BuildError::Cancelled);
            }
        }
    }

    /// Has the zone down for good. One that starts itself anew is told to be stopped in between, and what cleans it must not meet
    /// it alive: zoneadmd halts it under the lock that it holds while it starts a zone anew (`zoneadmd.c`), whatever it did before.
    fn halt(&self) -> Result<(), BuildError> {
        let argv = ["zoneadm", "-z", &self.entry.uuid, "halt"];
        let asked = self
            .tools
            .ask(&argv, Input::Nothing, self.tools.timeout())?;
        let state = self.state()?;
        if state == "stopped" {
            return Ok(());
        }
        Err(match asked {
            Asked::Refused(error) => error,
            Asked::Answered(_) => BuildError::Work {
                what: "stop the zone",
                why: format!("it starts itself anew, and is {state} after zoneadm halted it"),
                hints: Vec::new(),
            },
        })
    }

    /// Stops the zone; by force where it does not end by itself.
    fn stop(&mut self) -> Result<(), BuildError> {
        if self.stopped || (self.halts && self.goes_down()?) {
            self.stopped = true;
            return self.halt();
        }
        let uuid = self.entry.uuid.clone();
        let mut last = None;
        for argv in [
            &["vmadm", "stop", &uuid][..],
            &["vmadm", "stop", &uuid, "-F"][..],
        ] {
            match self.tools.ask(argv, Input::Nothing, self.tools.timeout()) {
                Ok(Asked::Answered(_)) => {}
                Ok(Asked::Refused(error)) | Err(error @ BuildError::Command { .. }) => {
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
            // Whatever was said: the state counts.
            if self.state()? == "stopped" {
                self.stopped = true;
                return self.halt();
            }
        }
        Err(last.unwrap_or_else(|| BuildError::Work {
            what: "stop the zone",
            why: "vmadm said it was done, and it is not".to_owned(),
            hints: Vec::new(),
        }))
    }

    fn finalise(&mut self) -> Result<WorkReport, BuildError> {
        self.stop()?;
        // The tag of the build goes with the metadata; a stray must be known by something.
        let property = format!("{}={}", destroy::BUILD_PROPERTY, self.id);
        let argv = ["zfs", "set", &property, &self.entry.dataset];
        self.tools
            .call(&argv, Input::Nothing, self.tools.timeout())?;
        let script = self.cleaning();
        // For sed, to which a name has no other signs; see `cleaning`.
        let name = self.hostname.replace('.', "\\.");
        let argv = ["sh", "-s", &self.path, &name];
        let printed = self.tools.call(
            &argv,
            Input::Bytes(script.into_bytes()),
            self.tools.timeout(),
        )?;
        let mut report = WorkReport::default();
        for line in text(&printed).lines() {
            match line.strip_prefix("mibe-keys ") {
                Some(name) => report.finalised.warn(format!(
                    "removed /root/.ssh/{name}: an image must not carry its builder's keys; instances get theirs from the metadata"
                )),
                None => report.finalised.note(line),
            }
        }
        if self.is_native() && !self.halts {
            report.finalised.warn(
                "customize does not call sm-prepare-image: what zoneinit did in the build machine, it will not do again in instances of the image",
            );
        }
        Ok(report)
    }

    /// The script that cleans the stopped zone.
    fn cleaning(&self) -> String {
        let mut script = CLEAN.to_owned();
        let word = |text: &str| {
            let bytes = quote(os(text.as_bytes()));
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let mut each = |directory: &str, pattern: &str, action: &str| {
            // What the repository laid in is no leftover.
            if directory == "root" && self.laid.iter().any(|laid| laid == Path::new(pattern)) {
                return;
            }
            let _ = writeln!(script, "each {directory} {} {action}", word(pattern));
        };
        // The mirror, before what it was saved in goes.
        each("root", ".mibe", "put_back_in");
        for pattern in ["root/.ssh/authorized_keys", "root/.ssh/authorized_keys2"] {
            each("root", pattern, "take_keys_away");
        }
        for pattern in IDENTITY.iter().chain(REMOVED).chain(OF_A_ZONE) {
            each("root", pattern, "take_away");
        }
        each("root", ".mibe", "take_away_silently");
        for pattern in EMPTIED {
            each("root", pattern, "empty_files");
        }
        for pattern in SCRATCH {
            each("root", pattern, "empty");
        }
        for pattern in ["var/log/*.[0-9]", "var/log/*.[0-9].gz", "var/log/*.old"] {
            each("root", pattern, "take_away");
        }
        each("root", "var/log", "truncate_files");
        // The platform fills these in at every boot of an instance, some only where they are there.
        for pattern in [
            "etc/machine-id",
            "etc/resolv.conf",
            "etc/hostname",
            "etc/nodename",
            "etc/network/interfaces",
            "etc/sysconfig/network-scripts/ifcfg-eth[0-9]*",
        ] {
            each("root", pattern, "truncate_file");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !self.hostname.is_empty() && self.hostname.chars().all(plain) {
            for pattern in ["etc/hosts", "etc/inet/hosts"] {
                each("root", pattern, "without_name");
            }
        }
        // Not of the zone, but of its VM: metadata, tags, routes (VM.js). Instances get their own.
        each(".", "config", "empty");
        each(".", "cores", "empty");
        script.push_str("exit 0\n");
        script
    }

    /// What a script gets, whatever it is.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let path = if self.is_native() {
            // pkgsrc's first, as a login in such a zone has them.
            "/opt/local/sbin:/opt/local/bin:/usr/sbin:/usr/bin:/sbin"
        } else {
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        };
        let epoch = self.options.epoch.to_string();
        [
            ("PATH", path),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LOGNAME", "root"),
            ("TERM", "dumb"),
            ("SOURCE_DATE_EPOCH", epoch.as_str()),
        ]
        .into_iter()
        .chain((!self.is_native()).then_some(("LC_ALL", "C.UTF-8")))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
    }
}

impl Machine for Zone {
    fn run(
        &mut self,
        script: &Script,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Outcome, BuildError> {
        let mut text = b"cd ".to_vec();
        text.extend_from_slice(&quote(script.cwd.as_ref()));
        text.extend_from_slice(b" || exit\n");
        for (name, value) in self.environment().into_iter().chain(script.env.clone()) {
            text.extend_from_slice(name.as_encoded_bytes());
            text.push(b'=');
            text.extend_from_slice(&quote(&value));
            text.extend_from_slice(b"; export ");
            text.extend_from_slice(name.as_encoded_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(&quote_all(&script.argv));
        let ended = zlogin::run(
            &self.tools,
            &self.entry.uuid,
            &text,
            Input::Nothing,
            script.timeout,
            output,
        )?;
        match ended {
            Ended::Exited(status) => Ok(Outcome::Exited(status)),
            Ended::TimedOut => Ok(Outcome::TimedOut),
            // sm-prepare-image may be quicker in halting the zone than the script in ending.
            Ended::Silent if self.halts && self.goes_down()? => {
                self.stopped = true;
                Ok(Outcome::Exited(0))
            }
            Ended::Silent => Err(BuildError::Work {
                what: "run in the zone",
                why: format!(
                    "{} ended without a word: it was killed, or the zone went down (it is {} now)",
                    script
                        .argv
                        .first()
                        .map(|word| word.to_string_lossy())
                        .unwrap_or_default(),
                    self.state()?
                ),
                hints: vec![
                    "where the script is meant to stop the zone, sm-prepare-image does that"
                        .to_owned(),
                    "give the build machine more memory with --set max_physical_memory=MIB"
                        .to_owned(),
                ],
            }),
        }
    }

    fn work(&mut self, work: &Work) -> Result<WorkReport, BuildError> {
        match work {
            Work::Inspect => return self.inspect(),
            Work::Finalise(_) => return self.finalise(),
            Work::Prepare(_) => self.prepare()?,
            Work::Lay {
                source,
                entries,
                mtime,
            } => {
                self.laid.extend(
                    entries
                        .iter()
                        .filter(|entry| entry.kind != EntryKind::Directory)
                        .map(|entry| entry.path.clone()),
                );
                self.target().lay(source, entries, *mtime)?;
            }
            Work::Write(files) => {
                self.halts |= files.iter().any(|file| {
                    file.mode & 0o100 != 0
                        && file
                            .content
                            .windows(PREPARE_IMAGE.len())
                            .any(|part| part == PREPARE_IMAGE)
                });
                self.target().write(files)?;
            }
            // In a zone that has stopped, the cleaning does it.
            Work::Remove(path) => {
                if !self.stopped && self.state()? == "running" {
                    let path = quote(path.as_os_str());
                    let script = format!("cd / && rm -rf ./{}", text(&path));
                    match self.answer("remove a file", &script) {
                        // It was about to stop.
                        Err(_) if self.halts && self.goes_down()? => self.stopped = true,
                        answer => drop(answer?),
                    }
                }
            }
        }
        Ok(WorkReport::default())
    }

    fn capture(
        &mut self,
        _options: &CaptureOptions,
        out: &mut dyn Write,
    ) -> Result<Captured, BuildError> {
        self.send(out)
    }

    fn place(&self) -> String {
        self.entry.login()
    }

    fn destroy(self: Box<Self>) -> Result<(), BuildError> {
        let timeout = self.tools.timeout();
        destroy::destroy(&self.host, &self.entry, &self.id, true, timeout).map(drop)
    }
}
