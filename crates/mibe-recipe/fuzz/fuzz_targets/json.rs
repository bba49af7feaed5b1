//! A `manifest.json`: a recipe or located errors; converted and back, the same recipe.

#![no_main]

#[path = "../../tests/support/manifests.rs"]
mod manifests;

libfuzzer_sys::fuzz_target!(|data: &[u8]| manifests::to_and_fro(data, mibe_recipe::Dialect::Json));
