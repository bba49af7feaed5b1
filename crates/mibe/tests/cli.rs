//! Wrong use, bad repositories and the small commands: what they print and how they exit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

mod support;

use std::fs;
use std::process::Stdio;

use support::{Who, World, customize, minimal, names};

const BASE: &str = "debian:bookworm";

/// Builds a repository that can't be built; nothing may come of it, not even a folder.
fn refused(files: &[(&str, u32, &str)], status: i32) -> support::Ran {
    let world = World::new(Who::Root);
    world.write_repository("bad", files);
    let ran = world.mibe(&["build", "bad"]).expect(status);
    assert_eq!(names(&world.home()), ["bad"]);
    ran
}

#[test]
fn an_unclosed_quote_is_shown_where_it_is() {
    let manifest = (
        "manifest",
        0o644,
        "name=\"bad\"\nversion=\"1.0.0\nbase=\"debian:bookworm\"\n",
    );
    let ran = refused(&[manifest, customize("exit 0\n")], 1);
    ran.says("manifest:2:").says("version=\"1.0.0");
}

#[test]
fn every_problem_is_shown_at_once() {
    let manifest = (
        "manifest",
        0o644,
        "name=\"bad one!\"\nversion=\"$(date)\"\n",
    );
    let ran = refused(&[manifest, ("packages", 0o644, "-o=evil\n")], 1);
    ran.says("manifest:1:")
        .says("manifest:2:")
        .says("packages:1:")
        .says("customize");
}

#[test]
fn an_unknown_key_is_a_warning_with_advice() {
    let world = World::new(Who::Root);
    let manifest = (
        "manifest",
        0o644,
        "name=\"odd\"\nversion=\"1.0.0\"\nbase=\"debian:bookworm\"\ndescripton=\"x\"\n",
    );
    world.write_repository("odd", &[manifest, customize("exit 0\n")]);
    let ran = world.mibe(&["build", "--dry-run", "odd"]).expect(0);
    ran.says("descripton").says("description");
}

#[test]
fn an_unreadable_entry_of_copy_is_named() {
    let world = World::new(Who::Single);
    let repository = world.write_repository(
        "secret",
        &[
            minimal("secret", BASE),
            customize("exit 0\n"),
            ("copy/etc/key", 0o644, "x"),
        ],
    );
    let key = repository.join("copy/etc/key");
    std::os::unix::fs::chown(&key, Some(0), Some(0)).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let ran = world.mibe(&["build", "secret"]).expect(1);
    ran.says("copy/etc/key").says("ermission");
}

#[test]
fn a_dry_run_prints_the_plan_and_touches_nothing() {
    let world = World::new(Who::Single);
    world.repository("examples/hello-lx");
    let ran = world.mibe(&["build", "--dry-run", "hello-lx"]).expect(0);
    for line in [
        "debian:bookworm",
        "packages: systemd-sysv",
        "customize",
        "capture",
        "images/hello-lx-1.0.0.json",
    ] {
        assert!(ran.stdout.contains(line), "no {line:?} in\n{}", ran.stdout);
    }
    assert_eq!(ran.stderr, "");
    assert_eq!(names(&world.home()), ["hello-lx"]);
    let json = world
        .mibe(&["build", "--dry-run", "--progress", "json", "hello-lx"])
        .expect(0);
    let plan: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(plan["event"], "plan");
    assert_eq!(plan["base"], "debian:bookworm");
}

#[test]
fn what_can_not_be_a_base_says_what_can() {
    let uuid = "a1b2c3d4-1111-4222-8333-444455556666";
    let ran = refused(&[minimal("bad", uuid), customize("exit 0\n")], 1);
    ran.says(uuid).says("--base").says("debian:bookworm");
    let ran = refused(
        &[minimal("bad", "debian:NO SUITE"), customize("exit 0\n")],
        2,
    );
    ran.says("debian:bookworm");
}

#[test]
fn a_native_repository_is_refused_before_anything_is_touched() {
    let manifest = (
        "manifest",
        0o644,
        "name=\"bad\"\nversion=\"1.0.0\"\nos=\"smartos\"\nbase=\"debian:bookworm\"\n",
    );
    refused(&[manifest, customize("exit 0\n")], 2).says("illumos");
}

#[test]
fn what_is_no_build_repository_is_told_so() {
    refused(&[("ks.cfg", 0o644, "x")], 1).says("manifest");
    let world = World::new(Who::Root);
    world.mibe(&["build", "absent"]).expect(2).says("absent");
}

#[test]
fn wrong_arguments_exit_with_2() {
    let world = World::new(Who::Root);
    world.mibe(&["build"]).expect(2);
    world.mibe(&["build", "--sandbox", "magic", "x"]).expect(2);
    world.mibe(&["frobnicate"]).expect(2);
    world.repository("examples/hello-lx");
    world
        .mibe(&["build", "hello-lx", "hello-lx"])
        .expect(2)
        .says("same image");
}

#[test]
fn doctor_tells_each_way_in_and_its_remedy() {
    let ran = World::new(Who::Subuid).mibe(&["doctor"]).expect(0);
    assert!(ran.stdout.contains("sandbox subuid"), "{}", ran.stdout);
    let ran = World::new(Who::Single)
        .mibe(&["doctor", "--json"])
        .expect(0);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let check = |name: &str| {
        report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {report}"))
            .clone()
    };
    assert_eq!(check("sandbox single")["status"], "works");
    assert_eq!(check("sandbox subuid")["status"], "lacks");
    assert!(
        check("sandbox subuid")["remedy"]
            .as_str()
            .unwrap()
            .contains("subuid")
    );
    assert_eq!(check("sandbox root")["status"], "lacks");
    for program in ["debugfs", "e2fsck", "resize2fs", "qemu-img"] {
        assert_eq!(check(program)["status"], "works");
    }
}

#[test]
fn clean_has_nothing_to_do_at_first() {
    let ran = World::new(Who::Single).mibe(&["clean"]).expect(0);
    assert_eq!(ran.stdout, "nothing to clean\n");
}

#[test]
fn completions_and_manual_pages_are_written() {
    let world = World::new(Who::Root);
    for shell in ["bash", "zsh", "fish"] {
        let ran = world.mibe(&["completions", shell]).expect(0);
        assert!(ran.stdout.contains("keep-on-failure"), "{shell}");
    }
    world.mibe(&["man", "pages"]).expect(0);
    let pages = names(&world.home().join("pages"));
    assert!(pages.contains(&"mibe-build.1".to_owned()), "{pages:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = World::new(Who::Root);
    for arguments in [
        &["completions", "bash"][..],
        &["man"],
        &["doctor", "--json"],
        &["clean"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = world
            .command(arguments)
            .stdout(Stdio::from(writer))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
        assert_eq!(error, "", "{arguments:?}");
    }
}
