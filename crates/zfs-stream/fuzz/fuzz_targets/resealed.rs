//! A stream whose checksums are made right: dnodes, ZAPs, attributes, znodes, compressed blocks.

#![no_main]

#[path = "../../tests/hostile/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut stream = data.to_vec();
    targets::reseal(&mut stream);
    let _ = targets::read(&[&stream]);
});
