//! `mibe image` on images that mibe's own writer made: the library, and verifying.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

#[path = "support/images.rs"]
mod images;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use images::{given, pair, sample, uuid};
use serde_json::{Value, json};
use support::{Who, World, names, succeed};

#[test]
fn an_empty_library_is_told_so() {
    let world = World::new(Who::Single);
    let ran = world.mibe(&["image", "list"]).expect(0);
    let cache = world.home().join(".cache/mibe/images");
    let words = format!("no images in images or {}\n", cache.display());
    assert_eq!(ran.stdout, words);
    assert_eq!(
        world.mibe(&["image", "list", "--json"]).expect(0).stdout,
        ""
    );
    assert_eq!(names(&world.home()), Vec::<String>::new());
}

#[test]
fn the_library_is_listed_with_what_is_broken() {
    let world = World::new(Who::Root);
    let (one, _) = pair(&world);
    let images = world.home().join("images");
    fs::write(images.join("broken.json"), "{\n").unwrap();
    fs::remove_file(images.join("web-2.zfs.gz")).unwrap();
    // Whatever a manifest says, the terminal is not steered.
    one.edit(|manifest| manifest["name"] = json!("w\u{1b}[2Jeb"));
    let size = fs::metadata(&one.file).unwrap().len();
    let shown = format!("{:.1} KiB", size as f64 / 1024.0);
    let ran = world.mibe(&["image", "list"]).expect(0);
    let uuid = uuid(1);
    let expected = format!(
        "UUID                                  NAME        VERSION  TYPE        SIZE     ORIGIN  FILE\n\
         {uuid}  w\\x1b[2Jeb  1        lx-dataset  {shown}  -       images/web-1.zfs.gz\n\
         broken: images/broken.json:2:0: EOF while parsing an object\n\
         broken: images/web-2.json has no file beside it\n"
    );
    assert_eq!(ran.stdout, expected);
    let ran = world.mibe(&["image", "list", "--json"]).expect(0);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0]["image"]["uuid"], uuid);
    assert_eq!(lines[0]["size"], size);
    assert_eq!(lines[0]["file"], "images/web-1.zfs.gz");
    assert_eq!(lines[2]["manifest"], "images/web-2.json");
    assert_eq!(lines[2]["error"], "images/web-2.json has no file beside it");
}

#[test]
fn an_image_is_shown_with_its_ancestry() {
    let world = World::new(Who::Root);
    let (one, two) = pair(&world);
    for name in [
        "web@2",
        "web-2",
        &uuid(2),
        "images/web-2.json",
        "images/web-2.zfs.gz",
    ] {
        let shown = world.mibe(&["image", "show", name]).expect(0).stdout;
        for line in [
            "name           web",
            "version        2",
            &format!("uuid           {}", uuid(2)),
            "type           lx-dataset",
            "os             linux",
            "published      2026-01-02T03:04:05Z",
            &format!("origin         {}", uuid(1)),
            "manifest       images/web-2.json",
            "stream         incremental of a filesystem",
            "snapshot       zones/web@2",
            "guid           2",
            "from guid      1",
            "made           2020-09-13T12:26:40Z",
            "ancestry, base first:",
        ] {
            assert!(
                shown.lines().any(|shown| shown == line),
                "no {line:?} in\n{shown}"
            );
        }
        let ancestry: Vec<_> = shown
            .lines()
            .skip_while(|line| *line != "ancestry, base first:")
            .collect();
        assert!(
            ancestry[1].starts_with(&format!("  {} web 1 (guid 1, ", uuid(1))),
            "{shown}"
        );
        assert!(
            ancestry[2].starts_with(&format!("  {} web 2 (guid 2, ", uuid(2))),
            "{shown}"
        );
        assert_eq!(ancestry.len(), 3);
    }
    let ran = world.mibe(&["image", "show", "web@2", "--json"]).expect(0);
    let object: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        object["image"],
        serde_json::to_value(&two.manifest).unwrap()
    );
    let chain = object["chain"].as_array().unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[0]["uuid"], one.manifest.uuid);
    assert_eq!(chain[1]["stream"]["guid"], "2");
    assert_eq!(chain[1]["stream"]["from_guid"], "1");
    assert_eq!(chain[0]["stream"]["from_guid"], Value::Null);
}

#[test]
fn an_image_without_its_origin_says_which_and_how_to_get_it() {
    let world = World::new(Who::Root);
    let (one, _) = pair(&world);
    let away = world.home().join("away");
    fs::create_dir(&away).unwrap();
    fs::rename(&one.file, away.join("web-1.zfs.gz")).unwrap();
    fs::rename(&one.manifest_path, away.join("web-1.json")).unwrap();
    let ran = world.mibe(&["image", "files", "web@2"]).expect(1);
    let cache = world.home().join(".cache/mibe/images");
    let expected = format!(
        "error: web@2 (images/web-2.zfs.gz) needs its origin, image {0} (guid 1), which is nowhere\n\
         \x20 hint: get it from its image server, or with `imgadm export {0}` on a server that has it installed\n\
         \x20 hint: then give it with --origin FILE, or put its manifest and its file into images or {1}\n",
        uuid(1),
        cache.display()
    );
    assert_eq!(ran.stderr, expected);
    for origin in ["away/web-1.json", "away/web-1.zfs.gz"] {
        let ran = world
            .mibe(&["image", "files", "web@2", "/root/etc", "--origin", origin])
            .expect(0);
        let found: Vec<_> = ran
            .stdout
            .lines()
            .filter(|line| !line.contains("systemd"))
            .collect();
        assert_eq!(
            found,
            [
                "/root/etc",
                "/root/etc/added",
                "/root/etc/group",
                "/root/etc/link",
                "/root/etc/motd",
                "/root/etc/passwd",
                "/root/etc/same"
            ]
        );
    }
    let ran = world.mibe(&[
        "image",
        "cat",
        "web@2",
        "/etc/motd",
        "--origin",
        "away/web-1.json",
    ]);
    assert_eq!(
        ran.expect(1).stderr,
        "error: there is no /etc/motd in the image\n  hint: there is /root/etc/motd: a zone's files are in /root\n"
    );
}

/// The findings of `verify --json`; there must be some.
fn findings(world: &World, arguments: &[&str]) -> Vec<String> {
    let ran = world
        .mibe(&[&["image", "verify", "--json"], arguments].concat())
        .expect(1);
    let object: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(object["ok"], false);
    let findings = object["findings"].as_array().unwrap();
    let ran = world
        .mibe(&[&["image", "verify"], arguments].concat())
        .expect(1);
    for finding in findings {
        let line = format!(
            "{}: {}",
            finding["image"].as_str().unwrap(),
            finding["what"].as_str().unwrap()
        );
        assert!(ran.stdout.contains(&line), "no {line:?} in\n{}", ran.stdout);
    }
    let count = match findings.len() {
        1 => "one finding".to_owned(),
        count => format!("{count} findings"),
    };
    assert_eq!(
        ran.stderr,
        format!("error: the image is not as it should be: {count}\n")
    );
    findings
        .iter()
        .map(|finding| finding["what"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn sound_images_pass() {
    let world = World::new(Who::Root);
    pair(&world);
    let ran = world.mibe(&["image", "verify", "web@1"]).expect(0);
    assert!(ran.stdout.starts_with("ok: 17 files, "), "{}", ran.stdout);
    let ran = world.mibe(&["image", "verify", "web@2"]).expect(0);
    assert!(ran.stdout.starts_with("ok: 17 files, "), "{}", ran.stdout);
    assert!(ran.stdout.ends_with(" in 2 streams\n"), "{}", ran.stdout);
    let ran = world
        .mibe(&["image", "verify", "web@2", "--json"])
        .expect(0);
    let object: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(object["ok"], true);
    assert_eq!(object["findings"], json!([]));
    assert_eq!(object["streams"].as_array().unwrap().len(), 2);
    let volume = sample("z8-full.zfs.xz");
    let ran = world.mibe(&["image", "verify", &volume]).expect(0);
    assert!(
        ran.stdout.starts_with("ok: a volume of 48.0 MiB, "),
        "{}",
        ran.stdout
    );
}

#[test]
fn every_lie_of_a_manifest_is_found() {
    let world = World::new(Who::Root);
    let (one, two) = pair(&world);
    let size = fs::metadata(&one.file).unwrap().len();
    let sha1 = succeed(Command::new("sha1sum").arg(&one.file))[..40].to_owned();
    let zeroes = "0".repeat(40);
    let lies: [(&str, Value, Vec<String>); 8] = [
        (
            "/files/0/sha1",
            json!(zeroes),
            vec![format!(
                "the file has SHA-1 {sha1}, and the manifest says {zeroes}"
            )],
        ),
        (
            "/files/0/size",
            json!(5),
            vec![format!(
                "the file has {size} bytes, and the manifest says 5"
            )],
        ),
        (
            "/files/0/compression",
            json!("bzip2"),
            vec!["the manifest says compression bzip2, and the file is gzip".to_owned()],
        ),
        (
            "/files/0/dataset_guid",
            json!("77"),
            vec!["the manifest says dataset_guid 77, and the stream has 1".to_owned()],
        ),
        (
            "/type",
            json!("zvol"),
            vec!["the manifest says zvol, and the stream is of a filesystem".to_owned()],
        ),
        (
            "/origin",
            json!(uuid(9)),
            vec![format!(
                "the manifest says origin {}, and the stream is a full one",
                uuid(9)
            )],
        ),
        (
            "/name",
            json!("a*b"),
            vec!["manifest: name must be of letters, digits, . _ / - and blanks".to_owned()],
        ),
        (
            "/files/0",
            json!({"sha1": zeroes, "size": 5, "compression": "none", "dataset_guid": "77"}),
            vec![
                "the manifest says dataset_guid 77, and the stream has 1".to_owned(),
                "the manifest says compression none, and the file is gzip".to_owned(),
                format!("the file has {size} bytes, and the manifest says 5"),
                format!("the file has SHA-1 {sha1}, and the manifest says {zeroes}"),
            ],
        ),
    ];
    for (field, lie, expected) in lies {
        one.edit(|manifest| {
            if let Some(value) = manifest.pointer_mut(field) {
                *value = lie;
            } else {
                manifest[&field[1..]] = lie;
            }
        });
        assert_eq!(
            findings(&world, &["images/web-1.json"]),
            expected,
            "{field}"
        );
        // What an image stands on is a part of it.
        if field.starts_with("/files/0/s") {
            assert_eq!(findings(&world, &["web@2"]), expected, "{field}");
        }
    }
    one.edit(|_| {});
    world.mibe(&["image", "verify", "web@1"]).expect(0);
    two.edit(|manifest| {
        manifest.as_object_mut().unwrap().remove("origin");
    });
    assert_eq!(
        findings(&world, &["web@2"]),
        ["the stream is a change to the snapshot of guid 1, and the manifest names no origin"]
    );
}

/// Wherever a stream is changed or cut, it is found, with the place.
#[test]
fn damage_is_found_wherever_it_is() {
    let world = World::new(Who::Root);
    let (one, _) = pair(&world);
    let plain = given(
        {
            let mut command = Command::new("gzip");
            command.arg("-dc");
            command
        },
        &fs::read(&one.file).unwrap(),
        0,
    );
    let path = world.home().join("damaged.zfs");
    // The header of BEGIN is beyond this: it is looked at before.
    for step in 1..40 {
        let at = 312 + (plain.len() - 313) * step / 40;
        let mut bytes = plain.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let found = findings(&world, &["damaged.zfs"]);
        assert!(found[0].starts_with("offset "), "byte {at}: {found:?}");
        fs::write(&path, &plain[..at]).unwrap();
        let found = findings(&world, &["damaged.zfs"]);
        assert!(
            found[0].ends_with("it is truncated"),
            "byte {at}: {found:?}"
        );
    }
    fs::write(&path, [&plain[..], b"x"].concat()).unwrap();
    findings(&world, &["damaged.zfs"]);
    fs::write(&path, &plain).unwrap();
    world.mibe(&["image", "verify", "damaged.zfs"]).expect(0);
}

#[test]
fn a_flattened_image_is_the_same_without_its_origin() {
    let world = World::new(Who::Root);
    let (one, _) = pair(&world);
    let ran = world.mibe(&["image", "flatten", "web@2"]).expect(0);
    assert!(
        ran.stdout.starts_with("image     web 2-full\nuuid      "),
        "{}",
        ran.stdout
    );
    let ran = world
        .mibe(&["image", "diff", "web@2", "web@2-full", "--times"])
        .expect(0);
    assert_eq!(ran.stdout, "the images do not differ\n");
    fs::remove_file(&one.file).unwrap();
    fs::remove_file(&one.manifest_path).unwrap();
    let ran = world.mibe(&["image", "verify", "web@2-full"]).expect(0);
    assert!(ran.stdout.starts_with("ok: 17 files, "), "{}", ran.stdout);
    // What is there is not replaced, and what is full needs no flattening.
    world.mibe(&["image", "flatten", "web@2-full"]).expect(2);
}

#[test]
fn an_image_can_be_unpacked() {
    let world = World::new(Who::Root);
    pair(&world);
    world.mibe(&["image", "extract", "web@2", "out"]).expect(0);
    let out = world.home().join("out");
    let motd = fs::read_to_string(out.join("root/etc/motd")).unwrap();
    assert_eq!(motd, "hello!\n");
    let link = fs::read_link(out.join("root/etc/link")).unwrap();
    assert_eq!(link, std::path::Path::new("passwd"));
    // A folder with something in it is left alone.
    world.mibe(&["image", "extract", "web@1", "out"]).expect(2);
    assert!(!out.join("root/etc/removed").exists());
    let tar = given(
        world.command(&["image", "extract", "web@2", "--tar", "-", "/root/etc"]),
        b"",
        0,
    );
    let mut list = Command::new("tar");
    list.args(["-tf", "-"]);
    let listed = String::from_utf8(given(list, &tar, 0)).unwrap();
    assert!(
        listed.lines().any(|line| line.ends_with("root/etc/motd")),
        "{listed}"
    );
    assert!(!listed.contains("dpkg"), "{listed}");
}

/// What a kernel's file system held comes out as it was, for whoever unpacks it: as files for root, in an archive for all.
#[test]
fn whoever_unpacks_an_image_gets_all_of_it() {
    let from = sample("v5xd-full.zfs.xz");
    let sample = "sample.zfs.xz";
    let script = "find . -not -path './dev/*' -not -type d -printf '%y %P %m %s %T@ %l\\n' | sort";
    let mut seen = Vec::new();
    for who in [Who::Root, Who::Subuid, Who::Single] {
        let world = World::new(who);
        // What is read must be where an ordinary user can read it.
        fs::copy(&from, world.home().join(sample)).unwrap();
        let ran = world.mibe(&["image", "extract", sample, "out"]).expect(0);
        let out = world.home().join("out");
        let list = Command::new("sh")
            .args(["-c", script])
            .current_dir(&out)
            .output()
            .unwrap();
        seen.push(String::from_utf8_lossy(&list.stdout).into_owned());
        assert!(ran.stdout.contains("left out: 1 sockets"), "{}", ran.stdout);
        let mode = fs::metadata(&out).unwrap().permissions().mode() & 0o777;
        if !matches!(who, Who::Root) {
            assert_eq!(mode, 0o700, "set-uid files would be anybody's to run");
            assert!(ran.stdout.contains("user.mibe.owner"), "{}", ran.stdout);
        }
        // The archive has owners and devices whoever writes it.
        world
            .mibe(&["image", "extract", sample, "--tar", "all.tar"])
            .expect(0);
        let mut list = Command::new("tar");
        list.arg("--numeric-owner")
            .arg("-tvf")
            .arg(world.home().join("all.tar"));
        let listed = succeed(&mut list);
        let lines: Vec<&str> = listed
            .lines()
            .filter(|line| line.contains("dev/"))
            .collect();
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with('b') || line.starts_with('c')),
            "{lines:?}"
        );
        seen.push(listed);
        // Nothing that is refused leaves anything.
        world
            .mibe(&["image", "extract", sample, "other", "no/such/path"])
            .expect(1)
            .says("no/such/path");
        assert!(!world.home().join("other").exists());
        world.assert_nothing_left();
    }
    let [root_files, root_tar, ..] = &seen[..] else {
        panic!("nothing seen");
    };
    assert!(root_files.lines().count() > 50, "{root_files}");
    for pair in seen.chunks(2) {
        for (found, expected) in pair.iter().zip([root_files, root_tar]) {
            let differs = found
                .lines()
                .zip(expected.lines())
                .find(|(one, other)| one != other);
            assert!(found == expected, "{differs:?}");
        }
    }
}
