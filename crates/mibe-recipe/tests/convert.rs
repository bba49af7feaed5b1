//! Manifests converted to and fro: nothing is lost, and bash and serde_json read what is written as we do.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/manifests.rs"]
mod manifests;

use std::collections::BTreeMap;
use std::process::Command;

use mibe_recipe::{Dialect, Recipe, convert_text};
use proptest::prelude::*;
use serde_json::{Value, json};

use manifests::to_and_fro;

fn metadata() -> impl Strategy<Value = Value> {
    let entry = (
        prop::option::of(prop_oneof!["text", "boolean", "number", "bool", "color"]),
        prop::option::of(texts()),
        prop::option::of(any::<bool>()),
        prop::option::of(any::<bool>()),
    )
        .prop_map(|(kind, description, required, secret)| {
            let mut entry = serde_json::Map::new();
            let fields = [
                ("type", kind.map(Value::from)),
                ("description", description.map(Value::from)),
                ("required", required.map(Value::from)),
                ("secret", secret.map(Value::from)),
            ];
            for (key, value) in fields {
                entry.extend(value.map(|value| (key.to_owned(), value)));
            }
            Value::Object(entry)
        });
    prop::collection::btree_map("[a-z'][a-z_.:']{0,8}", entry, 0..4)
        .prop_map(|entries| Value::Object(entries.into_iter().collect()))
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,20}",
        "[a-z'\"$`\\\\ \t{}=#;é日]{0,12}",
        "[a-z'\\\\\n ]{0,10}",
    ]
}

fn documents() -> impl Strategy<Value = Value> {
    let text =
        |key: &'static str| texts().prop_map(move |text| (key.to_owned(), Value::from(text)));
    let entry = prop_oneof![
        text("description"),
        text("brand"),
        text("organization"),
        text("role"),
        text("urn"),
        text("ownername"),
        text("my_own_key"),
        Just(("my_list".to_owned(), json!([1, {"a": "it's"}, null]))),
        (1u32..9999).prop_map(|number| ("minram".to_owned(), json!(number))),
        (1u32..9999).prop_map(|number| ("maxram".to_owned(), json!(number.to_string()))),
        any::<bool>().prop_map(|value| ("lbaas".to_owned(), json!(value))),
        Just(("users".to_owned(), json!(["root", {"name": "admin"}]))),
        Just(("users".to_owned(), json!("root mysql"))),
        Just((
            "networks".to_owned(),
            json!([{"name": "net0", "description": "public's \"own\""}, "net1"])
        )),
        Just(("billingtags".to_owned(), json!(["a", "b"]))),
        Just((
            "base".to_owned(),
            json!("208f9314-29cf-4bec-9d8b-c0697d00c929")
        )),
        Just((
            "homepage".to_owned(),
            json!("https://example.org/?a=1&b='2'")
        )),
        Just(("kernel_version".to_owned(), Value::Null)),
        Just((
            "requirements".to_owned(),
            json!({"ssh_key": true, "min_platform": {"7.0": "20220407T001427Z"}})
        )),
        metadata().prop_map(|value| ("customer_metadata".to_owned(), value)),
        metadata().prop_map(|value| ("internal_metadata".to_owned(), value)),
    ];
    prop::collection::vec(entry, 0..8).prop_map(|entries| {
        let mut document: BTreeMap<String, Value> = entries.into_iter().collect();
        document.insert("name".into(), "x".into());
        document.insert("version".into(), "1.0".into());
        Value::Object(document.into_iter().collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn json_comes_back_from_a_shell(document in documents(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
        to_and_fro(text.unwrap().as_bytes(), Dialect::Json);
    }

    #[test]
    fn a_shell_manifest_comes_back_from_json(lines in prop::collection::vec(prop_oneof![
        "(description|brand|urn|other)=\"[ -!#%-Z^-_a-~]{0,12}\" ?;?",
        "(description|brand|role|other)='[ -&(-~]{0,12}'",
        "(description|other)=\\$'[a-z ]{0,4}\\\\n[a-z]{0,4}\\\\''",
        "minram=[0-9]{1,4}",
        "lbaas=(true|false)",
        "customer_metadata='\\{\"a\": \\{\"type\": \"text\", \"description\": \"[a-z ]{0,5}\"\\}\\}'",
        "# [ -~]{0,10}",
    ], 0..8)) {
        let text = format!("name=\"x-1.0\"\n{}\n", lines.join("\n"));
        to_and_fro(text.as_bytes(), Dialect::Shell);
    }

    #[test]
    fn any_bytes_are_a_recipe_or_located_errors(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for (shell, json) in [(Some(&bytes), None), (None, Some(&bytes)), (Some(&bytes), Some(&bytes))] {
            let outcome = Recipe::of_manifests(shell.map(Vec::as_slice), json.map(Vec::as_slice));
            if let Err(problems) = outcome {
                prop_assert!(problems.0.iter().any(mibe_recipe::Problem::is_error));
            }
        }
        for dialect in [Dialect::Shell, Dialect::Json] {
            let _ = convert_text(&bytes, dialect);
        }
    }
}

/// A shell that reads the manifest must see the same values.
#[test]
fn bash_reads_what_is_written_as_we_do() {
    let nasty = [
        "plain",
        "it's",
        "a \"quoted\" word",
        "both ' and \"",
        "$HOME `id` $(id) \\n \\",
        "two\nlines, and a '",
        "trailing backslash\\",
        "",
        " blanks ",
        "日本 é # no comment; no end",
        "!history %d *",
    ];
    for value in nasty {
        let document = json!({"name": "x", "version": "1.0", "description": value, "customer_metadata": {"k": {"description": value}}});
        let converted = convert_text(document.to_string().as_bytes(), Dialect::Json).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("manifest"), &converted.text).unwrap();
        let output = Command::new("bash")
            .args(["-c", "set -eu; . ./manifest; printf '%s\\0' \"$name\" \"$version\" \"$description\" \"$customer_metadata\""])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}\n{}", converted.text);
        let read: Vec<&str> = std::str::from_utf8(&output.stdout)
            .unwrap()
            .split('\0')
            .collect();
        assert_eq!(&read[..3], ["x", "1.0", value], "{}", converted.text);
        let metadata: Value = serde_json::from_str(read[3]).unwrap();
        assert_eq!(
            metadata,
            json!({"k": {"description": value}}),
            "{}",
            converted.text
        );
    }
}
