//! Every command of a SmartOS build goes wrong in every way there is, one after the other; each time the host ends as it began.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use crate::host::{ELSEWHERE, FakeHost, NATIVE};
use crate::sshd::Sshd;
use crate::support::{Ran, Who, World, customize, minimal, names};

/// A way to go wrong, as `fake_smartos` knows it.
const HERE: &[&str] = &[
    "fail",
    "hang",
    "lost",
    "int-before",
    "int-after",
    "term-before",
    "term-after",
    "kill-before",
    "kill-after",
];
const OVER_SSH: &[&str] = &[
    "drop-before",
    "drop-after",
    "hang",
    "int-before",
    "kill-before",
    "kill-after",
];

/// One host, one user, one repository.
struct Bench {
    host: FakeHost,
    world: World,
    sshd: Option<Sshd>,
    /// Whether the base is to be imported anew each time.
    imports: bool,
}

impl Bench {
    fn new(ssh: bool, imports: bool) -> Self {
        let (host, world) = (FakeHost::new(), World::new(Who::Root));
        world.write_repository(
            "mi-x",
            &[
                minimal("mi-x", if imports { ELSEWHERE } else { NATIVE }),
                ("packages", 0o644, "nginx\n"),
                ("copy/etc/mine", 0o644, "mine\n"),
                customize("sm-prepare-image -y\n"),
            ],
        );
        let mut settings =
            "[build]\ntimeout_packages = 3\n[smartos]\ntimeout_command = 2\ntimeout_import = 3\n"
                .to_owned();
        let sshd = ssh.then(|| Sshd::with_path(&host.search_path()));
        if let Some(sshd) = &sshd {
            let _ = write!(
                settings,
                "host = \"there\"\nssh_arguments = [\"-F\", \"{}\"]\n",
                sshd.path("ssh_config").display()
            );
        }
        let folder = world.config().join("mibe");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("mibe.toml"), settings).unwrap();
        Self {
            host,
            world,
            sshd,
            imports,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        match &self.sshd {
            // The host's programs must not be found here.
            Some(_) => self.world.command(arguments),
            None => self.host.command(&self.world, arguments),
        }
    }

    /// A build; the host knows whom to send signals to.
    fn build(&self) -> (Ran, Option<i32>) {
        let mut command = self.command(&[
            "build",
            "mi-x",
            "--builder",
            "smartos",
            "--force",
            "--incremental",
            "--pkgsrc-mirror",
            "http://192.0.2.1",
            "--timeout-boot",
            "4",
            "--timeout-customize",
            "4",
        ]);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        fs::write(self.host.path("pid"), child.id().to_string()).unwrap();
        let output = child.wait_with_output().unwrap();
        (Ran::of(&output), output.status.signal())
    }

    /// Has call `at` go wrong, and looks at what came of it.
    fn try_fault(&self, at: usize, kind: &str, call: &str) {
        let before = self.host.everything();
        let images = self.world.home().join("images");
        let _ = fs::remove_dir_all(&images);
        self.host.calls();
        let fault = format!("{{\"at\": {at}, \"kind\": \"{kind}\"}}");
        fs::write(self.host.path("fault.json"), &fault).unwrap();
        // What makes a machine runs on behind a mibe that is gone: it must be met at work.
        let slow = matches!(kind, "kill-before" | "drop-before") && call == "vmadm create";
        let pause = self.host.path("create-pause");
        if slow {
            fs::write(&pause, "1500").unwrap();
        }
        let (ran, signal) = self.build();
        fs::remove_file(self.host.path("fault.json")).unwrap();
        let _ = fs::remove_file(&pause);
        let what = format!(
            "{kind} at call {at} ({call}):\n{}\n{}\ncalls:\n{}",
            ran.stdout,
            ran.stderr,
            self.host.calls().join("\n")
        );
        if kind.starts_with("kill") {
            assert_eq!(signal, Some(9), "{what}");
            let cleaned = Ran::of(&self.command(&["clean"]).output().unwrap());
            assert_eq!(
                cleaned.status,
                Some(0),
                "{what}\nclean: {}{}",
                cleaned.stdout,
                cleaned.stderr
            );
        } else {
            let status = ran.status.unwrap_or_else(|| panic!("{what}"));
            let made = names(&images).len();
            match status {
                // The image was there already, or what went wrong was tried again.
                0 => assert_eq!(made, 2, "{what}"),
                1 | 3 => {
                    assert_eq!(made, 0, "{what}");
                    assert!(ran.stderr.contains("error: "), "{what}");
                    let interrupted = kind.starts_with("int") || kind.starts_with("term");
                    assert!(
                        !interrupted || ran.stderr.contains("error: interrupted"),
                        "{what}"
                    );
                }
                _ => panic!("{what}"),
            }
            assert!(!ran.stderr.contains("`mibe clean`"), "{what}");
        }
        if self.imports {
            // What was imported stays, by intent.
            self.host.forget(ELSEWHERE);
        }
        assert_eq!(self.host.everything(), before, "{what}");
        let journal = self.world.home().join(".local/state/mibe/journal");
        assert_eq!(names(&journal), Vec::<String>::new(), "{what}");
        let left = names(&images);
        assert!(left.is_empty() || left.len() == 2, "{left:?} after {what}");
    }

    /// The calls of a build in which nothing goes wrong.
    fn calls(&self) -> Vec<String> {
        self.host.calls();
        let (ran, _) = self.build();
        ran.expect(0);
        if self.imports {
            self.host.forget(ELSEWHERE);
        }
        self.host.calls()
    }
}

/// Tries every kind at every call that `which` wants, in builds whose base is there or is imported.
fn exhaust(ssh: bool, imports: bool, kinds: &[&str], which: fn(&str) -> bool) {
    /// Most points wait for something to time out.
    const SIDE_BY_SIDE: usize = 4;
    let calls = Bench::new(ssh, imports).calls();
    let wanted: Vec<usize> = (1..=calls.len())
        .filter(|at| which(&calls[at - 1]))
        .collect();
    assert!(!wanted.is_empty());
    let mut points: Vec<(usize, &str)> = wanted
        .iter()
        .flat_map(|at| kinds.iter().map(move |kind| (*at, *kind)))
        .collect();
    let count = points.len();
    points.reverse();
    let points = std::sync::Mutex::new(points);
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE.min(count) {
            scope.spawn(|| {
                let bench = Bench::new(ssh, imports);
                loop {
                    let next = points.lock().unwrap().pop();
                    let Some((at, kind)) = next else { break };
                    bench.try_fault(at, kind, &calls[at - 1]);
                }
            });
        }
    });
    println!(
        "{count} points tried: {} calls, each with {}",
        wanted.len(),
        kinds.join(", ")
    );
}

#[test]
fn in_the_global_zone() {
    exhaust(false, false, HERE, |_| true);
}

#[test]
fn while_a_base_is_imported() {
    exhaust(false, true, HERE, |call| call.starts_with("imgadm"));
}

#[test]
fn over_ssh() {
    exhaust(true, false, OVER_SSH, |_| true);
}
