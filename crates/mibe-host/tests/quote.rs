//! Words through real shells: any bytes, any arguments.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process::Command;

use mibe_host::quote_all;
use proptest::prelude::*;

/// What a shell makes of the words.
fn through(shell: &str, words: &[OsString]) -> Vec<OsString> {
    let mut line = b"printf '%s\\0' ".to_vec();
    line.extend(quote_all(words));
    let output = Command::new(shell)
        .arg("-c")
        .arg(OsStr::from_bytes(&line))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut parts: Vec<_> = output
        .stdout
        .split(|&byte| byte == 0)
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect();
    assert_eq!(parts.pop(), Some(OsString::new()));
    parts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_shell_sees_the_words_that_were_meant(
        words in prop::collection::vec(prop_oneof![
            prop::collection::vec(1u8..=255, 0..40),
            "[ -~]{0,20}".prop_map(String::into_bytes),
            "['\"\\\\$`!*?~#&;|<>(){}\n\t =-]{0,12}".prop_map(String::into_bytes),
        ], 1..6),
    ) {
        let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
        for shell in ["dash", "bash"] {
            prop_assert_eq!(&through(shell, &words), &words, "{}", shell);
        }
    }
}
