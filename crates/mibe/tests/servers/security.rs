//! What attackers send to `mibe serve`.

use std::fs;

use serde_json::json;

use crate::images::{make, old_tree, pair, uuid};
use crate::serving::Serving;
use crate::support::{Who, World, names};

fn manifest(number: u64) -> serde_json::Value {
    json!({"v": 2, "uuid": uuid(number), "name": "a", "version": "1", "type": "other", "os": "other", "owner": uuid(9)})
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let world = World::new(Who::Root);
    pair(&world);
    fs::write(world.home().join("secret.json"), "top-secret").unwrap();
    let serving = Serving::start(&world, "images", &[]);
    for target in [
        "/../secret.json",
        "/images/../../secret.json",
        "/images/..%2f..%2fsecret.json",
        "/images/%2e%2e/%2e%2e/secret.json",
        "/images/..%5c..%5csecret.json/file",
        &format!("/datasets/{}/..%2f..%2fsecret.json", uuid(1)),
        &format!("/datasets/{}/%2e%2e%2fsecret.json", uuid(1)),
        "/i/..%2fsecret.json",
        &format!("/i/{}/files?path=/../../../etc", uuid(1)),
        "/images/%00",
        "//etc/passwd",
        "/style.css/../../secret.json",
        "/.pending/.lock",
        "/web-1.json",
    ] {
        let answer = serving.ask("GET", target, &[]);
        assert!(
            [200, 400, 404].contains(&answer.status),
            "{target}: {answer:?}"
        );
        assert!(!answer.text().contains("top-secret"), "{target}");
        assert!(
            answer.status != 200 || target.contains("/files"),
            "{target}: {answer:?}"
        );
    }
    // What comes in can't name a place either.
    for name in ["../../evil", "/etc/evil", "a\0b", "a\r\nb", ".."] {
        let mut wrong = manifest(5);
        wrong["name"] = json!(name);
        let target = format!("/images/{}?action=import", uuid(5));
        let answer = serving.send("POST", &target, &[], wrong.to_string().as_bytes());
        if answer.status == 200 {
            // A name may have a / in it; the files have not.
            let put = format!("/images/{}/file?compression=none", uuid(5));
            serving.send("PUT", &put, &[], b"bytes").expect(200);
            serving
                .ask("POST", &format!("/images/{}?action=activate", uuid(5)), &[])
                .expect(200);
            serving
                .ask("DELETE", &format!("/images/{}", uuid(5)), &[])
                .expect(204);
        }
    }
    assert_eq!(names(&world.home()), ["images", "secret.json"]);
    assert!(!std::path::Path::new("/etc/evil-1.json").exists());
}

#[test]
fn heads_and_logs_can_not_be_written_into() {
    let world = World::new(Who::Root);
    let made = make(&world.home().join("images"), 1, "1", old_tree().path());
    made.edit(|manifest| {
        manifest["description"] = json!("<script>alert(1)</script>\"'&\u{1b}[31m\r\nX-Evil: 1");
        manifest["homepage"] = json!("https://x.example/\"onclick=alert(1)");
        manifest["tags"] =
            json!({"<img src=x onerror=alert(1)>": "<b>", "customer_metadata_keys": "<i> a\"b"});
    });
    let serving = Serving::start(&world, "images", &[]);
    for page in [
        "/",
        &format!("/i/{}", uuid(1)),
        "/?q=%3Cscript%3E%22%27",
        &format!("/i/{}/files?q=%3Cscript%3E", uuid(1)),
    ] {
        let answer = serving.ask("GET", page, &[]).expect(200);
        let text = answer.text();
        for bad in [
            "<script",
            "<img src=x",
            "<b>",
            "<i>",
            "\"onclick",
            "onerror=alert(1)>",
        ] {
            assert!(!text.contains(bad), "{page}: {bad} in {text}");
        }
        assert!(
            answer
                .header("content-security-policy")
                .unwrap()
                .contains("default-src 'none'")
        );
        assert_eq!(answer.header("x-evil"), None);
    }
    // A host that is none is not told of in pages.
    for host in ["evil\"><script>", "a b", "x/y"] {
        let answer = serving.ask("GET", "/", &[("host", host)]);
        assert!(!answer.text().contains("<script>"), "{answer:?}");
    }
    serving
        .ask("GET", "/images/%0d%0aSet-Cookie:%20a=b", &[])
        .expect(404);
    serving.ask("GET", "/%1b[31mred%0aline", &[]).expect(404);
    serving.raw(b"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n");
    let log = serving.log();
    assert!(!log.contains('\u{1b}'), "{log:?}");
    assert!(
        log.lines()
            .all(|line| line.starts_with("127.0.0.1 ") || line.starts_with("warning: ")),
        "{log}"
    );
}

#[test]
fn bodies_and_heads_have_bounds() {
    let world = World::new(Who::Root);
    let serving = Serving::start(&world, "images", &[]);
    let target = format!("/images/{}?action=import", uuid(1));
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(
        serving
            .send("POST", &target, &[], large.as_bytes())
            .expect(413)
            .code(),
        "RequestEntityTooLarge"
    );
    serving
        .send("POST", &target, &[], "[".repeat(1 << 19).as_bytes())
        .expect(400);
    serving.send("POST", &target, &[], b"nothing").expect(400);
    serving
        .send("POST", &target, &[], manifest(2).to_string().as_bytes())
        .expect(422);
    let mut odd = manifest(1);
    odd["colour"] = json!("red");
    assert_eq!(
        serving
            .send("POST", &target, &[], odd.to_string().as_bytes())
            .expect(422)
            .code(),
        "ValidationFailed"
    );
    serving
        .send("POST", &target, &[], manifest(1).to_string().as_bytes())
        .expect(200);
    let icon = format!("/images/{}/icon", uuid(1));
    let png = [("content-type", "image/png")];
    let picture = [&b"\x89PNG\r\n\x1a\n"[..], &vec![0; 200 << 10]].concat();
    serving.send("PUT", &icon, &png, &picture).expect(413);
    serving
        .send("PUT", &icon, &png, b"<svg onload=alert(1)>")
        .expect(400);
    serving
        .send(
            "PUT",
            &icon,
            &[("content-type", "text/html")],
            &picture[..100],
        )
        .expect(400);
    let file = format!("/images/{}/file", uuid(1));
    for (query, body) in [
        ("", &b"x"[..]),
        ("?compression=zstd", b"x"),
        ("?compression=gzip&dataset_guid=-1", b"x"),
        ("?compression=gzip&sha1=../../x", b"x"),
    ] {
        let answer = serving.send("PUT", &format!("{file}{query}"), &[], body);
        assert!([400, 422].contains(&answer.status), "{query}: {answer:?}");
    }
    serving
        .send(
            "PUT",
            &format!("{file}?compression=gzip"),
            &[("content-length", "0")],
            b"",
        )
        .expect(400);
    let head = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200 << 10));
    assert!([0, 400, 414, 431].contains(&serving.raw(head.as_bytes()).status));
    let head = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", "X-A: b\r\n".repeat(5000));
    assert!([0, 400, 431].contains(&serving.raw(head.as_bytes()).status));
    serving.ask("GET", "/images?limit=abc", &[]).expect(422);
    serving.ask("GET", "/images?limit=-1", &[]).expect(422);
    serving.ask("GET", "/images?marker=abc", &[]).expect(422);
    serving.ask("GET", "/images?state=odd", &[]).expect(422);
    serving.ask("GET", "/images?tag.=x", &[]).expect(422);
    serving.ask("PATCH", "/images", &[]).expect(405);
    serving.ask("GET", "/ping", &[]).expect(200);
}

/// Two readers of one message must see the same requests in it.
#[test]
fn requests_can_not_be_smuggled() {
    let world = World::new(Who::Root);
    let serving = Serving::start(&world, "images", &[]);
    let inner = format!(
        "DELETE /images/{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        uuid(1)
    );
    for shape in [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: 5, 6\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: 0x5\r\n\r\nhello",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\n obs: fold\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5;\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello",
        "X: a\x00b\r\n\r\n",
    ] {
        let request = format!(
            "POST /images/{}?action=update HTTP/1.1\r\nHost: localhost\r\n{shape}{inner}",
            uuid(1)
        );
        let answer = serving.raw(request.as_bytes());
        let answers = String::from_utf8_lossy(&answer.all)
            .matches("HTTP/1.1 ")
            .count();
        // The one inside was never taken for a request where the one outside is none.
        assert!(
            answers <= 1 || !serving.log().contains("DELETE"),
            "{shape:?}: {answer:?}"
        );
        assert_ne!(answer.status, 200, "{shape:?}");
    }
    assert!(!serving.log().contains("DELETE"), "{}", serving.log());
    // Both lengths at once: the connection ends after it, if it is answered at all.
    let both = format!(
        "POST /images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
    );
    let answer = serving.raw(both.as_bytes());
    assert!(
        String::from_utf8_lossy(&answer.all)
            .matches("HTTP/1.1 ")
            .count()
            <= 1
            || answer.status == 400,
        "{answer:?}"
    );
}

#[test]
fn who_is_a_stranger_changes_nothing() {
    let world = World::new(Who::Root);
    pair(&world);
    let changes = [
        ("POST", format!("/images/{}?action=disable", uuid(2))),
        ("POST", format!("/images/{}?action=update", uuid(2))),
        ("POST", format!("/images/{}?action=import", uuid(3))),
        ("POST", format!("/images/{}/acl", uuid(2))),
        ("PUT", format!("/images/{}/file?compression=gzip", uuid(2))),
        ("PUT", format!("/images/{}/icon", uuid(2))),
        ("DELETE", format!("/images/{}/icon", uuid(2))),
        ("DELETE", format!("/images/{}", uuid(2))),
        ("POST", "/images".to_owned()),
    ];
    let before = names(&world.home().join("images"));
    let all = |serving: &Serving, headers: &[(&str, &str)], status: u16| {
        for (method, target) in &changes {
            let answer = serving.send(method, target, headers, b"{\"description\": \"x\"}");
            assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        }
    };
    all(
        &Serving::start(&world, "images", &["--read-only"]),
        &[],
        403,
    );
    let local = Serving::start(&world, "images", &[]);
    // Pages from elsewhere, and names that lead here by others' will.
    all(&local, &[("origin", "http://evil.example")], 403);
    all(&local, &[("origin", "null")], 403);
    all(&local, &[("sec-fetch-site", "cross-site")], 403);
    all(&local, &[("host", "evil.example")], 403);
    drop(local);
    let users = world.folder.path().join("users");
    fs::write(
        &users,
        format!("ann:{}\n", bcrypt::hash("right", 4).unwrap()),
    )
    .unwrap();
    let serving = Serving::start(&world, "images", &["--auth", users.to_str().unwrap()]);
    let date = "Mon, 23 Nov 2020 17:00:00 GMT";
    all(&serving, &[], 401);
    for authorization in [
        "Basic",
        "Basic !!!!",
        "Basic YW5u",
        "Basic YW5uOndyb25n",
        "Basic OnJpZ2h0",
        "Bearer x",
        "Signature",
        "Signature keyId=\"ann\"",
        "Signature keyId=\"ann\",algorithm=\"none\",signature=\"\"",
        "Signature keyId=\"ann\",algorithm=\"hmac-sha256\",signature=\"AAAA\"",
        "Signature keyId=\"ann\",algorithm=\"rsa-sha256\",signature=\"AAAA\",headers=\"\"",
        "Signature keyId=\"ann\",algorithm=\"rsa-sha256\",signature=\"AAAA\",headers=\"host\"",
    ] {
        let (method, target) = &changes[0];
        let answer = serving.ask(
            method,
            target,
            &[("authorization", authorization), ("date", date)],
        );
        assert_eq!(answer.status, 401, "{authorization}: {answer:?}");
        // Also where nothing is changed: who says who he is must be.
        serving
            .ask(
                "GET",
                "/images",
                &[("authorization", authorization), ("date", date)],
            )
            .expect(401);
    }
    assert_eq!(
        names(&world.home().join("images"))
            .into_iter()
            .filter(|name| name != ".pending")
            .collect::<Vec<_>>(),
        before
    );
    assert!(!serving.log().contains("right"));
    // Who is struck from the file is a stranger at once.
    let basic = [("authorization", "Basic YW5uOnJpZ2h0")];
    serving.ask("GET", "/images", &basic).expect(200);
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(
        &users,
        format!("bob:{}\n", bcrypt::hash("other", 4).unwrap()),
    )
    .unwrap();
    serving.ask("GET", "/images", &basic).expect(401);
}

#[test]
fn beyond_the_loopback_nothing_is_taken_without_users() {
    let world = World::new(Who::Root);
    pair(&world);
    // An address of this machine that is not the loopback's name is needed to see it; a server that listens everywhere has one.
    let mut child = world
        .command(&["serve", "images", "--listen", "0.0.0.0:0", "--quiet"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let first = lines.next().unwrap().unwrap();
    let second = lines.next().unwrap().unwrap();
    let port = first
        .rsplit(':')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    assert!(second.contains("nobody"), "{second}");
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    let request = format!(
        "DELETE /images/{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        uuid(2)
    );
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let answer = crate::serving::Answer::read(&mut stream);
    child.kill().unwrap();
    child.wait().unwrap();
    answer.expect(403);
}

#[test]
fn answers_are_what_http_wants() {
    let world = World::new(Who::Root);
    let (one, _) = pair(&world);
    let serving = Serving::start(&world, "images", &[]);
    let file = fs::read(&one.file).unwrap();
    let target = format!("/images/{}/file", uuid(1));
    let whole = serving.ask("GET", &target, &[]).expect(200);
    assert!(whole.body == file);
    let etag = whole.header("etag").unwrap().to_owned();
    assert_eq!(
        whole.header("content-length"),
        Some(&*file.len().to_string())
    );
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let head = serving.ask("HEAD", &target, &[]).expect(200);
    assert_eq!(
        head.header("content-length"),
        Some(&*file.len().to_string())
    );
    assert!(head.body.is_empty());
    let part = serving
        .ask("GET", &target, &[("range", "bytes=10-19")])
        .expect(206);
    assert!(part.body == file[10..20]);
    assert_eq!(
        part.header("content-range"),
        Some(&*format!("bytes 10-19/{}", file.len()))
    );
    let last = serving
        .ask("GET", &target, &[("range", "bytes=-5")])
        .expect(206);
    assert!(last.body == file[file.len() - 5..]);
    serving
        .ask("GET", &target, &[("range", "bytes=999999999-")])
        .expect(416);
    serving
        .ask(
            "GET",
            &target,
            &[("range", "bytes=0-1"), ("if-range", "\"other\"")],
        )
        .expect(200);
    serving
        .ask(
            "GET",
            &target,
            &[("range", "bytes=0-1"), ("if-range", &etag)],
        )
        .expect(206);
    serving
        .ask("GET", &target, &[("if-none-match", &etag)])
        .expect(304);
    let modified = whole.header("last-modified").unwrap();
    serving
        .ask("GET", &target, &[("if-modified-since", modified)])
        .expect(304);
    for json in [
        "/images".to_owned(),
        format!("/images/{}", uuid(1)),
        "/images?name=web".to_owned(),
    ] {
        let answer = serving.ask("GET", &json, &[]).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let etag = answer.header("etag").unwrap();
        let again = serving
            .ask("GET", &json, &[("if-none-match", etag)])
            .expect(304);
        assert!(again.body.is_empty());
        let head = serving.ask("HEAD", &json, &[]).expect(200);
        assert_eq!(
            head.header("content-length"),
            answer.header("content-length")
        );
    }
    // What is filtered, and what is not.
    for (query, count) in [
        ("", 2),
        ("?name=web", 2),
        ("?name=~we", 2),
        ("?name=we", 0),
        ("?version=2", 1),
        ("?os=linux&type=lx-dataset", 2),
        ("?os=smartos", 0),
        ("?type=!lx-dataset", 0),
        ("?state=all", 2),
        ("?state=disabled", 0),
        ("?limit=1", 1),
        (&format!("?limit=5&marker={}", uuid(2)), 1),
        ("?marker=2026-01-03", 0),
        ("?marker=2026-01-02T00:00:00Z", 2),
        ("?public=true", 2),
        ("?tag.role=os", 0),
        ("?account=x", 2),
        ("?unknown=x", 2),
        ("?sort=published_at.desc&limit=1", 1),
    ] {
        let list = serving.json(&format!("/images{query}"));
        assert_eq!(list.as_array().unwrap().len(), count, "{query}: {list}");
    }
    // A build that leaves an image in the folder has it offered at once, and one that is gone is not.
    make(&world.home().join("images"), 3, "3", old_tree().path());
    crate::serving::wait_for("the new image", || {
        serving.json("/images").as_array().unwrap().len() == 3
    });
    fs::remove_file(world.home().join("images/web-3.json")).unwrap();
    crate::serving::wait_for("its end", || {
        serving.json("/images").as_array().unwrap().len() == 2
    });
}
