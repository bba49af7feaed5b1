//! What is refused, and when.

use std::fs;

use serde_json::Value;

use crate::host::{ELSEWHERE, FakeHost, LX, NATIVE, script};
use crate::support::{Who, World, customize, minimal, succeed};
use crate::{BUILD, content, log, tree, with};

#[test]
fn an_image_in_the_way_and_an_unknown_repository_touch_nothing_of_the_host() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository(
        "mi-x",
        &[minimal("mi-x", NATIVE), customize("sm-prepare-image\n")],
    );
    host.mibe(&world, BUILD).expect(0);
    let image = fs::read(world.home().join("images/mi-x-1.0.0.json")).unwrap();
    let before = host.everything();
    host.calls();
    host.mibe(&world, BUILD).expect(1).says("--force");
    host.mibe(&world, &["build", "mi-none", "--builder", "smartos"])
        .expect(2);
    for call in host.calls() {
        let reads = [
            "sysinfo",
            "zpool list",
            "zfs get",
            "nictagadm list",
            "imgadm get",
        ];
        assert!(reads.iter().any(|read| call.starts_with(read)), "{call}");
    }
    assert_eq!(host.everything(), before);
    assert_eq!(
        fs::read(world.home().join("images/mi-x-1.0.0.json")).unwrap(),
        image
    );
}

#[test]
fn a_spec_of_a_running_machine_serves_and_a_wrong_one_is_refused() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("false\n")]);
    // What vmadm says of a machine, its own metadata among it.
    host.mibe(
        &world,
        &with(&[
            "--keep-on-failure",
            "--set",
            "customer_metadata={\"secret\":\"s3cr3t\"}",
        ]),
    )
    .expect(1);
    let uuid = host.state()["vms"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let spec = succeed(std::process::Command::new(host.bin().join("vmadm")).args(["get", &uuid]));
    fs::write(world.home().join("vm.json"), spec).unwrap();
    world.write_repository(
        "mi-x",
        &[customize("cat /etc/hosts > /var/hosts\nsm-prepare-image\n")],
    );
    host.mibe(
        &world,
        &with(&["--vm-spec", "vm.json", "--set", "hostname=other"]),
    )
    .expect(0);
    assert!(content(&world, "mi-x", "/root/var/hosts").contains("other"));
    assert!(!content(&world, "mi-x", "/root/etc/hosts").contains("other"));
    let log = log(&world);
    assert!(log.contains("zonepath of the spec is left out"), "{log}");
    assert!(!log.contains("s3cr3t"), "{log}");
    assert!(!tree(&world, "mi-x").has("/config/metadata.json"));

    host.calls();
    for (set, says) in [
        ("quotta=3", "did you mean quota?"),
        (
            "nics.0.nic_tag=nowhere",
            "the host has no nic tag \"nowhere\" (nics.0): it has admin, external, stub0",
        ),
        ("quota=lots", "quota must be a whole number"),
        ("brand=bhyve", "brand joyent, joyent-minimal or lx"),
    ] {
        host.mibe(&world, &with(&["--force", "--set", set]))
            .expect(2)
            .says(says);
    }
    host.mibe(&world, &with(&["--set", "quota"]))
        .expect(2)
        .says("KEY=VALUE");
    host.mibe(&world, &with(&["--vm-spec", "none.json"]))
        .expect(2)
        .says("none.json");
    assert!(
        !host
            .calls()
            .iter()
            .any(|call| call.starts_with("vmadm create"))
    );
}

#[test]
fn vmadms_own_refusal_comes_before_the_machine() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    // One that knows less than ours.
    let real = host.path("real-vmadm");
    fs::rename(host.bin().join("vmadm"), &real).unwrap();
    script(
        &host.bin().join("vmadm"),
        "#!/bin/sh\n[ \"$1\" = validate ] || exit 9\necho '{\"bad_values\": [\"nics.0.ips\"], \"bad_properties\": []}' >&2\nexit 1\n",
    );
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("exit 0\n")]);
    host.mibe(&world, BUILD)
        .expect(2)
        .says("vmadm says bad_values [\"nics.0.ips\"]");
    world.assert_nothing_left();
}

#[test]
fn a_plan_says_all_and_touches_nothing() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository("mi-x", &[minimal("mi-x", ELSEWHERE), customize("exit 0\n")]);
    let before = host.everything();
    let ran = host.mibe(&world, &with(&["--dry-run"])).expect(0);
    for text in [
        "base-far 24.4.1",
        "to be imported by the host",
        "native (type zone-dataset",
        "\"nic_tag\": \"admin\"",
        "finalise",
    ] {
        assert!(ran.stdout.contains(text), "{text} in {}", ran.stdout);
    }
    let json = host
        .mibe(&world, &with(&["--dry-run", "--progress", "json"]))
        .expect(0);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["spec"]["image_uuid"], ELSEWHERE);
    assert_eq!(host.everything(), before);
}

#[test]
fn bases_that_no_zone_is_made_from_are_refused() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("exit 0\n")]);
    for (base, status, says) in [
        ("debian:bookworm", 2, "is none of this machine"),
        ("base-fake-24.4.2", 1, "did you mean base-fake-24.4.1"),
        ("11111111-2222-4333-8444-00000000ffff", 1, "has no image"),
    ] {
        host.mibe(&world, &with(&["--base", base]))
            .expect(status)
            .says(says);
    }
    world.write_repository(
        "mi-x",
        &[(
            "manifest",
            0o644,
            "name=\"mi-x\"\nversion=\"1\"\nos=\"linux\"\n",
        )],
    );
    host.mibe(&world, &with(&["--base", NATIVE]))
        .expect(2)
        .says("builds an LX image, and its base base-fake 24.4.1 is a native (illumos) one");
}

#[test]
fn a_machine_that_is_no_global_zone_says_so() {
    let world = World::new(Who::Root);
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("exit 0\n")]);
    world
        .mibe(BUILD)
        .expect(3)
        .says("this machine is no SmartOS global zone: it has no sysinfo")
        .says("--host root@HOST");
    world
        .mibe(&["build", "mi-x", "--host", "there"])
        .expect(2)
        .says("--builder smartos");
    world
        .mibe(&with(&["--sandbox", "root"]))
        .expect(2)
        .says("--builder local");
}

#[test]
fn copy_never_changes_the_kind_of_what_is_there() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    for (path, says) in [
        (
            "copy/usr/bin",
            "copy/usr/bin: the image has a directory at /usr/bin, which a file can't replace",
        ),
        (
            "copy/etc/passwd/x",
            "copy/etc/passwd: the image has a file at /etc/passwd, which a directory can't replace",
        ),
    ] {
        let folder = world.write_repository(
            "mi-x",
            &[
                minimal("mi-x", LX),
                (path, 0o644, "x"),
                customize("exit 0\n"),
            ],
        );
        host.mibe(&world, BUILD).expect(1).says(says);
        fs::remove_dir_all(folder).unwrap();
    }
    assert!(host.state()["vms"].as_object().unwrap().is_empty());
}
