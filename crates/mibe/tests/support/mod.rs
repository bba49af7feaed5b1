//! Calls `mibe` as its users do: as root or as an ordinary user made for the test, with a home of its own, and asks real
//! OpenZFS what came of it.

#![allow(dead_code, reason = "every test file takes what it needs")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The time that all builds of the tests pretend to happen at.
pub const EPOCH: &str = "1790000000";

/// Who calls mibe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Root.
    Root,
    /// An ordinary user with a range of subordinate ids.
    Subuid,
    /// An ordinary user with nothing but its own uid.
    Single,
}

/// A folder that the user owns, a copy of the program, and nothing else of this machine.
pub struct World {
    pub who: Who,
    pub folder: tempfile::TempDir,
    user: Option<User>,
}

struct User {
    name: String,
    id: u32,
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.name).output();
    }
}

static USERS: AtomicU32 = AtomicU32::new(0);

impl User {
    fn new(subuid: bool) -> Self {
        // useradd and usermod lock /etc/passwd and give up at once where another holds it.
        let _alone = one_at_a_time();
        let number = USERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("mibe-t{}-{number}", std::process::id());
        succeed(Command::new("useradd").args(["--no-create-home", "--shell", "/bin/sh", &name]));
        let id = succeed(Command::new("id").args(["-u", &name]));
        for file in ["/etc/subuid", "/etc/subgid"] {
            let text = fs::read_to_string(file).unwrap_or_default();
            let own = format!("{name}:");
            let mut lines: Vec<_> = text
                .lines()
                .filter(|line| !line.starts_with(&own))
                .map(ToOwned::to_owned)
                .collect();
            if subuid {
                lines.push(format!("{own}{}:65536", 1_000_000 + number * 65536));
            }
            lines.push(String::new());
            fs::write(file, lines.join("\n")).unwrap();
        }
        Self {
            name,
            id: id.trim().parse().unwrap(),
        }
    }
}

fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A fresh world.
    pub fn new(who: Who) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make users and so need root: run `cargo xtask test` as root"
        );
        let folder = tempfile::Builder::new()
            .prefix("mibe-e2e-")
            .tempdir_in("/var/tmp")
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: a file that this one has open for writing while another thread starts a program
        // is open in that, too, for a moment, and can't be executed.
        succeed(
            Command::new("cp")
                .arg(env!("CARGO_BIN_EXE_mibe"))
                .arg(folder.path().join("mibe")),
        );
        let user = match who {
            Who::Root => None,
            Who::Subuid => Some(User::new(true)),
            Who::Single => Some(User::new(false)),
        };
        let world = Self { who, folder, user };
        fs::create_dir(world.home()).unwrap();
        // No test asks a server on the internet.
        let config = world.config().join("mibe");
        fs::create_dir_all(&config).unwrap();
        fs::write(config.join("servers.json"), "{\"smartos\": null}").unwrap();
        world.give(&world.config());
        world.give(&world.home());
        world
    }

    /// One that already has the caches of a first build of the Debian base.
    pub fn with_base(who: Who) -> Self {
        let world = Self::new(who);
        let cache = world.home().join(".cache/mibe");
        fs::create_dir_all(&cache).unwrap();
        succeed(
            Command::new("cp")
                .arg("-a")
                .arg(warm_cache().join("."))
                .arg(&cache),
        );
        let _ = fs::remove_dir_all(cache.join("machines"));
        world.give(&world.home());
        world
    }

    /// Home and working folder of the user.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Where the user's settings are.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// Makes the user own a tree.
    pub fn give(&self, path: &Path) {
        if let Some(user) = &self.user {
            succeed(
                Command::new("chown")
                    .args(["-R", &format!("{0}:{0}", user.name)])
                    .arg(path),
            );
        }
    }

    /// Copies a repository of the project into the home.
    pub fn repository(&self, from: &str) -> PathBuf {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(from);
        let to = self.home().join(from.file_name().unwrap());
        succeed(Command::new("cp").arg("-r").arg(&from).arg(&to));
        self.give(&to);
        to
    }

    /// Writes a repository of the test's own: (path, mode, content).
    pub fn write_repository(&self, name: &str, files: &[(&str, u32, &str)]) -> PathBuf {
        let folder = self.home().join(name);
        fs::create_dir_all(&folder).unwrap();
        for (path, mode, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        self.give(&folder);
        folder
    }

    /// `mibe` with arguments, as the user, in the home, with a clean environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let program = self.folder.path().join("mibe");
        let mut command = match &self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .args([
                        "--reuid",
                        &user.id.to_string(),
                        "--regid",
                        &user.id.to_string(),
                    ])
                    .args(["--clear-groups", "--"])
                    .arg(program);
                command
            }
        };
        command
            .args(arguments)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.home())
            .env("XDG_CONFIG_HOME", self.config())
            .env("USER", self.user.as_ref().map_or("root", |user| &user.name))
            .env("SOURCE_DATE_EPOCH", EPOCH)
            .current_dir(self.home())
            .stdin(Stdio::null());
        for proxy in ["http_proxy", "https_proxy", "no_proxy"] {
            if let Ok(value) = std::env::var(proxy) {
                command.env(proxy, value);
            }
        }
        command
    }

    /// Runs it to its end.
    pub fn mibe(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    /// What a build may leave: nothing but what is named.
    pub fn assert_nothing_left(&self) {
        let machines = self.home().join(".cache/mibe/machines");
        assert_eq!(
            names(&machines),
            Vec::<String>::new(),
            "build machines left"
        );
        let journal = self.home().join(".local/state/mibe/journal");
        assert_eq!(
            names(&journal),
            Vec::<String>::new(),
            "journal entries left"
        );
        let folder = self.folder.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(folder), "mounts left");
        assert_eq!(self.processes(), Vec::<String>::new(), "processes left");
    }

    /// Processes that were started in this world.
    pub fn processes(&self) -> Vec<String> {
        let program = self.folder.path().join("mibe");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let path = entry.path();
            let ours = fs::read_link(path.join("exe")).is_ok_and(|exe| exe == program)
                || fs::read_link(path.join("root"))
                    .is_ok_and(|root| root.starts_with(self.folder.path()));
            let user = self.user.as_ref().is_some_and(|user| {
                std::os::unix::fs::MetadataExt::uid(
                    &fs::metadata(&path).unwrap_or_else(|_| fs::metadata("/").unwrap()),
                ) == user.id
            });
            if ours || user {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        found
    }
}

/// How a call ended.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(
            self.status,
            Some(status),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Whether standard error says something.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in:\n{}",
            self.stderr
        );
        self
    }
}

/// Runs a helper of the test that must succeed.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A manifest must keep the rules of imgmanifest, which imgadm and image servers hold it against.
#[track_caller]
pub fn assert_takes_imgmanifest(manifest: &Path) {
    const SCRIPT: &str = "
        const given = process.env.MIBE_IMGMANIFEST;
        let rules;
        try { rules = require(require.resolve('imgmanifest', {paths: [given]})); } catch (_) { rules = require(given); }
        const wrong = rules.validateMinimalManifest(JSON.parse(require('fs').readFileSync(process.argv[1], 'utf8')));
        console.log(JSON.stringify(wrong || null));";
    assert!(
        std::env::var_os("MIBE_IMGMANIFEST").is_some(),
        "MIBE_IMGMANIFEST is not set: this test needs imgmanifest, which `cargo xtask test` installs"
    );
    let said = succeed(Command::new("node").args(["-e", SCRIPT]).arg(manifest));
    assert_eq!(said.trim(), "null", "{}", manifest.display());
}

/// Names in a folder, sorted; none where there is no folder.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The caches after a first build as root, made once and kept in the target folder.
fn warm_cache() -> PathBuf {
    static WARM: Mutex<bool> = Mutex::new(false);
    let mut warm = WARM.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("warm-cache");
    if !*warm {
        let world = World::new(Who::Root);
        fs::create_dir_all(&folder).unwrap();
        let cache = world.home().join(".cache");
        fs::create_dir_all(&cache).unwrap();
        succeed(
            Command::new("cp")
                .arg("-a")
                .arg(&folder)
                .arg(cache.join("mibe")),
        );
        world.write_repository(
            "first",
            &[minimal("first", "debian:bookworm"), customize("exit 0\n")],
        );
        world.mibe(&["build", "first"]).expect(0);
        fs::remove_dir_all(&folder).unwrap();
        succeed(
            Command::new("cp")
                .arg("-a")
                .arg(cache.join("mibe"))
                .arg(&folder),
        );
        *warm = true;
    }
    folder
}

/// A manifest of a minimal repository.
pub fn minimal(name: &str, base: &str) -> (&'static str, u32, &'static str) {
    let text = format!(
        "name=\"{name}\"\nversion=\"1.0.0\"\nbase=\"{base}\"\ndescription=\"A test\"\nhomepage=\"https://example.org\"\n"
    );
    ("manifest", 0o644, text.leak())
}

/// A customize script.
pub fn customize(body: &str) -> (&'static str, u32, &'static str) {
    (
        "customize",
        0o755,
        format!("#!/bin/sh\nset -o errexit\n{body}").leak(),
    )
}

/// What real OpenZFS got out of an image: attributes by path.
pub struct Received {
    pub entries: BTreeMap<String, BTreeMap<String, String>>,
}

/// Receives the file of an image with real OpenZFS.
pub fn receive(file: &Path) -> Received {
    receive_chain(&[file])
}

/// Receives a full image and the changes to it, each as a clone of the one before; returns what the last one holds.
pub fn receive_chain(files: &[&Path]) -> Received {
    let oracle = std::env::var("MIBE_ORACLE")
        .expect("MIBE_ORACLE is not set: run the tests with `cargo xtask test`");
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let streams: Vec<PathBuf> = (0..files.len())
        .map(|number| folder.path().join(format!("stream{number}")))
        .collect();
    for (file, stream) in files.iter().zip(&streams) {
        succeed(Command::new("sh").arg("-c").arg(format!(
            "gzip -dc <'{}' >'{}'",
            file.display(),
            stream.display()
        )));
    }
    let output = Command::new(Path::new(&oracle).join("zrecv"))
        .args(["-s", "4096"])
        .args(&streams)
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let listing = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "OpenZFS refuses the stream: {}{}",
        listing.lines().rev().take(5).collect::<Vec<_>>().join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
    let mut entries = BTreeMap::new();
    for line in listing.lines() {
        if line.starts_with("filesystem ") {
            entries.clear();
        }
        let mut words = line.split(' ');
        let (Some(kind), Some(path)) = (words.next(), words.next()) else {
            continue;
        };
        // Extended attributes are files in hidden directories, of a kind that begins with an X.
        if kind.trim_start_matches('X').len() != 1 || !path.starts_with('/') {
            continue;
        }
        let mut attributes: BTreeMap<String, String> = words
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        attributes.insert("kind".to_owned(), kind.to_owned());
        entries.insert(path.to_owned(), attributes);
    }
    assert!(entries.len() > 1, "an empty listing:\n{listing}");
    Received { entries }
}

impl Received {
    /// An attribute of a path; the test fails where there is no such path.
    #[track_caller]
    pub fn get(&self, path: &str, attribute: &str) -> &str {
        let entry = self
            .entries
            .get(path)
            .unwrap_or_else(|| panic!("no {path}"));
        entry
            .get(attribute)
            .unwrap_or_else(|| panic!("{path} has no {attribute}"))
    }

    /// Kind, mode and owner in one word: "d 0755 0:0".
    #[track_caller]
    pub fn what(&self, path: &str) -> String {
        format!(
            "{} {} {}:{}",
            self.get(path, "kind"),
            self.get(path, "mode"),
            self.get(path, "uid"),
            self.get(path, "gid")
        )
    }

    pub fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }
}
