//! What GNU tar packs, unpacked by us and by GNU tar; what we pack, unpacked by GNU tar and bsdtar.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Mode as Bits, Timespec, Timestamps, XattrFlags};

use crate::forge::Forge;
use crate::listing::{self, assert_same};
use crate::world::{Case, World, run, text};

pub const CASES: &[Case] = &[
    ("formats of GNU tar", formats),
    ("sparse files of every format", sparse),
    ("archives of bsdtar", bsdtar),
    ("numbers in base 256", big_numbers),
    ("checksums of signed bytes and blank fields", old_headers),
    (
        "what was packed comes out of GNU tar and bsdtar",
        round_trip,
    ),
];

/// GNU tar has an escape for it; bsdtar has none.
const ODD_XATTR: &[u8] = b"user.with=equals and%percent%3D";

/// Fractions of seconds before 1970: bsdtar counts them away from 1970.
const FRACTIONS: [&str; 2] = ["before-1970-too", "just-before-1970"];

/// What a format can't hold is left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rich {
    /// v7: names of 99 bytes, no devices.
    Plain,
    /// ustar: names in two parts.
    Ustar,
    /// GNU: everything but attributes and fractions of seconds.
    Gnu,
    Pax,
}

pub fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_xattr(path: &Path, name: &[u8], value: &[u8]) {
    rustix::fs::setxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty())
        .expect("the file system of the temporary directory has no user attributes (set TMPDIR)");
}

fn node(path: &Path, kind: FileType, major: u32, minor: u32) {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, path, kind, Bits::from(0o640), device).unwrap();
}

fn furnish(top: &Path, rich: Rich) {
    let file = |name: &str, mode: u32, content: &[u8]| {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    fs::create_dir_all(top).unwrap();
    file("empty", 0o600, b"");
    file("bin/setuid", 0o4755, b"#!/bin/sh\n");
    file("bin/setgid", 0o2711, &[7; 513]);
    // Only root reads what no one may.
    let mode = if listing::privileged() { 0o000 } else { 0o400 };
    file("no/mode", mode, &[0; 512]);
    file("a space, a\ttab and a \\ backslash", 0o644, b"x");
    let first = file("links/first", 0o640, &[1; 70_000]);
    fs::hard_link(&first, top.join("links/second")).unwrap();
    fs::hard_link(&first, top.join("zz-third")).unwrap();
    symlink("first", top.join("links/relative")).unwrap();
    symlink("/nowhere/at/all", top.join("links/dangling")).unwrap();
    symlink("links", top.join("to-directory")).unwrap();
    let sticky = top.join("tmp");
    fs::create_dir(&sticky).unwrap();
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(top.join(OsStr::from_bytes(b"latin-\xe9\xff")), b"1").unwrap();
    fs::write(top.join("line\nend"), b"2").unwrap();
    set_mtime(&first, 1_700_000_000, 123_456_789);
    set_mtime(&top.join("links/dangling"), 1_000_000_000, 5);
    if rich >= Rich::Ustar {
        let deep = format!("{}/{}", "d".repeat(99), "n".repeat(99));
        file(&deep, 0o644, b"deep");
        if rich == Rich::Ustar {
            fs::hard_link(top.join("links/second"), top.join("d".repeat(99)).join("l")).unwrap();
        }
        rustix::fs::mknodat(CWD, top.join("pipe"), FileType::Fifo, 0o600.into(), 0).unwrap();
        if listing::privileged() {
            node(&top.join("char"), FileType::CharacterDevice, 1, 3);
            node(&top.join("block"), FileType::BlockDevice, 259, 1_000_000);
            std::os::unix::fs::chown(top.join("empty"), Some(2_000_000), Some(7)).unwrap();
            std::os::unix::fs::lchown(top.join("links/relative"), Some(33), Some(44)).unwrap();
        }
    }
    if rich >= Rich::Gnu {
        let long = ["l".repeat(200), "o".repeat(255), "n".repeat(255)].join("/");
        let target = file(&long, 0o644, b"long");
        fs::hard_link(target, top.join("link-to-long")).unwrap();
        symlink(format!("/{}", "t/".repeat(1000)), top.join("long-target")).unwrap();
        let odd = [b"\xff".repeat(120), b"\n".repeat(120)].join(&b'-');
        fs::write(top.join(OsStr::from_bytes(&odd)), b"3").unwrap();
        set_mtime(&file("before-1970", 0o644, b"4"), -86_400, 0);
        set_mtime(&file("after-2400", 0o644, b"5"), 13_600_000_000, 0);
        if listing::privileged() {
            let path = file("big-ids", 0o6755, b"6");
            std::os::unix::fs::chown(&path, Some(4_000_000_000), Some(3_000_000)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
        }
    }
    if rich >= Rich::Pax {
        set_mtime(&file(FRACTIONS[0], 0o644, b"7"), -2, 250_000_000);
        set_mtime(&file(FRACTIONS[1], 0o644, b"8"), -1, 999_999_999);
        let path = file("attributes", 0o644, b"9");
        set_xattr(&path, b"user.plain", b"value");
        set_xattr(&path, b"user.empty", b"");
        set_xattr(&path, b"user.binary", &(0..=255).collect::<Vec<u8>>());
        set_xattr(&path, b"user.big", &[b'b'; 2000]);
        set_xattr(&path, ODD_XATTR, b"a=b\n20 c=d\n");
        // An ordinary user's GNU tar can't set attributes of such a file.
        if listing::privileged() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        }
        set_xattr(&top.join("tmp"), b"user.directory", b"yes");
    }
    for directory in ["bin", "no", "links", "tmp"] {
        set_mtime(&top.join(directory), 1_600_000_000, 1);
    }
    set_mtime(top, 1_500_000_000, 42);
}

/// GNU tar's idea of the archive.
pub fn unpacked_by(program: &str, archive: &Path, into: &Path) -> Vec<String> {
    fs::create_dir(into).unwrap();
    let mut arguments = vec!["-xpf", text(archive), "-C", text(into), "--numeric-owner"];
    if program == "tar" {
        arguments.extend(["--xattrs", "--xattrs-include=user.*"]);
    }
    run(program, &arguments);
    let list = listing::of_host(into);
    // Directories of mode 000 are in the way of who isn't root.
    fs::remove_dir_all(into).unwrap();
    list
}

pub fn compare(what: &str, world: &mut World, archive: &Path) {
    compare_with("tar", what, world, archive);
}

fn compare_with(program: &str, what: &str, world: &mut World, archive: &Path) {
    world.renew();
    world.unpack(archive).ok();
    let theirs = unpacked_by(program, archive, &world.path("theirs"));
    // The top comes first; where the archive doesn't have it, its time is of now.
    assert_same(what, &world.list()[1..], &theirs[1..]);
}

fn formats() {
    let mut world = World::new();
    let cases: &[(Rich, &[&str])] = &[
        (Rich::Plain, &["--format=v7"]),
        (Rich::Ustar, &["--format=ustar"]),
        (Rich::Gnu, &["--format=oldgnu"]),
        (Rich::Gnu, &["--format=gnu"]),
        (Rich::Pax, &["--format=pax", "--xattrs"]),
        (
            Rich::Pax,
            &[
                "--format=pax",
                "--xattrs",
                "--pax-option=globexthdr.name=g,comment=hello,SCHILY.foo:=1",
            ],
        ),
        (
            Rich::Pax,
            &[
                "--format=pax",
                "--xattrs",
                "--label=a label",
                "--blocking-factor=1",
            ],
        ),
        (
            Rich::Gnu,
            &["--format=gnu", "--label=a label", "--hard-dereference"],
        ),
        (
            Rich::Ustar,
            &[
                "--format=ustar",
                "--absolute-names",
                "--transform=s,^[.],/,",
            ],
        ),
    ];
    for (rich, options) in cases {
        let top = world.path("tree");
        furnish(&top, *rich);
        let archive = world.path("packed.tar");
        let mut arguments = vec!["-cf", text(&archive), "-C", text(&top)];
        arguments.extend(*options);
        arguments.push(".");
        run("tar", &arguments);
        compare(&format!("{options:?}"), &mut world, &archive);
        fs::remove_dir_all(&top).unwrap();
    }
}

fn sparse() {
    let mut world = World::new();
    let top = world.path("tree");
    fs::create_dir(&top).unwrap();
    let make = |name: &str, size: u64, pieces: &[(u64, &[u8])]| {
        let file = File::create(top.join(name)).unwrap();
        file.set_len(size).unwrap();
        for (offset, data) in pieces {
            file.write_all_at(data, *offset).unwrap();
        }
    };
    make("all hole", 5_000_000, &[]);
    make("at the end", 1 << 20, &[((1 << 20) - 5, b"the e")]);
    make("in the middle", 3_000_001, &[(1_000_000, &[9; 5000])]);
    make(
        "of ten gigabytes",
        10 << 30,
        &[(0, b"start"), (9 << 30, b"far")],
    );
    make("no hole", 10_000, &[(0, &[1; 10_000])]);
    let many: Vec<(u64, &[u8])> = (0..300).map(|i| (i * 65_536, &b"piece"[..])).collect();
    make("of many pieces", 300 * 65_536, &many);
    let long = "s".repeat(180);
    make(&long, 1 << 21, &[(1 << 20, b"long name")]);
    fs::write(top.join("zz"), "what comes after").unwrap();
    for options in [
        &["--format=gnu"][..],
        &["--format=oldgnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let archive = world.path("packed.tar");
        let mut arguments = vec!["--sparse", "-cf", text(&archive), "-C", text(&top)];
        arguments.extend(options);
        arguments.push(".");
        run("tar", &arguments);
        compare(&format!("{options:?}"), &mut world, &archive);
        let stored = world.path("sandbox/root/of ten gigabytes");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(stored).unwrap());
        assert!(blocks < 1000, "holes take {blocks} blocks");
    }
}

fn bsdtar() {
    let mut world = World::new();
    for (rich, format) in [
        (Rich::Plain, "v7tar"),
        (Rich::Ustar, "ustar"),
        (Rich::Gnu, "gnutar"),
        (Rich::Pax, "pax"),
        (Rich::Pax, "paxr"),
    ] {
        let top = world.path("tree");
        furnish(&top, rich);
        if format == "gnutar" && listing::privileged() {
            // bsdtar cuts this one short in this format.
            fs::remove_file(top.join("before-1970")).unwrap();
        }
        if rich == Rich::Pax {
            let path = top.join("attributes");
            rustix::fs::removexattr(&path, OsStr::from_bytes(ODD_XATTR)).unwrap();
            for name in FRACTIONS {
                fs::remove_file(top.join(name)).unwrap();
            }
        }
        let archive = world.path("packed.tar");
        let format = format!("--format={format}");
        // libarchive's restricted pax leaves out what it thinks does not matter.
        run(
            "bsdtar",
            &["-cf", text(&archive), &format, "-C", text(&top), "."],
        );
        compare_with("bsdtar", &format, &mut world, &archive);
        fs::remove_dir_all(&top).unwrap();
    }
}

fn big_numbers() {
    if !listing::privileged() {
        return;
    }
    let mut world = World::new();
    let mut header = crate::forge::header(b'0', b"file", 3);
    header[257..265].copy_from_slice(b"ustar  \0");
    // 4 000 000 001, 4 294 967 294 (the greatest id that there is) and 10 s before 1970.
    header[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0xee, 0x6b, 0x28, 0x01]);
    header[116..124].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]);
    header[136..148].copy_from_slice(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 246]);
    header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    let archive = world.path("packed.tar");
    fs::write(&archive, Forge::default().header(header).data(b"abc").end()).unwrap();
    compare("base 256", &mut world, &archive);
    assert!(world.list()[1].contains(" 4000000001:4294967294 -10.000000000 3 bytes "));
}

/// What old programs wrote: sums of signed bytes, numbers without digits, directories told by their names.
fn old_headers() {
    let mut world = World::new();
    let mut blank = crate::forge::header(b'0', b"blank", 3);
    for field in [108..116, 116..124, 329..337, 337..345] {
        blank[field].fill(b' ');
    }
    let directory = crate::forge::header(0, b"directory/", 0);
    let mut signed = Forge::default()
        .header(crate::forge::header(b'0', b"sum-\xff\xfe\xfd", 1))
        .bytes;
    signed[148..156].fill(b' ');
    let sum: i64 = signed[..512]
        .iter()
        .map(|byte| i64::from(byte.cast_signed()))
        .sum();
    signed[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = Forge { bytes: signed }.data(b"1");
    archive = archive.header(blank).data(b"123").header(directory);
    let path = world.path("packed.tar");
    fs::write(&path, archive.end()).unwrap();
    // GNU tar takes no blank owners.
    compare_with("bsdtar", "old headers", &mut world, &path);
    assert_eq!(world.list().len(), 4);
}

fn round_trip() {
    let mut world = World::new();
    let top = world.path("tree");
    furnish(&top, Rich::Pax);
    let archive = world.path("packed.tar");
    run(
        "tar",
        &[
            "-cf",
            text(&archive),
            "-C",
            text(&top),
            "--format=pax",
            "--xattrs",
            ".",
        ],
    );
    world.unpack(&archive).ok();
    let list = world.list();
    let ours = world.path("ours.tar");
    let latest = 20_000_000_000;
    assert_eq!(world.pack(&ours, latest), list.len() as u64);
    assert_same(
        "GNU tar",
        &unpacked_by("tar", &ours, &world.path("theirs")),
        &list,
    );
    let theirs: Vec<String> = unpacked_by("bsdtar", &ours, &world.path("theirs"))
        .into_iter()
        .map(|line| {
            line.replace(
                "user.with%3Dequals and%25percent%253D",
                "user.with=equals and%percent%3D",
            )
        })
        .collect();
    let comparable = |list: &[String]| -> Vec<String> {
        // bsdtar sets no time of the directory that it unpacks into.
        list[1..]
            .iter()
            .filter(|line| !FRACTIONS.iter().any(|name| line.contains(name)))
            .cloned()
            .collect()
    };
    assert_same("bsdtar", &comparable(&theirs), &comparable(&list));
    // No program has anything to complain about.
    for program in ["tar", "bsdtar"] {
        let output = Command::new(program)
            .args(["-tf", text(&ours)])
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success());
        // GNU tar does not know how POSIX says that names are no UTF-8.
        let complaints = String::from_utf8_lossy(&output.stderr).replace(
            "tar: Ignoring unknown extended header keyword 'hdrcharset'\n",
            "",
        );
        assert_eq!(complaints, "", "{program}");
    }
    // Our own reader takes it back, and equal trees make equal archives.
    world.renew();
    world.unpack(&ours).ok();
    assert_same("mibe", &world.list(), &list);
    let again = world.path("again.tar");
    world.pack(&again, latest);
    assert!(fs::read(&ours).unwrap() == fs::read(&again).unwrap());
    // No time is later than the latest.
    world.pack(&again, 1_000_000_000);
    world.renew();
    world.unpack(&again).ok();
    let late: Vec<_> = world
        .list()
        .into_iter()
        .filter(|line| line.contains(" 17000") || line.contains(" 16000"))
        .collect();
    assert_eq!(late, Vec::<String>::new());
}
