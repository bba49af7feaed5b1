//! The local builder: build machines are sandboxes on this Linux host.

mod bases;
mod disk;
pub(crate) mod jobs;
pub(crate) mod lay;
mod machine;
pub(crate) mod perform;
pub(crate) mod zonepath;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mibe_image::progress::Progress;
use mibe_sandbox::{Agent, Cancel, Mode, Network, Sandbox};

use self::disk::{DiskBase, DiskMachine};
use self::machine::LocalMachine;
use crate::base::BaseRef;
use crate::base_image::BaseImage;
use crate::error::BuildError;
use crate::journal::{Entry, Journal, Record};
use crate::machine::{Builder, Machine, ResolvedBase};
use crate::paths::Paths;
use crate::plan::{DiskPlan, Plan};

pub use jobs::JOBS;

/// How the local builder is to work.
#[derive(Clone)]
pub struct LocalOptions {
    /// The way into the sandbox; `None` takes the first that works.
    pub sandbox: Option<Mode>,
    /// What build machines see of the network.
    pub network: Network,
    /// Name servers of build machines; the host's if empty.
    pub resolvers: Vec<IpAddr>,
    /// Debian mirror; `None` takes the one of this host's apt, or the public one.
    pub mirror: Option<String>,
    /// Keyring that a Debian mirror is checked against; `None` takes the host's.
    pub keyring: Option<PathBuf>,
    /// What serves as agent of sandboxes.
    pub agent: Agent,
    /// The user's folders.
    pub paths: Paths,
    /// Ends what is running.
    pub cancel: Cancel,
    /// Seconds since 1970, for scripts that stamp times (SOURCE_DATE_EPOCH).
    pub epoch: i64,
}

/// Provides sandboxes on this host as build machines.
pub struct LocalBuilder {
    options: Arc<LocalOptions>,
    mode: Mode,
    journal: Journal,
    progress: Arc<dyn Progress>,
    bootstrapped: Option<bases::Bootstrapped>,
    /// The disk of the build at hand, and what is planned of it.
    disk: Option<(DiskBase, DiskPlan)>,
}

impl LocalBuilder {
    /// A builder of this host.
    ///
    /// # Errors
    ///
    /// No way into a sandbox works here; the hints say what to do about each.
    pub fn new(options: LocalOptions, progress: Arc<dyn Progress>) -> Result<Self, BuildError> {
        let machines = options.paths.machines();
        fs::create_dir_all(&machines).map_err(BuildError::io("make", &machines))?;
        let mode = choose(&options, &machines)?;
        Ok(Self {
            mode,
            journal: Journal::new(options.paths.journal()),
            options: Arc::new(options),
            progress,
            bootstrapped: None,
            disk: None,
        })
    }

    /// The way into the sandbox that was chosen.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

/// The order in which ways are tried: the quickest and most faithful first.
pub const MODES: [Mode; 3] = [Mode::Root, Mode::Subuid, Mode::Single];

fn choose(options: &LocalOptions, machines: &Path) -> Result<Mode, BuildError> {
    let wanted = options.sandbox.map_or(MODES.to_vec(), |mode| vec![mode]);
    let mut hints = Vec::new();
    for mode in wanted {
        match Sandbox::probe(&options.agent, mode, machines) {
            Ok(()) => return Ok(mode),
            Err(unavailable) => hints.push(format!(
                "{mode}: {}; {}",
                unavailable.reason, unavailable.remedy
            )),
        }
    }
    Err(BuildError::Host {
        message: match options.sandbox {
            Some(mode) => format!("the sandbox mode {mode} does not work here"),
            None => "no sandbox mode works here".to_owned(),
        },
        hints,
    })
}

impl Builder for LocalBuilder {
    fn name(&self) -> &'static str {
        "local"
    }

    fn resolve(
        &mut self,
        plan: &Plan,
        _entry: &mut Entry,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ResolvedBase, BuildError> {
        let base = &plan.base;
        if let Some(disk) = &plan.disk {
            let image = plan.base_image.as_ref();
            let flag = self.options.cancel.flag();
            let resolved = DiskBase::resolve(
                disk,
                image,
                &self.options.paths,
                plan.repository.as_str(),
                &flag,
            )?;
            self.disk = Some((resolved, disk.clone()));
            let name = base.to_string();
            let file_name = name.rsplit('/').next().unwrap_or_default();
            return Ok(ResolvedBase {
                reference: base.clone(),
                title: image.map_or_else(|| file_name.to_owned(), BaseImage::title),
                image: image.cloned(),
                notes: Vec::new(),
            });
        }
        match base {
            BaseRef::Debian { suite } => {
                let bootstrapped = bases::debian(self, suite, output)?;
                let title = bootstrapped.title.clone();
                self.bootstrapped = Some(bootstrapped);
                Ok(ResolvedBase {
                    reference: base.clone(),
                    title,
                    image: None,
                    notes: Vec::new(),
                })
            }
            BaseRef::Archive(path) | BaseRef::Directory(path) => Ok(ResolvedBase {
                reference: base.clone(),
                title: path
                    .file_name()
                    .unwrap_or(path.as_os_str())
                    .to_string_lossy()
                    .into_owned(),
                image: None,
                notes: Vec::new(),
            }),
            BaseRef::Image(name) => match plan.base_image.as_ref() {
                Some(image) => Ok(ResolvedBase {
                    reference: base.clone(),
                    title: image.title(),
                    image: Some(image.clone()),
                    notes: Vec::new(),
                }),
                None => Err(not_found(name)),
            },
            BaseRef::Disk(_) | BaseRef::Url(_) => Err(not_found(&base.to_string())),
        }
    }

    fn create(
        &mut self,
        base: &ResolvedBase,
        record: &mut Record,
        _output: &mut dyn FnMut(&[u8]),
    ) -> Result<Box<dyn Machine>, BuildError> {
        let machine = LocalMachine::create(&self.options, self.mode, &record.entry.directory)?;
        if let Some((disk, plan)) = self.disk.take() {
            let (epoch, flag) = (self.options.epoch, self.options.cancel.flag());
            let mut machine = DiskMachine::new(machine, disk, &base.title, &plan, epoch, &flag);
            return match machine.fill() {
                Ok(()) => Ok(Box::new(machine)),
                Err(error) => {
                    // What went wrong first matters more; what is left stays in the journal.
                    let _ = Box::new(machine).destroy();
                    Err(error)
                }
            };
        }
        match self.prepare(&machine, base) {
            Ok(()) => Ok(Box::new(machine)),
            Err(error) => {
                // What went wrong first matters more; what is left stays in the journal.
                let _ = machine.into_sandbox().destroy();
                Err(error)
            }
        }
    }

    fn remains(&self) -> Option<String> {
        // An unpacked base is nothing to learn from.
        None
    }

    fn abandon(&mut self, entry: &Entry) -> Result<(), BuildError> {
        if entry.directory.exists() {
            return Err(BuildError::Work {
                what: "take away the build machine",
                why: format!("{} is still there", entry.directory.display()),
                hints: Vec::new(),
            });
        }
        Ok(())
    }

    fn fetches_again(&self) -> bool {
        // apt does so by itself, and the network is this machine's.
        false
    }
}

impl LocalBuilder {
    /// Fills a machine with its base and with what only the build needs.
    fn prepare(&self, machine: &LocalMachine, base: &ResolvedBase) -> Result<(), BuildError> {
        if let Some(image) = &base.image {
            machine.fill_from_image(image)?;
            return if image.is_native() {
                Ok(())
            } else {
                machine.apt_settings("", None)
            };
        }
        let (path, host_sources) = match (&base.reference, &self.bootstrapped) {
            (BaseRef::Debian { .. }, Some(bootstrapped)) => (&bootstrapped.archive, true),
            (BaseRef::Archive(path) | BaseRef::Directory(path), _) => (path, false),
            (reference, _) => return Err(not_found(&reference.to_string())),
        };
        machine.fill(path)?;
        if host_sources && let Some(bootstrapped) = &self.bootstrapped {
            machine.apt_settings(&bootstrapped.sources, bootstrapped.proxy.as_deref())
        } else {
            machine.apt_settings("", None)
        }
    }
}

/// A base that was not resolved.
fn not_found(name: &str) -> BuildError {
    BuildError::usage(format!("the base {name} was not looked for"), &[])
}
