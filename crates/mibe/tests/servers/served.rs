//! `mibe serve` with TLS, beside another one, and called in wrong ways.

use std::fs;
use std::process::Command;

use crate::images::{pair, uuid};
use crate::serving::Serving;
use crate::support::{Who, World, names, succeed};

/// The certificate of a site's own authority; one of it for 127.0.0.1, and its key.
fn certificate(world: &World) -> (String, String, String) {
    let path = |name: &str| world.home().join(name).to_str().unwrap().to_owned();
    let (authority, authority_key) = (path("authority.crt"), path("authority.key"));
    let (certificate, key) = (path("site.crt"), path("site.key"));
    let openssl = |arguments: &[&str]| succeed(Command::new("openssl").args(arguments));
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=authority",
        "-keyout",
        &authority_key,
        "-out",
        &authority,
    ]);
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=site",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-CA",
        &authority,
        "-CAkey",
        &authority_key,
        "-keyout",
        &key,
        "-out",
        &certificate,
    ]);
    (authority, certificate, key)
}

#[test]
fn tls_is_spoken_with_those_who_trust_it() {
    let world = World::new(Who::Root);
    pair(&world);
    let (authority, certificate, key) = certificate(&world);
    let serving = Serving::start(
        &world,
        "images",
        &["--tls-cert", &certificate, "--tls-key", &key],
    );
    assert!(serving.url.starts_with("https://"), "{}", serving.url);
    // OpenSSL's own word for it.
    let told = Command::new("sh")
        .args(["-c", "printf 'GET /ping HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -CAfile \"$0\" -connect \"$1\""])
        .args([&authority, &serving.address])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.starts_with("HTTP/1.1 200") && told.contains("\"imgapi\":true"),
        "{told}"
    );
    // Plain words get no answer.
    assert_eq!(serving.ask("GET", "/ping", &[]).status, 0);
    let pull = |trust: Option<&str>| {
        let mut command = world.command(&[
            "image",
            "pull",
            "web@2",
            "--server",
            &serving.url,
            "--into",
            "mine",
            "--progress",
            "none",
        ]);
        if let Some(path) = trust {
            command.env("SSL_CERT_FILE", path);
        }
        crate::support::Ran::of(&command.output().unwrap())
    };
    let refused = pull(None).expect(1);
    refused.says("SSL_CERT_FILE");
    assert!(
        names(&world.home().join("mine")).is_empty(),
        "{}",
        refused.stderr
    );
    pull(Some("nothing-there")).expect(1).says("nothing-there");
    pull(Some("images/web-1.json"))
        .expect(2)
        .says("no certificate");
    pull(Some(&authority)).expect(0);
    assert_eq!(names(&world.home().join("mine")).len(), 4);
    // The pages tell the right URL.
    let page = Command::new("sh")
        .args(["-c", "printf 'GET / HTTP/1.1\\r\\nHost: images.example:8443\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -quiet -CAfile \"$0\" -connect \"$1\""])
        .args([&authority, &serving.address])
        .output()
        .unwrap();
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(
        page.contains("imgadm sources -a https://images.example:8443"),
        "{page}"
    );
}

#[test]
fn one_server_at_a_time_changes_a_folder() {
    let world = World::new(Who::Root);
    pair(&world);
    let first = Serving::start(&world, "served", &[]);
    let second = Serving::start(&world, "served", &[]);
    world
        .mibe(&["publish", "web@1", "--to", &first.url])
        .expect(0);
    // It reads on, and sees what the other does.
    crate::serving::wait_for("the other's image", || {
        second.json("/images")[0]["uuid"] == uuid(1)
    });
    world
        .mibe(&["publish", "web@2", "--to", &second.url])
        .expect(1)
        .says("another server writes");
    drop(first);
    world
        .mibe(&["publish", "web@2", "--to", &second.url])
        .expect(0);
}

#[test]
fn a_call_that_can_not_be_meant_is_told_so() {
    let world = World::new(Who::Root);
    pair(&world);
    let (_, certificate, key) = certificate(&world);
    let refused = |arguments: &[&str], status: i32, words: &str| {
        let mut all = vec!["serve"];
        all.extend(arguments);
        world.mibe(&all).expect(status).says(words);
    };
    refused(&["nowhere"], 2, "is no folder");
    refused(&["images", "--listen", "8080"], 2, "invalid");
    refused(&["images", "--auth", "nobody"], 1, "nobody");
    fs::write(world.home().join("users"), "ann:secret\n").unwrap();
    refused(&["images", "--auth", "users"], 2, "users, line 1");
    refused(&["images", "--tls-cert", &certificate], 2, "--tls-key");
    refused(
        &["images", "--tls-cert", &key, "--tls-key", &certificate],
        2,
        "TLS",
    );
    refused(&["images", "--channel", "A"], 2, "channel");
    refused(&["images", "--channel", "a", "--channel", "a"], 2, "twice");
    refused(
        &["images", "--read-only", "--auth", "users"],
        2,
        "cannot be used with",
    );
    let serving = Serving::start(&world, "images", &[]);
    refused(
        &["images", "--listen", &serving.address],
        1,
        "something else listens there",
    );
}
