//! This machine, and the same machine behind a real sshd: both must do the same.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

#[path = "support/sshd.rs"]
mod sshd;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mibe_host::{
    Command, Host, HostError, Input, LocalHost, Outcome, SshHost, SshOptions, Stream, printed,
};
use proptest::prelude::*;
use sshd::Sshd;

impl Sshd {
    fn options(&self) -> SshOptions {
        SshOptions {
            arguments: vec!["-F".into(), self.path("ssh_config").into()],
            program: None,
        }
    }

    fn host(&self) -> SshHost {
        SshHost::connect("there", self.options()).unwrap()
    }
}

fn never() -> AtomicBool {
    AtomicBool::new(false)
}

fn on_both(test: impl Fn(&dyn Host)) {
    test(&LocalHost);
    let sshd = Sshd::new();
    test(&sshd.host());
}

#[test]
fn commands_end_as_they_end() {
    on_both(|host| {
        let run =
            |script: &str| printed(host, Command::new(["sh", "-c", script]), &never()).unwrap();
        let ran = run("echo out; echo err >&2; exit 3");
        assert_eq!(ran.outcome, Outcome::Exited(3));
        assert_eq!(
            (ran.stdout.as_slice(), ran.stderr.as_slice()),
            (&b"out\n"[..], &b"err\n"[..])
        );
        // ssh's own way to fail is a command's way, too.
        assert_eq!(run("exit 255").outcome, Outcome::Exited(255));
        assert_eq!(run("printf x >&2").stderr, b"x");
        assert_eq!(run("true").stderr, b"");
        let input = Input::Bytes(vec![b'x'; 3_000_000]);
        let ran = printed(host, Command::new(["wc", "-c"]).input(input), &never()).unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap().trim(), "3000000");
        let input = Input::Reader(Box::new(io::repeat(7).take(1_000_000)));
        let ran = printed(host, Command::new(["cat"]).input(input), &never()).unwrap();
        assert_eq!(ran.stdout, vec![7; 1_000_000]);
        // One that reads nothing of what it is given.
        let ran = printed(
            host,
            Command::new(["true"]).input(Input::Bytes(vec![0; 1 << 20])),
            &never(),
        )
        .unwrap();
        assert!(ran.outcome.success());
        // A stream of many bytes comes whole.
        let mut count = 0;
        let outcome = host
            .run(
                Command::new(["head", "-c", "50000000", "/dev/zero"]),
                &never(),
                &mut |stream, bytes| {
                    assert_eq!(stream, Stream::Out);
                    count += bytes.len();
                },
            )
            .unwrap();
        assert!(outcome.success());
        assert_eq!(count, 50_000_000);
    });
}

#[test]
fn what_does_not_end_is_ended_with_all_it_started() {
    on_both(|host| {
        let folder = tempfile::tempdir().unwrap();
        let alive = folder.path().join("alive");
        let script = format!(
            "(while :; do date > '{0}'; sleep 0.1; done) & echo begun; sleep 100",
            alive.display()
        );
        let command = Command::new(["sh", "-c", &script]).timeout(Duration::from_secs(1));
        let ran = printed(host, command, &never()).unwrap();
        assert_eq!(ran.outcome, Outcome::TimedOut, "{}", host.title());
        assert_eq!(ran.stdout, b"begun\n");
        assert_ends(&alive);
        let cancel = never();
        std::thread::scope(|scope| {
            let running = scope
                .spawn(|| printed(host, Command::new(["sh", "-c", &script]), &cancel).unwrap());
            while !alive.exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
            cancel.store(true, Ordering::SeqCst);
            assert_eq!(running.join().unwrap().outcome, Outcome::Cancelled);
        });
        assert_ends(&alive);
    });
}

/// The file is written no more.
fn assert_ends(alive: &Path) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let _ = fs::remove_file(alive);
        std::thread::sleep(Duration::from_millis(500));
        if !alive.exists() {
            return;
        }
        assert!(Instant::now() < until, "it runs on");
    }
}

#[test]
fn a_lost_connection_is_no_outcome_and_the_next_command_connects_again() {
    let sshd = Sshd::new();
    let host = sshd.host();
    let error = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            // Nobody ends it over there: it ends soon by itself.
            printed(
                &host,
                Command::new(["sh", "-c", "echo begun; sleep 5"]),
                &never(),
            )
        });
        std::thread::sleep(Duration::from_secs(1));
        sshd.cut();
        running.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, HostError::Lost { .. }), "{error}");
    let ran = printed(&host, Command::new(["echo", "again"]), &never()).unwrap();
    assert_eq!(ran.stdout, b"again\n");
    let many: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn({
                    let host = &host;
                    move || {
                        printed(
                            host,
                            Command::new(["echo".to_owned(), number.to_string()]),
                            &never(),
                        )
                    }
                })
            })
            .collect();
        running
            .into_iter()
            .map(|one| one.join().unwrap().unwrap().stdout)
            .collect()
    });
    assert_eq!(
        many,
        (0..8)
            .map(|number| format!("{number}\n").into_bytes())
            .collect::<Vec<_>>()
    );
    drop(sshd);
    let error = printed(&host, Command::new(["true"]), &never()).unwrap_err();
    assert!(
        matches!(error, HostError::Connect { .. } | HostError::Lost { .. }),
        "{error}"
    );
}

#[test]
fn who_is_not_let_in_is_told() {
    let sshd = Sshd::new();
    fs::write(sshd.path("authorized_keys"), "").unwrap();
    assert!(matches!(
        SshHost::connect("there", sshd.options()),
        Err(HostError::Connect { .. })
    ));
    for name in ["", "-oProxyCommand=id"] {
        assert!(
            matches!(
                SshHost::connect(name, sshd.options()),
                Err(HostError::Connect { .. })
            ),
            "{name}"
        );
    }
    let options = SshOptions {
        program: Some("/nowhere/ssh".into()),
        ..sshd.options()
    };
    assert!(matches!(
        SshHost::connect("there", options),
        Err(HostError::Start { .. })
    ));
    let missing = printed(&LocalHost, Command::new(["/nowhere/x"]), &never());
    assert!(matches!(missing, Err(HostError::Start { .. })));
}

/// No connection and no folder stays.
#[test]
fn nothing_is_left_behind() {
    let sshd = Sshd::new();
    let host = sshd.host();
    let sockets = |prefix: &str| -> Vec<PathBuf> {
        fs::read_dir("/tmp")
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            })
            .collect()
    };
    let before = sockets("mibe-ssh-");
    assert!(!before.is_empty());
    let own = before
        .into_iter()
        .find(|path| path.join("c").exists())
        .unwrap();
    drop(host);
    let until = Instant::now() + Duration::from_secs(10);
    while own.exists() {
        assert!(Instant::now() < until, "{} stays", own.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn any_argument_arrives_through_ssh() {
    let sshd = Sshd::new();
    let host = sshd.host();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let words = prop::collection::vec(prop::collection::vec(1u8..=255, 0..30), 1..5);
    runner
        .run(&words, |words| {
            let mut argv: Vec<OsString> = vec!["printf".into(), "%s\\0".into()];
            argv.extend(words.iter().cloned().map(OsString::from_vec));
            let ran = printed(&host, Command::new(argv), &never()).unwrap();
            let mut parts: Vec<Vec<u8>> = ran
                .stdout
                .split(|&byte| byte == 0)
                .map(<[u8]>::to_vec)
                .collect();
            parts.pop();
            prop_assert_eq!(parts, words);
            Ok(())
        })
        .unwrap();
}
