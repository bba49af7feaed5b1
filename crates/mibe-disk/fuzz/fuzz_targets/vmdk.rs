//! What a description of VMware's names, held against how QEMU reads it.

#![no_main]

#[allow(dead_code, reason = "each target uses some of it")]
#[path = "../../tests/hostile/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::description(data));
