//! Disks that can't be made images, and wrong use.

use std::fs;

use crate::shape::{MIB, Shape, failed, sha256, world};
use crate::support::Who;

#[test]
fn guests_that_cannot_be_changed() {
    let import = |shape: &Shape, more: &[&str]| {
        let (world, _) = world(Who::Root, shape);
        let mut all = vec![
            "disk",
            "import",
            "disk.raw",
            "--name",
            "x",
            "--version",
            "1",
        ];
        all.extend(more);
        let ran = world.mibe(&all);
        world.assert_nothing_left();
        assert_eq!(
            world.home().join("images/x-1.json").exists(),
            ran.status == Some(0)
        );
        ran
    };
    let xfs = Shape {
        filesystem: "xfs",
        ..Shape::vendor()
    };
    failed(
        &import(&xfs, &[]),
        1,
        &["xfs", "--datasource nocloud", "--datasource keep"],
    );
    assert_eq!(import(&xfs, &["--datasource", "keep"]).status, Some(0));
    assert_eq!(import(&xfs, &["--datasource", "nocloud"]).status, Some(0));
    let bare = Shape::vendor().without("usr/").without("etc/cloud");
    failed(
        &import(&bare, &[]),
        1,
        &["no cloud-init", "--datasource keep"],
    );
    assert_eq!(import(&bare, &["--datasource", "keep"]).status, Some(0));
    let tied = Shape::vendor().with(
        "boot/grub/grub.cfg",
        "linux /vmlinuz root=x cloud-init=disabled\n",
    );
    failed(
        &import(&tied, &[]),
        1,
        &["kernel's command line", "update-grub"],
    );
    let none = Shape {
        filesystem: "",
        bios: true,
        uefi: true,
        files: vec![],
        more: |_| {},
    };
    failed(&import(&none, &[]), 0, &[]);
}

/// Arguments, and a name and version after them.
fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [more, &["--name", "x", "--version", "1"]].concat()
}

#[test]
fn wrong_use() {
    let (world, disk) = world(Who::Root, &Shape::vendor());
    let import = |more: &[&str]| {
        let mut all = vec!["disk", "import"];
        all.extend(more);
        world.mibe(&all)
    };
    failed(&import(&with(&["absent.raw"])), 1, &["absent.raw"]);
    failed(
        &import(&["disk.raw", "--name", "a b:c", "--version", "1"]),
        2,
        &["name"],
    );
    failed(
        &import(&with(&["disk.raw", "--sha256", "12"])),
        2,
        &["64 hexadecimal digits"],
    );
    failed(
        &import(&with(&["disk.raw", "--volblocksize", "1000"])),
        2,
        &["power of two"],
    );
    let wrong = "0".repeat(64);
    let ran = import(&with(&["disk.raw", "--sha256", &wrong]));
    failed(&ran, 1, &["is not what it should be"]);
    let right = sha256(&disk);
    let ran = import(&with(&["disk.raw", "--sha256", &right]));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    failed(&import(&with(&["disk.raw"])), 1, &["exists already"]);
    // The words that e2fsprogs would misread are of the user's file alone, not of the copy.
    fs::copy(&disk, world.home().join("what?.raw")).unwrap();
    let ran = import(&["what?.raw", "--name", "what", "--version", "1"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let cut = world.home().join("cut.raw");
    fs::write(&cut, &fs::read(&disk).unwrap()[..20 * MIB as usize]).unwrap();
    failed(
        &import(&["cut.raw", "--name", "cut", "--version", "1"]),
        1,
        &["cut.raw"],
    );
    fs::write(world.home().join("text"), "no disk at all\n".repeat(100)).unwrap();
    failed(
        &import(&["text", "--name", "text", "--version", "1"]),
        1,
        &["no partition table"],
    );
    world.assert_nothing_left();
}
