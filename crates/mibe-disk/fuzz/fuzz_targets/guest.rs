//! What a guest's files say: cloud-init, boot loader, os-release.

#![no_main]

#[allow(dead_code, reason = "each target uses some of it")]
#[path = "../../tests/hostile/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::guest(data));
