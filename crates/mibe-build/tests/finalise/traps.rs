//! Links that lead out of the tree, as a path of the host or by climbing.

use crate::distributions::{alpine_tree, debian_tree, red_hat_tree, void_tree};
use crate::world::{Case, Tree, World, assert_silent, message};

pub const CASES: &[Case] = &[
    ("links that lead outside are never followed there", outside),
    (
        "what stands at the names of guest tools is replaced",
        guest_tools,
    ),
    ("special files are not opened", special),
    ("links in a circle", circles),
    ("messages hold nothing that a terminal obeys", escapes),
];

/// Makes `link` a link to the directory outside of the tree, both by the host's path and by climbing.
fn both(tree: &dyn Fn() -> Tree, link: &str, sees: &dyn Fn(&World)) {
    let depth = link.split('/').count() - 1;
    let climbing = format!("{}../../outside/directory", "../".repeat(depth));
    for absolute in [true, false] {
        let mut world = World::empty();
        let target = if absolute {
            world
                .outside()
                .join("directory")
                .to_str()
                .unwrap()
                .to_owned()
        } else {
            climbing.clone()
        };
        world.plant(&tree().link(link, &target));
        sees(&world);
    }
}

fn outside() {
    // The world looks after what is outside whenever a job is done.
    for link in ["etc/network", "etc/rc3.d", "etc/rcS.d"] {
        both(&debian_tree, link, &|world| {
            message(&world.finalise().warnings, "outside/directory");
            assert_eq!(world.list().what(link), "d 0755 0:0");
        });
    }
    for link in [
        "var/log",
        "var/cache/apt",
        "home",
        "root/.ssh",
        "etc/ssh",
        "var/db",
        "mnt",
        "native",
    ] {
        both(&debian_tree, link, &|world| {
            // A folder that leads nowhere may be an error, but a located one.
            if let Err(error) = world.try_finalise() {
                assert!(error.contains(&format!("/{link}")), "{error}");
            }
        });
    }
    for link in [
        "etc/systemd/system/a.service.d",
        "usr/lib/systemd/system",
        "etc/systemd",
        "usr/lib/mibe-guest",
    ] {
        let tree = || {
            let unit = "[Service]\nPrivateTmp=yes\n";
            red_hat_tree().file("usr/local/lib/systemd/system/a.service", unit)
        };
        both(&tree, link, &|world| {
            if let Err(error) = world.try_finalise() {
                assert!(error.contains(&format!("/{link}")), "{error}");
            }
        });
    }
    // Where the tree has a folder of that name itself, it is that which is meant.
    let world = World::new(
        &void_tree()
            .dir("outside")
            .link("etc/sv", "../../../outside"),
    );
    world.finalise();
    assert_eq!(
        world.list().below("outside"),
        [
            "mibe-guest-scripts",
            "mibe-guest-scripts/run",
            "mibe-guest-scripts/supervise"
        ]
    );
}

fn guest_tools() {
    let mut world = World::empty();
    let file = world.outside().join("file");
    let file = file.to_str().unwrap();
    world.plant(
        &alpine_tree()
            .link("usr/lib/mibe-guest/boot", file)
            .link("usr/sbin/mdata-get", file)
            .link("etc/fstab", "../../../outside/file")
            .link("etc/mnttab", "/etc/shadow")
            .link("etc/hostname", "/etc/shadow"),
    );
    world.finalise();
    let tree = world.list();
    assert_eq!(tree.what("usr/lib/mibe-guest/boot"), "f 0755 0:0");
    assert_eq!(
        tree.what("usr/sbin/mdata-get"),
        "l -> /native/usr/sbin/mdata-get"
    );
    assert_eq!(tree.what("etc/fstab"), "f 0644 0:0");
    assert!(tree.text("etc/shadow").starts_with("root:"));
}

fn special() {
    let world = World::new(
        &red_hat_tree()
            .fifo("etc/login.defs")
            .fifo("etc/shadow")
            .fifo("etc/localtime")
            .fifo("var/log/fifo")
            .fifo("lib/smartdc/fifo")
            .fifo("usr/lib/systemd/system/a.service")
            .fifo("etc/fstab"),
    );
    world.finalise();
    assert_eq!(world.list().what("etc/fstab"), "f 0644 0:0");
}

fn circles() {
    let world = World::new(
        &red_hat_tree()
            .link("home/a", "a")
            .link("usr/lib/systemd/system/a.service", "b.service")
            .link("usr/lib/systemd/system/b.service", "a.service")
            .link("etc/login.defs", "login.defs")
            .link("var/log/self", "."),
    );
    world.finalise();
}

fn escapes() {
    let mut tree = debian_tree()
        .bytes_file(b"etc/ssh/ssh_host_\x1b[31m\nwarning: all is well", "key")
        .bytes_file(b"var/log/a\rb\xff", "log")
        .file(
            "home/a\u{1b}]0;x\u{7}/.ssh/authorized_keys",
            "ssh-ed25519 AAAA\n",
        )
        .link("etc/rc3.d", "a\u{1b}[2J")
        .link("etc/localtime", "/usr/share/zoneinfo/\u{1b}c")
        .file("var/lib/x\u{9b}31m", "");
    tree = tree.owned(0o644, 1000, 1000);
    let tree = tree.file(
        "etc/os-release",
        "ID=debian\nPRETTY_NAME=\"De\u{1b}[2Jbian\"\n",
    );
    let world = World::new(&tree);
    let report = world.finalise();
    for text in report
        .notes
        .iter()
        .chain(&report.warnings)
        .chain([&report.distribution])
    {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    message(&report.notes, "ssh_host_\\u{1b}[31m\\nwarning");
    message(&report.notes, "/var/log/a\\rb\\xff");
    message(&report.warnings, "authorized_keys");
    message(&report.warnings, "a\\u{1b}[2J");
    message(&report.warnings, "x\\u{9b}31m");
    assert_silent(&report.warnings, "\u{1b}");

    // Errors name paths too.
    let world = World::new(
        &red_hat_tree()
            .file(
                "usr/lib/systemd/system/\u{1b}c.service",
                "[Service]\nPrivateTmp=yes\n",
            )
            .file("etc/systemd/system/\u{1b}c.service.d", "a file"),
    );
    let error = world.try_finalise().unwrap_err();
    assert!(error.contains("\\u{1b}c.service.d"), "{error}");
    assert!(!error.contains('\u{1b}'), "{error:?}");
}
