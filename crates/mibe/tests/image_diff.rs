//! `mibe image diff`: what it tells of two images.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

#[path = "support/images.rs"]
mod images;
mod support;

use std::fs;
use std::process::Command;

use images::{NEW_STATUS, STATUS, WANTS, make, old_tree, pair};
use serde_json::{Value, json};
use support::{Who, World, succeed};

#[test]
fn differences_are_told() {
    let world = World::new(Who::Root);
    pair(&world);
    let ran = world.mibe(&["image", "diff", "web@1", "web@2"]).expect(0);
    let expected = format!(
        "files: 2 added (10 B), 2 removed (5 B), 6 changed\n\
         \x20 + /root/etc/added\n\
         \x20 + /{WANTS}/nginx.service\n\
         \x20 - /root/etc/removed\n\
         \x20 - /{WANTS}/ssh.service\n\
         \x20 ~ /root/etc/group  content 10 B -> 13 B\n\
         \x20 ~ /root/etc/link  target motd -> passwd\n\
         \x20 ~ /root/etc/motd  content 6 B -> 7 B\n\
         \x20 ~ /root/etc/passwd  content 32 B -> 62 B\n\
         \x20 ~ /root/etc/same  mode 0644 -> 4755\n\
         \x20 ~ /root/var/lib/dpkg/status  content {} B -> {} B\n\
         packages: 1 added, 1 removed, 1 changed\n\
         \x20 + dpkg:nginx 1.22 (1.5 MiB)\n\
         \x20 - dpkg:nano 7.2 (2.7 MiB)\n\
         \x20 ~ dpkg:bash 5.2-1 -> 5.2-2 (+168.0 KiB)\n\
         users: 1 added, 0 removed, 0 changed\n\
         \x20 + www 33:33 /var/www /bin/sh\n\
         groups: 0 added, 0 removed, 1 changed\n\
         \x20 ~ root 0 -> 0 www\n\
         services: 1 added, 1 removed, 0 changed\n\
         \x20 + systemd:nginx.service multi-user.target.wants\n\
         \x20 - systemd:ssh.service multi-user.target.wants\n",
        STATUS.len(),
        NEW_STATUS.len(),
    );
    assert_eq!(ran.stdout, expected);
    let ran = world
        .mibe(&["image", "diff", "web@1", "web@2", "--json"])
        .expect(0);
    let object: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(object["added"][0]["path"], "/root/etc/added");
    assert_eq!(object["added"][0]["size"], 10);
    let same = &object["changed"][4];
    assert_eq!(same["path"], "/root/etc/same");
    assert_eq!(same["what"], json!(["mode"]));
    assert_eq!(
        (&same["from"]["mode"], &same["to"]["mode"]),
        (&json!("0644"), &json!("4755"))
    );
    assert_eq!(
        object["packages"]["added"]["dpkg:nginx"],
        json!({"version": "1.22", "size": 1_536_000})
    );
    assert_eq!(
        object["packages"]["changed"]["dpkg:bash"]["from"]["version"],
        "5.2-1"
    );
    assert_eq!(object["warnings"], json!([]));
}

#[test]
fn what_does_not_differ_is_told_so() {
    let world = World::new(Who::Root);
    let images = world.home().join("images");
    let (one, two) = (old_tree(), old_tree());
    make(&images, 1, "1", one.path());
    let later = "root/etc/motd";
    succeed(
        Command::new("touch")
            .args(["-d", "@1800000000"])
            .arg(two.path().join(later)),
    );
    make(&images, 2, "2", two.path());
    let diff = |more: &[&str]| {
        let arguments = [&["image", "diff", "web@1", "web@2"], more].concat();
        world.mibe(&arguments).expect(0).stdout
    };
    assert_eq!(diff(&[]), "the images do not differ\n");
    assert_eq!(
        diff(&["--times"]),
        "files: 0 added (0 B), 0 removed (0 B), 1 changed\n\
         \x20 ~ /root/etc/motd  time 1700000000.250000000 -> 1800000000.000000000\n"
    );
}

/// Files beside a zone's root are not the zone's, and holes are not worth their size in memory.
#[test]
fn an_inventory_is_of_the_zone_and_bounded() {
    let world = World::new(Who::Root);
    let images = world.home().join("images");
    let (one, two) = (old_tree(), old_tree());
    fs::create_dir_all(two.path().join("etc")).unwrap();
    fs::write(
        two.path().join("etc/passwd"),
        "nobody:x:1:1::/:/bin/false\n",
    )
    .unwrap();
    let parts = two.path().join("root/var/lib/dpkg/status.d");
    fs::create_dir(&parts).unwrap();
    for number in 0..700 {
        let file = fs::File::create(parts.join(format!("part{number:03}"))).unwrap();
        file.set_len(1 << 20).unwrap();
    }
    make(&images, 1, "1", one.path());
    make(&images, 2, "2", two.path());
    let ran = world.mibe(&["image", "diff", "web@1", "web@2"]).expect(0);
    assert!(!ran.stdout.contains("users:"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains(
            "\nnote: /var/lib/dpkg/status.d/part511 and what comes after it: the databases of packages have more than 512 MiB together\n"
        ),
        "{}",
        ran.stdout
    );
}
