//! Where a case happens: a directory with a sandbox, a place for files, and something outside that must stay as it is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mibe_build::bootstrap::install::Unpack;
use mibe_sandbox::{Agent, Cancel, JobFiles, Mode, Sandbox};
use serde::Deserialize;

use crate::listing;

/// A test: its name and what it does.
pub type Case = (&'static str, fn());

/// How an archive went in.
#[derive(Debug, Deserialize)]
pub struct Outcome {
    /// "ok", "damaged", "member", "io".
    pub kind: String,
    /// The number of members, or the error.
    pub text: String,
    /// The most memory that the process ever had, in bytes.
    pub memory: u64,
}

impl Outcome {
    #[track_caller]
    pub fn ok(&self) -> &Self {
        assert_eq!(self.kind, "ok", "{}", self.text);
        self
    }
}

pub struct World {
    dir: tempfile::TempDir,
    sandbox: Option<Sandbox>,
    outside: Vec<String>,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("mibe-archive-test-")
            .tempdir()
            .unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "as it was\n").unwrap();
        fs::create_dir(outside.join("directory")).unwrap();
        let outside = listing::of_host(&outside);
        let mut world = Self {
            dir,
            sandbox: None,
            outside,
        };
        world.renew();
        world
    }

    fn mode(dir: &Path) -> Mode {
        if listing::privileged() {
            return Mode::Root;
        }
        [Mode::Subuid, Mode::Single]
            .into_iter()
            .find(|mode| Sandbox::probe(&Agent::current(), *mode, dir).is_ok())
            .expect("this user can have no sandbox (see `mibe doctor`)")
    }

    /// Takes a fresh sandbox.
    pub fn renew(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.destroy().unwrap();
        }
        let place = self.dir.path().join("sandbox");
        let mode = Self::mode(self.dir.path());
        self.sandbox = Some(Sandbox::create(&Agent::current(), &place, mode).unwrap());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What nothing may touch.
    pub fn outside(&self) -> PathBuf {
        self.path("outside")
    }

    fn job<R: for<'de> Deserialize<'de>>(
        &self,
        name: &str,
        args: &impl serde::Serialize,
        files: JobFiles,
    ) -> R {
        let sandbox = self.sandbox.as_ref().unwrap();
        let answer = sandbox
            .job(name, args, files, &Cancel::new())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        listing::assert_same(
            "what is outside of the sandbox",
            &listing::of_host(&self.outside()),
            &self.outside,
        );
        answer
    }

    /// Unpacks a file into the sandbox.
    pub fn unpack(&self, archive: &Path) -> Outcome {
        let files = JobFiles {
            input: Some(File::open(archive).unwrap()),
            ..JobFiles::default()
        };
        self.job("unpack", &(), files)
    }

    /// Unpacks bytes into a fresh sandbox.
    pub fn unpack_bytes(&mut self, archive: &[u8]) -> Outcome {
        self.renew();
        let path = self.path("archive");
        fs::write(&path, archive).unwrap();
        self.unpack(&path)
    }

    pub fn list(&self) -> Vec<String> {
        self.job("list", &(), JobFiles::default())
    }

    /// Packs the sandbox's tree.
    pub fn pack(&self, out: &Path, latest: i64) -> u64 {
        let files = JobFiles {
            output: Some(File::create(out).unwrap()),
            ..JobFiles::default()
        };
        self.job("pack", &latest, files)
    }

    /// Unpacks Debian packages as the essential ones of a base; the error, if any.
    pub fn unpack_debs(&self, order: &Unpack) -> Option<String> {
        self.job("debs", order, JobFiles::default())
    }

    pub fn fuzz(&self, args: &impl serde::Serialize) -> String {
        self.job("fuzz", args, JobFiles::default())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            let _ = sandbox.destroy();
        }
    }
}

/// Where a program comes from, for who lacks it.
fn package(program: &str) -> &str {
    match program {
        "bsdtar" => "libarchive-tools",
        "xz" => "xz-utils",
        "dpkg-deb" => "dpkg",
        "pzstd" => "zstd",
        other => other,
    }
}

/// Runs a program that must succeed.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        // Names are bytes, whatever the user speaks.
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("{program}: {error} (apt-get install {})", package(program))
        });
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
