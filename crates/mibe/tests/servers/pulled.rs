//! Images from servers: resumed, several at a time, as bases of builds.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use crate::images::{change, make, new_tree, old_tree, pair, tree, uuid};
use crate::scripted::{Scripted, json as answer, reply};
use crate::serving::{Serving, noise};
use crate::support::{Who, World, names, succeed};

fn same(one: &Path, other: &Path) {
    assert!(
        fs::read(one).unwrap() == fs::read(other).unwrap(),
        "{} differs",
        other.display()
    );
}

#[test]
fn an_image_comes_with_what_it_stands_on() {
    let world = World::new(Who::Root);
    let (one, two) = pair(&world);
    let serving = Serving::start(&world, "images", &[]);
    let list = world
        .mibe(&[
            "image",
            "avail",
            "--server",
            &serving.url,
            "name=web",
            "type=lx-dataset",
        ])
        .expect(0);
    assert_eq!(list.stdout.lines().count(), 3, "{}", list.stdout);
    for (number, argument) in [uuid(2), "web@2".into(), "web-2".into()].iter().enumerate() {
        let mine = format!("mine{number}");
        let ran = world
            .mibe(&[
                "image",
                "pull",
                argument,
                "--server",
                &serving.url,
                "--into",
                &mine,
            ])
            .expect(0);
        assert!(ran.stdout.contains(&uuid(2)), "{}", ran.stdout);
        let mine = world.home().join(mine);
        assert_eq!(
            names(&mine),
            ["web-1.json", "web-1.zfs.gz", "web-2.json", "web-2.zfs.gz"]
        );
        same(&one.file, &mine.join("web-1.zfs.gz"));
        same(&two.file, &mine.join("web-2.zfs.gz"));
        world
            .mibe(&["image", "verify", &format!("mine{number}/web-2.json")])
            .expect(0);
    }
    // Into the cache, where all commands find it.
    fs::rename(world.home().join("images"), world.home().join("served")).unwrap();
    let serving = Serving::start(&world, "served", &[]);
    world
        .mibe(&["image", "pull", "web@2", "--server", &serving.url])
        .expect(0);
    world
        .mibe(&["image", "files", "web@2", "/root/etc"])
        .expect(0);
    let ran = world
        .mibe(&["image", "pull", "web@2", "web@1", "--server", &serving.url])
        .expect(0);
    assert_eq!(
        ran.stdout.matches("was here already").count(),
        2,
        "{}",
        ran.stdout
    );
}

#[test]
fn the_newest_of_a_name_is_meant() {
    let world = World::new(Who::Root);
    let images = world.home().join("served");
    for (number, version, time) in [
        (1, "9", "2026-01-01T00:00:00Z"),
        (2, "10", "2026-02-01T00:00:00Z"),
        (3, "1", "2026-03-01T00:00:00Z"),
    ] {
        let made = make(&images, number, version, old_tree().path());
        made.edit(|manifest| {
            manifest["published_at"] = json!(time);
            if number == 3 {
                manifest["disabled"] = json!(true);
            }
        });
    }
    let serving = Serving::start(&world, "served", &[]);
    world
        .mibe(&[
            "image",
            "pull",
            "web",
            "--server",
            &serving.url,
            "--into",
            "mine",
        ])
        .expect(0);
    assert_eq!(
        names(&world.home().join("mine")),
        ["web-10.json", "web-10.zfs.gz"]
    );
    world
        .mibe(&[
            "image",
            "pull",
            "web@1",
            "--server",
            &serving.url,
            "--into",
            "mine",
        ])
        .expect(1)
        .says("no image");
    world
        .mibe(&[
            "image",
            "pull",
            &uuid(3),
            "--server",
            &serving.url,
            "--into",
            "mine",
        ])
        .expect(2)
        .says("disabled");
}

/// A file large enough to be cut off in, and the bytes of it that each answer gives.
fn breaking(ranges: bool) {
    let world = World::new(Who::Root);
    let noise = noise(400_000);
    let made = make(
        &world.folder.path().join("theirs"),
        1,
        "1",
        tree(&[("root/noise", &noise)]).path(),
    );
    let file = fs::read(&made.file).unwrap();
    assert!(file.len() > 1 << 20);
    let mut manifest = serde_json::to_value(&made.manifest).unwrap();
    manifest["state"] = json!("active");
    let theirs = file.clone();
    let server = Scripted::start(move |request, stream| {
        if !request.path().ends_with("/file") {
            return answer(stream, &manifest);
        }
        let from = request
            .header("range")
            .filter(|_| ranges)
            .map_or(0, |range| {
                range["bytes=".len()..range.len() - 1].parse().unwrap()
            });
        let rest = &theirs[from..];
        let (status, range) = if from > 0 {
            (
                "206 Partial Content",
                format!(
                    "Content-Range: bytes {from}-{}/{}\r\n",
                    theirs.len() - 1,
                    theirs.len()
                ),
            )
        } else {
            ("200 OK", String::new())
        };
        // A third of it, then nothing; the third time, all.
        let tries = request.number;
        if tries < 3 {
            let head = format!(
                "HTTP/1.1 {status}\r\n{range}Content-Length: {}\r\n\r\n",
                rest.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&rest[..rest.len().min(theirs.len() / 3)]);
        } else {
            reply(stream, status, &range, rest);
        }
    });
    world
        .mibe(&[
            "image",
            "pull",
            &uuid(1),
            "--server",
            &server.url,
            "--into",
            "mine",
        ])
        .expect(0);
    assert!(fs::read(world.home().join("mine/web-1.zfs.gz")).unwrap() == file);
    let asked: Vec<_> = server
        .requests()
        .iter()
        .filter_map(|request| request.header("range").map(ToOwned::to_owned))
        .collect();
    assert!(!asked.is_empty());
    // Killed in the middle, the next call goes on.
    let mine = world.home().join("again");
    fs::create_dir(&mine).unwrap();
    fs::write(
        mine.join(format!(".{}.part", uuid(1))),
        &file[..file.len() / 2],
    )
    .unwrap();
    world
        .mibe(&[
            "image",
            "pull",
            &uuid(1),
            "--server",
            &server.url,
            "--into",
            "again",
        ])
        .expect(0);
    assert!(fs::read(mine.join("web-1.zfs.gz")).unwrap() == file);
    let last = server
        .requests()
        .last()
        .unwrap()
        .header("range")
        .map(ToOwned::to_owned);
    assert_eq!(last, Some(format!("bytes={}-", file.len() / 2)));
    // What is there of something else is found out, and comes anew.
    let mine = world.home().join("other");
    fs::create_dir(&mine).unwrap();
    fs::write(
        mine.join(format!(".{}.part", uuid(1))),
        vec![7; file.len() / 2],
    )
    .unwrap();
    world
        .mibe(&[
            "image",
            "pull",
            &uuid(1),
            "--server",
            &server.url,
            "--into",
            "other",
        ])
        .expect(0);
    assert!(fs::read(mine.join("web-1.zfs.gz")).unwrap() == file);
    assert_eq!(names(&mine), ["web-1.json", "web-1.zfs.gz"]);
}

#[test]
fn what_breaks_off_goes_on_where_it_ended() {
    breaking(true);
}

#[test]
fn where_no_ranges_are_given_it_starts_again() {
    breaking(false);
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let world = World::new(Who::Root);
    let made = make(
        &world.folder.path().join("theirs"),
        1,
        "1",
        old_tree().path(),
    );
    let manifest = serde_json::to_value(&made.manifest).unwrap();
    let file = fs::read(&made.file).unwrap();
    let server = Scripted::start(move |request, stream| match request.number {
        0 => reply(stream, "503 Service Unavailable", "Retry-After: 1\r\n", b""),
        1 => reply(stream, "502 Bad Gateway", "", b"<html>"),
        _ if request.path().ends_with("/file") => reply(stream, "200 OK", "", &file),
        _ => answer(stream, &manifest),
    });
    world
        .mibe(&[
            "image",
            "pull",
            &uuid(1),
            "--server",
            &server.url,
            "--into",
            "mine",
        ])
        .expect(0);
}

#[test]
fn many_at_a_time_and_two_calls_at_once_do_not_meet() {
    let world = World::new(Who::Root);
    let images = world.home().join("served");
    let one = make(&images, 1, "1", old_tree().path());
    for number in 2..=8 {
        change(
            &images,
            number,
            &number.to_string(),
            new_tree().path(),
            &one,
        );
    }
    let serving = Serving::start(&world, "served", &[]);
    let all: Vec<_> = (2..=8).map(uuid).collect();
    let mut arguments = vec!["image", "pull", "--server", &serving.url, "--into", "mine"];
    arguments.extend(all.iter().map(String::as_str));
    let spawn = || {
        let mut command = world.command(&arguments);
        command
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..3).map(|_| spawn()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(names(&world.home().join("mine")).len(), 16);
    for number in 1..=8 {
        same(
            &images.join(format!("web-{number}.zfs.gz")),
            &world.home().join(format!("mine/web-{number}.zfs.gz")),
        );
    }
}

/// A small base that a sandbox can run, of busybox alone.
fn base(world: &World, folder: &str, number: u64, version: &str) {
    let tree = tree(&[
        ("root/etc/debian_version", "12.5\n"),
        ("root/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("root/etc/group", "root:x:0:\n"),
        ("root/bin/sh", "->busybox"),
        ("root/root/", ""),
        ("root/tmp/", ""),
    ]);
    let busybox = succeed(std::process::Command::new("sh").args(["-c", "command -v busybox"]));
    fs::copy(busybox.trim(), tree.path().join("root/bin/busybox")).unwrap();
    let made = make(&world.home().join(folder), number, version, tree.path());
    made.edit(|manifest| {
        manifest["name"] = json!("tiny");
        manifest["published_at"] = json!(format!("2026-0{number}-01T00:00:00Z"));
        manifest["tags"] = json!({"kernel_version": "5.10.0"});
    });
}

#[test]
fn a_base_that_no_library_has_is_pulled_by_the_build() {
    let world = World::new(Who::Root);
    base(&world, "served", 1, "1");
    base(&world, "served", 2, "2");
    let serving = Serving::start(&world, "served", &[]);
    let manifest = "name=\"upon\"\nversion=\"1\"\ntype=\"lx-dataset\"\nos=\"linux\"\n";
    world.write_repository(
        "upon",
        &[
            ("manifest", 0o644, manifest),
            ("customize", 0o755, "#!/bin/sh\nexit 0\n"),
        ],
    );
    // No server, no base; and what was called without one is told how it is.
    let ran = world.mibe(&["build", "upon", "--base", "tiny"]).expect(1);
    ran.says("there is no image \"tiny\"");
    world
        .mibe(&["server", "add", "ours", &serving.url])
        .expect(0);
    world
        .mibe(&["build", "upon", "--base", "tiny", "--no-pull"])
        .expect(1)
        .says("mibe image pull");
    world
        .mibe(&["build", "upon", "--base", "tiny", "--dry-run"])
        .expect(1)
        .says("mibe image pull");
    world
        .mibe(&["build", "upon", "--base", "tiny@3"])
        .expect(1)
        .says("there is no image \"tiny@3\"");
    assert!(names(&world.home().join(".cache/mibe/images")).is_empty());
    for (base, number) in [("tiny", 2), ("tiny-1", 1), (uuid(1).as_str(), 1)] {
        let ran = world
            .mibe(&[
                "build",
                "upon",
                "--base",
                base,
                "--progress",
                "json",
                "--force",
            ])
            .expect(0);
        let built = ran
            .stdout
            .lines()
            .find(|line| line.contains("\"built\""))
            .unwrap();
        let built: serde_json::Value = serde_json::from_str(built).unwrap();
        assert_eq!(built["base"]["uuid"], uuid(number));
        let log = fs::read_to_string(built["log"].as_str().unwrap()).unwrap_or_else(|_| {
            fs::read_to_string(world.home().join(built["log"].as_str().unwrap())).unwrap()
        });
        assert!(
            log.contains(&format!(
                "the base is the image tiny {number}, {}",
                uuid(number)
            )),
            "{log}"
        );
    }
    // The server is not needed any more.
    drop(serving);
    world
        .mibe(&["build", "upon", "--base", "tiny", "--force"])
        .expect(0);
    world
        .mibe(&["build", "upon", "--base", "other", "--force"])
        .expect(1)
        .says("can't be fetched");
}

#[test]
fn servers_have_names() {
    let world = World::new(Who::Single);
    let list = |world: &World| world.mibe(&["server", "list"]).expect(0).stdout;
    fs::remove_file(world.config().join("mibe/servers.json")).unwrap();
    assert!(list(&world).contains("https://images.smartos.org"));
    world
        .mibe(&[
            "server",
            "add",
            "at",
            "https://datasets.at",
            "--type",
            "dsapi",
        ])
        .expect(0);
    world
        .mibe(&["server", "add", "at", "https://else.example"])
        .expect(2)
        .says("there is a server at already");
    world.mibe(&["server", "add", "bad", "ftp://x"]).expect(2);
    world
        .mibe(&["server", "add", "bad", "http://ann:secret@x"])
        .expect(2);
    world.mibe(&["server", "remove", "none"]).expect(2);
    assert!(list(&world).contains("dsapi"));
    world.mibe(&["server", "remove", "at"]).expect(0);
    world.mibe(&["server", "remove", "smartos"]).expect(0);
    assert_eq!(list(&world).lines().count(), 1);
    world
        .mibe(&["image", "avail", "--server", "smartos"])
        .expect(2)
        .says("there is no server");
}

/// A full disk ends a pull with a word of it; nothing has its name, and what came is there for the next try.
#[test]
fn a_full_disk_is_told() {
    let world = World::new(Who::Root);
    let tree = tree(&[("root/noise", &noise(400_000))]);
    make(&world.home().join("served"), 1, "1", tree.path());
    let serving = Serving::start(&world, "served", &[]);
    let small = world.home().join("small");
    fs::create_dir(&small).unwrap();
    succeed(
        std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
            .arg(&small),
    );
    let pull = [
        "image",
        "pull",
        "web@1",
        "--server",
        &serving.url,
        "--into",
        "small",
    ];
    let ran = world.mibe(&pull);
    let left = names(&small);
    succeed(std::process::Command::new("umount").arg("-l").arg(&small));
    ran.expect(1).says("No space left");
    assert_eq!(left, [format!(".{}.part", uuid(1))]);
}
