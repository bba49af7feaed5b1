//! Where the project is, and how programs are run in it.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::{Context, Failure};

/// The workspace that xtask works on.
pub struct Project {
    /// The directory of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// Cargo's target directory: the only place that xtask writes to.
    pub target: PathBuf,
}

impl Project {
    /// Asks cargo, so that CARGO_TARGET_DIR and configuration files count.
    pub fn find() -> Result<Self, Failure> {
        let metadata = metadata(&["--no-deps"])?;
        let path = |key: &str| {
            metadata[key]
                .as_str()
                .map(PathBuf::from)
                .ok_or_else(|| Failure::new(format!("cargo metadata says no {key}")))
        };
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
        })
    }

    /// Runs cargo in the root; its words go to the terminal.
    pub fn cargo(&self, arguments: &[&str]) -> Result<(), Failure> {
        println!("xtask: cargo {}", arguments.join(" "));
        let mut command = cargo();
        command.current_dir(&self.root).args(arguments);
        run(&mut command)
    }
}

/// The cargo that runs this program, or the one on PATH.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// `cargo metadata` of this workspace.
pub fn metadata(arguments: &[&str]) -> Result<Value, Failure> {
    let mut command = cargo();
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["metadata", "--format-version", "1", "--quiet"])
        .args(arguments);
    let text = output(&mut command)?;
    serde_json::from_slice(&text).context(|| "can't read what cargo metadata printed".to_owned())
}

/// Runs a program whose words go to the terminal. Its exit status becomes ours.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .context(|| format!("can't start {}", command.get_program().display()))?;
    if status.success() {
        return Ok(());
    }
    match status.code() {
        Some(code) => Err(Failure::silent(u8::try_from(code).unwrap_or(1))),
        None => Err(Failure::new(format!(
            "{}: {status}",
            command.get_program().display()
        ))),
    }
}

/// Runs a program for what it prints; its stderr goes to the terminal.
pub fn output(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context(|| format!("can't start {}", command.get_program().display()))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Failure::new(format!(
            "{}: {}",
            command.get_program().display(),
            output.status
        )))
    }
}

/// Finds a program on PATH or in the places that an ordinary user's PATH leaves out.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|directory| directory.join(name))
        .find(|file| is_executable(file))
}

/// Whether a file can be run.
pub fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Whether this process is root.
pub fn is_root() -> bool {
    // The owner of a process's /proc directory is its effective user.
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|data| data.uid() == 0)
}
