//! A qcow2 file: header, tables, clusters of either compression.

#![no_main]

#[allow(dead_code, reason = "each target uses some of it")]
#[path = "../../tests/hostile/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::qcow2(data));
