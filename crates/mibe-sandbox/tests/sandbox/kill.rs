//! The caller is killed at random moments: nothing is left.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use mibe_sandbox::{Agent, Cancel, Command, Mode, Network, Sandbox};

use crate::jobs::{furnished, listing};
use crate::users::Setting;

/// The process that will be killed: runs something for ever, with daemons.
pub fn victim(mode: Mode, dir: &Path) {
    let sandbox = match Sandbox::open(&Agent::current(), dir) {
        Ok(sandbox) => sandbox,
        Err(_) => furnished(mode, dir),
    };
    let script = "for i in 1 2 3; do setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 0.01; echo >> /root/log; done' & done; wait";
    let mut command = Command::new(["sh", "-c", script]);
    command.resolv_conf = b"nameserver 192.0.2.1\n".to_vec();
    command.network = Network::None;
    let _ = sandbox.run(&command, &Cancel::new(), &mut |_| {});
}

/// What a killed caller leaves on disk is a sandbox that works, without its resolv.conf.
pub fn remains(_: Mode, dir: &Path) {
    let sandbox = Sandbox::open(&Agent::current(), dir).unwrap();
    let lines = listing(&sandbox, "/");
    assert!(
        !lines.iter().any(|line| line.contains("resolv.conf")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("/root/log - ")),
        "{lines:?}"
    );
    sandbox.destroy().unwrap();
}

/// Processes of a run: this program's copy below `dir` (agent and PID 1), and what the script started.
fn left(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.starts_with(dir))
                || fs::read(entry.path().join("cmdline"))
                    .is_ok_and(|line| String::from_utf8_lossy(&line).contains("/root/log"))
        })
        .map(|entry| entry.path().display().to_string())
        .collect()
}

pub fn parents_die(setting: &Setting) {
    let dir = setting.dir.path().join("killed");
    let mode = setting.mode.to_string();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    // The first start makes the sandbox, which takes longest.
    for delay in [1000, 300, 0, 3, 6, 9, 12, 15, 20, 25, 30, 40, 60, 90, 150] {
        let mut child = setting
            .command(&["victim", &mode, dir.to_str().unwrap()])
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        if delay == 1000 {
            assert!(
                left(setting.dir.path()).len() >= 5,
                "the victim did not start: {:?}",
                left(setting.dir.path())
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let begin = Instant::now();
        while !left(setting.dir.path()).is_empty() {
            assert!(
                begin.elapsed() < Duration::from_secs(3),
                "left after {delay} ms: {:?}",
                left(setting.dir.path())
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), mounts);
    }
    let output = setting
        .command(&["case", "remains", &mode, dir.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!dir.exists());
}
