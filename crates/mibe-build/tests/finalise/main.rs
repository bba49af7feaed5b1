//! What finalising and the laying of copy/ make of small trees of every kind that the LX brand boots, and of trees that mean harm.
//!
//! A tree can only be had in a real sandbox, in jobs of this very program, so it is its own agent and has no test harness
//! (`harness = false` in Cargo.toml): `cargo test -p mibe-build --test finalise [-- FILTER]`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used
)]

mod checks;
mod distributions;
mod lay;
mod losses;
mod systemd;
mod traps;
mod world;

use world::Case;

/// Only built into a program with a test harness, where nothing of the above would run.
#[test]
fn this_test_needs_its_own_main() {
    panic!("Cargo.toml lacks: [[test]] name = \"finalise\" harness = false");
}

fn main() {
    mibe_sandbox::agent_main(world::JOBS);
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"))
        .unwrap_or_default();
    let all: Vec<Case> = [
        distributions::CASES,
        systemd::CASES,
        losses::CASES,
        traps::CASES,
        checks::CASES,
        lay::CASES,
    ]
    .concat();
    let mut failed = 0;
    for (name, case) in all.iter().filter(|case| case.0.contains(&filter)) {
        let ok = std::panic::catch_unwind(case).is_ok();
        failed += i32::from(!ok);
        println!("finalise {name}: {}", if ok { "ok" } else { "FAILED" });
    }
    std::process::exit(i32::from(failed > 0));
}
