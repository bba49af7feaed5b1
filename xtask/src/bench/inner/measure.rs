//! One run of one program: wall clock, processor time and peak memory of it and all it starts.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

use super::trees::Scratch;
use crate::failure::{Context, Failure};
use crate::project;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds by the clock.
    pub wall: f64,
    /// Seconds of processor time, user and system, of all processes.
    pub cpu: f64,
    /// Peak resident KiB of the largest of the processes.
    pub peak_kib: u64,
}

impl Sample {
    /// Peak resident MiB of the largest of the processes.
    pub fn peak_mib(&self) -> f64 {
        self.peak_kib as f64 / 1024.0
    }
}

/// Runs a program and measures it.
///
/// The kernel adds up what the waited-for descendants of a process used, so each run gets a process
/// of its own to be added up in: this program again, as `__measure`.
pub fn measure(scratch: &Scratch, program: &[OsString]) -> Result<Sample, Failure> {
    let report = scratch.path.join("sample.json");
    let own = std::env::current_exe().context(|| "can't find xtask's own program".to_owned())?;
    project::run(
        Command::new(own)
            .arg("__measure")
            .arg(&report)
            .args(program),
    )?;
    let text = fs::read(&report).context(|| format!("can't read {}", report.display()))?;
    let value: Value =
        serde_json::from_slice(&text).context(|| format!("can't read {}", report.display()))?;
    let seconds = |key: &str| {
        value[key]
            .as_f64()
            .ok_or_else(|| Failure::new(format!("{} lacks {key}", report.display())))
    };
    Ok(Sample {
        wall: seconds("wall")?,
        cpu: seconds("cpu")?,
        peak_kib: value["peak_kib"].as_u64().unwrap_or_default(),
    })
}

/// The other side of [`measure`].
pub fn inside(report: &Path, program: &[String]) -> Result<(), Failure> {
    let Some((name, arguments)) = program.split_first() else {
        return Err(Failure::usage("no program to measure"));
    };
    let start = Instant::now();
    let status = Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .context(|| format!("can't start {name}"))?;
    let wall = start.elapsed().as_secs_f64();
    if !status.success() {
        return Err(Failure::new(format!("{}: {status}", program.join(" "))));
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context(|| "getrusage".to_owned())?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let sample = json!({
        "wall": wall,
        "cpu": seconds(usage.user_time()) + seconds(usage.system_time()),
        "peak_kib": usage.max_rss(), // Linux counts in KiB.
    });
    fs::write(report, sample.to_string()).context(|| format!("can't write {}", report.display()))
}
