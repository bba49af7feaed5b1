//! What the ways into a sandbox cost: the same packages unpacked by dpkg in each of them.
//!
//! mibe itself is run, so that what is measured is what users get. The packages come in by copy/, and
//! customize times dpkg inside the sandbox, where neither base nor capture counts; the network is off.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::contest::Spread;
use crate::failure::{Context, Failure};
use crate::project::{self, Project, is_root, output};

/// How much slower than root the others may be.
const AIM: f64 = 1.3;

/// Some thousands of files, of all sizes, with symbolic links; each is in every Debian.
const PACKAGES: [&str; 4] = [
    "perl-modules-5.36",
    "vim-runtime",
    "git",
    "libpython3.11-stdlib",
];

/// The user made for the time of the benchmark when root runs it.
const USER: &str = "mibe-bench";

/// Where customize puts its figure.
const MARK: &str = "mibe-bench-seconds:";

const CUSTOMIZE: &str = r#"#!/bin/bash
# Unpacked twice: the first time brings dpkg and the packages into memory.
set -e
unpack() { dpkg --unpack --force-all /opt/packages/*.deb > /dev/null 2>&1; }
unpack
start=$(date +%s%N)
unpack
end=$(date +%s%N)
echo "mibe-bench-seconds: $(( (end - start) / 1000 ))e-6"
"#;

/// Runs it; returns the aims that were missed.
pub fn run(project: &Project, rounds: usize) -> Result<Vec<String>, Failure> {
    println!(
        "dpkg unpacking {} packages in each sandbox mode ({rounds} rounds)",
        PACKAGES.len()
    );
    if !is_root() {
        return Err(Failure::machine(
            "root must run it: root is what the others are compared with",
        ));
    }
    let user = User::new()?;
    let place = Place::new(project, &user)?;
    let mut figures = [Vec::new(), Vec::new(), Vec::new()];
    let modes = ["root", "subuid", "single"];
    // The first round also makes the base of each user's cache.
    for round in 0..=rounds {
        for (mode, figures) in modes.iter().zip(&mut figures) {
            let seconds = place.build(mode)?;
            if round > 0 {
                figures.push(seconds);
            }
        }
    }
    drop(place);
    drop(user);
    let mut missed = Vec::new();
    let [root, ..] = &figures;
    for (mode, seconds) in modes.iter().zip(&figures) {
        let ratio = Spread::of(seconds.iter().zip(root).map(|(mode, root)| mode / root));
        println!(
            "  {mode:7} {} s   {ratio} of root's time",
            Spread::of(seconds.iter().copied())
        );
        if ratio.median >= AIM {
            missed.push(format!(
                "sandbox: {mode} took {:.2} of root's time, aim under {AIM}",
                ratio.median
            ));
        }
    }
    println!();
    Ok(missed)
}

/// An ordinary user with subordinate ids, which useradd gives, removed at the end.
struct User;

impl User {
    fn new() -> Result<Self, Failure> {
        // A killed run may have left it.
        let _ = Command::new("userdel").arg(USER).output();
        project::run(Command::new("useradd").args([
            "--no-create-home",
            "--shell",
            "/bin/sh",
            USER,
        ]))?;
        Ok(Self)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(USER).output();
    }
}

/// A directory that root and the user both reach, which target/ in root's home need not be.
struct Place {
    path: PathBuf,
}

impl Place {
    fn new(project: &Project, _user: &User) -> Result<Self, Failure> {
        let base = if Path::new("/var/tmp").is_dir() {
            PathBuf::from("/var/tmp")
        } else {
            std::env::temp_dir()
        };
        let place = Self {
            path: base.join(format!("mibe-bench-{}", std::process::id())),
        };
        let what = || format!("can't prepare {}", place.path.display());
        for directory in ["repo/copy/opt/packages", "root", "user"] {
            fs::create_dir_all(place.path.join(directory)).context(what)?;
        }
        fs::set_permissions(&place.path, fs::Permissions::from_mode(0o755)).context(what)?;
        fs::copy(project.target.join("release/mibe"), place.path.join("mibe")).context(what)?;
        let repository = place.path.join("repo");
        fs::write(
            repository.join("manifest"),
            "name=\"mibe-bench\"\nversion=\"1.0.0\"\ndescription=\"What the sandbox costs\"\nhomepage=\"https://example.com\"\nbase=\"debian:bookworm\"\n",
        )
        .context(what)?;
        fs::write(repository.join("customize"), CUSTOMIZE).context(what)?;
        fs::set_permissions(
            repository.join("customize"),
            fs::Permissions::from_mode(0o755),
        )
        .context(what)?;
        let packages = repository.join("copy/opt/packages");
        run_in(
            &packages,
            Command::new("apt-get")
                .args(["-qq", "-o", "APT::Sandbox::User=root", "download"])
                .args(PACKAGES),
        )?;
        run_in(
            &place.path,
            Command::new("chown").args(["-R", USER, "user"]),
        )?;
        Ok(place)
    }

    /// Builds the repository in one mode; returns the seconds that customize measured.
    fn build(&self, mode: &str) -> Result<f64, Failure> {
        let home = self.path.join(if mode == "root" { "root" } else { "user" });
        let logs = home.join("logs");
        let _ = fs::remove_dir_all(&logs);
        let mut command = if mode == "root" {
            Command::new(self.path.join("mibe"))
        } else {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", USER, "--regid", USER, "--init-groups", "--"])
                .arg(self.path.join("mibe"));
            command
        };
        command
            .current_dir(&home)
            .env("HOME", &home)
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_STATE_HOME")
            .args([
                "build",
                "--sandbox",
                mode,
                "--network",
                "none",
                "--compression",
                "none",
                "--force",
                "--progress",
                "none",
            ])
            .arg("--output")
            .arg(home.join("images"))
            .arg("--logs")
            .arg(&logs)
            .arg(self.path.join("repo"));
        output(&mut command)?;
        figure(&logs)?.ok_or_else(|| {
            Failure::new(format!(
                "no log of the build in mode {mode} holds its figure"
            ))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn run_in(directory: &Path, command: &mut Command) -> Result<(), Failure> {
    project::run(command.current_dir(directory))
}

/// Finds the line of customize in the logs of a build.
fn figure(logs: &Path) -> Result<Option<f64>, Failure> {
    let what = || format!("can't read {}", logs.display());
    for entry in fs::read_dir(logs).context(what)? {
        let content = fs::read(entry.context(what)?.path()).context(what)?;
        let content = String::from_utf8_lossy(&content);
        let found = content
            .lines()
            .find_map(|line| line.split_once(MARK)?.1.trim().parse().ok());
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
