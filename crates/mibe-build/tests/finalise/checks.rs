//! What the users of an image may trip over is said, and nothing where nothing is wrong.

use crate::distributions::{alpine_tree, debian_tree};
use crate::world::{Case, Tree, World, assert_silent, message};

pub const CASES: &[Case] = &[
    ("time zones", time_zones),
    ("locales", locales),
    ("login.defs", login_defs),
    ("guest tools that can't run", guest_tools),
    ("programs that need capabilities", capabilities),
    ("keys of users", keys),
    ("foreign owners are counted", owners),
];

#[allow(clippy::needless_pass_by_value)]
fn notes(tree: Tree) -> Vec<String> {
    World::new(&tree).finalise().notes
}

#[allow(clippy::needless_pass_by_value)]
fn warnings(tree: Tree) -> Vec<String> {
    World::new(&tree).finalise().warnings
}

fn time_zones() {
    let tree = debian_tree;
    for target in ["/usr/share/zoneinfo/Etc/UTC", "../usr/share/zoneinfo/UTC"] {
        assert_silent(&notes(tree().link("etc/localtime", target)), "time zone");
    }
    assert_silent(&notes(tree()), "time zone");
    let copied = tree().file("etc/localtime", "TZif2\nUTC0\n");
    assert_silent(&notes(copied), "time zone");

    let linked = notes(tree().link("etc/localtime", "/usr/share/zoneinfo/Europe/Vienna"));
    assert!(message(&linked, "time zone").ends_with("Europe/Vienna"));
    message(
        &notes(tree().file("etc/localtime", "TZif2\nCET-1CEST,M3.5.0,M10.5.0/3\n")),
        "time zone",
    );
}

fn locales() {
    let glibc = || debian_tree().mode_file("usr/bin/localedef", 0o755, "");
    assert_silent(&warnings(glibc()), "locale");
    for lang in ["C.UTF-8", "", "\"POSIX\"", "en_GB.UTF-8"] {
        let tree = glibc()
            .dir("usr/lib/locale/en_GB.utf8")
            .file("etc/default/locale", &format!("LANG={lang}\n"));
        assert_silent(&warnings(tree), "locale");
    }
    let tree = glibc().file("etc/locale.conf", "LANG=de_AT.UTF-8\n");
    message(&warnings(tree), "locale de_AT.UTF-8");
    // An archive holds what its file does not say; musl knows no list at all.
    let archive = glibc()
        .file("usr/lib/locale/locale-archive", "x")
        .file("etc/locale.conf", "LANG=de_AT.UTF-8\n");
    assert_silent(&warnings(archive), "locale");
    let musl = alpine_tree().file("etc/locale.conf", "LANG=de_AT.UTF-8\n");
    assert_silent(&warnings(musl), "locale");
}

fn login_defs() {
    let shadow = || debian_tree().mode_file("usr/sbin/useradd", 0o755, "");
    assert_silent(&warnings(debian_tree()), "login.defs");
    message(&warnings(shadow()), "login.defs is missing");
    let usual = "# UMASK 000\nUMASK\t\t022\nENCRYPT_METHOD SHA512\nMD5_CRYPT_ENAB no\n";
    assert_silent(
        &warnings(shadow().file("etc/login.defs", usual)),
        "login.defs",
    );
    let odd = "ENCRYPT_METHOD MD5\nUMASK 000\n";
    let warnings = warnings(shadow().file("etc/login.defs", odd));
    message(&warnings, "hashed with MD5");
    message(&warnings, "UMASK 000");
}

fn guest_tools() {
    let tree = debian_tree()
        .mode_file("lib/smartdc/joyent_rc.local", 0o644, "#!/bin/sh\n")
        .mode_file("lib/smartdc/set-hostname", 0o755, "#!/bin/sh\n")
        .owned(0o755, 1000, 1000)
        .file("lib/smartdc/common.lib", "#!/bin/sh\n")
        .file("lib/smartdc/README", "words\n");
    let warnings = warnings(tree);
    let inert = message(&warnings, "not executable");
    assert!(inert.ends_with(": /lib/smartdc/joyent_rc.local"), "{inert}");
    let foreign = message(&warnings, "root does not own");
    assert!(
        foreign.ends_with(": /lib/smartdc/set-hostname"),
        "{foreign}"
    );
}

fn capabilities() {
    let merged = || debian_tree().link("bin", "usr/bin");
    let warning = warnings(merged().mode_file("usr/bin/ping", 0o755, "\x7fELF"));
    let warning = message(&warning, "capabilities");
    assert!(
        warning.contains("only root can use /usr/bin/ping:"),
        "{warning}"
    );
    let set_uid = merged().mode_file("usr/bin/ping", 0o4755, "\x7fELF");
    assert_silent(&warnings(set_uid), "capabilities");
    let busybox = alpine_tree()
        .mode_file("bin/busybox", 0o755, "\x7fELF")
        .link("bin/ping", "/bin/busybox");
    assert_silent(&warnings(busybox), "capabilities");
}

fn keys() {
    let tree = debian_tree()
        .file("home/me/.ssh/authorized_keys", "ssh-ed25519 AAAA me\n")
        .file("home/other/.ssh/authorized_keys", "")
        .file("root/.ssh/authorized_keys", "ssh-ed25519 AAAA me\n");
    let world = World::new(&tree);
    let report = world.finalise();
    message(&report.warnings, "removed /root/.ssh/authorized_keys");
    let kept = message(&report.warnings, "/home/");
    assert!(kept.contains(": /home/me/.ssh/authorized_keys;"), "{kept}");
    let tree = world.list();
    assert!(tree.has("home/me/.ssh/authorized_keys"));
    assert!(!tree.has("root/.ssh/authorized_keys"));
}

fn owners() {
    let mut tree = debian_tree();
    for number in 0..7 {
        tree = tree
            .file(&format!("var/lib/product/{number}"), "")
            .owned(0o644, 1000, 1000);
    }
    let warnings = warnings(tree);
    let warning = message(&warnings, "uid 1000");
    assert!(warning.contains("/var/lib/product/0, "), "{warning}");
    assert!(
        warning.ends_with("/var/lib/product/4 and 2 more"),
        "{warning}"
    );
}
