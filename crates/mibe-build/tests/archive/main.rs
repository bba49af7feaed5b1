//! Our tar against the real ones: what GNU tar packs, in every format, with every compressor; what GNU tar and bsdtar make of
//! what we pack; and archives that mean harm.
//!
//! Trees are laid into real sandboxes, in jobs of this very program, so it is its own agent and has no test harness:
//! `cargo test -p mibe-build --test archive [-- FILTER]`. Run as root it compares owners and devices too.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used
)]
// Names can be anything, so they are shown escaped; and the stack has room for a little content.
#![allow(clippy::unnecessary_debug_formatting, clippy::large_stack_arrays)]

mod debs;
mod forge;
mod fuzz;
mod hostile;
mod jobs;
mod lies;
mod listing;
mod made_up;
mod packed;
mod streams;
mod world;

use world::Case;

fn main() {
    mibe_sandbox::agent_main(jobs::JOBS);
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"))
        .unwrap_or_default();
    let all: Vec<Case> = [
        packed::CASES,
        made_up::CASES,
        streams::CASES,
        hostile::CASES,
        lies::CASES,
        debs::CASES,
        fuzz::CASES,
    ]
    .concat();
    let mut failed = 0;
    for (name, case) in all.iter().filter(|case| case.0.contains(&filter)) {
        let start = std::time::Instant::now();
        let ok = std::panic::catch_unwind(case).is_ok();
        failed += i32::from(!ok);
        println!(
            "archive {name}: {} ({:.1} s)",
            if ok { "ok" } else { "FAILED" },
            start.elapsed().as_secs_f64()
        );
    }
    std::process::exit(i32::from(failed > 0));
}
