//! GPT and MBR, as they are and under right checksums; a GPT that grows.

#![no_main]

#[allow(dead_code, reason = "each target uses some of it")]
#[path = "../../tests/hostile/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::partitions(data));
