//! Archives that mean harm: each is an error that names its member and place, or does what it says inside of the tree only.

use crate::forge::{Forge, header, put};
use crate::listing;
use crate::world::{Case, World};

pub const CASES: &[Case] = &[
    ("names that leave the tree", names),
    ("links that leave the tree", links),
    ("names that are taken", taken),
    ("devices out of range", devices),
    ("text for terminals", terminals),
    ("attributes", attributes),
];

/// How an archive is to go in.
pub enum Expect<'a> {
    Ok(&'a [&'a str]),
    /// The kind of error, and words of its text.
    Refused(&'a str, &'a [&'a str]),
}
use Expect::{Ok, Refused};

#[track_caller]
pub fn check(world: &mut World, what: &str, archive: &[u8], expect: &Expect<'_>) {
    let outcome = world.unpack_bytes(archive);
    assert!(
        outcome.memory < 64 << 20,
        "{what}: {} bytes",
        outcome.memory
    );
    let list = world.list();
    match expect {
        Ok(paths) => {
            assert_eq!(outcome.kind, "ok", "{what}: {}", outcome.text);
            for path in *paths {
                assert!(
                    list.iter().any(|line| line.starts_with(path)),
                    "{what}: no {path} in {list:#?}"
                );
            }
        }
        Refused(kind, words) => {
            assert_eq!(outcome.kind, *kind, "{what}: {}", outcome.text);
            for word in *words {
                assert!(outcome.text.contains(word), "{what}: {}", outcome.text);
            }
            assert!(outcome.text.contains("byte "), "{what}: {}", outcome.text);
        }
    }
}

fn names() {
    let mut world = World::new();
    let outside = world.outside();
    let outside = outside.to_str().unwrap();
    for (name, expect) in [
        (
            "../evil",
            Refused("member", &["\"../evil\"", "leaves the tree", "byte 0"]),
        ),
        ("a/../../evil", Refused("member", &["leaves the tree"])),
        ("a/..", Refused("member", &["leaves the tree"])),
        ("/etc/absolute", Ok(&["\"etc/absolute\" File"])),
        ("//./etc//./dots", Ok(&["\"etc/dots\" File"])),
        ("...", Ok(&["\"...\" File"])),
        ("", Refused("member", &["root of the tree"])),
        (".", Refused("member", &["root of the tree"])),
    ] {
        check(
            &mut world,
            name,
            &Forge::default().file(name, b"evil").end(),
            &expect,
        );
    }
    let into = format!("{outside}/file");
    check(
        &mut world,
        "absolute",
        &Forge::default().file(&into, b"evil").end(),
        &Ok(&[]),
    );
    let long = "x/".repeat(2049);
    let archive = Forge::default()
        .pax(&[("path", long.as_bytes())])
        .file("x", b"")
        .end();
    check(
        &mut world,
        "too long",
        &archive,
        &Refused("member", &["too long", "byte 5120"]),
    );
    let archive = Forge::default()
        .pax(&[("path", &[b'x'; 300])])
        .file("x", b"")
        .end();
    check(
        &mut world,
        "a long component",
        &archive,
        &Refused("member", &["name too long"]),
    );
    let archive = Forge::default()
        .pax(&[("path", b"a\0b")])
        .file("x", b"")
        .end();
    check(
        &mut world,
        "a zero byte",
        &archive,
        &Refused("member", &["zero byte"]),
    );
}

fn links() {
    let mut world = World::new();
    let outside = world.outside();
    let outside = outside.to_str().unwrap();
    let file = format!("{outside}/file");
    // A symlink to a directory outside, then a file through it: the path is looked up inside of the tree.
    let archive = Forge::default()
        .symlink("s", outside)
        .file("s/file", b"evil")
        .end();
    check(
        &mut world,
        "through an absolute symlink",
        &archive,
        &Refused("member", &["s/file"]),
    );
    let up = format!("{}{outside}", "../".repeat(30));
    let archive = Forge::default()
        .symlink("s", &up)
        .file("s/file", b"evil")
        .end();
    check(
        &mut world,
        "through a relative symlink",
        &archive,
        &Refused("member", &["s/file"]),
    );
    let archive = Forge::default()
        .symlink("s", &file)
        .file("s", b"evil")
        .end();
    check(&mut world, "onto a symlink", &archive, &Ok(&["\"s\" File"]));
    let archive = Forge::default().symlink("s", &file).directory("s/").end();
    check(
        &mut world,
        "a directory onto a symlink",
        &archive,
        &Ok(&["\"s\" Dir"]),
    );
    let archive = Forge::default()
        .symlink("s", "/")
        .directory("s/")
        .file("s/x", b"")
        .end();
    check(
        &mut world,
        "a symlink to the root",
        &archive,
        &Ok(&["\"s\" Symlink", "\"x\" File"]),
    );
    let archive = Forge::default().symlink("s", "s").file("s/x", b"").end();
    check(
        &mut world,
        "a symlink to itself",
        &archive,
        &Refused("member", &["s/x"]),
    );
    let archive = Forge::default().symlink("/", "/tmp").end();
    check(
        &mut world,
        "the root as a symlink",
        &archive,
        &Refused("member", &["root of the tree"]),
    );
    for target in [
        &file[..],
        &up,
        "../../../outside/file",
        "/etc/passwd",
        "missing",
        "",
        ".",
    ] {
        let archive = Forge::default().hard_link("h", target).end();
        check(&mut world, target, &archive, &Refused("member", &["\"h\""]));
    }
    let archive = Forge::default()
        .symlink("s", outside)
        .hard_link("h", "s/file")
        .end();
    check(
        &mut world,
        "a hard link through a symlink",
        &archive,
        &Refused("member", &["\"h\""]),
    );
    let archive = Forge::default()
        .symlink("s", &file)
        .hard_link("h", "s")
        .file("h", b"evil")
        .end();
    check(
        &mut world,
        "a hard link to a symlink",
        &archive,
        &Ok(&["\"h\" File", "\"s\" Symlink"]),
    );
    let archive = Forge::default().directory("d").hard_link("h", "d").end();
    check(
        &mut world,
        "a hard link to a directory",
        &archive,
        &Refused("member", &["\"h\""]),
    );
    let archive = Forge::default().file("f", b"1").hard_link("f", "f").end();
    check(
        &mut world,
        "a hard link to itself",
        &archive,
        &Ok(&["\"f\" File"]),
    );
    // The same file by another way must not be lost.
    let archive = Forge::default()
        .directory("d")
        .symlink("s", "d")
        .file("d/f", b"1")
        .hard_link("s/f", "d/f")
        .end();
    check(
        &mut world,
        "a hard link to itself by a symlink",
        &archive,
        &Ok(&["\"d/f\" File"]),
    );
}

fn taken() {
    let mut world = World::new();
    let forge = Forge::default().directory("d").file("d/f", b"1");
    for (what, archive) in [
        ("a symlink", forge.clone().symlink("d", "/tmp").end()),
        ("a file", forge.clone().file("d", b"2").end()),
        ("a hard link", forge.clone().hard_link("d", "d/f").end()),
        ("a fifo", forge.clone().member(b'6', b"d", b"").end()),
    ] {
        check(
            &mut world,
            what,
            &archive,
            &Refused("member", &["\"d\"", "directory"]),
        );
    }
    let archive = forge.clone().file("d/f/x", b"3").end();
    check(
        &mut world,
        "a file below a file",
        &archive,
        &Refused("member", &["d/f/x"]),
    );
    let archive = Forge::default()
        .file("f", b"1")
        .directory("f")
        .file("f/x", b"2")
        .end();
    check(
        &mut world,
        "a directory for a file",
        &archive,
        &Ok(&["\"f\" Dir", "\"f/x\" File"]),
    );
    let archive = Forge::default()
        .file("f", b"one")
        .symlink("f", "x")
        .member(b'6', b"f", b"")
        .file("f", b"three")
        .end();
    check(
        &mut world,
        "one name for many things",
        &archive,
        &Ok(&["\"f\" File"]),
    );
    assert_eq!(world.list().len(), 2);
    // A hard link is cut loose before the other name is written.
    let archive = Forge::default()
        .file("a", b"1")
        .hard_link("b", "a")
        .file("b", b"22")
        .end();
    check(
        &mut world,
        "a hard link that is replaced",
        &archive,
        &Ok(&["\"a\" File"]),
    );
    assert!(world.list()[1].contains(" 1 bytes "));
}

fn devices() {
    let mut world = World::new();
    for (major, minor) in [
        (&b"0010000\0"[..], &b"0000001\0"[..]),
        (b"0000001\0", b"4000000\0"),
        (b"7777777\0", b"7777777\0"),
    ] {
        for kind in *b"34" {
            let archive = Forge::default().device(kind, "dev/x", major, minor).end();
            check(
                &mut world,
                "out of range",
                &archive,
                &Refused("member", &["dev/x", "device"]),
            );
        }
    }
    let archive = Forge::default()
        .device(b'3', "dev/x", b"abc\0\0\0\0\0", b"0000001\0")
        .end();
    check(
        &mut world,
        "no number",
        &archive,
        &Refused("member", &["dev/x", "device"]),
    );
    let archive = Forge::default()
        .device(b'3', "null", b"0007777\0", b"3777777\0")
        .end();
    check(
        &mut world,
        "the greatest",
        &archive,
        &Ok(&["\"null\" Char"]),
    );
    if listing::privileged() {
        assert!(
            world.list()[1].contains("(4095, 1048575)"),
            "{:?}",
            world.list()
        );
    }
    // uid and gid -1 mean "leave it" to chown(2).
    let mut header = header(b'0', b"f", 0);
    put(&mut header, 108, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    check(
        &mut world,
        "uid -1",
        &Forge::default().header(header).end(),
        &Refused("member", &["\"f\""]),
    );
}

/// Errors are shown on terminals: no escape sequence or line end of an archive gets there, nor a megabyte of name.
fn terminals() {
    let mut world = World::new();
    let evil = "\x1b]0;owned\x07\n\x1b[2J";
    let long = format!("{evil}{}", "n".repeat(100_000));
    for archive in [
        Forge::default().file(&format!("../{evil}"), b"").end(),
        Forge::default()
            .pax(&[("path", format!("../{long}").as_bytes())])
            .file("x", b"")
            .end(),
        Forge::default()
            .pax(&[("linkpath", long.as_bytes())])
            .hard_link("x", "y")
            .end(),
        Forge::default().hard_link("x", evil).end(),
        Forge::default()
            .pax(&[
                (&format!("GNU.sparse.map{evil}"), b"1"),
                ("uid", evil.as_bytes()),
            ])
            .file("x", b"")
            .end(),
        Forge::default().member(b'\x1b', evil.as_bytes(), b"").end(),
        Forge::default()
            .file("f", b"")
            .file(&format!("f/{evil}"), b"")
            .end(),
    ] {
        let outcome = world.unpack_bytes(&archive);
        assert_ne!(outcome.kind, "ok");
        assert!(
            !outcome.text.contains(char::is_control),
            "{:?}",
            outcome.text
        );
        assert!(outcome.text.len() < 2000, "{} bytes", outcome.text.len());
    }
}

fn attributes() {
    let mut world = World::new();
    let archive = Forge::default()
        .pax(&[
            ("SCHILY.xattr.user.good", b"1"),
            ("SCHILY.xattr.user.mibe.owner", b"0"),
            ("SCHILY.xattr.security.capability", b"\x01"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.system.posix_acl_access", b"x"),
            ("SCHILY.xattr.", b"x"),
        ])
        .file("f", b"")
        .end();
    check(
        &mut world,
        "others' attributes",
        &archive,
        &Ok(&["\"f\" File"]),
    );
    assert!(
        world.list()[1].ends_with(r#"["\"user.good\": \"1\""]"#),
        "{:?}",
        world.list()
    );
    // Also of a file that may not be written, where the sandbox is an ordinary user's.
    let mut header = header(b'0', b"f", 0);
    put(&mut header, 100, b"0000444\0");
    let archive = Forge::default()
        .pax(&[("SCHILY.xattr.user.good", b"1")])
        .header(header)
        .end();
    check(
        &mut world,
        "of mode 0444",
        &archive,
        &Ok(&["\"f\" File 0444"]),
    );
    assert!(world.list()[1].contains("user.good"));
    for (key, value) in [
        ("SCHILY.xattr.user.", &b"x"[..]),
        ("SCHILY.xattr.user.a\0b", b"x"),
        ("SCHILY.xattr.user.big", &[b'x'; 70_000]),
    ] {
        let archive = Forge::default().pax(&[(key, value)]).file("f", b"").end();
        check(&mut world, key, &archive, &Refused("member", &["\"f\""]));
    }
    let long = format!("SCHILY.xattr.user.{}", "n".repeat(300));
    let archive = Forge::default().pax(&[(&long, b"x")]).file("f", b"").end();
    check(
        &mut world,
        "a long name",
        &archive,
        &Refused("member", &["\"f\""]),
    );
}
