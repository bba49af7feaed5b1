//! `mibe serve` when clients break off, stall and meet, when its disk is full, and when it is ended.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::images::{Made, make, old_tree, tree, uuid};
use crate::serving::{Answer, Serving, noise, wait_for};
use crate::support::{Who, World, names, succeed};

/// An image that no library has yet.
fn theirs(world: &World) -> Made {
    make(
        &world.folder.path().join("theirs"),
        1,
        "1",
        old_tree().path(),
    )
}

fn import(serving: &Serving, made: &Made) -> Answer {
    let mut manifest = serde_json::to_value(&made.manifest).unwrap();
    manifest.as_object_mut().unwrap().remove("files");
    let target = format!("/images/{}?action=import", made.manifest.uuid);
    serving.send("POST", &target, &[], manifest.to_string().as_bytes())
}

fn put(serving: &Serving, made: &Made, bytes: &[u8]) -> Answer {
    let target = format!("/images/{}/file?compression=gzip", made.manifest.uuid);
    serving.send("PUT", &target, &[], bytes)
}

fn activate(serving: &Serving, made: &Made) -> Answer {
    serving.ask(
        "POST",
        &format!("/images/{}?action=activate", made.manifest.uuid),
        &[],
    )
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let world = World::new(Who::Root);
    let made = theirs(&world);
    let file = fs::read(&made.file).unwrap();
    let serving = Serving::start(&world, "served", &[]);
    import(&serving, &made).expect(200);
    let mut stream = serving.connect();
    let head = format!(
        "PUT /images/{}/file?compression=gzip HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        uuid(1),
        serving.address,
        file.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&file[..file.len() / 2]).unwrap();
    let pending = world.home().join("served/.pending").join(uuid(1));
    wait_for("the upload", || names(&pending).len() == 2);
    drop(stream);
    wait_for("its end", || names(&pending) == ["manifest.json"]);
    assert_eq!(
        activate(&serving, &made).expect(422).code(),
        "NoActivationNoFile"
    );
    put(&serving, &made, &file).expect(200);
    activate(&serving, &made).expect(200);
    assert!(fs::read(world.home().join("served/web-1.zfs.gz")).unwrap() == file);
}

#[test]
fn two_uploads_of_one_image_do_not_mix() {
    let world = World::new(Who::Root);
    let made = theirs(&world);
    let other = make(
        &world.folder.path().join("other"),
        1,
        "1",
        tree(&[("root/other", "other")]).path(),
    );
    let files = [
        fs::read(&made.file).unwrap(),
        fs::read(&other.file).unwrap(),
    ];
    let serving = Serving::start(&world, "served", &[]);
    import(&serving, &made).expect(200);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (serving, made, files) = (&serving, &made, &files);
            scope.spawn(move || put(serving, made, &files[number % 2]).expect(200));
        }
    });
    // One of two imports at once is the one.
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let imports: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| import(&serving, &made).status))
            .collect();
        imports
            .into_iter()
            .map(|import| import.join().unwrap())
            .collect()
    });
    assert_eq!(statuses, [409; 4]);
    let told = serving.json(&format!("/images/{}", uuid(1)));
    activate(&serving, &made).expect(200);
    let kept = fs::read(world.home().join("served/web-1.zfs.gz")).unwrap();
    assert!(files.contains(&kept));
    assert_eq!(told["files"][0]["size"], kept.len());
    assert_eq!(names(&world.home().join("served/.pending")), [".lock"]);
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    let world = World::new(Who::Root);
    let noise = noise(400_000);
    let made = make(
        &world.folder.path().join("theirs"),
        1,
        "1",
        tree(&[("root/noise", &noise)]).path(),
    );
    let file = fs::read(&made.file).unwrap();
    let folder = world.home().join("served");
    fs::create_dir(&folder).unwrap();
    succeed(
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
            .arg(&folder),
    );
    let unmount = Unmount(folder.clone());
    let serving = Serving::start(&world, "served", &[]);
    import(&serving, &made).expect(200);
    // Known beforehand, and found out on the way.
    let answer = put(&serving, &made, &file).expect(503);
    assert_eq!(answer.code(), "StorageIsDown");
    let mut chunked = format!(
        "PUT /images/{}/file?compression=gzip HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        uuid(1),
        serving.address,
        file.len()
    )
    .into_bytes();
    chunked.extend_from_slice(&file);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let answer = serving.raw(&chunked);
    assert!([0, 503].contains(&answer.status), "{answer:?}");
    wait_for("nothing to be left", || {
        names(&folder.join(".pending").join(uuid(1))) == ["manifest.json"]
    });
    assert!(
        serving.log().contains("No space left") || serving.log().contains("503"),
        "{}",
        serving.log()
    );
    // It serves on.
    assert_eq!(serving.json("/images"), json!([]));
    drop(serving);
    drop(unmount);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).output();
    }
}

/// A server that is killed while it activates: whatever was done of it, the image is there once, and whole, when it runs again.
#[test]
fn an_activation_that_ends_early_is_finished_or_begun_anew() {
    let world = World::new(Who::Root);
    let made = theirs(&world);
    let file = fs::read(&made.file).unwrap();
    let states: [&[&str]; 4] = [
        // Waiting; linked; placed without its manifest; placed, and not cleared away.
        &[],
        &["link"],
        &["link", "name"],
        &["link", "name", "manifest"],
    ];
    for (number, done) in states.iter().enumerate() {
        let folder = format!("served{number}");
        let at = world.home().join(&folder);
        {
            let serving = Serving::start(&world, &folder, &[]);
            import(&serving, &made).expect(200);
            put(&serving, &made, &file).expect(200);
        }
        let pending = at.join(".pending").join(uuid(1));
        let waiting = names(&pending)
            .into_iter()
            .find(|name| name.starts_with("file-"))
            .unwrap();
        let link = at.join(format!(".serve-{}.part", uuid(1)));
        for step in *done {
            match *step {
                "link" => fs::hard_link(pending.join(&waiting), &link).unwrap(),
                "name" => fs::rename(&link, at.join("web-1.zfs.gz")).unwrap(),
                _ => {
                    let text = fs::read_to_string(pending.join("manifest.json")).unwrap();
                    let text = text.replace("\"activated\": false", "\"activated\": true");
                    fs::write(at.join("web-1.json"), text).unwrap();
                }
            }
        }
        let serving = Serving::start(&world, &folder, &[]);
        let whole = done.len() == 3;
        assert_eq!(
            serving.json("/images").as_array().unwrap().len(),
            usize::from(whole),
            "{done:?}"
        );
        let answer = activate(&serving, &made);
        assert_eq!(
            answer.status,
            if whole { 422 } else { 200 },
            "{done:?}: {answer:?}"
        );
        assert_eq!(
            names(&at),
            [".pending", "web-1.json", "web-1.zfs.gz"],
            "{done:?}"
        );
        assert_eq!(names(&at.join(".pending")), [".lock"], "{done:?}");
        let came = serving
            .ask("GET", &format!("/images/{}/file", uuid(1)), &[])
            .expect(200);
        assert!(came.body == file, "{done:?}");
    }
}

#[test]
fn what_runs_is_finished_and_nothing_new_is_begun_once_it_is_to_end() {
    let world = World::new(Who::Root);
    let noise = noise(4_000_000);
    let made = make(
        &world.home().join("served"),
        1,
        "1",
        tree(&[("root/noise", &noise)]).path(),
    );
    let size = fs::metadata(&made.file).unwrap().len() as usize;
    assert!(size > 8 << 20, "{size}");
    let mut serving = Serving::start(&world, "served", &[]);
    let get = format!(
        "GET /images/{}/file HTTP/1.1\r\nHost: {}\r\n\r\n",
        uuid(1),
        serving.address
    );
    let mut stream = serving.connect();
    stream.write_all(get.as_bytes()).unwrap();
    let mut first = vec![0; 1 << 16];
    stream.read_exact(&mut first).unwrap();
    succeed(Command::new("kill").arg(serving.child.id().to_string()));
    wait_for("nothing new to be begun", || {
        std::net::TcpStream::connect(&serving.address).is_err()
    });
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(
        first.len() + rest.len() > size,
        "{} of {size}",
        first.len() + rest.len()
    );
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    // A client that takes nothing is not waited for longer than was said.
    let mut serving = Serving::start(&world, "served", &["--grace", "1"]);
    let mut stalled = serving.connect();
    stalled.write_all(get.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    assert_eq!(serving.end(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    drop(stalled);
}

/// One that takes nothing, one that takes a byte now and then, one that sends nothing more: none is waited for for ever, and one that
/// takes its time but takes is.
#[test]
fn transfers_that_stall_end() {
    let world = World::new(Who::Root);
    let tree = tree(&[("root/noise", &noise(4_000_000))]);
    let made = make(&world.home().join("served"), 1, "1", tree.path());
    let size = fs::metadata(&made.file).unwrap().len() as usize;
    let serving = Serving::start(&world, "served", &["--timeout", "2"]);
    let get = format!(
        "GET /images/{}/file HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        uuid(1),
        serving.address
    );
    let mut other = made.manifest.clone();
    other.uuid = uuid(2);
    let target = format!("/images/{}?action=import", uuid(2));
    let mut text = serde_json::to_value(&other).unwrap();
    text.as_object_mut().unwrap().remove("files");
    serving
        .send("POST", &target, &[], text.to_string().as_bytes())
        .expect(200);
    let put = format!(
        "PUT /images/{}/file?compression=gzip HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000\r\n\r\nabc",
        uuid(2),
        serving.address
    );
    let connections = || {
        let text = serving.ask("GET", "/metrics", &[]).expect(200).text();
        let line = text
            .lines()
            .find(|line| line.starts_with("mibe_connections "))
            .unwrap()
            .to_owned();
        // The one that asks counts, too.
        line["mibe_connections ".len()..].parse::<usize>().unwrap() - 1
    };
    let mut nothing = serving.connect();
    nothing.write_all(get.as_bytes()).unwrap();
    let mut drip = serving.connect();
    drip.write_all(get.as_bytes()).unwrap();
    let mut upload = serving.connect();
    upload.write_all(put.as_bytes()).unwrap();
    wait_for("three at once", || connections() == 3);
    let dripping = std::thread::spawn(move || {
        let mut byte = [0];
        while drip.read(&mut byte).is_ok_and(|count| count == 1) {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let mut patient = serving.connect();
    patient.write_all(get.as_bytes()).unwrap();
    let (mut came, mut piece) = (0, vec![0; size / 20]);
    loop {
        match patient.read(&mut piece).unwrap() {
            0 => break,
            count => came += count,
        }
        if came < size / 2 {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    assert!(came > size, "{came} of {size}");
    let answer = Answer::read(&mut upload);
    assert!([0, 400].contains(&answer.status), "{answer:?}");
    wait_for("none to be left", || connections() == 0);
    assert_eq!(
        names(&world.home().join("served/.pending").join(uuid(2))),
        ["manifest.json"]
    );
    drop(nothing);
    // Whose connection is gone has what had come before.
    drop(dripping);
}

#[test]
fn clients_that_stall_are_let_go_and_others_are_served() {
    let world = World::new(Who::Root);
    make(&world.home().join("served"), 1, "1", old_tree().path());
    let serving = Serving::start(&world, "served", &[]);
    // Heads that never end, of many.
    let mut slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = serving.connect();
            stream
                .write_all(b"GET /images HTTP/1.1\r\nHost: x\r\nX-A: ")
                .unwrap();
            stream
        })
        .collect();
    assert_eq!(serving.json("/images").as_array().unwrap().len(), 1);
    let begun = Instant::now();
    let mut answer = Vec::new();
    let _ = slow[0].read_to_end(&mut answer);
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
    // More than the limit for one address: the others are closed at once, and it is counted.
    let many: Vec<_> = (0..560).map(|_| serving.connect()).collect();
    wait_for("some to be refused", || {
        std::net::TcpStream::connect(&serving.address).is_ok_and(|mut stream| {
            let _ = stream.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            Answer::read(&mut stream).status == 0
        })
    });
    drop(many);
    drop(slow);
    wait_for("it to serve again", || {
        serving.ask("GET", "/ping", &[]).status == 200
    });
    let metrics = serving.ask("GET", "/metrics", &[]).expect(200).text();
    let refused = metrics
        .lines()
        .find(|line| line.starts_with("mibe_connections_refused_total"))
        .unwrap();
    assert!(!refused.ends_with(" 0"), "{refused}");
}
