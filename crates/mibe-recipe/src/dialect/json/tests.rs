//! serde_json is the judge: of what is JSON, and of what it says.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::parse::DEPTH;
use super::*;
use crate::problem::{Problem, Source};

fn read(bytes: &[u8]) -> Result<Node, Box<Problem>> {
    let source = Source {
        file: "manifest.json".into(),
        bytes,
    };
    parse(
        source,
        Span {
            start: 0,
            end: bytes.len(),
        },
    )
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no infinity", |number| number.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z\"\\\\\n\t'$/é𝄞]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z\" .]{0,6}", inner, 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_writes_is_read_and_what_is_written_serde_reads(value in values()) {
        for text in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
            let node = read(text.as_bytes()).unwrap();
            // Not `value` itself: serde_json's quick reading of long fractions loses their last bit.
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(node.value.to_serde(), value.clone());
            for indent in [None, Some(2)] {
                let mut written = String::new();
                node.value.write(&mut written, indent);
                prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value.clone());
            }
        }
    }

    #[test]
    fn what_is_json_is_what_serde_takes(text in prop_oneof![
        "[\\[\\]{}\",:0-9eE+.tf\\\\ \n\tul-]{0,24}",
        "\\{\"[a-z]{0,3}\" ?:[ 0-9.eE+\"a-z\\\\-]{0,8}[,}\\]]{0,3}",
        "\"[a-zu0-9dcDC\\\\]{0,16}\"",
        "\\PC{0,30}",
    ]) {
        let theirs = serde_json::from_str::<IgnoredAny>(&text);
        match read(text.as_bytes()) {
            Ok(_) => prop_assert!(theirs.is_ok(), "{text:?}: {theirs:?}"),
            Err(problem) => {
                prop_assert!(theirs.is_err(), "{text:?}: {problem:?}");
                let place = problem.location.unwrap();
                prop_assert!(place.span.start <= place.span.end && place.span.end <= text.len(), "{text:?} {place:?}");
                prop_assert!(text.is_char_boundary(place.span.start), "{text:?} {place:?}");
            }
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_a_problem(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = read(&bytes);
    }
}

#[test]
fn depth_is_bounded() {
    for levels in [DEPTH, DEPTH + 1, 100_000] {
        let text = "[".repeat(levels) + &"]".repeat(levels);
        let read = read(text.as_bytes());
        assert_eq!(read.is_ok(), levels <= DEPTH, "{levels}");
        if let Ok(node) = read {
            assert_eq!(depth(&node.value.to_serde()), levels);
        }
    }
}
