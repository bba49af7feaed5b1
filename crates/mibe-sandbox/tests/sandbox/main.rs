//! Sandboxes for real: namespaces, mounts, seccomp, and the trees that come of them, in every mode.
//!
//! Run as root this makes two ordinary users (with and without subordinate ids), starts itself as them, and removes them
//! afterwards; run as an ordinary user it tries the modes that user has. The trees are made of a static busybox (package
//! busybox-static); mode subuid needs newuidmap (package uidmap). This program is its own agent, so it has no
//! test harness: `cargo test -p mibe-sandbox --test sandbox [-- FILTER]`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used
)]
// Clearer in a test than what is a little faster.
#![allow(clippy::format_collect, clippy::format_push_string)]

#[cfg(target_arch = "x86_64")]
mod calls;
mod cases;
mod jobs;
mod kill;
mod tree;
mod users;

use std::path::Path;

use mibe_sandbox::{Mode, agent_main};

/// A test: its name and what it does in a fresh directory.
pub type Case = (&'static str, fn(Mode, &Path));

fn cases() -> Vec<Case> {
    [tree::CASES, cases::CASES].concat()
}

fn main() {
    agent_main(jobs::JOBS);
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        // One case, in a process of its own, as the user it is to run as.
        ["case", name, mode, dir] => {
            let hidden = [("remains", kill::remains as fn(Mode, &Path))];
            let case = cases()
                .into_iter()
                .chain(hidden)
                .find(|case| case.0 == *name)
                .unwrap();
            (case.1)(users::mode(mode), Path::new(dir));
        }
        ["victim", mode, dir] => kill::victim(users::mode(mode), Path::new(dir)),
        filter => {
            let failed = users::run_all(&cases(), filter.first().copied().unwrap_or_default());
            std::process::exit(i32::from(failed > 0));
        }
    }
}
