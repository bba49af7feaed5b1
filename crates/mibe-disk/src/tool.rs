//! Others' programs: found on PATH, run with a clean environment, their words kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mibe_host::{Outcome, Stream, process};

use crate::error::DiskError;

/// How long a program may take.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// Bytes of a program's output that are kept: the words of e2fsck on a hostile disk have no end.
const KEPT: usize = 1 << 20;

/// Folders of programs that an ordinary user's PATH lacks.
const SYSTEM: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// A program that disks need, for people.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// Where it is; `None`: nowhere.
    pub path: Option<PathBuf>,
}

/// The programs that disks need, and where they are.
pub fn programs() -> Vec<Program> {
    let needed = [
        ("debugfs", "e2fsprogs", "changing a guest's files"),
        ("e2fsck", "e2fsprogs", "checking its file system"),
        ("resize2fs", "e2fsprogs", "disks made larger by builds"),
        ("qemu-img", "qemu-utils", "reading vmdk, vhdx, vhd and vdi"),
    ];
    needed
        .into_iter()
        .map(|(name, package, purpose)| Program {
            name,
            package,
            purpose,
            path: Tool {
                program: name,
                package,
            }
            .find(purpose)
            .ok(),
        })
        .collect()
}

/// A program and where people get it.
pub(crate) struct Tool {
    /// Its name.
    pub program: &'static str,
    /// The Debian package.
    pub package: &'static str,
}

impl Tool {
    /// Where it is.
    pub fn find(&self, purpose: &str) -> Result<PathBuf, DiskError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(SYSTEM.map(PathBuf::from));
        folders
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(self.program))
            .find(|program| program.is_file())
            .ok_or_else(|| DiskError::NoTool {
                program: self.program,
                package: self.package,
                purpose: purpose.to_owned(),
            })
    }
}

/// How a program ended and what it printed.
pub(crate) struct Ended {
    pub outcome: Outcome,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs a program in `folder`; how it ends is the caller's to judge.
pub(crate) fn run_any(
    program: &Path,
    arguments: impl IntoIterator<Item = OsString>,
    folder: &Path,
    environment: &[(&str, String)],
    cancel: &AtomicBool,
) -> Result<Ended, DiskError> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .envs(
            environment
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let outcome = process::run(
        &mut command,
        mibe_host::Input::Nothing,
        Some(TIMEOUT),
        cancel,
        &mut |stream, bytes| {
            let kept = match stream {
                Stream::Out => &mut stdout,
                Stream::Err => &mut stderr,
            };
            let room = KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        },
    )
    .map_err(DiskError::io("run", program))?;
    if outcome == Outcome::Cancelled {
        return Err(DiskError::Cancelled);
    }
    Ok(Ended {
        outcome,
        stdout,
        stderr,
    })
}

/// Runs a program that must end well; what it printed.
pub(crate) fn run(
    tool: &Tool,
    program: &Path,
    arguments: impl IntoIterator<Item = OsString>,
    folder: &Path,
    cancel: &AtomicBool,
) -> Result<Vec<u8>, DiskError> {
    let ended = run_any(program, arguments, folder, &[], cancel)?;
    if ended.outcome == Outcome::Exited(0) {
        return Ok(ended.stdout);
    }
    Err(failed(tool, &ended))
}

/// The error of a program that did not end well.
pub(crate) fn failed(tool: &Tool, ended: &Ended) -> DiskError {
    let words = if ended.stderr.is_empty() {
        &ended.stdout
    } else {
        &ended.stderr
    };
    // The end says why.
    let start = words.len().saturating_sub(2000);
    DiskError::Tool {
        program: tool.program,
        outcome: match ended.outcome {
            Outcome::Exited(status) => format!("exited with status {status}"),
            Outcome::Signaled(signal) => format!("was killed by signal {signal}"),
            Outcome::TimedOut => format!("took longer than {} s", TIMEOUT.as_secs()),
            Outcome::Cancelled => "was interrupted".to_owned(),
        },
        stderr: String::from_utf8_lossy(&words[start..]).into_owned(),
    }
}
