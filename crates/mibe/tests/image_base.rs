//! Builds on images, full and incremental, with real OpenZFS as the judge of what comes out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Who, World, customize, minimal, names, receive, receive_chain};

/// What the child does to its base.
const CHANGES: &str = "\
echo changed > /etc/hostname-of-child
rm -r /usr/share/doc/bash
chmod 0700 /srv
chown 7:8 /srv
mv /usr/bin/tac /usr/bin/cat-reversed
ln /usr/bin/cat-reversed /usr/local/bin/again
rm /usr/bin/nl && mkdir /usr/bin/nl && touch /usr/bin/nl/inside
printf x >> /var/lib/dpkg/status
truncate -s 100 /usr/bin/uniq
";

fn manifest(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Builds `parent`, then `child` of it in full and as a change; returns the folder of images.
fn family(world: &World) -> PathBuf {
    world.write_repository(
        "parent",
        &[
            minimal("parent", "debian:bookworm"),
            customize("echo parent > /etc/parent\n"),
        ],
    );
    world.write_repository(
        "child",
        &[minimal("child", "parent-1.0.0"), customize(CHANGES)],
    );
    world.mibe(&["build", "parent"]).expect(0);
    world.mibe(&["build", "child", "--incremental"]).expect(0);
    world
        .mibe(&[
            "build",
            "child",
            "--output",
            "full",
            "--base",
            "images/parent-1.0.0.json",
        ])
        .expect(0);
    world.assert_nothing_left();
    world.home().join("images")
}

#[test]
fn changes_are_the_same_from_all_three_sandboxes_and_amount_to_the_full_image() {
    let worlds = [Who::Root, Who::Subuid, Who::Single].map(World::with_base);
    let images = worlds.each_ref().map(family);
    let [parent, child] =
        ["parent-1.0.0", "child-1.0.0"].map(|name| images[0].join(format!("{name}.zfs.gz")));
    let full = worlds[0].home().join("full/child-1.0.0.zfs.gz");

    let (changed, whole) = (receive_chain(&[&parent, &child]), receive(&full));
    assert_eq!(changed.entries, whole.entries);
    assert_eq!(changed.what("/root/srv"), "d 0700 7:8");
    assert!(!changed.has("/root/usr/share/doc/bash") && changed.has("/root/usr/bin/nl/inside"));
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    assert!(
        size(&child) < size(&full) / 50,
        "{} of {}",
        size(&child),
        size(&full)
    );

    let (of_parent, of_child) = (
        manifest(&images[0].join("parent-1.0.0.json")),
        manifest(&images[0].join("child-1.0.0.json")),
    );
    assert_eq!(of_child["origin"], of_parent["uuid"]);
    assert_eq!(
        manifest(&full.with_file_name("child-1.0.0.json")).get("origin"),
        None
    );
    for other in &images[1..] {
        for name in names(&images[0]) {
            let same =
                fs::read(other.join(&name)).unwrap() == fs::read(images[0].join(&name)).unwrap();
            assert!(same, "{name} differs in {}", other.display());
        }
    }

    // A change to the change, named by UUID; and what is flattened of it.
    let world = &worlds[0];
    world.write_repository(
        "grandchild",
        &[
            minimal("grandchild", of_child["uuid"].as_str().unwrap()),
            customize("echo grandchild > /etc/grandchild\n"),
        ],
    );
    world
        .mibe(&["build", "grandchild", "--incremental"])
        .expect(0);
    let grandchild = images[0].join("grandchild-1.0.0.zfs.gz");
    let received = receive_chain(&[&parent, &child, &grandchild]);
    assert_eq!(received.what("/root/etc/grandchild"), "f 0644 0:0");
    assert!(received.has("/root/etc/parent"));
    world
        .mibe(&["image", "verify", "grandchild@1.0.0"])
        .expect(0);
    world
        .mibe(&["image", "flatten", "grandchild@1.0.0"])
        .expect(0);
    let flat = images[0].join("grandchild-1.0.0-full.zfs.gz");
    assert_eq!(receive(&flat).entries, received.entries);

    // Taken out of the library, the base must be named; then it must be found.
    fs::rename(&parent, world.home().join("away.zfs.gz")).unwrap();
    fs::remove_file(images[0].join("parent-1.0.0.json")).unwrap();
    let ran = world
        .mibe(&["build", "grandchild", "--incremental", "--force"])
        .expect(1);
    ran.says(of_parent["uuid"].as_str().unwrap());
    world
        .mibe(&[
            "build",
            "grandchild",
            "--incremental",
            "--force",
            "--origin",
            "away.zfs.gz",
        ])
        .expect(0);
}

/// An image as a base, and a manifest for it that says something else.
fn based_on(world: &World, edit: impl FnOnce(&mut Value)) -> PathBuf {
    world.write_repository(
        "parent",
        &[minimal("parent", "debian:bookworm"), customize(":\n")],
    );
    world.mibe(&["build", "parent"]).expect(0);
    let path = world.home().join("images/parent-1.0.0.json");
    let mut base = manifest(&path);
    edit(&mut base);
    fs::write(&path, base.to_string()).unwrap();
    path
}

#[test]
fn fields_of_the_base_hold_unless_the_repository_says_otherwise() {
    let world = World::with_base(Who::Root);
    based_on(&world, |base| {
        base["requirements"]["min_ram"] = json!(777);
        base["requirements"]["max_ram"] = json!(9999);
        base["requirements"]["min_platform"] = json!({"7.0": "20300101T000000Z"});
        base["users"] = json!([{"name": "admin"}]);
        base["billing_tags"] = json!(["costly"]);
        base["traits"] = json!({"ssd": true});
        base["generate_passwords"] = json!(true);
        base["tags"]["kernel_version"] = json!("9.9.9");
        base["description"] = json!("of the base alone");
    });
    let (name, mode, text) = minimal("child", "parent-1.0.0");
    let text = format!("{text}minram=\"555\"\n");
    world.write_repository("child", &[(name, mode, text.as_str()), customize(":\n")]);
    world.mibe(&["build", "child"]).expect(0);
    let child = manifest(&world.home().join("images/child-1.0.0.json"));
    assert_eq!(child["requirements"]["min_ram"], 555);
    assert_eq!(child["requirements"]["max_ram"], 9999);
    assert_eq!(
        child["requirements"]["min_platform"],
        json!({"7.0": "20300101T000000Z"})
    );
    assert_eq!(child["requirements"]["brand"], "lx");
    assert_eq!(child["users"], json!([{"name": "admin"}]));
    assert_eq!(child["billing_tags"], json!(["costly"]));
    assert_eq!(child["traits"], json!({"ssd": true}));
    assert_eq!(child["generate_passwords"], true);
    assert_eq!(child["tags"]["kernel_version"], "9.9.9");
    assert_eq!(child["description"], "A test");
}

#[test]
fn native_images_take_what_needs_none_of_their_programs() {
    let world = World::with_base(Who::Single);
    based_on(&world, |base| {
        base["type"] = json!("zone-dataset");
        base["os"] = json!("smartos");
        base["requirements"]
            .as_object_mut()
            .unwrap()
            .remove("brand");
    });
    world.write_repository(
        "child",
        &[
            minimal("child", "parent-1.0.0"),
            customize("touch /ran\n"),
            ("packages", 0o644, "nginx\n"),
            ("copy/etc/laid", 0o644, "laid\n"),
            ("motd", 0o644, "%name%\n"),
        ],
    );
    let before = names(&world.home().join("images"));
    let ran = world.mibe(&["build", "child"]).expect(2);
    ran.says("packages and customize")
        .says("--builder smartos")
        .says("--skip customize,packages");
    assert_eq!(names(&world.home().join("images")), before);
    world
        .mibe(&["build", "child", "--skip", "customize"])
        .expect(2)
        .says("--skip packages");
    world.assert_nothing_left();

    for arguments in [&["--incremental"][..], &["--force"]] {
        let mut all = vec!["build", "child", "--skip", "customize,packages"];
        all.extend(arguments);
        world.mibe(&all).expect(0);
        let child = manifest(&world.home().join("images/child-1.0.0.json"));
        assert_eq!(
            (&child["type"], &child["os"]),
            (&json!("zone-dataset"), &json!("smartos"))
        );
        assert_eq!(child["requirements"].get("brand"), None);
        let images = world.home().join("images");
        let (parent, file) = (
            images.join("parent-1.0.0.zfs.gz"),
            images.join("child-1.0.0.zfs.gz"),
        );
        let received = match child.get("origin") {
            Some(_) => receive_chain(&[&parent, &file]),
            None => receive(&file),
        };
        assert_eq!(received.what("/root/etc/laid"), "f 0644 0:0");
        assert!(received.has("/root/etc/product") && !received.has("/root/ran"));
    }
}

#[test]
fn bases_that_make_no_sense_are_explained() {
    let world = World::new(Who::Root);
    world.write_repository(
        "repo",
        &[minimal("repo", "debian:bookworm"), customize(":\n")],
    );
    world
        .mibe(&["build", "repo", "--incremental"])
        .expect(2)
        .says("is no image");
    world
        .mibe(&["build", "repo", "--base", "absent-1.0"])
        .expect(1)
        .says("absent-1.0")
        .says("mibe image list");
    fs::write(world.home().join("garbage.zfs"), b"garbage").unwrap();
    world
        .mibe(&["build", "repo", "--base", "garbage.zfs"])
        .expect(1)
        .says("garbage.zfs");
    let volume = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../zfs-stream/tests/samples/z8-full.zfs.xz"
    );
    // A repository that says nothing of its kind makes what its base is, and there is nothing on this disk.
    world
        .mibe(&["build", "repo", "--base", volume])
        .expect(1)
        .says("no partition table");
    world.write_repository(
        "zone",
        &[
            ("manifest", 0o644, "name=zone\nversion=1\nos=linux\n"),
            ("customize", 0o755, "#!/bin/sh\n"),
        ],
    );
    world
        .mibe(&["build", "zone", "--base", volume])
        .expect(2)
        .says("disk of a virtual machine");
    // A file system, but not that of a zone.
    let sample = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../zfs-stream/tests/samples/v5-full.zfs.xz"
    );
    world
        .mibe(&["build", "repo", "--base", sample])
        .expect(1)
        .says("no directory /root in the image");
    world.assert_nothing_left();
}
