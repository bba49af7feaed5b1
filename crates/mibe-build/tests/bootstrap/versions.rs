//! The order of versions, as dpkg has it.

use std::cmp::Ordering;
use std::process::Command;

use mibe_build::bootstrap::version::compare;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn dpkg(one: &str, relation: &str, other: &str) -> bool {
    let status = Command::new("dpkg")
        .args(["--compare-versions", one, relation, other])
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("dpkg: {error} (apt-get install dpkg)"));
    match status.code() {
        Some(0) => true,
        Some(1) => false,
        code => panic!("dpkg --compare-versions {one} {relation} {other}: {code:?}"),
    }
}

fn version() -> impl Strategy<Value = String> {
    // Few different characters, so that versions are often almost equal.
    let part = prop::collection::vec(
        prop::sample::select(
            &[
                "0", "1", "10", "00", "9", "a", "b", "Z", "~", "+", ".", "~~", "rc",
            ][..],
        ),
        0..6,
    )
    .prop_map(|parts| parts.concat());
    let epoch = prop_oneof![3 => Just(String::new()), 1 => (0_u32..3).prop_map(|epoch| format!("{epoch}:"))];
    let revision = prop_oneof![
        1 => Just(String::new()),
        1 => part.clone().prop_map(|part| format!("-0{part}")),
        1 => part.clone().prop_map(|part| format!("-1-{part}2")),
    ];
    (epoch, 0_u8..10, part, revision)
        .prop_map(|(epoch, digit, part, revision)| format!("{epoch}{digit}{part}{revision}"))
}

proptest! {
    #![proptest_config(Config { cases: 700, failure_persistence: None, ..Config::default() })]

    #[test]
    fn versions_compare_as_dpkg_has_it(one in version(), other in version()) {
        let theirs = if dpkg(&one, "lt", &other) {
            Ordering::Less
        } else if dpkg(&one, "eq", &other) {
            Ordering::Equal
        } else {
            Ordering::Greater
        };
        prop_assert_eq!(compare(&one, &other), theirs, "{} {}", one, other);
        prop_assert_eq!(compare(&other, &one), theirs.reverse());
    }

    #[test]
    fn any_text_is_compared(one in "\\PC{0,40}", other in "\\PC{0,40}") {
        prop_assert_eq!(compare(&one, &other), compare(&other, &one).reverse());
    }
}
