//! `mibe image` on streams of a kernel's `zfs send`, and on what is no image at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

#[path = "support/images.rs"]
mod images;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use images::{given, sample, unescaped, unpacked};
use serde_json::Value;
use support::{Who, World, names, succeed};

/// Image, origin, and what its files are listed as.
const CHAINS: &[(&str, Option<&str>, &str)] = &[
    ("v5-full", None, "v5-full"),
    ("v5-incr", Some("v5-full"), "v5-incr"),
    ("child-incr-on-v5", Some("v5-full"), "child"),
    ("v5r4k-incr", Some("v5r4k-full"), "v5r4k-incr"),
    ("v5xd-incr", Some("v5xd-full"), "v5xd-incr"),
    ("v3-incr", Some("v3-full"), "v3-incr"),
    ("v3-p-full", None, "v3-full"),
    ("m1-L-full", None, "m1-full"),
];

fn stream(name: &str) -> String {
    sample(&format!("{name}.zfs.xz"))
}

/// The entries of `files --json --sha256`, by path.
fn listed(world: &World, image: &str, origin: Option<&str>) -> BTreeMap<Vec<u8>, Value> {
    let image = stream(image);
    let mut arguments = vec!["image", "files", &image, "--json", "--sha256"];
    let origin = origin.map(stream);
    if let Some(origin) = &origin {
        arguments.extend(["--origin", origin]);
    }
    let ran = world.mibe(&arguments).expect(0);
    ran.stdout
        .lines()
        .map(|line| {
            let entry: Value = serde_json::from_str(line).unwrap();
            (unescaped(entry["path"].as_str().unwrap()), entry)
        })
        .collect()
}

#[test]
fn files_are_those_that_find_saw() {
    let world = World::new(Who::Root);
    for (image, origin, listing) in CHAINS {
        let found = listed(&world, image, *origin);
        let list = unpacked(&format!("{listing}.find0.xz"));
        let records: Vec<_> = list
            .split(|byte| *byte == 0)
            .filter(|record| !record.is_empty())
            .collect();
        assert_eq!(records.len(), found.len(), "{image}");
        for record in records {
            let columns: Vec<_> = record.splitn(11, |byte| *byte == b'\t').collect();
            let text = |column: usize| std::str::from_utf8(columns[column]).unwrap();
            let path = [b"/", columns[1]].concat();
            let entry = &found[&path];
            let kind = match text(0) {
                "f" => "file",
                "d" => "directory",
                "l" => "symlink",
                "b" => "block",
                "c" => "char",
                "p" => "fifo",
                "s" => "socket",
                other => panic!("{other}"),
            };
            assert_eq!(entry["type"], kind, "{entry}");
            assert_eq!(entry["mode"], format!("{:0>4}", text(2)), "{entry}");
            for (key, column) in [("uid", 3), ("gid", 4), ("nlink", 5), ("size", 6)] {
                assert_eq!(entry[key].to_string(), text(column), "{key} of {entry}");
            }
            // find has a tenth digit.
            assert_eq!(format!("{}0", entry["mtime"].as_str().unwrap()), text(7));
            match entry["target"].as_str() {
                Some(target) => assert_eq!(unescaped(target), columns[10], "{entry}"),
                None => assert_ne!(kind, "symlink", "{entry}"),
            }
        }
        contents(&found, listing);
        devices(&found, listing);
        xattrs(&found, listing);
    }
}

fn contents(found: &BTreeMap<Vec<u8>, Value>, listing: &str) {
    let list = unpacked(&format!("{listing}.sha256z.xz"));
    let mut count = 0;
    for line in list
        .split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
    {
        let (digest, path) = line.split_at(64);
        let entry = &found[path.strip_prefix(b"  .").unwrap()];
        assert_eq!(
            entry["sha256"].as_str().unwrap().as_bytes(),
            digest,
            "{entry}"
        );
        count += 1;
    }
    let digests = found.values().filter(|entry| entry.get("sha256").is_some());
    assert_eq!(digests.count(), count, "{listing}");
}

fn devices(found: &BTreeMap<Vec<u8>, Value>, listing: &str) {
    let list = String::from_utf8(unpacked(&format!("{listing}.rdev.xz"))).unwrap();
    for line in list.lines() {
        let (path, device) = line.rsplit_once(' ').unwrap();
        let (major, minor) = device.split_once(':').unwrap();
        let number = |hex| u32::from_str_radix(hex, 16).unwrap();
        let entry = &found[path.strip_prefix('.').unwrap().as_bytes()];
        assert_eq!(
            entry["rdev"],
            format!("{},{}", number(major), number(minor))
        );
    }
    let devices = found.values().filter(|entry| entry.get("rdev").is_some());
    assert_eq!(devices.count(), list.lines().count(), "{listing}");
}

fn xattrs(found: &BTreeMap<Vec<u8>, Value>, listing: &str) {
    let list = String::from_utf8(unpacked(&format!("{listing}.xattr.xz"))).unwrap();
    let mut expected = BTreeMap::<_, BTreeMap<_, _>>::new();
    let mut path = "";
    for line in list.lines() {
        if let Some(file) = line.strip_prefix("# file: ") {
            path = file;
        } else if let Some((name, value)) = line.split_once("=0x") {
            expected
                .entry(format!("/{path}"))
                .or_default()
                .insert(name, value);
        }
    }
    assert!(!expected.is_empty());
    for (path, entry) in found {
        match expected.remove(&*String::from_utf8_lossy(path)) {
            Some(xattrs) => assert_eq!(entry["xattrs"], serde_json::json!(xattrs), "{entry}"),
            None => assert_eq!(entry.get("xattrs"), None, "{entry}"),
        }
    }
    assert_eq!(expected, BTreeMap::new());
}

#[test]
fn every_file_can_be_had() {
    let world = World::new(Who::Root);
    let (image, origin) = (stream("v5r4k-incr"), stream("v5r4k-full"));
    let list = unpacked("v5r4k-incr.sha256z.xz");
    let mut some: Vec<_> = list
        .split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
        .map(|line| line.split_at(64))
        .collect();
    // The large, the sparse, the oddly named; of the many small ones a few.
    let mut small = 0;
    some.retain(|(_, path)| {
        small += usize::from(path.starts_with(b"  ./etc/sub/") || path.starts_with(b"  ./big/"));
        !(path.starts_with(b"  ./etc/sub/") || path.starts_with(b"  ./big/")) || small % 80 == 1
    });
    assert!(some.len() > 10, "{}", some.len());
    for (digest, path) in some {
        use std::os::unix::ffi::OsStrExt as _;
        let path = std::ffi::OsStr::from_bytes(path.strip_prefix(b"  .").unwrap());
        let mut command = world.command(&["image", "cat", &image, "--origin", &origin]);
        let content = given_path(command.arg(path));
        let found = given(Command::new("sha256sum"), &content, 0);
        assert_eq!(&found[..64], digest, "{}", path.display());
    }
}

fn given_path(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    output.stdout
}

#[test]
fn names_can_be_given_as_they_are_shown() {
    let world = World::new(Who::Root);
    let image = stream("m1-L-full");
    let ran = world.mibe(&["image", "files", &image, "/etc"]).expect(0);
    for shown in ["/etc/bad\\xff\\xfebytes", "/etc/new\\x0aline"] {
        assert!(
            ran.stdout.lines().any(|line| line == shown),
            "{}",
            ran.stdout
        );
        let one = world.mibe(&["image", "files", &image, shown]).expect(0);
        assert_eq!(one.stdout, format!("{shown}\n"));
        world.mibe(&["image", "cat", &image, shown]).expect(0);
    }
}

#[test]
fn a_long_listing_is_like_that_of_ls() {
    let world = World::new(Who::Root);
    let ran = world
        .mibe(&["image", "files", &stream("v5-full"), "-l"])
        .expect(0);
    let line = |path: &str| {
        let end = format!(" {path}");
        ran.stdout
            .lines()
            .find(|line| line.ends_with(&end) || line.contains(&format!("{end} -> ")))
            .unwrap_or_else(|| panic!("no {path}"))
    };
    assert_eq!(
        line("/"),
        "drwxr-xr-x    9     0     0          9 2026-11-22 22:11:45 /"
    );
    assert_eq!(
        line("/dev/null"),
        "crw-r--r--    1     0     0        1,3 2026-11-22 22:11:38 /dev/null"
    );
    assert_eq!(
        line("/dev/sda1"),
        "brw-r--r--    1     0     0        8,1 2026-11-22 22:11:38 /dev/sda1"
    );
    // Attributes are marked.
    assert!(line("/etc").starts_with("drwxr-xr-x@ "), "{}", line("/etc"));
    let plain = world
        .mibe(&["image", "files", &stream("v5-full"), "dev"])
        .expect(0);
    assert!(plain.stdout.starts_with("/dev\n/dev/"), "{}", plain.stdout);
}

#[test]
fn standard_input_is_as_good_as_a_file() {
    let world = World::new(Who::Root);
    let scratch = world.folder.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let packed = fs::read(stream("v5xd-full")).unwrap();
    let plain = unpacked("v5xd-full.zfs.xz");
    let file = world
        .mibe(&["image", "files", &stream("v5xd-full"), "-l"])
        .expect(0);
    let (incremental, origin) = (fs::read(stream("v5xd-incr")).unwrap(), stream("v5xd-full"));
    for input in [&packed, &plain] {
        let out = given(world.command(&["image", "files", "-", "-l"]), input, 0);
        assert_eq!(String::from_utf8(out).unwrap(), file.stdout);
        given(world.command(&["image", "verify", "-"]), input, 0);
        given(world.command(&["image", "show", "-"]), input, 0);
        let mut cat = world.command(&["image", "cat", "-", "/big/file-number-1"]);
        cat.env("TMPDIR", &scratch);
        assert_eq!(given(cat, input, 0), b"\n");
        let same = world.command(&["image", "diff", "-", &origin]);
        assert_eq!(given(same, input, 0), b"the images do not differ\n");
    }
    let out = given(
        world.command(&["image", "verify", "-", "--origin", &origin]),
        &incremental,
        0,
    );
    assert!(
        out.starts_with(b"ok: "),
        "{}",
        String::from_utf8_lossy(&out)
    );
    assert_eq!(names(&scratch), Vec::<String>::new());
}

/// A copy of a stream may fill a disk, so it must not outlive who made it.
#[test]
fn nothing_of_standard_input_is_left_behind() {
    use std::io::Write as _;
    let world = World::new(Who::Root);
    let scratch = world.folder.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let mut child = world
        .command(&["image", "cat", "-", "/x"])
        .env("TMPDIR", &scratch)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let packed = fs::read(stream("v5-full")).unwrap();
    child.stdin.as_ref().unwrap().write_all(&packed).unwrap();
    let held = |pid: u32| {
        let scratch = scratch.to_str().unwrap().to_owned();
        fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .any(|path| path.to_string_lossy().starts_with(&scratch))
    };
    let start = Instant::now();
    while !held(child.id()) {
        assert!(start.elapsed() < Duration::from_secs(60), "no copy is made");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(names(&scratch), Vec::<String>::new());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names(&scratch), Vec::<String>::new());
}

/// OpenZFS parts blocks of 1 MiB if it is not told to send large ones; what fills the last is no part of the file.
#[test]
fn a_last_block_in_pieces_is_digested_right() {
    let world = World::new(Who::Root);
    let oracle = std::env::var("MIBE_ORACLE")
        .expect("MIBE_ORACLE is not set: run the tests with `cargo xtask test`");
    let home = world.home();
    fs::write(home.join("large"), unpacked("m1-L-full.zfs.xz")).unwrap();
    fs::write(home.join("edits"), "truncate /var/sparse 40950000\n").unwrap();
    let truth = succeed(
        Command::new(format!("{oracle}/zsend"))
            .args(["-E", "edits", "parted.zfs", "large"])
            .env("TMPDIR", &home)
            .current_dir(&home),
    );
    let digest = truth
        .lines()
        .find_map(|line| line.strip_prefix("f /var/sparse ")?.rsplit_once("sha256="))
        .unwrap()
        .1
        .to_owned();
    let ran = world
        .mibe(&["image", "files", "parted.zfs", "/var/sparse", "--sha256"])
        .expect(0);
    assert_eq!(ran.stdout, format!("{digest}  /var/sparse\n"));
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let world = World::new(Who::Root);
    let image = stream("v5-full");
    let sparse = ["image", "cat", &image, "/var/sparse"];
    let calls = [
        &["image", "files", &image][..],
        &["image", "files", &image, "--json"],
        &["image", "files", &image, "-l"],
        &["image", "show", &image],
        &["image", "show", &image, "--json"],
        &["image", "list"],
        &["image", "verify", &image],
        &["image", "diff", &image, &image],
        &sparse,
    ];
    for arguments in calls {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = world.command(arguments).stdout(writer).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
        assert_eq!(error, "", "{arguments:?}");
        let full = fs::File::create("/dev/full").unwrap();
        let output = world.command(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "error: can't write to standard output: No space left on device (os error 28)\n",
            "{arguments:?}"
        );
    }
}

/// What users get wrong, the exit status, and every word they are told.
#[test]
fn mistakes_are_explained() {
    let world = World::new(Who::Root);
    let home = world.home();
    let cache = home.join(".cache/mibe/images");
    let cache = cache.display();
    let (full, incremental) = (stream("v5xd-full"), "alone/incr.zfs.xz".to_owned());
    // Where its origin is not beside it.
    fs::create_dir(home.join("alone")).unwrap();
    fs::copy(stream("v5xd-incr"), home.join(&incremental)).unwrap();
    let other = stream("v3-full");
    let volume = stream("z8-full");
    fs::write(home.join("empty"), "").unwrap();
    fs::create_dir(home.join("folder")).unwrap();
    succeed(
        Command::new("tar")
            .current_dir(&home)
            .args(["cf", "files.tar", "empty"]),
    );
    let packed = fs::read(&full).unwrap();
    fs::write(home.join("short.zfs.xz"), &packed[..20_000]).unwrap();
    let plain = unpacked("v5xd-full.zfs.xz");
    fs::write(home.join("short.zfs"), &plain[..200_000]).unwrap();
    fs::write(home.join("other.json"), "{\n  \"v\": 2\n}\n").unwrap();
    let no_image = |name: &str| {
        format!(
            "error: there is no image {name:?}\n\
             \x20 hint: give the path of a manifest or stream, a UUID, or name@version\n\
             \x20 hint: put the manifest and the file of the image into images or {cache}\n"
        )
    };
    let no_origin = format!(
        "error: {incremental} needs its origin, the image whose snapshot has guid 8046594025718508889, which is nowhere\n\
         \x20 hint: get it from where the image comes from\n\
         \x20 hint: then give it with --origin FILE, or put its manifest and its file into images or {cache} or alone\n"
    );
    let no_files = format!(
        "error: {volume}: offset 312, record 1: the stream is not of a file system, so there are no files in it\n"
    );
    let told = [
        (&["files", "nosuch"][..], 1, no_image("nosuch")),
        (&["show", "folder"], 1, no_image("folder")),
        (&["files", &incremental], 1, no_origin.clone()),
        (&["files", &incremental, "--origin", &other], 1, no_origin),
        (&["files", &volume], 1, no_files.clone()),
        (&["cat", &volume, "/x"], 1, no_files),
        (
            &["files", &full, "/no\nsuch"],
            1,
            "error: there is no /no\\x0asuch in the image\n".to_owned(),
        ),
        (
            &["cat", &full, "/nosuch"],
            1,
            "error: there is no /nosuch in the image\n".to_owned(),
        ),
        (
            &["cat", &full, "/etc"],
            1,
            "error: /etc is a directory, not a file\n".to_owned(),
        ),
        (
            &["cat", &full, "dev/null"],
            1,
            "error: /dev/null is a character device, not a file\n".to_owned(),
        ),
        (
            &["files", "files.tar"],
            1,
            "error: files.tar is no zfs stream: no BEGIN record (at byte 0 of the stream)\n".to_owned(),
        ),
        (
            &["verify", "empty"],
            1,
            "error: empty is no zfs stream: it is empty (at byte 0 of the stream)\n".to_owned(),
        ),
        (
            &["files", "short.zfs.xz"],
            1,
            "error: short.zfs.xz: offset 1266064, record 78, object 23: can't read on: the xz data are damaged before byte \
             20000: premature eof\n"
                .to_owned(),
        ),
        (
            &["files", "short.zfs"],
            1,
            "error: short.zfs: offset 81232, record 63, object 20: the stream ends here, in the middle: it is truncated\n"
                .to_owned(),
        ),
        (
            &["show", "other.json"],
            1,
            "error: other.json:3:1: missing field `uuid`\n".to_owned(),
        ),
        (
            &["files", &full, "--origin", "nosuch"],
            1,
            "error: can't read nosuch: No such file or directory (os error 2)\n".to_owned(),
        ),
        (
            &["diff", "-", "-"],
            2,
            "error: standard input can't be both images\n".to_owned(),
        ),
    ];
    for (arguments, status, words) in told {
        let ran = world.mibe(&[&["image"], arguments].concat()).expect(status);
        assert_eq!(ran.stderr, words, "{arguments:?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    for arguments in [
        &["image"][..],
        &["image", "files"],
        &["image", "cat", &full],
        &["image", "diff", &full],
        &["image", "frobnicate"],
        &["image", "files", &full, "--json", "-l"],
    ] {
        world.mibe(arguments).expect(2);
    }
}
