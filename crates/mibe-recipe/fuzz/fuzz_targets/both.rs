//! Both manifests of a repository; a zero byte parts them.

#![no_main]

use mibe_recipe::{Problem, Recipe};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let (shell, json) = data.split_at(at);
    if let Err(problems) = Recipe::of_manifests(Some(shell), Some(json.get(1..).unwrap_or_default())) {
        assert!(problems.0.iter().any(Problem::is_error));
    }
});
