//! What the LX brand and each init expect of a tree.

use crate::world::{Case, Listing, Tree, World, assert_silent, message};

pub const CASES: &[Case] = &[
    ("alpine with OpenRC", alpine),
    ("Red Hat's kin with systemd", red_hat),
    ("Void with runit", void),
    ("Debian with sysvinit", debian),
    (
        "a base with guest tools of its own keeps them",
        own_guest_tools,
    ),
    ("no marker", no_marker),
    ("a marker that is no file", marker_that_is_no_file),
    ("twice is once", twice),
];

/// What is the same in every distribution.
fn common() -> Tree {
    Tree::default()
        .file("etc/shadow", "root:*:19000:0:99999:7:::\n")
        .mode_file("sbin/init", 0o755, "")
        .file("run/left-by-the-build", "x")
        .file("tmp/left-by-the-build", "x")
        .dir("root")
}

pub fn alpine_tree() -> Tree {
    common()
        .file(
            "etc/os-release",
            "ID=alpine\nPRETTY_NAME=\"Alpine Linux v3.20\"\n",
        )
        .file("etc/alpine-release", "3.20.3\n")
        .file("etc/resolv.conf", "nameserver 192.0.2.1\n")
        .mode_file("sbin/openrc", 0o755, "")
        .dir("etc/runlevels/boot")
        .dir("etc/runlevels/default")
}

pub fn red_hat_tree() -> Tree {
    common()
        .file(
            "usr/lib/os-release",
            "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nPRETTY_NAME=\"Rocky Linux 9.4\"\n",
        )
        .link("etc/os-release", "../usr/lib/os-release")
        .file("etc/rocky-release", "Rocky Linux release 9.4\n")
        .link("etc/redhat-release", "rocky-release")
        .link("etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf")
        .mode_file("usr/lib/systemd/systemd", 0o755, "")
        .link("lib", "usr/lib")
        .file("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
}

pub fn void_tree() -> Tree {
    common()
        .file("etc/os-release", "ID=void\nPRETTY_NAME=\"Void Linux\"\n")
        .file("etc/void-release", "void\n")
        .dir("etc/runit/runsvdir/default")
        .dir("etc/runit/core-services")
        .link("var/service", "/run/runit/runsvdir/current")
}

pub fn debian_tree() -> Tree {
    common()
        .file(
            "etc/os-release",
            "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
        )
        .file("etc/debian_version", "12.7\n")
        .mode_file("etc/init.d/ssh", 0o755, "#!/bin/sh\n")
        .dir("etc/rc2.d")
        .link("var/run", "/run")
}

#[track_caller]
fn assert_lx(tree: &Listing) {
    for path in [
        "native/dev",
        "native/etc/default",
        "native/etc/svc/volatile",
        "native/lib",
        "native/proc",
        "native/sbin",
        "native/usr",
        "native/var",
        "var/ld/64",
        "var/svc",
        "var/db",
        "system/object",
        "system/contract",
        "dev",
        "proc",
        "run",
    ] {
        assert_eq!(tree.what(path), "d 0755 0:0", "{path}");
    }
    for path in ["native/tmp", "tmp", "var/tmp"] {
        assert_eq!(tree.what(path), "d 1777 0:0", "{path}");
    }
    assert_eq!(tree.what("root"), "d 0700 0:0");
    assert_eq!(tree.what("etc/mnttab"), "f 0644 0:0");
    assert_eq!(tree.what("etc/fstab"), "f 0644 0:0");
    assert_eq!(
        tree.text("etc/fstab"),
        "none / zfs defaults 1 1\nproc /proc proc defaults 0 0\n"
    );
    for (path, what) in [
        ("usr/lib/mibe-guest/boot", "f 0755 0:0"),
        ("usr/lib/mibe-guest/scripts", "f 0755 0:0"),
        ("usr/lib/mibe-guest/lib.sh", "f 0644 0:0"),
        ("usr/sbin/mdata-get", "l -> /native/usr/sbin/mdata-get"),
        ("usr/sbin/mdata-put", "l -> /native/usr/sbin/mdata-put"),
    ] {
        assert_eq!(tree.what(path), what, "{path}");
    }
    assert!(tree.text("usr/lib/mibe-guest/boot").starts_with("#!"));
    assert_eq!(tree.text("etc/hostname"), "");
    assert!(tree.below("run").is_empty());
    assert!(tree.below("tmp").is_empty());
}

fn alpine() {
    let world = World::new(&alpine_tree());
    let report = world.finalise();
    let tree = world.list();
    assert_lx(&tree);
    assert_eq!(report.distribution, "Alpine Linux v3.20");
    assert!(!tree.has("etc/resolv.conf"));
    assert!(!tree.has("etc/network"));
    for (path, what) in [
        ("etc/init.d/mibe-guest", "f 0755 0:0"),
        ("etc/init.d/mibe-guest-scripts", "f 0755 0:0"),
        (
            "etc/runlevels/boot/mibe-guest",
            "l -> /etc/init.d/mibe-guest",
        ),
        (
            "etc/runlevels/default/mibe-guest-scripts",
            "l -> /etc/init.d/mibe-guest-scripts",
        ),
    ] {
        assert_eq!(tree.what(path), what, "{path}");
    }
    assert!(!tree.has("etc/systemd"));
    assert!(!tree.has("etc/machine-id"));
    assert_eq!(report.warnings, Vec::<String>::new());
}

fn red_hat() {
    let world = World::new(&red_hat_tree());
    let report = world.finalise();
    let tree = world.list();
    assert_lx(&tree);
    assert_eq!(report.distribution, "Rocky Linux 9.4");
    assert!(!tree.has("etc/resolv.conf"));
    assert_eq!(tree.what("etc/machine-id"), "f 0444 0:0");
    assert_eq!(tree.text("etc/machine-id"), "");
    for unit in ["mibe-guest.service", "mibe-guest-scripts.service"] {
        let file = format!("usr/lib/systemd/system/{unit}");
        assert_eq!(tree.what(&file), "f 0644 0:0");
        assert_eq!(
            tree.what(&format!(
                "etc/systemd/system/multi-user.target.wants/{unit}"
            )),
            format!("l -> /{file}")
        );
    }
    for unit in [
        "systemd-resolved.service",
        "systemd-remount-fs.service",
        "fstrim.timer",
    ] {
        let path = format!("etc/systemd/system/{unit}");
        assert_eq!(tree.what(&path), "l -> /dev/null");
    }
    assert_eq!(report.warnings, Vec::<String>::new());
}

fn void() {
    let world = World::new(&void_tree());
    let report = world.finalise();
    let tree = world.list();
    assert_lx(&tree);
    assert!(!tree.has("etc/resolv.conf"));
    for (path, what) in [
        ("etc/runit/core-services/98-mibe-guest.sh", "f 0644 0:0"),
        ("etc/sv/mibe-guest-scripts/run", "f 0755 0:0"),
        (
            "etc/runit/runsvdir/default/mibe-guest-scripts",
            "l -> /etc/sv/mibe-guest-scripts",
        ),
    ] {
        assert_eq!(tree.what(path), what, "{path}");
    }
    assert_eq!(report.warnings, Vec::<String>::new());
}

fn debian() {
    let world = World::new(&debian_tree());
    let report = world.finalise();
    let tree = world.list();
    assert_lx(&tree);
    for path in ["etc/resolv.conf", "etc/network/interfaces"] {
        assert_eq!(tree.what(path), "f 0644 0:0", "{path}");
        assert_eq!(tree.text(path), "", "{path}");
    }
    for level in ["0", "1", "2", "3", "4", "5", "6", "S"] {
        assert_eq!(tree.what(&format!("etc/rc{level}.d")), "d 0755 0:0");
    }
    assert_eq!(tree.what("etc/init.d/ssh"), "f 0755 0:0");
    assert_eq!(tree.what("etc/init.d/mibe-guest"), "f 0755 0:0");
    for level in 2..=5 {
        assert_eq!(
            tree.what(&format!("etc/rc{level}.d/S01mibe-guest")),
            "l -> ../init.d/mibe-guest"
        );
        assert_eq!(
            tree.what(&format!("etc/rc{level}.d/S99mibe-guest-scripts")),
            "l -> ../init.d/mibe-guest-scripts"
        );
    }
    assert_eq!(tree.what("var/run"), "l -> /run");
    assert_eq!(report.warnings, Vec::<String>::new());
}

fn own_guest_tools() {
    let tools = alpine_tree()
        .mode_file("lib/smartdc/joyent_rc.local", 0o755, "#!/bin/sh\n")
        .file("lib/smartdc/common.lib", "#!/bin/bash\n");
    let world = World::new(&tools);
    let report = world.finalise();
    let tree = world.list();
    message(&report.notes, "/lib/smartdc");
    assert!(!tree.has("usr/lib/mibe-guest"));
    assert!(!tree.has("etc/init.d/mibe-guest"));
    assert_silent(&report.warnings, "guest tools");
}

fn no_marker() {
    let world = World::new(&Tree::default().file("etc/os-release", "ID=arch\n"));
    let error = world.try_finalise().unwrap_err();
    for word in ["Debian", "Void", "/etc/alpine-release", "copy/"] {
        assert!(error.contains(word), "{error}");
    }
}

fn marker_that_is_no_file() {
    for tree in [
        Tree::default().link("etc/alpine-release", "nowhere"),
        Tree::default().dir("etc/alpine-release"),
    ] {
        let error = World::new(&tree).try_finalise().unwrap_err();
        assert!(error.contains("none is in this image"), "{error}");
    }
}

fn twice() {
    for tree in [alpine_tree(), red_hat_tree(), void_tree(), debian_tree()] {
        let tree = tree
            .file("etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n")
            .file("var/log/daemon.log", "started\n")
            .file(
                "usr/lib/systemd/system/a.service",
                "[Service]\nPrivateTmp=yes\n",
            );
        let world = World::new(&tree);
        world.finalise();
        let once = world.list();
        let second = world.finalise();
        world.list().assert_same(&once);
        assert_eq!(second.warnings, Vec::<String>::new());
        for word in ["removed", "emptied", "replaced"] {
            assert_silent(&second.notes, word);
        }
    }
}
