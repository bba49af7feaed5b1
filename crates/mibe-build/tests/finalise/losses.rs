//! Nothing that a repository may have laid in is lost without a word.

use crate::distributions::{alpine_tree, debian_tree};
use crate::world::{Case, Tree, World, assert_silent, message};

pub const CASES: &[Case] = &[
    (
        "files of a repository that are replaced are noted",
        replaced_files,
    ),
    ("what is empty or as it will be is not noted", nothing_lost),
    ("linked directories of Debian are named", linked_directories),
    ("a linked /etc of Debian is an error", linked_etc),
    ("a mount point that leads nowhere", dangling_mount_point),
    ("a unit of the image's own is not masked", own_unit),
];

fn replaced_files() {
    let world = World::new(
        &debian_tree()
            .file("etc/fstab", "nfs:/a /a nfs defaults 0 0\n")
            .file("etc/hostname", "build-host\n")
            .file("etc/network/interfaces", "auto eth0\n")
            .link("etc/resolv.conf", "../run/resolvconf/resolv.conf"),
    );
    let notes = world.finalise().notes;
    assert!(message(&notes, "/etc/fstab").contains("held 27 bytes"));
    message(&notes, "/etc/hostname");
    message(&notes, "/etc/network/interfaces");
    assert!(message(&notes, "/etc/resolv.conf").contains("../run/resolvconf/resolv.conf"));
    let tree = world.list();
    assert_eq!(tree.what("etc/resolv.conf"), "f 0644 0:0");
    assert_eq!(tree.text("etc/hostname"), "");

    let world = World::new(&alpine_tree());
    assert!(message(&world.finalise().notes, "/etc/resolv.conf").contains("held 21 bytes"));
}

fn nothing_lost() {
    let world = World::new(
        &debian_tree()
            .file(
                "etc/fstab",
                "none / zfs defaults 1 1\nproc /proc proc defaults 0 0\n",
            )
            .file("etc/hostname", "")
            .file("etc/resolv.conf", ""),
    );
    assert_silent(&world.finalise().notes, "replaced");
}

fn linked_directories() {
    let world = World::new(
        &Tree::default()
            .link("etc/init.d", "rc.d/init.d")
            .mode_file("etc/rc.d/init.d/mine", 0o755, "#!/bin/sh\n")
            .file("etc/network", "not a directory\n")
            .file("etc/debian_version", "12.7\n")
            .mode_file("sbin/init", 0o755, ""),
    );
    let report = world.finalise();
    let warning = message(&report.warnings, "/etc/init.d");
    assert!(warning.contains("rc.d/init.d"), "{warning}");
    message(&report.warnings, "/etc/network ");
    let tree = world.list();
    assert_eq!(tree.what("etc/init.d"), "d 0755 0:0");
    assert_eq!(tree.what("etc/init.d/mibe-guest"), "f 0755 0:0");
    assert_eq!(tree.what("etc/rc.d/init.d/mine"), "f 0755 0:0");
    assert_eq!(tree.text("etc/network/interfaces"), "");
}

fn linked_etc() {
    let world = World::new(
        &Tree::default()
            .file("usr/etc/debian_version", "12.7\n")
            .link("etc", "usr/etc"),
    );
    let error = world.try_finalise().unwrap_err();
    assert!(error.contains("/etc is a link to usr/etc"), "{error}");
    assert_eq!(world.list().text("usr/etc/debian_version"), "12.7\n");
}

fn dangling_mount_point() {
    let world = World::new(&alpine_tree().link("mnt", "/media/disk"));
    let report = world.finalise();
    assert!(message(&report.warnings, "/mnt").contains("/media/disk"));
    assert_eq!(world.list().what("mnt"), "d 0755 0:0");
}

fn own_unit() {
    let world = World::new(
        &debian_tree()
            .mode_file("usr/lib/systemd/systemd", 0o755, "")
            .file("etc/systemd/system/fstrim.service", "[Service]\n")
            .link("etc/systemd/system/fstrim.timer", "/opt/fstrim.timer"),
    );
    let report = world.finalise();
    message(&report.warnings, "/etc/systemd/system/fstrim.service stays");
    message(&report.notes, "/opt/fstrim.timer");
    let tree = world.list();
    assert_eq!(tree.what("etc/systemd/system/fstrim.service"), "f 0644 0:0");
    assert_eq!(
        tree.what("etc/systemd/system/fstrim.timer"),
        "l -> /dev/null"
    );
}
