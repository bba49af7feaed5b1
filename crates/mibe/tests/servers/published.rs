//! `mibe publish`: to a server that breaks off at every step, to a folder, to a dsapid; what is refused before a byte travels.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::images::{pair, uuid};
use crate::scripted::{Request, Scripted, json as answer, reply};
use crate::serving::{Serving, wait_for};
use crate::support::{Who, World, names, succeed};

const OWNER: &str = "9dce1460-0c4c-4417-ab8b-25ca478c5a78";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot much of a picture";

/// Two images, the second upon the first, that servers take, and an icon.
fn ready() -> World {
    let world = World::new(Who::Root);
    let (one, two) = pair(&world);
    for made in [&one, &two] {
        made.edit(|manifest| manifest["owner"] = json!(OWNER));
    }
    fs::write(world.home().join("icon.png"), PNG).unwrap();
    world
}

fn handed_on(request: &Request, host: &str) -> Vec<u8> {
    let mut onward = TcpStream::connect(host).unwrap();
    onward.write_all(&request.onward(host)).unwrap();
    let mut answer = Vec::new();
    onward.read_to_end(&mut answer).unwrap();
    answer
}

/// What may become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It never reaches the server.
    Lost,
    /// The server does it, and its answer is lost.
    Unanswered,
    /// The server refuses it.
    Refused,
    /// The server does it, and mibe is killed meanwhile.
    Killed,
}

/// A server between mibe and the real one, with a fault at one request; the UUIDs stay.
fn faulty(host: String, at: usize, fault: Fault, pid: &Arc<AtomicUsize>) -> Scripted {
    let pid = Arc::clone(pid);
    Scripted::start(move |request, stream| {
        if request.number != at {
            let _ = stream.write_all(&handed_on(request, &host));
            return;
        }
        match fault {
            Fault::Lost => {}
            Fault::Unanswered => drop(handed_on(request, &host)),
            Fault::Refused => reply(
                stream,
                "500 Internal Server Error",
                "",
                b"{\"code\":\"InternalError\",\"message\":\"no\"}",
            ),
            Fault::Killed => {
                handed_on(request, &host);
                wait_for("the child's id", || pid.load(Ordering::SeqCst) != 0);
                let id = pid.load(Ordering::SeqCst).to_string();
                succeed(Command::new("kill").args(["-KILL", &id]));
            }
        }
    })
}

/// Whatever happens at whatever step: nothing half is active, what mibe began it takes back or finishes when it is called again.
#[test]
fn publishing_survives_a_fault_at_every_step() {
    let world = ready();
    let arguments = |url: &str| {
        [
            "publish",
            "web@2",
            "--to",
            url,
            "--chain",
            "--icon",
            "icon.png",
            "--progress",
            "none",
        ]
        .map(ToOwned::to_owned)
    };
    let run = |url: &str, pid: &AtomicUsize| {
        let owned = arguments(url);
        let words: Vec<_> = owned.iter().map(String::as_str).collect();
        let child = world
            .command(&words)
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        pid.store(child.id() as usize, Ordering::SeqCst);
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    // How many requests there are, when all goes well.
    let count = {
        let serving = Serving::start(&world, "well", &[]);
        let between = faulty(
            serving.address.clone(),
            usize::MAX,
            Fault::Lost,
            &Arc::default(),
        );
        let (status, said) = run(&between.url, &AtomicUsize::new(0));
        assert_eq!(status, Some(0), "{said}");
        between.requests().len()
    };
    assert!((9..20).contains(&count), "{count}");
    for fault in [
        Fault::Unanswered,
        Fault::Refused,
        Fault::Killed,
        Fault::Lost,
    ] {
        for at in 0..count {
            let what = format!("{fault:?} at request {at}");
            let folder = format!("{fault:?}{at}");
            let serving = Serving::start(&world, &folder, &[]);
            let pid = Arc::new(AtomicUsize::new(0));
            let between = faulty(serving.address.clone(), at, fault, &pid);
            let (status, said) = run(&between.url, &pid);
            assert!(!said.contains("panicked"), "{what}: {said}");
            if fault == Fault::Killed {
                assert_eq!(status, None, "{what}");
            }
            let images = serving.json("/images?state=all");
            for image in images.as_array().unwrap() {
                let whole = image["files"][0]["sha1"].is_string()
                    && image["icon"]
                        == json!(image["uuid"] == uuid(2))
                            .as_bool()
                            .filter(|it| *it)
                            .map_or(Value::Null, Value::Bool);
                let active = image["state"] == "active";
                assert!(!active || whole, "{what}: half an image is active: {image}");
                // What ends with an error leaves nothing that waits.
                let waits = image["state"] == "unactivated" && fault != Fault::Killed;
                assert!(
                    !(waits && status != Some(0)) || said.contains("could not be taken back"),
                    "{what}: {image} {said}"
                );
            }
            if status == Some(0) {
                assert_eq!(images.as_array().unwrap().len(), 2, "{what}: {images}");
            } else if fault != Fault::Killed {
                assert!(said.contains("error: "), "{what}: {said}");
            }
            // Again, all is well.
            let (status, said) = run(&serving.url, &AtomicUsize::new(0));
            assert_eq!(status, Some(0), "{what}: {said}");
            let images = serving.json("/images");
            assert_eq!(images.as_array().unwrap().len(), 2, "{what}: {images}");
            assert_eq!(images[1]["icon"], true, "{what}: {images}");
            let left = names(&world.home().join(&folder).join(".pending"));
            assert_eq!(left, [".lock"], "{what}");
        }
    }
}

#[test]
fn what_a_server_would_not_take_is_told_before_a_byte_travels() {
    let world = ready();
    let server = Scripted::start(|_, stream| reply(stream, "404 Not Found", "", b""));
    let refused = |arguments: &[&str], words: &str| {
        let mut all = vec!["publish", "--to", &server.url];
        all.extend(arguments);
        let ran = world.mibe(&all);
        assert_ne!(ran.status, Some(0));
        ran.says(words);
        for request in server.requests() {
            assert_eq!(request.method, "GET", "{arguments:?}");
        }
    };
    refused(&["web@2"], "--chain publishes them first");
    refused(&["nothing"], "there is no image");
    refused(
        &["web@1", "--icon", "images/web-1.json"],
        "none of png, jpeg and gif",
    );
    fs::write(
        world.home().join("large.png"),
        [PNG, &vec![0; 200 << 10]].concat(),
    )
    .unwrap();
    refused(&["web@1", "--icon", "large.png"], "128 KiB");
    // The manifest says gzip, and the file is something else.
    let at = world.home().join("images/web-1.zfs.gz");
    let good = fs::read(&at).unwrap();
    let pipe = format!(
        "gzip -dc {0} | bzip2 > {0}.new && mv {0}.new {0}",
        at.display()
    );
    succeed(Command::new("sh").args(["-c", &pipe]));
    refused(
        &["web@1"],
        "compressed with bzip2, and its manifest says gzip",
    );
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    fs::write(&at, &damaged).unwrap();
    refused(&["web@1"], "mibe image verify");
    fs::write(&at, &good[..good.len() - 1]).unwrap();
    refused(&["web@1"], "bytes, and its manifest says");
    fs::write(&at, &good).unwrap();
}

#[test]
fn an_image_of_nobody_is_published_as_such() {
    let world = World::new(Who::Root);
    pair(&world);
    let serving = Serving::start(&world, "served", &[]);
    let publish = ["publish", "web@1", "--to", &serving.url];
    world.mibe(&publish).expect(0);
    world.mibe(&publish).expect(0);
    assert_eq!(
        serving.json("/images")[0]["owner"],
        "00000000-0000-0000-0000-000000000000"
    );
}

#[test]
fn another_image_under_the_uuid_is_never_replaced() {
    let world = ready();
    let serving = Serving::start(&world, "served", &[]);
    world
        .mibe(&["publish", "web@1", "--to", &serving.url])
        .expect(0);
    let other = world.home().join("served/web-1.zfs.gz");
    let theirs = fs::read(&other).unwrap();
    // Built anew under the same UUID, with other bytes.
    let images = world.home().join("images");
    fs::remove_dir_all(&images).unwrap();
    let made = crate::images::make(&images, 1, "1", crate::images::new_tree().path());
    made.edit(|manifest| manifest["owner"] = json!(OWNER));
    world
        .mibe(&["publish", "web@1", "--to", &serving.url])
        .expect(1)
        .says("another image");
    assert!(fs::read(&other).unwrap() == theirs);
}

#[test]
fn an_image_can_wait_and_be_private() {
    let world = ready();
    let users = world.home().join("users");
    let password = world.home().join("password");
    fs::write(&password, "se:cret\n").unwrap();
    let hash = bcrypt::hash("se:cret", 4).unwrap();
    fs::write(&users, format!("ann:{hash}\n")).unwrap();
    let serving = Serving::start(&world, "served", &["--auth", users.to_str().unwrap()]);
    let publish = |more: &[&str]| {
        let mut all = vec![
            "publish",
            "web@1",
            "--to",
            &serving.url,
            "--user",
            "ann",
            "--password-file",
            "password",
        ];
        all.extend(more);
        world.mibe(&all)
    };
    world
        .mibe(&["publish", "web@1", "--to", &serving.url])
        .expect(1)
        .says("401");
    publish(&["--no-activate", "--private"]).expect(0);
    assert_eq!(serving.json("/images?state=all"), json!([]));
    serving
        .ask("GET", &format!("/images/{}", uuid(1)), &[])
        .expect(404);
    publish(&["--private"]).expect(0);
    // Strangers see nothing of it, whatever they ask for.
    for target in [
        format!("/images/{}", uuid(1)),
        format!("/images/{}/file", uuid(1)),
        format!("/images/{}/icon", uuid(1)),
        format!("/datasets/{}", uuid(1)),
        format!("/i/{}", uuid(1)),
        format!("/i/{}/files", uuid(1)),
        format!("/i/{}/difference", uuid(1)),
        format!("/images/{}?account={OWNER}", uuid(1)),
    ] {
        serving.ask("GET", &target, &[]).expect(404);
    }
    for list in [
        "/images",
        "/images?state=all",
        "/images?public=false",
        &format!("/images?owner={OWNER}"),
        "/datasets",
    ] {
        assert_eq!(serving.json(list), json!([]), "{list}");
    }
    assert!(
        !serving
            .ask("GET", "/", &[])
            .expect(200)
            .text()
            .contains("web")
    );
    let basic = format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode("ann:se:cret")
    );
    let own = serving
        .ask("GET", "/images", &[("authorization", &basic)])
        .expect(200)
        .json();
    assert_eq!(own[0]["public"], false);
    // Nor of what it holds by way of what stands on it.
    publish_on_top(&world, &serving);
    let target = format!("/i/{}", uuid(2));
    serving.ask("GET", &target, &[]).expect(200);
    for page in ["files", "difference"] {
        let text = serving
            .ask("GET", &format!("{target}/{page}"), &[])
            .expect(200)
            .text();
        assert!(text.contains("not for everyone"), "{text}");
    }
    // Their words are neither in what is said nor in the log.
    assert!(!serving.log().contains("cret"));
}

/// The second image, for everyone, upon the first, which is not.
fn publish_on_top(world: &World, serving: &Serving) {
    world
        .mibe(&[
            "publish",
            "web@2",
            "--to",
            &serving.url,
            "--user",
            "ann",
            "--password-file",
            "password",
        ])
        .expect(0);
}

#[test]
fn an_image_is_published_to_a_folder_that_a_web_server_serves() {
    let world = ready();
    world
        .mibe(&["publish", "web@2", "--to", "./public"])
        .expect(1)
        .says("--chain");
    world
        .mibe(&[
            "publish", "web@2", "--to", "./public", "--chain", "--icon", "icon.png",
        ])
        .expect(0);
    let ran = world
        .mibe(&["publish", "web@2", "--to", "./public"])
        .expect(0);
    assert!(ran.stdout.contains("was there already"), "{}", ran.stdout);
    let public = world.home().join("public");
    // By nginx, as the folder's README.txt says.
    let readme = fs::read_to_string(public.join("README.txt")).unwrap();
    let config: String = readme
        .split("nginx:\n")
        .nth(1)
        .unwrap()
        .split("\nApache")
        .next()
        .unwrap()
        .replace("THIS_FOLDER", public.to_str().unwrap());
    let nginx = Nginx::start(&world, &config);
    let url = nginx.url.clone();
    world
        .mibe(&["image", "pull", "web@2", "--server", &url, "--into", "mine"])
        .expect(0);
    assert_eq!(
        names(&world.home().join("mine")),
        ["web-1.json", "web-1.zfs.gz", "web-2.json", "web-2.zfs.gz"]
    );
    // Triton's client, which is imgadm's, too.
    let said = crate::serving::node(
        "imgapi.js",
        &[
            &json!({"url": url, "steps": [["ping"], ["listImages"], ["getImage", uuid(2)]]})
                .to_string(),
        ],
    );
    assert_eq!(said[0]["result"]["imgapi"], true, "{said}");
    assert_eq!(said[1]["result"].as_array().unwrap().len(), 2, "{said}");
    assert_eq!(said[2]["result"]["uuid"], uuid(2), "{said}");
    assert_eq!(said[2]["result"]["state"], "active");
    let list = world.home().join("list.json");
    fs::write(&list, said[1]["result"].to_string()).unwrap();
    let rules = crate::serving::node("rules.js", &[list.to_str().unwrap()]);
    assert_eq!(rules, json!([[null, null, null], [null, null, null]]));
}

/// An nginx of the test's own.
pub struct Nginx {
    child: std::process::Child,
    pub url: String,
}

impl Nginx {
    /// Serves what `locations` say at a free port.
    pub fn start(world: &World, locations: &str) -> Self {
        // It takes no port 0; whoever takes this one meanwhile fails the test, and nothing else.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = world.folder.path().join("nginx");
        fs::create_dir_all(&folder).unwrap();
        let folder = folder.to_str().unwrap();
        let config = format!(
            "daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;\nevents {{}}\nhttp {{\n\
             access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;\n\
             uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
             server {{ listen 127.0.0.1:{port};\n{locations}\n}} }}\n"
        );
        let path = format!("{folder}/nginx.conf");
        fs::write(&path, config).unwrap();
        let child = Command::new("nginx")
            .args(["-c", &path, "-e", &format!("{folder}/error.log")])
            .spawn()
            .expect("nginx, which `cargo xtask test` installs");
        wait_for("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it where it is asked; a killed one leaves them.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

/// As dsapid answers (its server/handler/api_upload.go, api_public.go): uploads are pending until an admin enables them.
fn dsapid(admin: bool) -> Scripted {
    let stored: std::sync::Mutex<Option<(Value, bool)>> = std::sync::Mutex::new(None);
    Scripted::start(move |request, stream| {
        let mut stored = stored.lock().unwrap();
        // "token:" in base64.
        let known = request.header("authorization") == Some("Basic dG9rZW46");
        let error = |stream: &mut TcpStream, status: &str, text: &str| {
            reply(
                stream,
                status,
                "",
                json!({"error": text}).to_string().as_bytes(),
            );
        };
        match (&*request.method, request.path()) {
            ("GET", "/ping") if known => answer(
                stream,
                &json!({"ping": "pong", "auth": {"uuid": OWNER, "name": "ann"}}),
            ),
            ("GET", "/ping") => answer(stream, &json!({"ping": "pong"})),
            ("POST", "/api/upload") if stored.is_some() => {
                error(stream, "500 Internal Server Error", "image already exists");
            }
            ("POST", "/api/upload") if known => {
                let body = String::from_utf8_lossy(&request.body);
                let manifest = body
                    .split("\r\n\r\n")
                    .nth(1)
                    .unwrap()
                    .split("\r\n--")
                    .next()
                    .unwrap();
                let manifest: Value = serde_json::from_str(manifest).unwrap();
                answer(stream, &manifest);
                *stored = Some((manifest, false));
            }
            ("POST", path) if path.starts_with("/api/datasets/") => {
                if admin && known {
                    stored.as_mut().unwrap().1 = true;
                    answer(stream, &json!({"ok": "ok"}));
                } else {
                    error(stream, "403 Forbidden", "not allowed");
                }
            }
            ("GET", path) if path.starts_with("/images/") => match &*stored {
                Some((manifest, true)) => answer(stream, manifest),
                _ => error(stream, "404 Not Found", "not found"),
            },
            _ => error(stream, "401 Unauthorized", "who are you"),
        }
    })
}

#[test]
fn a_dsapid_takes_what_it_does_not_mutilate() {
    let world = ready();
    let token = world.home().join("token");
    fs::write(&token, "token\n").unwrap();
    let publish = |server: &Scripted, image: &str, more: &[&str]| {
        let mut all = vec!["publish", image, "--to", &server.url, "--type", "dsapi"];
        all.extend(more);
        world.mibe(&all)
    };
    let with = ["--token-file", "token"];
    let server = dsapid(false);
    publish(&server, "web@1", &[]).expect(1).says("token");
    publish(&server, "web@2", &with)
        .expect(1)
        .says("loses its origin");
    let ran = publish(&server, "web@1", &with).expect(0);
    assert!(ran.stdout.contains("pending"), "{}", ran.stdout);
    // Interrupted after the upload, it is found there.
    let ran = publish(&server, "web@1", &with).expect(0);
    assert!(ran.stdout.contains("pending"), "{}", ran.stdout);
    let server = dsapid(true);
    let ran = publish(&server, "web@1", &with).expect(0);
    assert!(ran.stdout.contains("active"), "{}", ran.stdout);
    let uploads: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|request| request.path() == "/api/upload")
        .collect();
    assert_eq!(uploads.len(), 1);
    let file = fs::read(world.home().join("images/web-1.zfs.gz")).unwrap();
    assert!(
        uploads[0]
            .body
            .windows(file.len())
            .any(|window| window == file),
        "the file is not in the upload"
    );
}
