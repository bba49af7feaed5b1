//! This machine as a host.

use std::process;
use std::sync::atomic::AtomicBool;

use crate::command::{Command, Outcome, Stream};
use crate::error::HostError;
use crate::{Host, process as run};

/// This machine. Commands get a clean environment: PATH, HOME and a plain locale.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalHost;

/// Where commands are looked for: those of a SmartOS global zone, then those of Linux.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/smartdc/bin:/opt/smartdc/bin:/opt/local/sbin:/opt/local/bin:/usr/local/sbin:/usr/local/bin";

impl Host for LocalHost {
    fn title(&self) -> &'static str {
        "this machine"
    }

    fn run(
        &self,
        command: Command,
        cancel: &AtomicBool,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Outcome, HostError> {
        let Command {
            argv,
            input,
            timeout,
        } = command;
        let Some((program, arguments)) = argv.split_first() else {
            return Ok(Outcome::Exited(0));
        };
        // The path of this process comes first: who put a tool there wants it.
        let path = match std::env::var("PATH") {
            Ok(own) if !own.is_empty() => format!("{own}:{PATH}"),
            _ => PATH.to_owned(),
        };
        let mut child = process::Command::new(program);
        child
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env(
                "HOME",
                std::env::var_os("HOME").unwrap_or_else(|| "/".into()),
            )
            .env("LC_ALL", "C");
        run::run(&mut child, input, timeout, cancel, output).map_err(|source| HostError::Start {
            program: program.to_string_lossy().into_owned(),
            source,
        })
    }
}
