//! Manifests, right and wrong, by our rules and by `imgmanifest` itself.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const UUID: &str = "208f9314-29cf-4bec-9d8b-c0697d00c929";

/// A real manifest of an LX image, as servers give it out.
fn full() -> Value {
    json!({
        "v": 2, "uuid": UUID, "owner": "00000000-0000-0000-0000-000000000000", "name": "debian-12", "version": "20240612",
        "state": "active", "disabled": false, "activated": true, "public": true, "published_at": "2024-06-12T18:19:20.123Z",
        "type": "lx-dataset", "os": "linux", "description": "Debian \"12\"", "homepage": "https://example.com/?a=b&c",
        "files": [{"sha1": "97a8c2b4d6e8f0a1b2c3d4e5f60718293a4b5c6d", "size": 123, "compression": "gzip", "dataset_guid": "18446744073709551615", "stor": "local"}],
        "requirements": {
            "networks": [{"name": "net0", "description": "public"}], "brand": "lx", "ssh_key": true, "min_ram": 256, "max_ram": 512,
            "min_platform": {"7.0": "20220407T001427Z"}, "max_platform": {"7.0": "20991231T235959Z"}
        },
        "users": [{"name": "root"}], "billing_tags": ["a"], "traits": {"ssd": true, "zone": "x", "pools": ["a"]},
        "tags": {"role": "os", "kernel_version": "5.10.0", "n": 1, "o": {"a": null}}, "generate_passwords": "false",
        "acl": [UUID], "origin": UUID, "eula": "http://example.com", "icon": "true", "urn": "sdc:sdc:a:1"
    })
}

fn minimal() -> Value {
    json!({"v": 2, "uuid": UUID, "name": "a", "version": "1", "type": "zone-dataset", "os": "smartos"})
}

fn changed(mut manifest: Value, field: &str, value: Value) -> Value {
    let (parents, key) = field
        .rsplit_once('.')
        .map_or(("", field), |(parents, key)| (parents, key));
    let mut place = &mut manifest;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        place = match parent.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[parent],
        };
    }
    if value == json!("REMOVED") {
        place.as_object_mut().unwrap().remove(key);
    } else {
        place[key] = value;
    }
    manifest
}

/// Whether we take it: it can be read, and breaks no rule.
fn ours(manifest: &Value) -> Result<(), String> {
    let text = serde_json::to_vec(manifest).unwrap();
    let manifest = Manifest::parse(&text, "m.json".into()).map_err(|error| error.to_string())?;
    match manifest.validate().as_slice() {
        [] => Ok(()),
        violations => Err(format!("{violations:?}")),
    }
}

/// What imgmanifest says of each: null, or its errors.
fn theirs(manifests: &[Value]) -> Vec<Value> {
    const SCRIPT: &str = "
        const given = process.env.MIBE_IMGMANIFEST;
        let rules;
        try { rules = require(require.resolve('imgmanifest', {paths: [given]})); } catch (_) { rules = require(given); }
        const all = JSON.parse(require('fs').readFileSync(0, 'utf8'));
        console.log(JSON.stringify(all.map(m => { try { return rules.validateMinimalManifest(m); } catch (e) { return String(e); } })));";
    assert!(
        std::env::var_os("MIBE_IMGMANIFEST").is_some(),
        "MIBE_IMGMANIFEST is not set: this test needs imgmanifest, which `cargo xtask test` installs"
    );
    let mut node = Command::new("node")
        .args(["-e", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node, which `cargo xtask test` installs");
    let mut input = node.stdin.take().unwrap();
    input
        .write_all(&serde_json::to_vec(manifests).unwrap())
        .unwrap();
    drop(input);
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn good() -> Vec<Value> {
    let zvol = changed(
        changed(minimal(), "type", json!("zvol")),
        "nic_driver",
        json!("virtio"),
    );
    let zvol = changed(
        changed(zvol, "disk_driver", json!("virtio")),
        "cpu_type",
        json!("host"),
    );
    let zvol = changed(zvol, "image_size", json!(10240));
    let bhyve = changed(
        changed(zvol.clone(), "requirements", json!({})),
        "requirements.brand",
        json!("bhyve"),
    );
    vec![
        full(),
        minimal(),
        zvol,
        changed(bhyve, "requirements.bootrom", json!("uefi")),
        changed(minimal(), "v", json!("2")),
        changed(minimal(), "name", json!("a/b c_d.e-F9")),
        changed(minimal(), "name", json!("n".repeat(512))),
        changed(minimal(), "version", json!("1.0/a_b+c-d")),
        changed(minimal(), "version", json!("1".repeat(128))),
        changed(minimal(), "description", json!("ü".repeat(10_240))),
        changed(minimal(), "published_at", json!("2026-02-03T04:05:06Z")),
        changed(minimal(), "inherited_directories", json!(["/opt"])),
        changed(minimal(), "billing_tags", json!(["a".repeat(128)])),
        changed(full(), "requirements.max_ram", json!(256)),
        changed(full(), "files.0.compression", json!("xz")),
        changed(full(), "state", json!("unactivated")),
    ]
}

/// Each with the field that is wrong.
fn bad() -> Vec<(&'static str, Value)> {
    let many = |field: &'static str, values: Vec<Value>| {
        values
            .into_iter()
            .map(move |value| (field, changed(full(), field, value)))
            .collect::<Vec<_>>()
    };
    [
        many(
            "uuid",
            vec![
                json!("REMOVED"),
                json!(UUID.to_uppercase()),
                json!(format!("{UUID}1")),
                json!(""),
            ],
        ),
        many("owner", vec![json!("me")]),
        many("origin", vec![json!(UUID.replace('-', ""))]),
        many("acl", vec![json!(["x"]), json!(UUID)]),
        many(
            "name",
            vec![
                json!("REMOVED"),
                json!(""),
                json!("a&b"),
                json!("ü"),
                json!("a\n"),
                json!("n".repeat(1025)),
            ],
        ),
        many(
            "version",
            vec![
                json!("REMOVED"),
                json!(""),
                json!("1 0"),
                json!("1".repeat(513)),
            ],
        ),
        many("description", vec![json!("d".repeat(10_241))]),
        many(
            "homepage",
            vec![
                json!("ftp://example.com"),
                json!("example.com"),
                json!(format!("http://e/{}", "x".repeat(1024))),
            ],
        ),
        many("eula", vec![json!("mailto:a@example.com")]),
        many(
            "published_at",
            vec![
                json!("2026-01-01"),
                json!("2026-01-01T00:00:00.123456Z"),
                json!("2026-01-01T00:00:00+00:00"),
                json!("2026-01-01T00:00Z"),
            ],
        ),
        many("state", vec![json!("released")]),
        many("public", vec![json!("yes"), json!(1)]),
        many("type", vec![json!("REMOVED"), json!("lx"), json!("null")]),
        many("os", vec![json!("REMOVED"), json!("Linux"), json!("null")]),
        many(
            "files",
            vec![json!({}), json!([full()["files"][0], full()["files"][0]])],
        ),
        many("files.0.sha1", vec![json!("REMOVED"), json!("")]),
        many("files.0.size", vec![json!("REMOVED"), json!(0)]),
        many(
            "files.0.compression",
            vec![json!("REMOVED"), json!("zstd"), json!("gz")],
        ),
        many(
            "requirements.networks",
            vec![
                json!([{"name": "net0"}]),
                json!([{"name": "a", "description": "b", "c": 1}]),
                json!("net0"),
            ],
        ),
        many("requirements.brand", vec![json!(1)]),
        many("requirements.ssh_key", vec![json!("yes")]),
        many(
            "requirements.min_ram",
            vec![json!("256"), json!(1.5), json!(513)],
        ),
        many(
            "requirements.min_platform",
            vec![
                json!({}),
                json!({"7.0": "20110407T001427Z"}),
                json!({"7.0": "20221307T001427Z"}),
                json!({"7.0": "2022"}),
                json!({"7.0": "20220407T241427Z"}),
            ],
        ),
        many("requirements.bootrom", vec![json!("uefi")]),
        many("requirements.password", vec![json!(true)]),
        many(
            "users",
            vec![json!(["root"]), json!([{"name": "a", "b": 1}]), json!({})],
        ),
        many("billing_tags", vec![json!(["a".repeat(129)]), json!([1])]),
        many("traits", vec![json!({"a": 1}), json!("ssd")]),
        many("tags", vec![json!([]), json!({"a": "x".repeat(102_400)})]),
        many("inherited_directories", vec![json!(["/opt"])]),
        many("nic_driver", vec![json!("virtio")]),
        many("disk_driver", vec![json!("virtio")]),
        many("cpu_type", vec![json!("host")]),
        many("image_size", vec![json!(10)]),
        many("colour", vec![json!("red")]),
        many("min_ram", vec![json!(1)]),
    ]
    .concat()
}

#[test]
fn good_manifests_are_good_by_both() {
    let manifests = good();
    for (manifest, said) in manifests.iter().zip(theirs(&manifests)) {
        assert_eq!(said, Value::Null, "{manifest}");
        assert_eq!(ours(manifest), Ok(()), "{manifest}");
    }
}

#[test]
fn bad_manifests_are_bad_by_both() {
    let (fields, manifests): (Vec<_>, Vec<_>) = bad().into_iter().unzip();
    for ((field, manifest), said) in fields.iter().zip(&manifests).zip(theirs(&manifests)) {
        assert_ne!(said, Value::Null, "{field}: {manifest}");
        let message = ours(manifest).expect_err(field);
        assert!(!message.is_empty());
    }
}

/// Where the facts are stricter than imgmanifest: servers, or what their data bases hold.
#[test]
fn some_rules_are_stricter() {
    for (field, value) in [
        ("v", json!(1)),
        ("v", json!(3)),
        ("name", json!("n".repeat(513))),
        ("version", json!("1".repeat(129))),
        ("published_at", json!("2026-02-30T00:00:00Z")),
        ("published_at", json!("")),
        ("published_at", json!("REMOVED")),
        ("files", json!("REMOVED")),
        ("files.0.sha1", json!("abc")),
        ("files.0.dataset_guid", json!("0x12")),
        ("files.0.dataset_guid", json!("18446744073709551616")),
        ("files.0.size", json!(-1)),
        ("requirements.min_ram", json!(0)),
        (
            "requirements.min_platform",
            json!({"7.0": "2022 407T001427Z"}),
        ),
        ("channels", json!(["dev"])),
    ] {
        assert!(
            ours(&changed(full(), field, value.clone())).is_err(),
            "{field}: {value}"
        );
    }
}

#[test]
fn errors_of_reading_have_a_place() {
    for (text, place) in [
        (
            "{\n  \"v\": 2,\n  \"colour\": 1\n}",
            "m.json:3:10: unknown field `colour`",
        ),
        ("{\"v\": 2,}", "m.json:1:9: trailing comma"),
        ("{\"v\": 1}", "m.json:1:8: `v` is not 2"),
        ("", "m.json:1:0: EOF while parsing a value"),
        ("{\"uuid\": \"a", "m.json:1:11: EOF while parsing a string"),
        ("[]", "m.json:1:"),
        ("\u{feff}{}", "m.json:1:1: expected value"),
    ] {
        let error = Manifest::parse(text.as_bytes(), "m.json".into())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(place), "{error}");
        assert!(!error.contains(" at line "), "{error}");
    }
    let deep = "[".repeat(100_000);
    assert!(Manifest::parse(deep.as_bytes(), "m.json".into()).is_err());
}

#[test]
fn writing_is_stable() {
    let text = serde_json::to_vec(&full()).unwrap();
    let manifest = Manifest::parse(&text, "m.json".into()).unwrap();
    let written = manifest.to_json().unwrap();
    assert!(
        written.starts_with("{\n  \"v\": 2,\n  \"uuid\": \"208f"),
        "{written}"
    );
    assert!(written.ends_with("}\n"));
    assert_eq!(
        Manifest::parse(written.as_bytes(), "m.json".into()).unwrap(),
        manifest
    );
    let minimal = Manifest::new(UUID, "a", "1", ImageType::ZoneDataset, Os::Smartos)
        .to_json()
        .unwrap();
    assert_eq!(
        minimal,
        format!(
            "{{\n  \"v\": 2,\n  \"uuid\": \"{UUID}\",\n  \"name\": \"a\",\n  \"version\": \"1\",\n  \"type\": \"zone-dataset\",\n  \"os\": \"smartos\"\n}}\n"
        )
    );
}

#[test]
fn times() {
    assert_eq!(published_at(0).as_deref(), Some("1970-01-01T00:00:00Z"));
    assert_eq!(
        published_at(1_709_210_096).as_deref(),
        Some("2024-02-29T12:34:56Z")
    );
    assert_eq!(published_at(253_402_300_800), None);
    assert_eq!(published_at(i64::MAX), None);
    assert_eq!(published_at(-62_200_000_000), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// What the types let through and our rules have no words against, imgmanifest takes.
    #[test]
    fn what_we_take_they_take(
        texts in prop::collection::vec(
            ("[a-zA-Z0-9._/ +:&-]{0,20}", "[a-zA-Z0-9._/ +-]{0,12}", "(http|https|ftp)?:?/{0,2}[a-z.]{0,9}", 0..2000u64, 0..2000u64, 0..6usize, 0..6usize),
            20,
        ),
        year in 2005..2030u32,
        month in 0..15u32,
    ) {
        let mut manifests = Vec::new();
        for (name, version, url, least, most, kind, os) in texts {
            let mut manifest = Manifest::new(UUID, name.clone(), version, ImageType::ALL[kind], Os::ALL[os]);
            manifest.homepage = (!url.is_empty()).then_some(url);
            manifest.description = Some(name);
            manifest.nic_driver = (least % 7 == 0).then(|| "virtio".to_owned());
            manifest.requirements = Some(Requirements {
                min_ram: Some(least),
                max_ram: Some(most),
                min_platform: Some(BTreeMap::from([("7.0".to_owned(), format!("{year}{month:02}07T001427Z"))])),
                ..Requirements::default()
            });
            if manifest.validate().is_empty() {
                manifests.push(serde_json::to_value(&manifest).unwrap());
            }
        }
        for (manifest, said) in manifests.iter().zip(theirs(&manifests)) {
            prop_assert_eq!(said, Value::Null, "{}", manifest);
        }
    }

    #[test]
    fn no_bytes_upset_reading(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(Manifest::parse(&bytes, "m.json".into()));
    }
}
