//! Repositories, and the servers that they come from.

#![allow(dead_code, reason = "every test file takes what it needs")]

pub mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use mibe_home::repos::{Entry, Git, Limits, Outcome, Server, list, pool};

/// Runs a program that must succeed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A folder for a test: bare repositories in `projects/`, the work trees they are made with in `work/`, clones in `repos/`.
pub struct World {
    folder: tempfile::TempDir,
    pub git: Git,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["projects", "work", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let home = folder.path().join("home");
        fs::write(
            home.join(".gitconfig"),
            "[user]\n\tname = Test\n\temail = test@example.org\n[init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n",
        )
        .unwrap();
        let git = Git::find()
            .unwrap()
            .with_variable("HOME", &home)
            .with_variable("XDG_CONFIG_HOME", home.join(".config"))
            .with_variable("GIT_CONFIG_NOSYSTEM", "1")
            .with_variable("GIT_CONFIG_GLOBAL", home.join(".gitconfig"));
        Self { folder, git }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn repos(&self) -> Utf8PathBuf {
        Utf8PathBuf::try_from(self.path("repos")).unwrap()
    }

    pub fn clone_of(&self, name: &str) -> PathBuf {
        self.path("repos").join(name)
    }

    pub fn configure(&self, text: &str) {
        let path = self.path("home/.gitconfig");
        let old = fs::read_to_string(&path).unwrap();
        fs::write(path, old + text).unwrap();
    }

    /// The tests' own git, not the one that is tested.
    #[track_caller]
    pub fn run_git(&self, folder: &Path, arguments: &[&str]) -> String {
        run(Command::new("git")
            .args(arguments)
            .current_dir(folder)
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.path("home/.gitconfig")))
    }

    /// A bare repository with a branch `dev`, a branch `feature/x`, a tag `v1` and some commits.
    pub fn project(&self, name: &str) -> PathBuf {
        let work = self.path("work").join(name);
        fs::create_dir_all(&work).unwrap();
        self.run_git(&work, &["init", "-q"]);
        for (branch, text) in [
            ("main", "one"),
            ("dev", "dev"),
            ("feature/x", "feature"),
            ("main", "two"),
        ] {
            if branch != "main" {
                self.run_git(&work, &["checkout", "-q", "-b", branch]);
            } else if text == "two" {
                self.run_git(&work, &["checkout", "-q", "main"]);
            }
            fs::write(work.join("file"), format!("{name} {text}\n")).unwrap();
            fs::write(work.join(format!("of-{text}")), text.repeat(2000)).unwrap();
            self.run_git(&work, &["add", "-A"]);
            self.run_git(&work, &["commit", "-qm", text]);
        }
        self.run_git(&work, &["tag", "v1", "main~1"]);
        let bare = self.path("projects").join(format!("{name}.git"));
        self.run_git(&work, &["init", "-q", "--bare", bare.to_str().unwrap()]);
        self.run_git(&work, &["remote", "add", "origin", bare.to_str().unwrap()]);
        self.run_git(&work, &["push", "-q", "--all", "origin"]);
        self.run_git(&work, &["push", "-q", "--tags", "origin"]);
        bare
    }

    /// A commit more on a branch of the server.
    pub fn advance(&self, name: &str, branch: &str, file: &str, text: &str) {
        let work = self.path("work").join(name);
        self.run_git(&work, &["checkout", "-q", branch]);
        fs::write(work.join(file), text).unwrap();
        self.run_git(&work, &["add", "-A"]);
        self.run_git(&work, &["commit", "-qm", "more"]);
        self.run_git(&work, &["push", "-q", "origin", branch]);
    }

    /// Another history in place of the server's.
    pub fn rewrite(&self, name: &str, branch: &str) {
        let work = self.path("work").join(name);
        self.run_git(&work, &["checkout", "-q", branch]);
        fs::write(work.join("file"), "rewritten\n").unwrap();
        self.run_git(&work, &["commit", "-qa", "--amend", "-m", "rewritten"]);
        self.run_git(&work, &["push", "-q", "--force", "origin", branch]);
    }

    pub fn entries(&self, list: &str) -> Vec<Entry> {
        let server = Server::parse(self.path("projects").to_str().unwrap()).unwrap();
        let (entries, wrong) = list::parse(list, Some(&server));
        assert_eq!(wrong, []);
        entries
    }

    /// Works on all entries at once.
    pub fn all(
        &self,
        entries: &[Entry],
        timeout: Duration,
        task: fn(&Git, &Entry, &Utf8Path, Limits<'_>) -> Outcome,
    ) -> BTreeMap<String, Outcome> {
        let cancel = AtomicBool::new(false);
        let repos = self.repos();
        fs::create_dir_all(&repos).unwrap();
        let limits = Limits {
            timeout,
            cancel: &cancel,
        };
        let outcomes = pool::run(
            entries,
            4,
            &cancel,
            |entry| task(&self.git, entry, &repos, limits),
            |_| {},
        );
        let names: Vec<_> = outcomes
            .iter()
            .flatten()
            .map(|outcome| &outcome.name)
            .collect();
        assert_eq!(
            names,
            entries.iter().map(|entry| &entry.name).collect::<Vec<_>>()
        );
        outcomes
            .into_iter()
            .flatten()
            .map(|outcome| (outcome.name.clone(), outcome))
            .collect()
    }

    /// What must not be lost of a clone: its commits, reachable or remembered, and its files.
    pub fn remembered(&self, name: &str) -> (BTreeSet<String>, BTreeMap<PathBuf, Vec<u8>>) {
        let folder = self.clone_of(name);
        let commits = self.run_git(&folder, &["rev-list", "--all", "--reflog", "HEAD"]);
        let mut files = BTreeMap::new();
        collect(&folder, &mut files);
        (commits.lines().map(ToOwned::to_owned).collect(), files)
    }

    pub fn head(&self, folder: &Path) -> String {
        self.run_git(folder, &["rev-parse", "HEAD"])
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_name() == ".git" {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

/// git's own daemon.
pub struct Daemon {
    child: Child,
    pub port: u16,
}

impl Daemon {
    pub fn new(projects: &Path) -> Self {
        let port = free_port();
        let path = run(Command::new("git").arg("--exec-path"));
        let mut child = Command::new(Path::new(path.trim()).join("git-daemon"))
            .args(["--listen=127.0.0.1", "--export-all", "--reuseaddr"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", projects.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .spawn()
            .unwrap();
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Self { child, port };
            }
            assert!(child.try_wait().unwrap().is_none(), "git daemon ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        panic!("git daemon does not answer");
    }

    pub fn url(&self, name: &str) -> String {
        format!("git://127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
