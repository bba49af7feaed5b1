//! Units that an LX zone could not start as they are.

use crate::distributions::red_hat_tree;
use crate::world::{Case, Tree, World, assert_silent, message};

pub const CASES: &[Case] = &[
    ("units of every folder get a drop-in", folders),
    ("drop-ins count as parts of their units", fragments),
    ("our drop-in has the last word", last_word),
    ("a unit of /etc hides that of a package", hidden),
    ("linked and masked units", links),
    ("units with a dynamic user", dynamic_user),
    ("names of units are escaped", hostile_names),
];

const OURS: &str = "zz-mibe-lx.conf";

fn drop_in(unit: &str) -> String {
    format!("etc/systemd/system/{unit}.d/{OURS}")
}

fn service(settings: &str) -> String {
    format!("[Service]\nExecStart=/bin/true\n{settings}\n")
}

fn folders() {
    let world = World::new(
        &red_hat_tree()
            .file(
                "usr/lib/systemd/system/a.service",
                &service("PrivateTmp=yes"),
            )
            .file(
                "usr/local/lib/systemd/system/b.service",
                &service("ProtectHome=true"),
            )
            .file(
                "etc/systemd/system/c.service",
                &service("NoNewPrivileges=yes"),
            )
            .file("usr/lib/systemd/system/plain.service", &service("")),
    );
    let report = world.finalise();
    let tree = world.list();
    for (unit, line) in [
        ("a.service", "\nPrivateTmp=no\n"),
        ("b.service", "\nProtectHome=no\n"),
        ("c.service", "\nNoNewPrivileges=no\n"),
    ] {
        let path = drop_in(unit);
        assert_eq!(tree.what(&path), "f 0644 0:0");
        assert!(tree.text(&path).contains(line), "{unit}");
    }
    assert!(!tree.has(&drop_in("plain.service")));
    assert!(message(&report.notes, "sandboxing").ends_with("in a.service, b.service, c.service"));

    // Where /lib is a folder of its own it has units too.
    let world = World::new(
        &Tree::default()
            .file("etc/debian_version", "12.7\n")
            .mode_file("lib/systemd/systemd", 0o755, "")
            .file("lib/systemd/system/a.service", &service("PrivateTmp=yes")),
    );
    world.finalise();
    assert!(world.list().has(&drop_in("a.service")));
}

fn fragments() {
    let plain = service("");
    let world = World::new(
        &red_hat_tree()
            .file("usr/lib/systemd/system/a.service", &plain)
            .file(
                "usr/lib/systemd/system/a.service.d/10-more.conf",
                "[Service]\nProtectClock=yes\n",
            )
            .file("usr/lib/systemd/system/b.service", &plain)
            .file(
                "etc/systemd/system/b.service.d/10-more.conf",
                "[Service]\nPrivateUsers=yes\n",
            )
            .file("usr/lib/systemd/system/c-d.service", &plain)
            .file(
                "usr/local/lib/systemd/system/c-.service.d/x.conf",
                "[Service]\nPrivateIPC=yes\n",
            )
            .file("usr/lib/systemd/system/e.service", &plain)
            .file(
                "usr/lib/systemd/system/e.service.d/README",
                "PrivateTmp=yes\n",
            )
            .file(
                "usr/lib/systemd/system/f.service",
                &service("PrivateTmp=yes"),
            )
            .file(
                "etc/systemd/system/f.service.d/off.conf",
                "[Service]\nPrivateTmp=no\n",
            )
            .link("etc/systemd/system/g.service.d", "../../../opt/g")
            .file("opt/g/x.conf", "[Service]\nPrivateMounts=yes\n")
            .file("usr/lib/systemd/system/g.service", &plain),
    );
    world.finalise();
    let tree = world.list();
    for (unit, line) in [
        ("a.service", "\nProtectClock=no\n"),
        ("b.service", "\nPrivateUsers=no\n"),
        ("c-d.service", "\nPrivateIPC=no\n"),
    ] {
        assert!(tree.text(&drop_in(unit)).contains(line), "{unit}");
    }
    for unit in ["e.service", "f.service", "c-.service"] {
        assert!(!tree.has(&drop_in(unit)), "{unit}");
    }
    // Written where the link leads, in the tree.
    assert!(
        tree.text(&format!("opt/g/{OURS}"))
            .contains("\nPrivateMounts=no\n")
    );

    let world = World::new(
        &red_hat_tree()
            .file("usr/lib/systemd/system/a.service", &plain)
            .file(
                "usr/lib/systemd/system/service.d/all.conf",
                "[Service]\nPrivateTmp=yes\n",
            ),
    );
    world.finalise();
    let tree = world.list();
    assert!(tree.has(&drop_in("a.service")));
    assert!(!tree.has(&drop_in("service")));
}

fn last_word() {
    let world = World::new(
        &red_hat_tree()
            .file("usr/lib/systemd/system/a.service", &service(""))
            .file(
                "etc/systemd/system/a.service.d/override.conf",
                "[Service]\nPrivateTmp=yes\n",
            )
            .file(
                "etc/systemd/system/a.service.d/90-late.conf",
                "[Service]\nProtectHome=yes\n",
            ),
    );
    world.finalise();
    let names = world.list().below("etc/systemd/system/a.service.d");
    assert_eq!(names, ["90-late.conf", "override.conf", OURS]);
}

fn hidden() {
    let world = World::new(
        &red_hat_tree()
            .file(
                "usr/lib/systemd/system/a.service",
                &service("PrivateTmp=yes"),
            )
            .file("etc/systemd/system/a.service", &service(""))
            .file("usr/lib/systemd/system/b.service", &service(""))
            .file(
                "usr/lib/systemd/system/b.service.d/x.conf",
                "[Service]\nPrivateTmp=yes\n",
            )
            .link("etc/systemd/system/b.service.d/x.conf", "/dev/null"),
    );
    world.finalise();
    let tree = world.list();
    assert!(!tree.has(&drop_in("a.service")));
    assert!(!tree.has(&drop_in("b.service")));
}

fn links() {
    let sandboxed = service("PrivateTmp=yes");
    let world = World::new(
        &red_hat_tree()
            .file("opt/product/linked.service", &sandboxed)
            .link(
                "etc/systemd/system/linked.service",
                "/opt/product/linked.service",
            )
            .file("usr/lib/systemd/system/real.service", &sandboxed)
            .link(
                "etc/systemd/system/alias.service",
                "/usr/lib/systemd/system/real.service",
            )
            .file("usr/lib/systemd/system/masked.service", &sandboxed)
            .link("etc/systemd/system/masked.service", "/dev/null"),
    );
    world.finalise();
    let tree = world.list();
    assert!(tree.has(&drop_in("linked.service")));
    assert!(tree.has(&drop_in("real.service")));
    assert!(!tree.has(&drop_in("alias.service")));
    assert!(!tree.has(&drop_in("masked.service")));
}

fn dynamic_user() {
    let dynamic = service("DynamicUser=yes");
    let wants = "etc/systemd/system/multi-user.target.wants";
    let world = World::new(
        &red_hat_tree()
            .file("usr/lib/systemd/system/on.service", &dynamic)
            .link(
                &format!("{wants}/on.service"),
                "/usr/lib/systemd/system/on.service",
            )
            .file("usr/lib/systemd/system/vendor.service", &dynamic)
            .link(
                "usr/lib/systemd/system/basic.target.requires/vendor.service",
                "../vendor.service",
            )
            .file("usr/lib/systemd/system/many@.service", &dynamic)
            .link(
                &format!("{wants}/many@one.service"),
                "/usr/lib/systemd/system/many@.service",
            )
            .file("usr/lib/systemd/system/idle.service", &dynamic)
            .file("usr/lib/systemd/system/fixed.service", &dynamic)
            .file(
                "etc/systemd/system/fixed.service.d/x.conf",
                "[Service]\nDynamicUser=no\n",
            )
            .link(
                &format!("{wants}/fixed.service"),
                "/usr/lib/systemd/system/fixed.service",
            ),
    );
    let report = world.finalise();
    let warning = message(&report.warnings, "DynamicUser");
    assert!(
        warning.contains(": many@.service, on.service, vendor.service;"),
        "{warning}"
    );
    let note = message(&report.notes, "DynamicUser");
    assert!(note.ends_with(": idle.service"), "{note}");
    // One that could not help would only say that all is well.
    assert!(!world.list().has(&drop_in("on.service")));

    let world = World::new(&red_hat_tree().file("usr/lib/systemd/system/idle.service", &dynamic));
    assert_silent(&world.finalise().warnings, "DynamicUser");
}

fn hostile_names() {
    let world = World::new(&red_hat_tree().file(
        "usr/lib/systemd/system/a\u{1b}[2J\n.service",
        &service("PrivateTmp=yes"),
    ));
    let report = world.finalise();
    assert!(message(&report.notes, "sandboxing").contains("a\\u{1b}[2J\\n.service"));
}
