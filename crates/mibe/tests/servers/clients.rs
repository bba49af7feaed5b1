//! `mibe serve` asked by Triton's own client, and mibe's signatures verified by the servers' own library.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::images::{make, new_tree, old_tree, pair, uuid};
use crate::serving::{Serving, node, node_command};
use crate::support::{Who, World, names, succeed};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot much of a picture";
const OWNER: &str = "9dce1460-0c4c-4417-ab8b-25ca478c5a78";

/// Makes a key as ssh-keygen does; the path of the private one.
fn key(world: &World, name: &str, arguments: &[&str]) -> String {
    let path = world.home().join(name);
    succeed(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", "2048", "-C", "test", "-f"])
            .arg(&path)
            .args(arguments),
    );
    world.give(&path);
    path.to_str().unwrap().to_owned()
}

/// A hash as htpasswd writes it.
fn hash(password: &str) -> String {
    bcrypt::hash(password, 4)
        .unwrap()
        .replacen("$2b$", "$2y$", 1)
}

fn steps(serving: &Serving, credentials: Value, steps: Value) -> Vec<Value> {
    let mut given = credentials;
    given["url"] = json!(serving.url);
    given["steps"] = steps;
    let said = node("imgapi.js", &[&given.to_string()]);
    said.as_array().unwrap().clone()
}

#[test]
fn tritons_own_client_publishes_reads_and_takes_away() {
    let world = World::new(Who::Root);
    let (one, two) = pair(&world);
    let private = key(&world, "key", &["-N", "", "-m", "PEM"]);
    let public = fs::read_to_string(format!("{private}.pub")).unwrap();
    let users = world.home().join("users");
    fs::write(&users, format!("ann {public}\nbob:{}\n", hash("se:cret"))).unwrap();
    let icon = world.home().join("icon.png");
    fs::write(&icon, PNG).unwrap();
    let serving = Serving::start(&world, "served", &["--auth", users.to_str().unwrap()]);
    let sha1 = |path: &std::path::Path| {
        succeed(Command::new("sha1sum").arg(path))
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    let manifest = |made: &crate::images::Made| {
        let mut manifest = serde_json::to_value(&made.manifest).unwrap();
        manifest.as_object_mut().unwrap().remove("files");
        manifest["owner"] = json!(OWNER);
        manifest["public"] = json!(true);
        manifest
    };
    let first = uuid(1);
    let back = world.home().join("back");
    let icon_back = world.home().join("icon.back");
    let file =
        json!({"uuid": first, "file": one.file, "compression": "gzip", "sha1": sha1(&one.file)});
    for algorithm in ["rsa-sha256", "rsa-sha1"] {
        let said = steps(
            &serving,
            json!({"user": "ann", "key": private, "algorithm": algorithm}),
            json!([
                ["ping"],
                ["listImages"],
                ["adminImportImage", manifest(&two), {}],
                ["adminImportImage", manifest(&one), {}],
                ["adminImportImage", manifest(&one), {}],
                ["activateImage", first],
                ["addImageFile", {"uuid": first, "file": one.file, "compression": "gzip", "sha1": "0".repeat(40)}],
                ["addImageFile", {"uuid": first, "file": one.file, "compression": "xz"}],
                ["addImageFile", {"uuid": first, "file": icon, "compression": "none"}],
                ["addImageFile", file],
                ["addImageIcon", {"uuid": first, "file": icon, "contentType": "image/png", "sha1": sha1(&icon)}],
                ["listImages", {"state": "unactivated"}],
                ["activateImage", first],
                ["activateImage", first],
                ["addImageFile", file],
                ["getImageFile", first, back],
                ["getImageIcon", first, icon_back],
                ["disableImage", first],
                ["listImages"],
                ["listImages", {"state": "disabled"}],
                ["enableImage", first],
                ["updateImage", first, {"description": "new words", "tags": {"a": 1}}],
                ["updateImage", first, {"uuid": uuid(9)}],
                ["updateImage", first, {"homepage": "javascript:alert(1)"}],
                ["addImageAcl", first, [uuid(7)]],
                ["removeImageAcl", first, [uuid(7)]],
                ["getImage", first],
                ["getImage", uuid(9)],
                ["adminImportImage", manifest(&two), {}],
                ["deleteImage", first],
                ["deleteImage", uuid(2)],
                ["deleteImageIcon", first],
                ["getImageIcon", first, icon_back],
                ["deleteImage", first],
                ["getImage", first],
            ]),
        );
        let codes: Vec<_> = said
            .iter()
            .map(|step| step["error"]["code"].as_str().unwrap_or("-").to_owned())
            .collect();
        assert_eq!(
            codes,
            [
                "-",
                "-",
                "OriginDoesNotExist",
                "-",
                "ImageUuidAlreadyExists",
                "NoActivationNoFile",
                "Download",
                "InvalidParameter",
                "Upload",
                "-",
                "-",
                "-",
                "-",
                "ImageAlreadyActivated",
                "ImageFilesImmutable",
                "-",
                "-",
                "-",
                "-",
                "-",
                "-",
                "-",
                "ValidationFailed",
                "ValidationFailed",
                "-",
                "-",
                "-",
                "ResourceNotFound",
                "-",
                "ImageHasDependentImages",
                "-",
                "-",
                "ResourceNotFound",
                "-",
                "ResourceNotFound",
            ],
            "{said:#?}"
        );
        assert_eq!(said[0]["result"]["user"], "ann");
        assert_eq!(said[0]["result"]["imgapi"], true);
        assert_eq!(said[3]["result"]["state"], "unactivated");
        let entry = &said[9]["result"]["files"][0];
        assert_eq!(entry["sha1"], sha1(&one.file));
        assert_eq!(entry["size"], fs::metadata(&one.file).unwrap().len());
        assert_eq!(entry["dataset_guid"], "1");
        assert_eq!(said[11]["result"].as_array().unwrap().len(), 1);
        assert_eq!(said[12]["result"]["state"], "active");
        assert_eq!(said[12]["result"]["icon"], true);
        assert_eq!(said[12]["result"]["published_at"], "2026-01-02T03:04:05Z");
        assert_eq!(fs::read(&back).unwrap(), fs::read(&one.file).unwrap());
        assert_eq!(fs::read(&icon_back).unwrap(), PNG);
        assert_eq!(said[18]["result"], json!([]));
        assert_eq!(said[19]["result"][0]["state"], "disabled");
        assert_eq!(said[26]["result"]["description"], "new words");
        assert_eq!(said[26]["result"]["tags"], json!({"a": 1}));
        assert_eq!(said[26]["result"]["acl"], Value::Null);
        assert_eq!(names(&world.home().join("served")), [".pending"]);
        assert_eq!(names(&world.home().join("served/.pending")), [".lock"]);
    }
    // Basic, with a password that has a colon; wrong ones, and none.
    let steps_of = |credentials: Value| {
        let said = steps(
            &serving,
            credentials,
            json!([["adminImportImage", manifest(&one), {}]]),
        );
        said[0]["error"]["code"].as_str().unwrap_or("-").to_owned()
    };
    assert_eq!(steps_of(json!({"user": "bob", "password": "se:cret"})), "-");
    assert_eq!(
        steps_of(json!({"user": "bob", "password": "se"})),
        "UnauthorizedError"
    );
    assert_eq!(
        steps_of(json!({"user": "ann", "password": ""})),
        "UnauthorizedError"
    );
    assert_eq!(
        steps_of(json!({"user": "eve", "password": "se:cret"})),
        "UnauthorizedError"
    );
    assert_eq!(
        steps_of(json!({"user": "bob", "key": private})),
        "UnauthorizedError"
    );
    assert_eq!(steps_of(json!({})), "UnauthorizedError");
    let log = serving.log();
    assert!(!log.contains("cret"), "{log}");
    assert!(log.contains(" ann \"PUT /images/"), "{log}");
}

/// Their client asks for lists page by page; all of 2500 must come, also where many are of one time.
#[test]
fn lists_of_any_length_come_whole() {
    let world = World::new(Who::Root);
    let served = world.home().join("served");
    fs::create_dir(&served).unwrap();
    let one = make(&served, 1, "1", old_tree().path());
    for number in 2..=2500_u64 {
        let path = served.join(format!("web-{number}"));
        let mut manifest = one.manifest.clone();
        manifest.uuid = uuid(number);
        manifest.version = number.to_string();
        if number > 1500 {
            manifest.published_at = Some(format!("2026-03-0{}T00:00:00Z", number % 9 + 1));
        }
        fs::write(
            format!("{}.json", path.display()),
            manifest.to_json().unwrap(),
        )
        .unwrap();
        fs::hard_link(&one.file, format!("{}.zfs.gz", path.display())).unwrap();
    }
    let serving = Serving::start(&world, "served", &[]);
    let said = steps(
        &serving,
        json!({}),
        json!([["listImages"], ["listImages", {"limit": 10, "marker": uuid(7)}]]),
    );
    let mut uuids: Vec<_> = said[0]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["uuid"].as_str().unwrap().to_owned())
        .collect();
    uuids.sort();
    uuids.dedup();
    assert_eq!(uuids.len(), 2500);
    let page = said[1]["result"].as_array().unwrap();
    assert_eq!(page.len(), 10);
    assert_eq!(page[0]["uuid"], uuid(7));
    // mibe's own client likewise.
    let list = world
        .mibe(&["image", "avail", "--server", &serving.url, "--json"])
        .expect(0);
    assert_eq!(list.stdout.lines().count(), 2500);
}

/// What is served is what an importing datacentre and imgadm take, by the rules that they run.
#[test]
fn served_manifests_keep_the_rules_of_importers() {
    let world = World::new(Who::Root);
    pair(&world);
    let serving = Serving::start(&world, "images", &[]);
    let list = world.home().join("list.json");
    fs::write(&list, serving.json("/images").to_string()).unwrap();
    let said = node("rules.js", &[list.to_str().unwrap()]);
    assert_eq!(said, json!([[null, null, null], [null, null, null]]));
}

#[test]
fn signatures_verify_by_the_servers_own_library() {
    let world = World::new(Who::Root);
    let (one, _) = pair(&world);
    one.edit(|manifest| manifest["owner"] = json!(OWNER));
    let pem = key(&world, "pem", &["-N", "", "-m", "PEM"]);
    let pkcs8 = key(&world, "pkcs8", &["-N", "", "-m", "PKCS8"]);
    let locked = key(&world, "locked", &["-N", "open sesame"]);
    let other = key(&world, "other", &["-N", ""]);
    let socket = world.home().join("agent");
    let agent = succeed(Command::new("ssh-agent").arg("-a").arg(&socket));
    let agent: String = agent
        .split("SSH_AGENT_PID=")
        .nth(1)
        .unwrap()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let agent = EndsWith(agent);
    succeed(
        Command::new("ssh-add")
            .args(["-q", &other, &pem])
            .env("SSH_AUTH_SOCK", &socket),
    );
    for (number, (private, given, passphrase)) in [
        (&pem, pem.as_str(), ""),
        (&pkcs8, pkcs8.as_str(), ""),
        (&locked, locked.as_str(), "open sesame"),
        (&pem, "agent:PEM", ""),
        (&other, "agent", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let serving = Serving::start(&world, &format!("served{number}"), &[]);
        let mut child = node_command(
            "verify.js",
            &[&serving.url, &format!("{private}.pub"), "ann"],
        )
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap();
        let fingerprint =
            succeed(Command::new("ssh-keygen").args(["-lf", &format!("{private}.pub")]));
        let fingerprint = fingerprint.split(' ').nth(1).unwrap();
        let given = given.replace("PEM", fingerprint);
        let url = format!("http://127.0.0.1:{port}");
        if given == "agent" {
            // With one key left there is nothing to name.
            succeed(
                Command::new("ssh-add")
                    .args(["-q", "-d", &format!("{pem}.pub")])
                    .env("SSH_AUTH_SOCK", &socket),
            );
        }
        let output = world
            .command(&[
                "publish", "web@1", "--to", &url, "--user", "ann", "--key", &given,
            ])
            .env("SSH_AUTH_SOCK", &socket)
            .env("MIBE_KEY_PASSPHRASE", passphrase)
            .output()
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let said: Vec<_> = lines.map_while(Result::ok).collect();
        assert!(
            output.status.success(),
            "{given}: {} {said:?}",
            String::from_utf8_lossy(&output.stderr)
        );
        let changes: Vec<_> = said
            .iter()
            .filter(|line| !line.starts_with("GET"))
            .collect();
        assert_eq!(changes.len(), 3, "{said:?}");
        assert!(
            said.iter()
                .all(|line| line.ends_with("verified RSA-SHA256")),
            "{said:?}"
        );
        assert_eq!(serving.json("/images")[0]["uuid"], uuid(1));
    }
    drop(agent);
}

struct EndsWith(String);

impl Drop for EndsWith {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(&self.0).output();
    }
}

/// The older form, for hosts that ask for it: version 1 manifests that imgmanifest can upgrade.
#[test]
fn the_form_before_imgapi_is_served_too() {
    let world = World::new(Who::Root);
    pair(&world);
    let serving = Serving::start(&world, "images", &[]);
    let list = serving.json("/datasets");
    // Version 1 has no words for what stands on something.
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list[0], serving.json(&format!("/datasets/{}", uuid(1))));
    let url = list[0]["files"][0]["url"].as_str().unwrap();
    let path = url.strip_prefix(&serving.url).unwrap();
    let file = serving.ask("GET", path, &[]).expect(200);
    assert_eq!(
        file.body,
        fs::read(world.home().join("images/web-1.zfs.gz")).unwrap()
    );
    serving
        .ask("GET", &format!("/datasets/{}/else.gz", uuid(1)), &[])
        .expect(404);
    serving
        .ask("GET", &format!("/datasets/{}", uuid(2)), &[])
        .expect(404);
    let at = world.home().join("v1.json");
    fs::write(&at, list[0].to_string()).unwrap();
    let said = node("upgrade.js", &[at.to_str().unwrap()]);
    assert_eq!(said["errors"], Value::Null, "{said}");
    assert_eq!(said["manifest"]["uuid"], uuid(1));
    assert_eq!(said["manifest"]["files"][0]["compression"], "gzip");
}

#[test]
fn channels_divide_what_a_server_has() {
    let world = World::new(Who::Root);
    let (one, _) = pair(&world);
    make(&world.home().join("images"), 3, "3", new_tree().path());
    let serving = Serving::start(
        &world,
        "images",
        &["--channel", "release:what is out", "--channel", "dev"],
    );
    let dev = |action: &str| format!("/images/{}?{action}channel=dev", uuid(1));
    let v2 = [("accept-version", "~2")];
    assert_eq!(
        serving.json("/channels"),
        json!([{"name": "release", "description": "what is out", "default": true}, {"name": "dev", "description": ""}])
    );
    assert_eq!(serving.json("/images").as_array().unwrap().len(), 3);
    assert_eq!(serving.json("/images?channel=dev"), json!([]));
    assert_eq!(
        serving.json("/images?channel=*").as_array().unwrap().len(),
        3
    );
    serving.ask("GET", "/images?channel=none", &[]).expect(422);
    serving.ask("GET", &dev(""), &[]).expect(404);
    let add = format!("/images/{}?action=channel-add", uuid(1));
    serving
        .send("POST", &add, &[], b"{\"channel\": \"none\"}")
        .expect(422);
    let added = serving
        .send("POST", &add, &v2, b"{\"channel\": \"dev\"}")
        .expect(200)
        .json();
    assert_eq!(added["channels"], json!(["release", "dev"]));
    assert_eq!(
        serving.json(&dev(""))["channels"],
        Value::Null,
        "an old client is told of none"
    );
    assert_eq!(
        serving
            .json("/images?channel=dev")
            .as_array()
            .unwrap()
            .len(),
        1
    );
    serving
        .ask("GET", &format!("/images/{}/file?channel=dev", uuid(1)), &[])
        .expect(200);
    // From one channel first, then altogether; and what others in that channel stand on stays.
    serving
        .ask("DELETE", &format!("/images/{}", uuid(1)), &[])
        .expect(422);
    serving.ask("DELETE", &dev(""), &[]).expect(204);
    serving.ask("GET", &dev(""), &[]).expect(404);
    assert_eq!(
        serving.json(&format!("/images/{}", uuid(1)))["uuid"],
        uuid(1)
    );
    assert!(one.file.exists());
    // mibe's own client knows them.
    let list = world
        .mibe(&[
            "image",
            "avail",
            "--server",
            &serving.url,
            "--channel",
            "dev",
        ])
        .expect(0);
    assert_eq!(list.stdout.lines().count(), 1, "{}", list.stdout);
}
