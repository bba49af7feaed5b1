//! Calls that go wrong.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::state::Host;

/// What goes wrong.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It fails, and nothing is done.
    Fail,
    /// It never ends, and nothing is done.
    Hang,
    /// It is done, and the reply is lost.
    Lost,
    /// The connection is cut, then it is done.
    DropBefore,
    /// It is done, then the connection is cut.
    DropAfter,
    IntBefore,
    IntAfter,
    TermBefore,
    TermAfter,
    KillBefore,
    KillAfter,
}

#[derive(Deserialize)]
struct Fault {
    /// The number of the call, from 1.
    at: usize,
    kind: Kind,
}

/// Set where the fault has been seen to: the call is to be done as if nothing were.
const SEEN: &str = "FAKE_SMARTOS_FAULT_SEEN";

/// Counts the call, and has it go wrong if it is its turn.
pub fn strike(host: &Host, name: &str, arguments: &[String]) -> Option<ExitCode> {
    if std::env::var_os(SEEN).is_some() {
        return None;
    }
    let number = {
        let _lock = host.lock();
        let mut calls = OpenOptions::new()
            .create(true)
            .append(true)
            .open(host.path("calls"))
            .unwrap();
        // One line a call, whatever is in it.
        let line = format!("{name} {}", arguments.join(" ")).replace('\n', "\\n");
        writeln!(calls, "{line}").unwrap();
        fs::read_to_string(host.path("calls"))
            .unwrap()
            .lines()
            .count()
    };
    let fault: Fault = serde_json::from_slice(&fs::read(host.path("fault.json")).ok()?).unwrap();
    if fault.at != number {
        return None;
    }
    let signal = match fault.kind {
        Kind::IntBefore | Kind::IntAfter => "-INT",
        Kind::TermBefore | Kind::TermAfter => "-TERM",
        _ => "-KILL",
    };
    let status = match fault.kind {
        Kind::Fail => {
            eprintln!("{name}: an injected fault");
            return Some(ExitCode::from(1));
        }
        Kind::Hang => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        Kind::Lost => {
            perform(arguments, true);
            eprintln!("{name}: an injected loss of the reply");
            return Some(ExitCode::from(1));
        }
        Kind::DropBefore => {
            drop_connection();
            perform(arguments, false)
        }
        Kind::DropAfter => {
            let status = perform(arguments, false);
            drop_connection();
            status
        }
        Kind::IntBefore | Kind::TermBefore | Kind::KillBefore => {
            kill(host, signal);
            std::thread::sleep(Duration::from_millis(100));
            perform(arguments, false)
        }
        Kind::IntAfter | Kind::TermAfter | Kind::KillAfter => {
            let status = perform(arguments, false);
            kill(host, signal);
            status
        }
    };
    Some(ExitCode::from(status))
}

/// Does what was asked for, in a process of its own, and tells its status.
fn perform(arguments: &[String], silent: bool) -> u8 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env(SEEN, "1");
    if silent {
        command.stdout(Stdio::null());
    }
    let status = command.status().unwrap().code();
    status.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Sends a signal to who is tested.
fn kill(host: &Host, signal: &str) {
    let pid = fs::read_to_string(host.path("pid")).unwrap();
    let _ = Command::new("kill").args([signal, pid.trim()]).status();
}

/// Ends the server's side of the connection that this runs behind.
fn drop_connection() {
    let mut pid = std::process::id();
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // PID (NAME) STATE PARENT (proc_pid_stat)
        let (head, tail) = stat.rsplit_once(')').unwrap();
        let parent: u32 = tail.split_whitespace().nth(1).unwrap().parse().unwrap();
        if head.ends_with("(sshd") || head.ends_with("(sshd-session") {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status();
            return;
        }
        assert!(parent > 1, "there is no sshd above");
        pid = parent;
    }
}
