//! `mibe check` and `mibe convert` as their users call them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

mod support;

use std::fs;

use serde_json::Value;
use support::{Ran, Who, World, customize, minimal};

const JSON: &str = r#"{
  "name": "mail",
  "version": "20.1.0",
  "base": "208f9314-29cf-4bec-9d8b-c0697d00c929",
  "customer_metadata": {
    "mail_smarthost": {"type": "text", "description": "hostname of the server", "required": true},
    "ssh_host_rsa_key.pub": {"type": "text"},
    "tls_only": {"type": "boolean"}
  },
  "internal_metadata": {
    "mysql_pw": {"description": "password of the database", "secret": true}
  }
}
"#;

fn script() -> (&'static str, u32, &'static str) {
    customize("exit 0\n")
}

fn objects(ran: &Ran) -> Vec<Value> {
    ran.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn metadata_is_shown_and_told_as_json() {
    let world = World::new(Who::Root);
    world.write_repository("mi-mail", &[("manifest.json", 0o644, JSON), script()]);
    let ran = world.mibe(&["check", "mi-mail"]).expect(0);
    for line in [
        "mi-mail: nothing found",
        "mail 20.1.0, from 208f9314-29cf-4bec-9d8b-c0697d00c929; 0 packages, 0 files in copy/",
        "mail_smarthost        text     required; hostname of the server",
        "tls_only              boolean",
        "mysql_pw  text     secret; password of the database",
    ] {
        assert!(ran.stdout.contains(line), "no {line:?} in\n{}", ran.stdout);
    }
    let objects = objects(&world.mibe(&["check", "mi-mail", "--json"]).expect(0));
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["repository"], "mi-mail");
    assert_eq!(
        objects[0]["recipe"]["customer_metadata"][2]["type"],
        "boolean"
    );
    assert_eq!(objects[0]["recipe"]["internal_metadata"][0]["secret"], true);
}

/// The plan of a build names them too.
#[cfg(feature = "local")]
#[test]
fn metadata_is_in_the_plan() {
    let world = World::new(Who::Root);
    world.write_repository("mi-mail", &[("manifest.json", 0o644, JSON), script()]);
    let ran = world
        .mibe(&["build", "mi-mail", "--dry-run", "--base", "debian:bookworm"])
        .expect(0);
    assert!(
        ran.stdout
            .contains("mail_smarthost ssh_host_rsa_key.pub tls_only mysql_pw"),
        "{}",
        ran.stdout
    );
}

#[test]
fn the_exit_status_tells_and_each_finding_has_its_reason() {
    let world = World::new(Who::Root);
    world.write_repository("good", &[minimal("good", "debian:bookworm"), script()]);
    world.write_repository(
        "odd",
        &[
            minimal("odd", "debian:bookworm"),
            script(),
            ("packages", 0o644, "curl\ncurl\n"),
        ],
    );
    world.write_repository(
        "bad",
        &[
            ("manifest", 0o644, "name=\"x\n"),
            script(),
            ("packages", 0o644, "-y\n"),
        ],
    );
    world.write_repository(
        "broken",
        &[("manifest.json", 0o644, "{\"name\": \"x\",}\n"), script()],
    );
    world.mibe(&["check", "good", "--strict"]).expect(0);
    world.mibe(&["check", "odd"]).expect(0);
    world
        .mibe(&["check", "odd", "--strict"])
        .expect(1)
        .says("mend first: odd");
    let ran = world
        .mibe(&["check", "good", "odd", "bad", "broken"])
        .expect(1);
    ran.says("mend first: bad, broken");
    assert!(
        ran.stdout
            .contains("4 repositories: 2 with errors, 1 with warnings"),
        "{}",
        ran.stdout
    );
    for text in [
        "manifest:1:6",
        "name=\"x",
        "packages:1:1",
        "manifest.json:1:13",
        "why: ",
        "unclosed-quote",
    ] {
        assert!(ran.stdout.contains(text), "no {text:?} in\n{}", ran.stdout);
    }
    let objects = objects(&world.mibe(&["check", "--json", "bad", "good"]).expect(1));
    let finding = &objects[0]["findings"][0];
    assert_eq!(finding["code"], "unclosed-quote");
    assert_eq!(
        (&finding["line"], &finding["column"]),
        (&1.into(), &6.into())
    );
    assert!(finding["why"].as_str().is_some_and(|why| !why.is_empty()));
    assert!(
        finding["mend"]
            .as_str()
            .is_some_and(|mend| !mend.is_empty())
    );
    assert_eq!(objects[1]["findings"], Value::Array(Vec::new()));
}

#[test]
fn findings_are_explained() {
    let world = World::new(Who::Root);
    let ran = world.mibe(&["check", "--explain", "drift"]).expect(0);
    assert!(
        ran.stdout.starts_with("drift (warning)\n"),
        "{}",
        ran.stdout
    );
    world
        .mibe(&["check", "--explain", "drifft"])
        .expect(2)
        .says("did you mean `drift`?");
    let all = world.mibe(&["check", "--explain", "all"]).expect(0).stdout;
    assert!(all.contains("## unclosed-quote") && all.contains("## world-writable"));
}

#[test]
fn secrets_are_found_and_not_shown() {
    let world = World::new(Who::Root);
    let password = "s3cretPassw0rd";
    let file = format!("db_password = \"{password}\"\n");
    world.write_repository(
        "leaky",
        &[
            minimal("leaky", "debian:bookworm"),
            script(),
            ("copy/etc/app.conf", 0o644, &file),
        ],
    );
    let ran = world.mibe(&["check", "leaky"]).expect(0);
    assert!(
        ran.stdout
            .contains("copy/etc/app.conf:1:16: there is a password here"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains(password));
    let ran = world.mibe(&["check", "leaky", "--json"]).expect(0);
    assert!(!ran.stdout.contains(password));
}

#[test]
fn manifests_are_converted_and_replaced_only_when_told() {
    let world = World::new(Who::Root);
    let folder = world.write_repository("mi-mail", &[("manifest.json", 0o644, JSON), script()]);
    let recipe = |world: &World| {
        objects(&world.mibe(&["check", "mi-mail", "--json"]).expect(0))[0]["recipe"].clone()
    };
    let before = recipe(&world);
    let shown = world
        .mibe(&["convert", "mi-mail", "--stdout"])
        .expect(0)
        .stdout;
    assert!(!folder.join("manifest").exists());
    world.mibe(&["convert", "mi-mail"]).expect(0);
    assert_eq!(fs::read_to_string(folder.join("manifest")).unwrap(), shown);
    // Both say the same.
    let found = world
        .mibe(&["check", "mi-mail", "--strict"])
        .expect(0)
        .stdout;
    assert!(found.contains("nothing found"), "{found}");
    world
        .mibe(&["convert", "mi-mail"])
        .expect(2)
        .says("--to json or --to shell");
    world
        .mibe(&["convert", "mi-mail", "--to", "json"])
        .expect(2)
        .says("manifest.json is there already");
    fs::remove_file(folder.join("manifest.json")).unwrap();
    assert_eq!(recipe(&world), before);
    world.mibe(&["convert", "mi-mail"]).expect(0);
    fs::remove_file(folder.join("manifest")).unwrap();
    assert_eq!(recipe(&world), before);
    // A change in one of the two is a finding with both values.
    world.mibe(&["convert", "mi-mail"]).expect(0);
    let text = fs::read_to_string(folder.join("manifest"))
        .unwrap()
        .replace("20.1.0", "20.1.1");
    fs::write(folder.join("manifest"), text).unwrap();
    let ran = world.mibe(&["check", "mi-mail", "--strict"]).expect(1);
    assert!(
        ran.stdout
            .contains("`version` is \"20.1.1\" here and \"20.1.0\" in manifest.json"),
        "{}",
        ran.stdout
    );
    world
        .mibe(&["convert", "mi-mail", "--to", "shell", "--force"])
        .expect(0);
    world.mibe(&["check", "mi-mail", "--strict"]).expect(0);
    fs::write(folder.join("manifest.json"), "{\"name\": }").unwrap();
    world
        .mibe(&["convert", "mi-mail", "--to", "shell", "--force"])
        .expect(1)
        .says("manifest.json:1:10");
}

/// What only the replaced manifest says stays; what is no manifest is not made one.
#[test]
fn a_manifest_that_is_replaced_loses_nothing() {
    let world = World::new(Who::Root);
    let folder = world.write_repository(
        "both",
        &[
            ("manifest.json", 0o644, JSON),
            (
                "manifest",
                0o644,
                "# why\nname=\"mail\"\nversion=\"20.1.0\"\nusers=\"root admin\"\nrole=\"it's\"\n",
            ),
            script(),
        ],
    );
    let recipe = |world: &World| {
        objects(&world.mibe(&["check", "both", "--json"]).expect(0))[0]["recipe"].clone()
    };
    let before = recipe(&world);
    assert_eq!(before["users"], serde_json::json!(["root", "admin"]));
    let ran = world.mibe(&["check", "both"]).expect(0);
    assert!(
        ran.stdout
            .contains("`users` is \"root admin\" here, and manifest.json does not say it"),
        "{}",
        ran.stdout
    );
    world
        .mibe(&["convert", "both", "--to", "shell", "--force"])
        .expect(0)
        .says("role, users stay");
    assert_eq!(recipe(&world), before);
    world
        .mibe(&["convert", "both", "--to", "json", "--force"])
        .expect(0);
    assert_eq!(recipe(&world), before);
    fs::remove_file(folder.join("manifest")).unwrap();
    assert_eq!(recipe(&world), before);
    fs::write(folder.join("manifest.json"), JSON).unwrap();
    fs::write(folder.join("manifest"), "name=\"mail-20.1.0\"\n").unwrap();
    world
        .mibe(&["convert", "both", "--to", "json", "--force"])
        .expect(0)
        .says("customer_metadata");
    assert_eq!(
        recipe(&world)["customer_metadata"],
        before["customer_metadata"]
    );

    let folder = world.write_repository(
        "vm",
        &[(
            "manifest.json",
            0o644,
            "{\"image_uuid\": \"x\", \"nics\": []}\n",
        )],
    );
    world
        .mibe(&["convert", "vm"])
        .expect(1)
        .says("is a payload of `vmadm create`");
    assert!(!folder.join("manifest").exists());
}

#[test]
fn a_name_that_fits_nothing_does_not_stop_the_others() {
    let world = World::new(Who::Root);
    world.write_repository("good", &[minimal("good", "debian:bookworm"), script()]);
    let ran = world
        .mibe(&["check", "nosuch", "good", "good/manifest", "--json"])
        .expect(1);
    let objects = objects(&ran);
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[0]["findings"][0]["code"], "no-repository");
    assert_eq!(objects[1]["findings"], Value::Array(Vec::new()));
    assert_eq!(
        objects[2]["findings"][0]["mend"],
        "give the folder that it is in: good"
    );
}
