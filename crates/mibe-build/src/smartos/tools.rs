//! The programs of a global zone that a build calls, with what they print understood: vmadm(8), imgadm(8), zfs(8), zpool(8),
//! nictagadm(8), sysinfo(8).

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mibe_host::{Command, Host, HostError, Input, Outcome, Printed, printed};
use mibe_image::manifest::Manifest;
use serde_json::{Map, Value};

use crate::error::BuildError;
use crate::log::last_words;
use crate::machine::outcome_in_words;

/// The status of a shell, and of env(1), for a program that is not there.
const NOT_FOUND: i32 = 127;

/// A host's programs.
#[derive(Clone)]
pub(crate) struct Tools {
    host: Arc<dyn Host>,
    cancel: Arc<AtomicBool>,
    /// How long a command may take that does no more than answer.
    timeout: Duration,
}

/// What a pool says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub health: String,
    /// Bytes that a new dataset may take.
    pub available: u64,
}

/// An image as imgadm lists it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub manifest: Manifest,
}

/// What a command prints, when it ended well; [`Asked::Refused`] when it did not.
pub(crate) enum Asked {
    Answered(Vec<u8>),
    Refused(BuildError),
}

impl Tools {
    pub fn new(host: Arc<dyn Host>, cancel: Arc<AtomicBool>, timeout: Duration) -> Self {
        Self {
            host,
            cancel,
            timeout,
        }
    }

    pub fn host(&self) -> &dyn Host {
        self.host.as_ref()
    }

    pub fn cancel(&self) -> &AtomicBool {
        &self.cancel
    }

    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What people call the host.
    pub fn title(&self) -> &str {
        self.host.title()
    }

    /// Runs a command to an end by itself, whatever its status.
    pub fn run(
        &self,
        argv: &[&str],
        input: Input,
        timeout: Duration,
    ) -> Result<Printed, BuildError> {
        let command = Command::new(argv.iter().map(|word| OsString::from(*word)))
            .input(input)
            .timeout(timeout);
        let result = match printed(self.host.as_ref(), command, &self.cancel) {
            Err(HostError::Start { program, .. }) if Some(&program.as_str()) == argv.first() => {
                return Err(self.no_global_zone(&program));
            }
            result => result?,
        };
        match result.outcome {
            Outcome::Exited(NOT_FOUND) => {
                Err(self.no_global_zone(argv.first().copied().unwrap_or_default()))
            }
            Outcome::Exited(_) => Ok(result),
            _ => Err(self.failed(argv, &result, timeout)),
        }
    }

    /// The same, its end being an answer or a refusal.
    pub fn ask(&self, argv: &[&str], input: Input, timeout: Duration) -> Result<Asked, BuildError> {
        let result = self.run(argv, input, timeout)?;
        if result.outcome.success() {
            return Ok(Asked::Answered(result.stdout));
        }
        Ok(Asked::Refused(self.failed(argv, &result, timeout)))
    }

    /// Runs a command that must end well, and returns what it prints.
    pub fn call(
        &self,
        argv: &[&str],
        input: Input,
        timeout: Duration,
    ) -> Result<Vec<u8>, BuildError> {
        match self.ask(argv, input, timeout)? {
            Asked::Answered(printed) => Ok(printed),
            Asked::Refused(error) => Err(error),
        }
    }

    /// The error of a command that did not end well.
    pub fn failed(&self, argv: &[&str], result: &Printed, timeout: Duration) -> BuildError {
        if result.outcome == Outcome::Cancelled {
            return BuildError::Cancelled;
        }
        let words: Vec<&str> = argv.iter().take(2).copied().collect();
        let mut said = last_words(&result.stderr);
        if said.is_none() {
            said = last_words(&result.stdout);
        }
        BuildError::Command {
            what: format!("{} on {}", words.join(" "), self.title()),
            how: outcome_in_words(result.outcome, timeout),
            said,
            hints: Vec::new(),
        }
    }

    fn json(&self, argv: &[&str]) -> Result<Value, BuildError> {
        let printed = self.call(argv, Input::Nothing, self.timeout)?;
        self.parsed(argv, &printed)
    }

    fn parsed(&self, argv: &[&str], printed: &[u8]) -> Result<Value, BuildError> {
        serde_json::from_slice(printed).map_err(|error| self.nonsense(argv, &error.to_string()))
    }

    fn nonsense(&self, argv: &[&str], why: &str) -> BuildError {
        BuildError::Command {
            what: format!("{} on {}", argv.join(" "), self.title()),
            how: format!("printed what mibe does not understand ({why})"),
            said: None,
            hints: Vec::new(),
        }
    }

    /// The platform ("20240101T000000Z") of the global zone that the host is.
    pub fn platform(&self) -> Result<String, BuildError> {
        let info = self.json(&["sysinfo"])?;
        // A zone's own sysinfo has none (sysinfo(8)).
        info.get("Live Image")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
            .ok_or_else(|| self.no_global_zone("platform of its own"))
    }

    /// The UUID of the machine that the host is, where it has one.
    pub fn machine(&self) -> Result<Option<String>, BuildError> {
        let info = self.json(&["sysinfo"])?;
        Ok(info
            .get("UUID")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned))
    }

    fn no_global_zone(&self, lacks: &str) -> BuildError {
        BuildError::host(
            format!(
                "{} is no SmartOS global zone: it has no {lacks}",
                self.title()
            ),
            &[
                "name one with --host root@HOST; it is reached with your own ssh",
                "an LX repository is built on Linux without --builder smartos",
            ],
        )
    }

    /// The pool of a name.
    pub fn pool(&self, pool: &str) -> Result<Pool, BuildError> {
        let argv = ["zpool", "list", "-H", "-o", "health", pool];
        let printed = match self.ask(&argv, Input::Nothing, self.timeout)? {
            Asked::Answered(printed) => printed,
            Asked::Refused(_) => {
                return Err(BuildError::host(
                    format!("{} has no pool {pool}", self.title()),
                    &["`zpool list` on the host shows its pools; --pool names one"],
                ));
            }
        };
        let health = text(&printed).trim().to_owned();
        let argv = ["zfs", "get", "-H", "-p", "-o", "value", "available", pool];
        let printed = self.call(&argv, Input::Nothing, self.timeout)?;
        let available = text(&printed)
            .trim()
            .parse()
            .map_err(|_| self.nonsense(&argv, "no number"))?;
        Ok(Pool { health, available })
    }

    /// The nic tags of the host, "admin" first where there is one.
    pub fn nic_tags(&self) -> Result<Vec<String>, BuildError> {
        let printed = self.call(&["nictagadm", "list", "-p"], Input::Nothing, self.timeout)?;
        let mut tags: Vec<String> = text(&printed)
            .lines()
            // name:mac:link:type; the mac has colons, too.
            .filter_map(|line| line.split(':').next())
            .filter(|tag| !tag.is_empty())
            .map(ToOwned::to_owned)
            .collect();
        tags.sort_by_key(|tag| tag != "admin");
        tags.dedup();
        Ok(tags)
    }

    /// The installed image of a UUID.
    pub fn image(&self, pool: &str, uuid: &str) -> Result<Option<Manifest>, BuildError> {
        let argv = ["imgadm", "get", "-P", pool, uuid];
        match self.ask(&argv, Input::Nothing, self.timeout)? {
            Asked::Answered(printed) => {
                let value = self.parsed(&argv, &printed)?;
                manifest(value.get("manifest").unwrap_or(&value))
                    .and_then(|manifest| of_uuid(manifest, uuid))
                    .map(Some)
                    .map_err(|why| self.nonsense(&argv, &why))
            }
            Asked::Refused(error) if says(&error, "ImageNotInstalled") => Ok(None),
            Asked::Refused(error) => Err(error),
        }
    }

    /// The image of a UUID in the host's sources.
    pub fn importable(&self, uuid: &str) -> Result<Option<Manifest>, BuildError> {
        let argv = ["imgadm", "show", uuid];
        match self.ask(&argv, Input::Nothing, self.timeout)? {
            Asked::Answered(printed) => manifest(&self.parsed(&argv, &printed)?)
                .and_then(|manifest| of_uuid(manifest, uuid))
                .map(Some)
                .map_err(|why| self.nonsense(&argv, &why)),
            Asked::Refused(error) if says(&error, "ImageNotFound") => Ok(None),
            Asked::Refused(error) => Err(error),
        }
    }

    /// The images installed on a pool (`list`), or those of the host's sources (`avail`). What is none of ours (docker) is left out.
    pub fn images(&self, verb: &str, pool: &str) -> Result<Vec<Listed>, BuildError> {
        let argv = ["imgadm", verb, "-j"];
        let value = self.json(&argv)?;
        let items = value
            .as_array()
            .ok_or_else(|| self.nonsense(&argv, "no list"))?;
        Ok(items
            .iter()
            .filter(|item| {
                let of_item = item.get("zpool").and_then(Value::as_str);
                of_item.is_none_or(|of_item| of_item == pool)
            })
            .filter_map(|item| manifest(item.get("manifest")?).ok())
            .filter(|manifest| is_uuid(&manifest.uuid))
            .map(|manifest| Listed { manifest })
            .collect())
    }

    /// A VM as `vmadm get` describes it.
    pub fn vm(&self, uuid: &str) -> Result<Option<Map<String, Value>>, BuildError> {
        let argv = ["vmadm", "get", uuid];
        match self.ask(&argv, Input::Nothing, self.timeout)? {
            Asked::Answered(printed) => match self.parsed(&argv, &printed)? {
                Value::Object(vm) => Ok(Some(vm)),
                _ => Err(self.nonsense(&argv, "no object")),
            },
            // vmadm.js says so whatever of its parts knows no such VM.
            Asked::Refused(error) if says(&error, "No such zone configured") => Ok(None),
            Asked::Refused(error) => Err(error),
        }
    }

    /// What a dataset's property is; `None` for a dataset that is not there.
    pub fn property(&self, dataset: &str, name: &str) -> Result<Option<String>, BuildError> {
        let argv = ["zfs", "get", "-H", "-p", "-o", "value", name, dataset];
        match self.ask(&argv, Input::Nothing, self.timeout)? {
            Asked::Answered(printed) => Ok(Some(text(&printed).trim().to_owned())),
            Asked::Refused(error) if says(&error, "does not exist") => Ok(None),
            Asked::Refused(error) => Err(error),
        }
    }
}

/// What a program printed, for reading.
pub(crate) fn text(printed: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(printed)
}

/// Whether a command said so before it failed.
pub(crate) fn says(error: &BuildError, words: &str) -> bool {
    matches!(error, BuildError::Command { said: Some(said), .. } if said.contains(words))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

fn of_uuid(manifest: Manifest, uuid: &str) -> Result<Manifest, String> {
    if manifest.uuid == uuid {
        return Ok(manifest);
    }
    Err(format!("the image {:?} instead", manifest.uuid))
}

/// The manifest that imgadm printed. What only imgadm's own lists have is left out.
fn manifest(value: &Value) -> Result<Manifest, String> {
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}
