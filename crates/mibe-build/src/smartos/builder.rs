//! Provides zones of a SmartOS host as build machines.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mibe_host::{Host, Input};
use serde_json::{Map, Value, json};

use super::images;
use super::spec::{BUILD_KEY, Spec, SpecInput, spec};
use super::tools::{Asked, Tools};
use super::zone::Zone;
use super::{destroy, zlogin};
use crate::base_image::BaseImage;
use crate::error::BuildError;
use crate::host_base::{HostBase, HostBases};
use crate::journal::{Entry, Record, ZoneEntry};
use crate::machine::{Builder, Machine, ResolvedBase};
use crate::plan::Plan;

/// Space that a build needs at the very least.
const LITTLE_ROOM: u64 = 512 << 20;

/// Tells whether a zone is up.
const UP: &[u8] = include_bytes!("scripts/up.sh");

/// How long a zone that may start itself anew must have been up.
const SETTLED: Duration = Duration::from_secs(5);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A command of the host, and a silence of `zfs send`.
    pub command: Duration,
    /// From `vmadm create` to a zone that is up.
    pub boot: Duration,
    /// Importing a base.
    pub import: Duration,
}

/// How the builder is to work.
#[derive(Clone, Debug)]
pub struct SmartosOptions {
    /// The host as ssh takes it, for the journal; `None` is this machine.
    pub host: Option<String>,
    /// Arguments of ssh before the host, likewise.
    pub ssh_arguments: Vec<String>,
    /// Text of etc/vm.json or another spec, and its name.
    pub spec: Option<(PathBuf, String)>,
    /// `KEY=VALUE` of the command line.
    pub sets: Vec<(String, String)>,
    /// Pool of the zone and its base.
    pub pool: String,
    /// Name servers while the zone is one of a build.
    pub resolvers: Vec<IpAddr>,
    /// Where pkgsrc comes from while the zone is one of a build: what stands before the path of its repositories.
    pub pkgsrc_mirror: Option<String>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Ends what is running.
    pub cancel: Arc<AtomicBool>,
    /// Seconds since 1970, for scripts that stamp times (SOURCE_DATE_EPOCH).
    pub epoch: i64,
}

/// Provides zones of a SmartOS host.
pub struct SmartosBuilder {
    tools: Tools,
    host: Arc<dyn Host>,
    options: Arc<SmartosOptions>,
    platform: String,
    nic_tags: Vec<String>,
    /// Of the build at hand.
    next: Option<Next>,
}

/// What [`Builder::resolve`] has decided of the machine.
struct Next {
    spec: Spec,
    zone: ZoneEntry,
    base: HostBase,
    incremental: bool,
    /// Whether `vmadm create` has said how it ended.
    created: bool,
}

impl SmartosBuilder {
    /// Looks at the host: is it a global zone, is its pool well, what are its nic tags. Changes nothing.
    ///
    /// # Errors
    ///
    /// It is none, or can't be asked.
    pub fn new(host: Arc<dyn Host>, options: SmartosOptions) -> Result<Self, BuildError> {
        let tools = Tools::new(
            Arc::clone(&host),
            Arc::clone(&options.cancel),
            options.timeouts.command,
        );
        let platform = tools.platform()?;
        let pool = tools.pool(&options.pool)?;
        if !matches!(pool.health.as_str(), "ONLINE" | "DEGRADED") {
            return Err(BuildError::host(
                format!(
                    "the pool {} of {} is {}",
                    options.pool,
                    tools.title(),
                    pool.health
                ),
                &["`zpool status` there says why; --pool names another"],
            ));
        }
        if pool.available < LITTLE_ROOM {
            return Err(BuildError::host(
                format!(
                    "the pool {} of {} has {} MiB left, and a build needs {} at least",
                    options.pool,
                    tools.title(),
                    pool.available >> 20,
                    LITTLE_ROOM >> 20
                ),
                &[
                    "`imgadm vacuum -n` there shows images that nothing uses; --pool names another pool",
                ],
            ));
        }
        let nic_tags = tools.nic_tags()?;
        Ok(Self {
            tools,
            host,
            options: Arc::new(options),
            platform,
            nic_tags,
            next: None,
        })
    }

    /// The payload of the build machine of a plan and what was decided of it; touches nothing.
    ///
    /// # Errors
    ///
    /// The spec is wrong.
    pub fn preview(&self, plan: &Plan) -> Result<(Value, Vec<String>), BuildError> {
        let base = plan.host_base.as_ref().ok_or_else(no_base)?;
        let entry = Entry::new(self.name(), &PathBuf::new(), plan.repository.as_str());
        let spec = self.spec(plan, base, &entry, &new_uuid())?;
        Ok((hidden(&spec.payload), spec.notes))
    }

    fn spec(
        &self,
        plan: &Plan,
        base: &HostBase,
        entry: &Entry,
        uuid: &str,
    ) -> Result<Spec, BuildError> {
        let manifest = &base.manifest;
        let requirements = manifest.requirements.as_ref();
        let of_base = requirements.and_then(|requirements| requirements.brand.as_deref());
        let brand = of_base.unwrap_or(if plan.is_native() { "joyent" } else { "lx" });
        let tags = manifest.tags.as_ref();
        let alias = format!("mibe-{}-{}", *plan.recipe.name, &uuid[..8]);
        spec(&SpecInput {
            file: self.options.spec.as_ref().map(|(_, text)| text.as_str()),
            sets: &self.options.sets,
            uuid,
            alias: &alias,
            build: &entry.id,
            image: &manifest.uuid,
            brand,
            kernel_version: tags.and_then(|tags| tags.get("kernel_version")?.as_str()),
            min_ram: requirements.and_then(|requirements| requirements.min_ram),
            resolvers: &self.options.resolvers,
            nic_tags: &self.nic_tags,
        })
        .map(|mut spec| {
            // The journal, and so what takes the machine away, knows it to be there and nowhere else.
            for key in ["zpool", "zfs_storage_pool_name"] {
                let there = spec.payload.remove(key);
                if there.is_some_and(|there| there != self.options.pool.as_str()) {
                    spec.notes.push(format!(
                        "{key} of the spec does not count: the machine is made on {} (--pool)",
                        self.options.pool
                    ));
                }
            }
            // vmadm's default is "zones" (vmadm(8), zpool).
            if self.options.pool != "zones" {
                spec.payload
                    .insert("zpool".into(), self.options.pool.as_str().into());
            }
            spec
        })
        .map_err(BuildError::Spec)
    }

    /// Asks vmadm itself, which knows its host.
    fn validate(&self, payload: &Map<String, Value>) -> Result<(), BuildError> {
        let text = Value::Object(payload.clone()).to_string();
        let argv = ["vmadm", "validate", "create"];
        let input = Input::Bytes(text.into_bytes());
        let timeout = self.tools.timeout();
        let result = self.tools.run(&argv, input, timeout)?;
        if result.outcome.success() {
            return Ok(());
        }
        // It says in JSON what is wrong with a payload, and else what is wrong with itself (vmadm.js, VM.validate).
        match serde_json::from_slice::<Map<String, Value>>(&result.stderr) {
            Ok(wrong) => Err(BuildError::Spec(
                wrong
                    .iter()
                    .filter(|(_, which)| which.as_array().is_none_or(|which| !which.is_empty()))
                    .map(|(what, which)| format!("vmadm says {what} {which}"))
                    .collect(),
            )),
            Err(_) => Err(self.tools.failed(&argv, &result, timeout)),
        }
    }

    /// Creates the VM and waits until it is up.
    fn make(
        &self,
        next: &mut Next,
        record: &mut Record,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Zone, BuildError> {
        let begun = Instant::now();
        let text = Value::Object(next.spec.payload.clone()).to_string();
        let argv = ["vmadm", "create"];
        let boot = self.options.timeouts.boot;
        let asked = self.tools.ask(&argv, Input::Bytes(text.into_bytes()), boot);
        if asked.is_ok() {
            next.created = true;
            record.created()?;
        }
        match asked? {
            Asked::Answered(printed) => output(&printed),
            Asked::Refused(error) => return Err(error),
        }
        let uuid = &next.zone.uuid;
        let vm = self.wait(uuid, begun + boot, output)?;
        Zone::new(
            &self.tools,
            &self.host,
            &self.options,
            &next.zone,
            &record.entry.id,
            &next.base,
            next.incremental,
            &vm,
        )
    }

    /// Waits for a zone that is up: in vmadm's words, in its own, and for good.
    fn wait(
        &self,
        uuid: &str,
        until: Instant,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Map<String, Value>, BuildError> {
        let mut pause = Duration::from_millis(50);
        // When it was booted, and when it was first seen up since.
        let mut up: Option<(Value, Instant)> = None;
        let mut last = String::new();
        loop {
            let vm = self.tools.vm(uuid)?.ok_or_else(|| BuildError::Work {
                what: "wait for the zone",
                why: format!("the VM {uuid} is not there any more"),
                hints: Vec::new(),
            })?;
            let state = vm.get("state").and_then(Value::as_str).unwrap_or_default();
            let now = if state == "running" {
                self.is_up(uuid)?
            } else {
                format!("vmadm says it is {state}")
            };
            if now != last {
                output(format!("the zone: {now}\n").as_bytes());
                last.clone_from(&now);
            }
            if state == "failed" {
                return Err(BuildError::Work {
                    what: "wait for the zone",
                    why: "vmadm says it failed to provision".to_owned(),
                    hints: vec![
                        "run again with --keep-on-failure, and look into its logs".to_owned(),
                        "the guest tools of its base may not work with this platform".to_owned(),
                    ],
                });
            }
            let booted = vm.get("boot_timestamp").cloned().unwrap_or_default();
            match now.as_str() {
                "up" => return Ok(vm),
                "up, with zoneinit" => {
                    let since = match &up {
                        Some((before, since)) if *before == booted => *since,
                        _ => Instant::now(),
                    };
                    if since.elapsed() >= SETTLED {
                        return Ok(vm);
                    }
                    up = Some((booted, since));
                }
                _ => up = None,
            }
            if Instant::now() >= until {
                return Err(BuildError::Work {
                    what: "wait for the zone",
                    why: format!(
                        "it was not up within {} s: {now}",
                        self.options.timeouts.boot.as_secs()
                    ),
                    hints: vec![
                        "give it longer with --timeout-boot".to_owned(),
                        "run again with --keep-on-failure, and see what it waits for".to_owned(),
                    ],
                });
            }
            self.pause(pause)?;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    fn is_up(&self, uuid: &str) -> Result<String, BuildError> {
        let mut printed = Vec::new();
        let ended = zlogin::run(
            &self.tools,
            uuid,
            UP,
            Input::Nothing,
            self.tools.timeout(),
            &mut |bytes| zlogin::keep(&mut printed, bytes),
        );
        match ended {
            // What stands before it is of the zone's own start-up files.
            Ok(zlogin::Ended::Exited(0)) => {
                let said = String::from_utf8_lossy(&printed);
                let mut lines = said.lines().map(str::trim);
                Ok(lines
                    .rfind(|line| !line.is_empty())
                    .unwrap_or_default()
                    .to_owned())
            }
            Ok(_) => Ok("it does not answer yet".to_owned()),
            // It may have gone down between the two looks, as one does that starts itself anew.
            Err(BuildError::Command { .. }) => Ok("zlogin does not work yet".to_owned()),
            Err(error) => Err(error),
        }
    }

    fn pause(&self, pause: Duration) -> Result<(), BuildError> {
        std::thread::sleep(pause);
        if self
            .tools
            .cancel()
            .load(std::sync::atomic::Ordering::SeqCst)
        {
            return Err(BuildError::Cancelled);
        }
        Ok(())
    }
}

fn no_base() -> BuildError {
    BuildError::usage("the base was not looked for on the host", &[])
}

fn new_uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl HostBases for SmartosBuilder {
    fn title(&self) -> &str {
        self.tools.title()
    }

    fn find(&self, name: &str) -> Result<HostBase, BuildError> {
        images::find(&self.tools, &self.options.pool, &self.platform, name)
    }
}

impl Builder for SmartosBuilder {
    fn name(&self) -> &'static str {
        "smartos"
    }

    fn resolve(
        &mut self,
        plan: &Plan,
        entry: &mut Entry,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ResolvedBase, BuildError> {
        let base = plan.host_base.clone().ok_or_else(no_base)?;
        images::fits(&self.tools, &base)?;
        let uuid = new_uuid();
        let zone = ZoneEntry {
            machine: self.tools.machine()?,
            host: self.options.host.clone(),
            ssh_arguments: self.options.ssh_arguments.clone(),
            dataset: format!("{}/{uuid}", self.options.pool),
            origin: format!("{}/{}@{uuid}", self.options.pool, base.manifest.uuid),
            uuid,
        };
        let spec = self.spec(plan, &base, entry, &zone.uuid)?;
        if !base.installed {
            let of_base = &base.manifest.uuid;
            let import = self.options.timeouts.import;
            output(
                format!(
                    "{} has {}; importing it\n",
                    self.tools.title(),
                    base.title()
                )
                .as_bytes(),
            );
            images::import(&self.tools, &self.options.pool, of_base, import, output)?;
        }
        // After that: vmadm looks at the image, too.
        self.validate(&spec.payload)?;
        let mut notes = spec.notes.clone();
        notes.push(format!(
            "the build machine is VM {} on {}, platform {}",
            zone.uuid,
            self.tools.title(),
            self.platform
        ));
        notes.push(format!("its spec: {}", hidden(&spec.payload)));
        entry.directory = PathBuf::new();
        entry.zone = Some(zone.clone());
        let title = base.title();
        self.next = Some(Next {
            spec,
            zone,
            base,
            incremental: plan.incremental,
            created: false,
        });
        Ok(ResolvedBase {
            reference: plan.base.clone(),
            title,
            image: None::<BaseImage>,
            notes,
        })
    }

    fn create(
        &mut self,
        _base: &ResolvedBase,
        record: &mut Record,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Box<dyn Machine>, BuildError> {
        let mut next = self.next.take().ok_or_else(no_base)?;
        let made = self.make(&mut next, record, output);
        self.next = Some(next);
        Ok(Box::new(made?))
    }

    fn remains(&self) -> Option<String> {
        let next = self.next.as_ref().filter(|next| next.created)?;
        let vm = self.tools.vm(&next.zone.uuid).ok()??;
        // One that vmadm knows may have no zone to log in to, and logs all the same.
        let path = vm.get("zonepath").and_then(Value::as_str);
        Some(match path {
            Some(path) => format!("{}, its files are in {path}", next.zone.login()),
            None => next.zone.login(),
        })
    }

    fn abandon(&mut self, entry: &Entry) -> Result<(), BuildError> {
        let Some(zone) = &entry.zone else {
            return Ok(());
        };
        let created = self.next.as_ref().is_some_and(|next| next.created);
        let timeout = self.tools.timeout();
        destroy::destroy(&self.host, zone, &entry.id, created, timeout).map(drop)
    }

    fn fetches_again(&self) -> bool {
        true
    }
}

/// A payload for the log, without what may be secret.
fn hidden(payload: &Map<String, Value>) -> Value {
    let mut shown = payload.clone();
    for key in ["customer_metadata", "internal_metadata"] {
        if let Some(Value::Object(metadata)) = shown.get_mut(key) {
            for (key, value) in metadata.iter_mut() {
                if key != BUILD_KEY {
                    *value = json!("(hidden)");
                }
            }
        }
    }
    Value::Object(shown)
}
