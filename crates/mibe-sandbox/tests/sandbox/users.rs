//! Who the tests run as.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mibe_sandbox::{Agent, Mode, Sandbox};

use crate::{Case, kill};

pub fn mode(text: &str) -> Mode {
    match text {
        "root" => Mode::Root,
        "subuid" => Mode::Subuid,
        "single" => Mode::Single,
        other => panic!("no mode {other}"),
    }
}

/// A user made for the tests; removed with its home when dropped.
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// `ranges`: with subordinate ids.
    fn new(kind: &str, ranges: bool) -> Self {
        let name = format!("mibe-{kind}-{}", std::process::id());
        call(
            "useradd",
            &["--no-create-home", "--shell", "/bin/sh", &name],
        );
        // useradd may hand out ranges of its own accord; `usermod` knows no "all".
        for file in ["/etc/subuid", "/etc/subgid"] {
            let text = fs::read_to_string(file).unwrap_or_default();
            let others: String = text
                .lines()
                .filter(|line| !line.starts_with(&format!("{name}:")))
                .map(|l| format!("{l}\n"))
                .collect();
            let own = if ranges {
                format!("{name}:3000000000:65536\n")
            } else {
                String::new()
            };
            fs::write(file, others + &own).unwrap();
        }
        let id = |flag: &str| -> u32 {
            let output = Command::new("id").args([flag, &name]).output().unwrap();
            String::from_utf8(output.stdout)
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        };
        Self {
            uid: id("-u"),
            gid: id("-g"),
            name,
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        call("userdel", &[&self.name]);
    }
}

fn call(program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .stderr(Stdio::null())
        .status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{program} {arguments:?}: {status:?}"
    );
}

/// How to start this program in a mode.
pub struct Setting {
    pub mode: Mode,
    user: Option<User>,
    exe: PathBuf,
    pub dir: tempfile::TempDir,
}

impl Setting {
    fn new(mode: Mode, user: Option<User>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("mibe-sandbox-test-")
            .tempdir()
            .unwrap();
        // Where the build is, the user may not be able to go.
        let exe = dir.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if let Some(user) = &user {
            std::os::unix::fs::chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        Self {
            mode,
            user,
            exe,
            dir,
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.exe);
        command.args(arguments).current_dir("/");
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    fn case(&self, case: &Case) -> bool {
        let dir = self.dir.path().join(case.0);
        let mode = self.mode.to_string();
        let output = self
            .command(&["case", case.0, &mode, dir.to_str().unwrap()])
            .output()
            .unwrap();
        let mut ok = output.status.success();
        if ok && dir.exists() {
            println!("{} is left", dir.display());
            ok = false;
        }
        if !ok {
            println!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        ok
    }
}

fn settings() -> Vec<Setting> {
    if rustix::process::geteuid().is_root() {
        return vec![
            Setting::new(Mode::Root, None),
            Setting::new(Mode::Subuid, Some(User::new("subuid", true))),
            Setting::new(Mode::Single, Some(User::new("single", false))),
        ];
    }
    [Mode::Subuid, Mode::Single]
        .into_iter()
        .filter(
            |mode| match Sandbox::probe(&Agent::current(), *mode, &std::env::temp_dir()) {
                Ok(()) => true,
                Err(error) => {
                    println!("not tried: {error}");
                    false
                }
            },
        )
        .map(|mode| Setting::new(mode, None))
        .collect()
}

/// Runs every case in every mode; how many failed.
pub fn run_all(cases: &[Case], filter: &str) -> usize {
    assert!(
        busybox().exists(),
        "{} is missing: apt-get install busybox-static",
        busybox().display()
    );
    let mut failed = 0;
    for setting in settings() {
        let mut report = |name: &str, ok: bool| {
            println!(
                "{} {name} [{}]",
                if ok { "ok  " } else { "FAIL" },
                setting.mode
            );
            failed += usize::from(!ok);
        };
        for case in cases.iter().filter(|case| case.0.contains(filter)) {
            report(case.0, setting.case(case));
        }
        if "kill".contains(filter) {
            let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                kill::parents_die(&setting);
            }))
            .is_ok();
            report("kill", ok);
        }
    }
    println!("{failed} failed");
    failed
}

pub fn busybox() -> &'static Path {
    Path::new("/bin/busybox")
}
