//! Text databases of package managers, accounts and services, as their systems write them. (dpkg is tested by `mibe image diff`,
//! rpm in `rpm.rs`.)

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mibe_image::inventory::{Entries, Entry, Inventory, InventoryDiff, limit};

fn inventory(files: &[(&str, &str)]) -> Inventory {
    let entries: Entries = files
        .iter()
        .map(|(path, content)| {
            assert!(limit(path.as_bytes()) > 0, "{path} is not wanted");
            let entry = match content.strip_prefix("->") {
                Some(target) => Entry::Symlink(target.as_bytes().to_vec()),
                None => Entry::File(content.as_bytes().to_vec()),
            };
            (path.as_bytes().to_vec(), entry)
        })
        .collect();
    Inventory::read(&entries)
}

fn package(inventory: &Inventory, name: &str) -> (String, Option<u64>) {
    let package = inventory
        .packages
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {:?}", inventory.packages.keys()));
    (package.version.clone(), package.size)
}

#[test]
fn apk() {
    let found = inventory(&[(
        "lib/apk/db/installed",
        "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nS:400000\nI:634880\nT:the musl c library\nF:lib\nR:ld-musl\n\nP:busybox\nV:1.36.1-r29\nI:962560\n",
    )]);
    assert_eq!(
        package(&found, "apk:musl"),
        ("1.2.5-r0".into(), Some(634_880))
    );
    assert_eq!(
        package(&found, "apk:busybox"),
        ("1.36.1-r29".into(), Some(962_560))
    );
    assert_eq!(found.packages.len(), 2);
}

#[test]
fn pkgsrc() {
    let found = inventory(&[
        ("opt/local/pkg/p5-Foo-Bar-1.2nb3/+CONTENTS", "@comment x\n"),
        ("opt/local/pkg/p5-Foo-Bar-1.2nb3/+SIZE_PKG", "12345\n"),
        ("opt/tools/.pkgdb/zlib-1.3.1/+CONTENTS", ""),
    ]);
    assert_eq!(
        package(&found, "pkgsrc:p5-Foo-Bar"),
        ("1.2nb3".into(), Some(12_345))
    );
    assert_eq!(package(&found, "pkgsrc:zlib"), ("1.3.1".into(), None));
}

#[test]
fn pacman() {
    let found = inventory(&[(
        "var/lib/pacman/local/bash-5.2-1/desc",
        "%NAME%\nbash\n\n%VERSION%\n5.2-1\n\n%SIZE%\n9000\n",
    )]);
    assert_eq!(package(&found, "pacman:bash"), ("5.2-1".into(), Some(9000)));
}

#[test]
fn services_of_every_system() {
    let found = inventory(&[
        (
            "etc/systemd/system/multi-user.target.wants/ssh.service",
            "->/lib/systemd/system/ssh.service",
        ),
        ("etc/rc2.d/S20cron", "->../init.d/cron"),
        ("etc/rc3.d/S20cron", "->../init.d/cron"),
        ("etc/runlevels/default/sshd", "->/etc/init.d/sshd"),
        ("var/svc/manifest/network/ssh.xml", "<"),
        ("lib/svc/manifest/system/boot.xml", "<"),
    ]);
    let services: Vec<(&str, &str)> = found
        .services
        .iter()
        .map(|(name, starts)| (name.as_str(), starts.as_str()))
        .collect();
    assert_eq!(
        services,
        [
            ("openrc:sshd", "default"),
            ("smf:network/ssh", "manifest"),
            ("smf:system/boot", "manifest"),
            ("systemd:ssh.service", "multi-user.target.wants"),
            ("sysv:cron", "rc2.d rc3.d"),
        ]
    );
    for path in [
        "etc/rc2.d/K20cron",
        "etc/systemd/system/ssh.service",
        "etc/hosts",
        "usr/bin/ls",
    ] {
        assert_eq!(limit(path.as_bytes()), 0, "{path}");
    }
}

#[test]
fn differences_have_a_direction() {
    let old = inventory(&[
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\ngone:x:5:5::/:/bin/false\n+::::::\n",
        ),
        ("etc/group", "root:x:0:\n"),
        ("lib/apk/db/installed", "P:a\nV:1\nI:10\n\nP:b\nV:1\n"),
    ]);
    let new = inventory(&[
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nnew:x:6:6::/:/bin/false\n",
        ),
        ("etc/group", "root:x:0:new\n"),
        ("lib/apk/db/installed", "P:a\nV:2\nI:30\n\nP:c\nV:1\n"),
    ]);
    let diff = InventoryDiff::between(&old, &new);
    let keys = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(keys(diff.users.added.keys().collect()), ["new"]);
    assert_eq!(keys(diff.users.removed.keys().collect()), ["gone"]);
    assert_eq!(diff.users.changed["root"].to.shell, "/bin/bash");
    assert_eq!(diff.groups.changed["root"].to, "0 new");
    assert_eq!(keys(diff.packages.added.keys().collect()), ["apk:c"]);
    assert_eq!(keys(diff.packages.removed.keys().collect()), ["apk:b"]);
    let change = &diff.packages.changed["apk:a"];
    assert_eq!((change.from.size, change.to.size), (Some(10), Some(30)));
    assert!(InventoryDiff::between(&new, &new).packages.is_empty());
}
