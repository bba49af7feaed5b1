//! Ends, limits and traces.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use mibe_sandbox::{
    Agent, Bind, Cancel, Command, Error, JobFiles, Mode, Network, Outcome, Sandbox,
};

use crate::Case;
use crate::jobs::{furnished, job, listing, run, sh};

pub const CASES: &[Case] = &[
    ("ends", ends),
    ("escape", |mode, dir| {
        let sandbox = furnished(mode, dir);
        job(&sandbox, "escape");
        sandbox.destroy().unwrap();
    }),
    ("jobs", jobs),
    ("resolver", resolver),
    ("limits", limits),
    #[cfg(target_arch = "x86_64")]
    ("calls", crate::calls::calls),
    ("sight", sight),
    ("destroy", destroy),
    ("probe", |mode, dir| {
        fs::create_dir(dir).unwrap();
        Sandbox::probe(&Agent::current(), mode, dir).unwrap();
        fs::remove_dir(dir).unwrap();
        let other = if mode == Mode::Root {
            Mode::Single
        } else {
            Mode::Root
        };
        assert!(Sandbox::probe(&Agent::current(), other, Path::new("/tmp")).is_err());
        let name = String::from_utf8(
            std::process::Command::new("id")
                .arg("-un")
                .output()
                .unwrap()
                .stdout,
        )
        .unwrap();
        if !fs::read_to_string("/etc/subuid")
            .unwrap_or_default()
            .contains(name.trim())
            && mode != Mode::Root
        {
            // Nothing of the attempt is left, and the user is told what to do.
            let empty = tempfile::tempdir().unwrap();
            let error = Sandbox::probe(&Agent::current(), Mode::Subuid, empty.path()).unwrap_err();
            assert!(
                error.reason.contains("/etc/subuid") && error.remedy.contains("--add-subuids"),
                "{error}"
            );
            let error = Sandbox::create(&Agent::current(), &empty.path().join("x"), Mode::Subuid)
                .unwrap_err();
            assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
            assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
        }
    }),
];

fn ends(mode: Mode, dir: &Path) {
    let sandbox = furnished(mode, dir);
    assert_eq!(
        sh(&sandbox, "echo out; echo err >&2; exit 7"),
        (Outcome::Exited(7), "out\nerr\n".to_owned())
    );
    assert_eq!(sh(&sandbox, "kill -9 $$").0, Outcome::Signaled(9));
    let (outcome, output) = run(&sandbox, &Command::new(["none"]));
    assert_eq!(outcome, Outcome::Exited(127));
    assert!(output.contains("none: No such file"), "{output}");
    assert_eq!(
        run(&sandbox, &Command::new(["/etc/passwd"])).0,
        Outcome::Exited(126)
    );
    // A daemon that left the session and closed its output does not hold the end up, nor does it survive.
    let begin = Instant::now();
    let script =
        "setsid sh -c 'exec >/dev/null 2>&1; sleep 3; touch /w' & setsid sleep 1000 & echo started";
    assert_eq!(
        sh(&sandbox, script),
        (Outcome::Exited(0), "started\n".to_owned())
    );
    let mut command = Command::new([
        "sh",
        "-c",
        "setsid sleep 1000 & echo begun; trap '' TERM INT HUP; while :; do :; done",
    ]);
    command.timeout = Some(Duration::from_millis(400));
    assert_eq!(
        run(&sandbox, &command),
        (Outcome::TimedOut, "begun\n".to_owned())
    );
    command.timeout = None;
    let cancel = Cancel::new();
    let outcome = sandbox
        .run(&command, &cancel, &mut |_| cancel.cancel())
        .unwrap();
    assert_eq!(outcome, Outcome::Cancelled);
    assert!(begin.elapsed() < Duration::from_secs(3));
    std::thread::sleep(Duration::from_secs(4).saturating_sub(begin.elapsed()));
    assert!(
        !listing(&sandbox, "/")
            .iter()
            .any(|line| line.starts_with("/w "))
    );
    assert!(matches!(
        sandbox.run(&Command::new::<&str>([]), &Cancel::new(), &mut |_| {}),
        Err(Error::Command(_))
    ));
    sandbox.destroy().unwrap();
}

fn jobs(mode: Mode, dir: &Path) {
    let sandbox = furnished(mode, dir);
    let never = Cancel::new();
    let error = sandbox
        .job::<_, ()>("fail", &"luck", JobFiles::default(), &never)
        .unwrap_err();
    assert!(
        matches!(&error, Error::Job { message, .. } if message == "no \"luck\""),
        "{error:?}"
    );
    let error = sandbox
        .job::<_, ()>("panic", &(), JobFiles::default(), &never)
        .unwrap_err();
    assert!(
        matches!(&error, Error::AgentLost { output, .. } if output.contains("lost its mind")),
        "{error:?}"
    );
    assert!(
        sandbox
            .job::<_, ()>("unknown", &(), JobFiles::default(), &never)
            .is_err()
    );
    let (mut input, mut output) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    input.write_all(b"through the job").unwrap();
    input.rewind().unwrap();
    let files = JobFiles {
        input: Some(input),
        output: Some(output.try_clone().unwrap()),
    };
    assert_eq!(
        sandbox.job::<_, u64>("copy", &(), files, &never).unwrap(),
        15
    );
    let mut text = String::new();
    output.rewind().unwrap();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through the job");
    let cancel = Cancel::new();
    let other = cancel.clone();
    let begin = Instant::now();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        other.cancel();
    });
    assert!(matches!(
        sandbox.job::<_, ()>("hang", &(), JobFiles::default(), &cancel),
        Err(Error::Cancelled)
    ));
    assert!(begin.elapsed() < Duration::from_secs(2));
    thread.join().unwrap();
    // Opened again, it is what it was; a directory that is none is refused.
    let again = Sandbox::open(&Agent::current(), dir).unwrap();
    assert_eq!(again.mode(), mode);
    assert!(matches!(
        Sandbox::open(&Agent::current(), Path::new("/usr")),
        Err(Error::NotASandbox { .. })
    ));
    assert!(matches!(
        Sandbox::create(&Agent::current(), dir, mode),
        Err(Error::Exists(_))
    ));
    sandbox.destroy().unwrap();
}

/// The resolv.conf of the run is seen, and the tree is afterwards what it was.
fn resolver(mode: Mode, dir: &Path) {
    let sandbox = furnished(mode, dir);
    let mut command = Command::new([
        "sh",
        "-c",
        "cat /etc/resolv.conf; echo spoiled > /etc/resolv.conf",
    ]);
    command.resolv_conf = b"nameserver 192.0.2.1\n".to_vec();
    for (prepare, after) in [
        ("rm -f /etc/resolv.conf", "none"),
        ("echo own > /etc/resolv.conf", "own"),
        (
            "rm -f /etc/resolv.conf; ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf",
            "link",
        ),
        (
            "rm -f /etc/resolv.conf; ln -s /run/resolv.conf /etc/resolv.conf",
            "link",
        ),
        (
            "rm -f /etc/resolv.conf; ln -s /etc/real /etc/resolv.conf",
            "link",
        ),
        ("echo own > /etc/real", "own"),
    ] {
        assert_eq!(sh(&sandbox, prepare).0, Outcome::Exited(0));
        let before = listing(&sandbox, "/");
        assert_eq!(
            run(&sandbox, &command),
            (Outcome::Exited(0), "nameserver 192.0.2.1\n".to_owned()),
            "{prepare}"
        );
        assert_eq!(listing(&sandbox, "/"), before, "{prepare}");
        let (_, content) = sh(&sandbox, "test -e /etc/resolv.conf && cat /etc/resolv.conf");
        assert_eq!(
            content,
            if after == "own" { "own\n" } else { "" },
            "{prepare}"
        );
    }
    sandbox.destroy().unwrap();
}

/// What a command must not be able to do.
fn limits(mode: Mode, dir: &Path) {
    let sandbox = furnished(mode, dir);
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot,
    // mknod, audit_write
    let (_, output) = sh(&sandbox, "grep -h -E 'Cap(Prm|Eff|Bnd)' /proc/self/status");
    assert_eq!(output.matches("00000000280425fb").count(), 3, "{output}");
    let (_, output) = sh(
        &sandbox,
        "mount -t tmpfs x /root || echo refused; hostname x || echo refused; date -s 2000.01.01-00:00",
    );
    assert!(
        output.matches("refused\n").count() == 2 && output.contains("set date: Operation not"),
        "{output}"
    );
    let (_, output) = sh(
        &sandbox,
        "echo 1 > /proc/sys/kernel/core_uses_pid || echo refused; echo h > /proc/sysrq-trigger || echo refused",
    );
    assert_eq!(output.matches("refused\n").count(), 2, "{output}");
    if mode == Mode::Root {
        let (_, output) = sh(&sandbox, "mknod /n c 1 3; echo x > /n || echo refused");
        assert!(output.ends_with("refused\n"), "{output}");
    }
    let (_, output) = sh(&sandbox, "ip -o addr; cat /proc/net/dev");
    assert!(
        output.contains("127.0.0.1") && !output.contains("eth"),
        "{output}"
    );
    let (_, output) = sh(
        &sandbox,
        "umask; ulimit -c; pwd; busybox env; cat; ls /sys; hostname; echo $$",
    );
    let seen = "0022\n0\n/\nHOME=/root\nLC_ALL=C.UTF-8\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nTERM=dumb\nmibe\n2\n";
    let mut lines: Vec<&str> = output
        .lines()
        .filter(|l| !l.starts_with("SHLVL") && !l.starts_with("PWD"))
        .collect();
    lines[3..7].sort_unstable();
    assert_eq!(lines, seen.lines().collect::<Vec<_>>());
    sandbox.destroy().unwrap();
}

/// What a command is to see: binds, its directory, its environment, the machine's network.
fn sight(mode: Mode, dir: &Path) {
    let sandbox = furnished(mode, dir);
    let shown = tempfile::tempdir().unwrap();
    fs::write(shown.path().join("file"), "from the host\n").unwrap();
    let bind = |inside: &str, writable| Bind {
        host: shown.path().into(),
        inside: inside.into(),
        writable,
    };
    let mut command = Command::new([
        "sh",
        "-c",
        "cat file; echo x > file || echo refused; echo back > /root/file; echo $A; ls -d /run/* /tmp/*",
    ]);
    command.binds = vec![bind("/run/host/deep", false), bind("/root", true)];
    command.cwd = "/run/host/deep".into();
    command.env.push(("A".into(), "with  spaces\n".into()));
    command.network = Network::Host;
    let (outcome, output) = run(&sandbox, &command);
    assert!(
        output.starts_with("from the host\n") && output.contains("refused\nwith spaces\n"),
        "{outcome:?} {output}"
    );
    assert_eq!(
        fs::read_to_string(shown.path().join("file")).unwrap(),
        "back\n"
    );
    // /tmp is fresh, or the tree's own.
    let mut command = Command::new(["sh", "-c", "ls /tmp; touch /tmp/mine"]);
    assert_eq!(run(&sandbox, &command).1, "");
    command.tmp_tmpfs = false;
    assert_eq!(run(&sandbox, &command).1, "");
    assert_eq!(run(&sandbox, &command).1, "mine\n");
    command.binds = vec![Bind {
        host: "/nowhere".into(),
        inside: "/root".into(),
        writable: false,
    }];
    assert!(sandbox.run(&command, &Cancel::new(), &mut |_| {}).is_err());
    // Mount points keep their modes.
    let points: Vec<String> = listing(&sandbox, "/")
        .into_iter()
        .filter(|l| !l[1..].contains('/'))
        .collect();
    assert!(
        points.contains(&"/tmp d 1777 0:0".to_owned())
            && points.contains(&"/dev d 0755 0:0".to_owned()),
        "{points:?}"
    );
    sandbox.destroy().unwrap();
}

fn destroy(mode: Mode, dir: &Path) {
    let outside = tempfile::tempdir().unwrap();
    File::create(outside.path().join("kept")).unwrap();
    let sandbox = furnished(mode, dir);
    let script = format!(
        "mkdir -p /w/a/b; touch /w/a/b/c; chown -R 3:4 /w; chmod 000 /w/a/b /w/a /w; ln -s {0} /link; ln -s {0} /etc/link
         d=/deep; for i in $(busybox seq 300); do d=$d/d; done; mkdir -p $d; touch $d/f",
        outside.path().display()
    );
    assert_eq!(sh(&sandbox, &script).0, Outcome::Exited(0));
    if mode == Mode::Root {
        // What is mounted in the tree is not ours.
        let point = dir.join("root/root");
        rustix::mount::mount_bind(outside.path(), &point).unwrap();
        let error = Sandbox::open(&Agent::current(), dir)
            .unwrap()
            .destroy()
            .unwrap_err();
        rustix::mount::unmount(&point, rustix::mount::UnmountFlags::empty()).unwrap();
        assert!(
            error.to_string().contains("ross-device") || error.to_string().contains("busy"),
            "{error}"
        );
    }
    sandbox.destroy().unwrap();
    assert!(outside.path().join("kept").exists());
}
