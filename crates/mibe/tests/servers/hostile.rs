//! `mibe image pull` before servers that lie: each lie is told of, and nothing of it is kept.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::images::{make, old_tree, uuid};
use crate::scripted::{Request, Scripted, json as answer, reply};
use crate::support::{Ran, Who, World, names};

/// The image `web@1` as an honest server has it, in the words of its manifest and its bytes.
struct Honest {
    manifest: Value,
    file: Vec<u8>,
}

fn honest(world: &World) -> Honest {
    let made = make(
        &world.folder.path().join("theirs"),
        1,
        "1",
        old_tree().path(),
    );
    let mut manifest = serde_json::to_value(&made.manifest).unwrap();
    manifest["state"] = json!("active");
    Honest {
        manifest,
        file: fs::read(made.file).unwrap(),
    }
}

/// What honest servers answer.
fn honestly(honest: &Honest, request: &Request, stream: &mut TcpStream) {
    match request.path() {
        "/images" => answer(stream, &json!([honest.manifest])),
        path if path.ends_with("/file") => reply(stream, "200 OK", "", &honest.file),
        _ => answer(stream, &honest.manifest),
    }
}

fn pull(world: &World, url: &str) -> Ran {
    world.mibe(&[
        "image",
        "pull",
        &uuid(1),
        "--server",
        url,
        "--into",
        "mine",
        "--progress",
        "none",
    ])
}

/// Pulls from a server that lies at one path, and expects that nothing comes of it.
fn lied_to(
    what: &str,
    status: i32,
    lie: impl Fn(&Honest, &Request, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> (Ran, usize) {
    let world = World::new(Who::Root);
    let truth = Arc::new(honest(&world));
    let server = Scripted::start(move |request, stream| {
        if !lie(&truth, request, stream) {
            honestly(&truth, request, stream);
        }
    });
    let ran = pull(&world, &server.url).expect(status);
    let left = names(&world.home().join("mine"));
    assert!(left.is_empty(), "{what}: {left:?}\n{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    (ran, server.requests().len())
}

fn is_file(request: &Request) -> bool {
    request.path().ends_with("/file")
}

#[test]
fn an_honest_server_is_believed() {
    let world = World::new(Who::Root);
    let truth = honest(&world);
    let file = truth.file.clone();
    let server = Scripted::start(move |request, stream| honestly(&truth, request, stream));
    pull(&world, &server.url).expect(0);
    assert_eq!(
        names(&world.home().join("mine")),
        ["web-1.json", "web-1.zfs.gz"]
    );
    assert_eq!(
        fs::read(world.home().join("mine/web-1.zfs.gz")).unwrap(),
        file
    );
    // Again: nothing is asked for but who has it, which is known here.
    let before = server.requests().len();
    pull(&world, &server.url).expect(0);
    assert_eq!(server.requests().len(), before);
}

#[test]
fn a_length_other_than_the_manifests_is_told_before_it_comes() {
    let (ran, _) = lied_to("length", 1, |truth, request, stream| {
        if is_file(request) {
            reply(stream, "200 OK", "", &[&truth.file[..], b"x"].concat());
        }
        is_file(request)
    });
    ran.says("and its manifest says");
    let (ran, _) = lied_to("shorter", 1, |truth, request, stream| {
        if is_file(request) {
            reply(stream, "200 OK", "", &truth.file[..truth.file.len() - 1]);
        }
        is_file(request)
    });
    ran.says("and its manifest says");
}

#[test]
fn other_bytes_are_told() {
    let (ran, _) = lied_to("bytes", 1, |truth, request, stream| {
        if is_file(request) {
            let mut other = truth.file.clone();
            let middle = other.len() / 2;
            other[middle] ^= 1;
            reply(stream, "200 OK", "", &other);
        }
        is_file(request)
    });
    ran.says("SHA-1");
}

#[test]
fn a_body_without_end_is_cut_off() {
    let (ran, _) = lied_to("endless", 1, |truth, request, stream| {
        if is_file(request) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(&truth.file);
            let piece = vec![0; 1 << 16];
            while stream.write_all(&piece).is_ok() {}
        }
        is_file(request)
    });
    ran.says("longer than");
}

#[test]
fn another_image_under_the_uuid_is_told() {
    let (ran, _) = lied_to("uuid", 1, |truth, request, stream| {
        if !is_file(request) {
            let mut other = truth.manifest.clone();
            other["uuid"] = json!(uuid(2));
            answer(stream, &other);
        }
        !is_file(request)
    });
    ran.says("another image");
}

#[test]
fn redirects_end() {
    let (ran, asked) = lied_to("redirects", 1, |_, request, stream| {
        let to = format!("Location: /images/{}?{}\r\n", uuid(1), request.number);
        reply(stream, "302 Found", &to, b"");
        true
    });
    ran.says("from one place to the next");
    assert!(asked < 20, "{asked}");
}

#[test]
fn json_of_any_size_is_not_read_to_the_end() {
    let (ran, _) = lied_to("huge", 1, |_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"a\": \"");
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..200 {
            if stream.write_all(&piece).is_err() {
                break;
            }
        }
        true
    });
    ran.says("longer than");
}

#[test]
fn json_of_any_depth_is_an_error() {
    let (ran, _) = lied_to("deep", 1, |_, _, stream| {
        reply(stream, "200 OK", "", &vec![b'['; 1 << 20]);
        true
    });
    ran.says("not the JSON of an image server");
}

#[test]
fn what_is_no_image_server_is_told_so() {
    let (ran, _) = lied_to("html", 1, |_, _, stream| {
        reply(
            stream,
            "200 OK",
            "Content-Type: text/html\r\n",
            b"<html>hello</html>",
        );
        true
    });
    ran.says("not the JSON of an image server");
}

#[test]
fn what_is_not_http_is_told_so() {
    let (ran, asked) = lied_to("no http", 1, |_, _, stream| {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        true
    });
    ran.says("no HTTP");
    assert_eq!(asked, 1);
}

#[test]
fn headers_without_end_are_cut_off() {
    let (ran, _) = lied_to("headers", 1, |_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream
            .write_all(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
            .is_ok()
        {}
        true
    });
    ran.says("no HTTP");
}

#[test]
fn a_file_that_is_not_the_stream_of_the_manifest_is_told() {
    // The sizes and digests are right; what is in it is not.
    let lie = |change: fn(&mut Value)| {
        lied_to("manifest", 1, move |truth, request, stream| {
            let mut manifest = truth.manifest.clone();
            change(&mut manifest);
            if !is_file(request) {
                answer(stream, &manifest);
            }
            !is_file(request)
        })
    };
    lie(|manifest| manifest["files"][0]["dataset_guid"] = json!("77"))
        .0
        .says("snapshot");
    lie(|manifest| manifest["files"][0]["sha1"] = json!("zz"))
        .0
        .says("not valid");
    lie(|manifest| manifest["files"][0]["size"] = json!(u64::MAX))
        .0
        .says("and its manifest says");
    lie(|manifest| manifest["files"] = json!([])).0.says("");
    lie(|manifest| manifest["name"] = json!("../../etc/passwd\u{1b}[31m"))
        .0
        .says("not valid");
    lie(|manifest| manifest["version"] = json!("1\r\nx"))
        .0
        .says("not valid");
}

#[test]
fn images_that_stand_on_each_other_end() {
    let (ran, asked) = lied_to("circle", 1, |truth, request, stream| {
        if is_file(request) {
            return false;
        }
        let number: u64 =
            u64::from_str_radix(&request.path()[request.path().len() - 4..], 16).unwrap();
        let mut manifest = truth.manifest.clone();
        manifest["uuid"] = json!(uuid(number));
        manifest["origin"] = json!(uuid(number % 3 + 1));
        answer(stream, &manifest);
        true
    });
    ran.says("without end");
    assert!(asked < 10, "{asked}");
    let (ran, asked) = lied_to("ever new ones", 1, |truth, request, stream| {
        if is_file(request) {
            return false;
        }
        let number: u64 =
            u64::from_str_radix(&request.path()[request.path().len() - 4..], 16).unwrap();
        let mut manifest = truth.manifest.clone();
        manifest["uuid"] = json!(uuid(number));
        manifest["origin"] = json!(uuid(number + 1));
        answer(stream, &manifest);
        true
    });
    ran.says("without end");
    assert!(asked < 200, "{asked}");
}

#[test]
fn a_list_without_end_ends() {
    let world = World::new(Who::Root);
    let truth = honest(&world);
    let server = Scripted::start(move |request, stream| {
        let images: Vec<_> = (0..1000)
            .map(|number| {
                let mut image = truth.manifest.clone();
                image["uuid"] = json!(uuid(1 + request.number as u64 * 1000 + number));
                image
            })
            .collect();
        answer(stream, &json!(images));
    });
    let ran = world
        .mibe(&["image", "avail", "--server", &server.url])
        .expect(1);
    ran.says("lists more than");
    // One that gives the same page again and again gives no more.
    let world = World::new(Who::Root);
    let truth = honest(&world);
    let server = Scripted::start(move |_, stream| {
        let images: Vec<_> = (0..1000)
            .map(|number| {
                let mut image = truth.manifest.clone();
                image["uuid"] = json!(uuid(number));
                image
            })
            .collect();
        answer(stream, &json!(images));
    });
    let ran = world
        .mibe(&["image", "avail", "--server", &server.url, "--json"])
        .expect(0);
    assert_eq!(ran.stdout.lines().count(), 1000);
}

#[test]
fn a_range_that_was_not_asked_for_is_told() {
    let world = World::new(Who::Root);
    let truth = honest(&world);
    let server = Scripted::start(move |request, stream| {
        match (is_file(request), request.header("range")) {
            (false, _) => answer(stream, &truth.manifest),
            // Cut off in the middle the first time.
            (true, None) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    truth.file.len()
                );
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(&truth.file[..truth.file.len() / 2]);
            }
            (true, Some(_)) => {
                let range = format!(
                    "Content-Range: bytes 0-{}/{}\r\n",
                    truth.file.len() - 1,
                    truth.file.len()
                );
                reply(stream, "206 Partial Content", &range, &truth.file);
            }
        }
    });
    pull(&world, &server.url).expect(1).says("the range");
    assert!(names(&world.home().join("mine")).is_empty());
}

#[test]
fn credentials_go_to_no_other_host() {
    let world = World::new(Who::Root);
    let elsewhere = Arc::new(Scripted::start(|_, stream| {
        reply(stream, "404 Not Found", "", b"");
    }));
    let to = format!(
        "Location: {}/images\r\n",
        elsewhere.url.replace("127.0.0.1", "localhost")
    );
    let server = Scripted::start(move |_, stream| reply(stream, "302 Found", &to, b""));
    let password = world.home().join("password");
    fs::write(&password, "top-secret\n").unwrap();
    world
        .mibe(&[
            "server",
            "add",
            "them",
            &server.url,
            "--user",
            "ann",
            "--password-file",
            password.to_str().unwrap(),
        ])
        .expect(0);
    let ran = world
        .mibe(&["image", "avail", "--server", "them"])
        .expect(1);
    assert!(!ran.stderr.contains("top-secret"));
    assert!(server.requests()[0].header("authorization").is_some());
    for request in elsewhere.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
}

#[test]
fn a_server_that_says_nothing_more_is_given_up() {
    let world = World::new(Who::Root);
    let truth = honest(&world);
    let server = Scripted::start(move |request, stream| {
        if is_file(request) {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                truth.file.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&truth.file[..10]);
            std::thread::sleep(Duration::from_secs(600));
        }
        honestly(&truth, request, stream);
    });
    let mut child = world
        .command(&[
            "image",
            "pull",
            &uuid(1),
            "--server",
            &server.url,
            "--into",
            "mine",
        ])
        .spawn()
        .unwrap();
    // Ctrl-C ends it while it waits; what came stays for the next try, under its hidden name.
    let hidden = world.home().join(format!("mine/.{}.part", uuid(1)));
    crate::serving::wait_for("the first bytes", || {
        fs::metadata(&hidden).is_ok_and(|file| file.len() == 10)
    });
    let begun = std::time::Instant::now();
    crate::support::succeed(
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]),
    );
    let status = child.wait().unwrap();
    assert_ne!(status.code(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(70),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        names(&world.home().join("mine")),
        [format!(".{}.part", uuid(1))]
    );
}
