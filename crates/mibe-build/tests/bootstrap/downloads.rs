//! Downloads: whole and right under their name, or a typed error that names the URL, and nothing in the cache.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use mibe_build::bootstrap::DebianError;
use mibe_build::bootstrap::download::{Fetcher, Patience, Wanted};
use mibe_build::bootstrap::mirror::{Mirror, Source};
use mibe_build::bootstrap::release::{Keyring, Release};
use mibe_sandbox::Cancel;

use crate::keys::Gpg;
use crate::server::{Reply, Server, fetcher, sha256};

const PATH: &str = "/pool/a.deb";

fn body() -> Vec<u8> {
    (0..200_000_u32).map(|i| (i % 251) as u8).collect()
}

fn wanted(server: &Server, cache: &Path) -> Wanted {
    let body = body();
    Wanted {
        url: format!("{}{PATH}", server.url),
        path: cache.join("debs/a.deb"),
        size: body.len() as u64,
        sha256: sha256(&body),
    }
}

/// Fails, names the URL, leaves nothing; afterwards a good answer is taken.
#[track_caller]
fn fails(what: &str, replies: &[Reply], words: &[&str], asked: usize) {
    let server = Server::new();
    let cache = tempfile::tempdir().unwrap();
    let wanted = wanted(&server, cache.path());
    server.set(PATH, replies);
    let start = Instant::now();
    let error = fetcher().fetch(&wanted, &|_| {}).unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{what}: {:?}",
        start.elapsed()
    );
    assert!(
        matches!(
            error,
            DebianError::Fetch { .. } | DebianError::Checksum { .. }
        ),
        "{what}: {error:?}"
    );
    let text = error.to_string();
    for word in words.iter().chain([&&*wanted.url]) {
        assert!(text.contains(word), "{what}: {text}");
    }
    assert!(!error.hints().is_empty());
    assert_eq!(server.asked(PATH), asked, "{what}: {text}");
    let left = fs::read_dir(cache.path().join("debs")).unwrap().count();
    assert_eq!(left, 0, "{what}");
    server.set(PATH, &[Reply::Body(body())]);
    fetcher().fetch(&wanted, &|_| {}).unwrap();
    assert!(fs::read(&wanted.path).unwrap() == body());
}

#[test]
fn what_is_wrong_is_refused_at_once() {
    let mut wrong = body();
    wrong[100_000] ^= 1;
    fails(
        "another content",
        &[Reply::Body(wrong)],
        &["SHA-256", "signed index"],
        1,
    );
    let longer = [body(), vec![0]].concat();
    fails(
        "one byte more",
        &[Reply::Body(longer)],
        &["longer than 200000 bytes"],
        1,
    );
    fails(
        "without an end",
        &[Reply::Endless],
        &["longer than 200000 bytes"],
        1,
    );
    fails("not there", &[Reply::Status(404)], &["does not have it"], 1);
    fails("forbidden", &[Reply::Status(403)], &["status 403"], 1);
    fails(
        "a loop",
        &[Reply::Redirect(PATH.to_owned())],
        &["redirect"],
        6,
    );
}

#[test]
fn what_may_pass_is_tried_again() {
    let half = body()[..100_000].to_vec();
    fails(
        "shorter",
        &[Reply::Body(half.clone())],
        &["100000 of 200000 bytes", "3 times"],
        3,
    );
    fails(
        "no length",
        &[Reply::Unsized(half.clone())],
        &["100000 of 200000 bytes"],
        3,
    );
    fails("cut", &[Reply::Cut(half.clone(), 100_000)], &["3 times"], 3);
    fails(
        "broken server",
        &[Reply::Status(500)],
        &["500", "3 times"],
        3,
    );
    fails("silent", &[Reply::Silent], &["timeout", "3 times"], 3);
    fails(
        "stalled",
        &[Reply::Stalled(half)],
        &["timeout", "3 times"],
        3,
    );
    fails(
        "a byte now and then",
        &[Reply::Drip],
        &["too slowly", "3 times"],
        3,
    );
    fails("no http", &[Reply::Garbage], &["3 times"], 3);
}

#[test]
fn a_good_answer_after_bad_ones_is_taken() {
    let server = Server::new();
    let cache = tempfile::tempdir().unwrap();
    let wanted = wanted(&server, cache.path());
    let replies = [
        Reply::Status(503),
        Reply::Cut(body()[..150_000].to_vec(), 50_000),
        Reply::Body(body()),
    ];
    server.set(PATH, &replies);
    let told = Cell::new(0);
    fetcher()
        .fetch(&wanted, &|bytes| told.set(told.get() + bytes))
        .unwrap();
    assert_eq!(told.get(), 200_000, "progress counts every byte once");
    assert_eq!(server.asked(PATH), 3);
    // Now it is there: nothing is asked for again.
    fetcher().fetch(&wanted, &|_| {}).unwrap();
    assert_eq!(server.asked(PATH), 3);
    // But not when the disk spoilt it, even if the length is right.
    let mut spoilt = body();
    spoilt[0] ^= 1;
    fs::write(&wanted.path, &spoilt).unwrap();
    fetcher().fetch(&wanted, &|_| {}).unwrap();
    assert!(fs::read(&wanted.path).unwrap() == body());
    assert_eq!(server.asked(PATH), 4);
    // By way of another place.
    server.set("/there", &[Reply::Body(body())]);
    server.set(PATH, &[Reply::Redirect("/there".to_owned())]);
    fs::remove_file(&wanted.path).unwrap();
    fetcher().fetch(&wanted, &|_| {}).unwrap();
}

#[test]
fn a_mirror_that_is_not_there_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    drop(listener);
    let wanted = Wanted {
        url: url.clone(),
        path: cache.path().join("x"),
        size: 1,
        sha256: sha256(b"x"),
    };
    let error = fetcher().fetch(&wanted, &|_| {}).unwrap_err();
    assert!(error.to_string().contains(&url), "{error}");
    let wanted = Wanted {
        url: "http://a b/\n".to_owned(),
        ..wanted
    };
    assert!(matches!(
        fetcher().fetch(&wanted, &|_| {}),
        Err(DebianError::Fetch { .. })
    ));
}

#[test]
fn several_come_at_a_time_and_the_first_error_ends_them() {
    let server = Server::new();
    let cache = tempfile::tempdir().unwrap();
    let all: Vec<Wanted> = (0..40_u8)
        .map(|number| {
            let body = vec![number; 1000 + usize::from(number)];
            Wanted {
                url: server.set(&format!("/{number}"), &[Reply::Body(body.clone())]),
                path: cache.path().join(number.to_string()),
                size: body.len() as u64,
                sha256: sha256(&body),
            }
        })
        .collect();
    let most = std::sync::atomic::AtomicU64::new(0);
    fetcher()
        .fetch_all(&all, &|done| {
            most.fetch_max(done, std::sync::atomic::Ordering::Relaxed);
        })
        .unwrap();
    assert_eq!(
        most.into_inner(),
        all.iter().map(|wanted| wanted.size).sum::<u64>()
    );
    for wanted in &all {
        fs::remove_file(&wanted.path).unwrap();
    }
    server.set("/5", &[Reply::Status(404)]);
    let error = fetcher().fetch_all(&all, &|_| {}).unwrap_err();
    assert!(error.to_string().contains("/5: "), "{error}");
    assert!(!cache.path().join("5").exists());
    for entry in fs::read_dir(cache.path()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_str().unwrap().starts_with('.'), "{name:?}");
    }
}

#[test]
fn an_interruption_ends_it() {
    let server = Server::new();
    let cache = tempfile::tempdir().unwrap();
    let wanted = Wanted {
        size: 1 << 40,
        ..wanted(&server, cache.path())
    };
    server.set(PATH, &[Reply::Endless]);
    let cancel = Cancel::new();
    let fetcher = Fetcher::with_patience(None, cancel.clone(), Patience::default());
    let seen = Cell::new(0);
    let error = fetcher
        .fetch(&wanted, &|bytes| {
            seen.set(seen.get() + bytes);
            if seen.get() > 1 << 20 {
                cancel.cancel();
            }
        })
        .unwrap_err();
    assert!(matches!(error, DebianError::Cancelled));
    assert_eq!(fs::read_dir(cache.path().join("debs")).unwrap().count(), 0);
}

/// What is not checked by its digest is bounded.
#[test]
fn an_inrelease_without_an_end_is_an_error() {
    let gpg = Gpg::new();
    let key = gpg.key("good", None, "ed25519", "never");
    let keyring = Keyring::read(Some(&gpg.keyring("good.gpg", &[&key]))).unwrap();
    let server = Server::new();
    let path = "/dists/bookworm/InRelease";
    for (reply, word) in [
        (Reply::Endless, "longer than"),
        (Reply::Status(500), "3 times"),
        (Reply::Stalled(b"-----BEGIN".to_vec()), "3 times"),
    ] {
        server.set(path, &[reply]);
        let error = Release::fetch(&fetcher(), &server.source("bookworm"), &keyring).unwrap_err();
        assert!(matches!(error, DebianError::Fetch { .. }), "{error:?}");
        assert!(
            error.to_string().contains(path) && error.to_string().contains(word),
            "{error}"
        );
    }
    server.set(path, &[Reply::Status(404)]);
    assert!(
        Release::fetch(&fetcher(), &server.source("bookworm"), &keyring)
            .unwrap()
            .is_none()
    );
    // What is no mirror is not asked.
    for url in [
        format!("{}/[trusted=yes]", server.url),
        format!("{} bookworm main\ndeb {}", server.url, server.url),
        "file:///etc".to_owned(),
    ] {
        let mirror = Mirror::of("bookworm", Some(&url));
        let error = Release::fetch(&fetcher(), &mirror.sources[0], &keyring).unwrap_err();
        assert!(matches!(error, DebianError::Mirror { .. }), "{error:?}");
        assert!(!error.hints().is_empty() && !error.to_string().contains('\n'));
    }
    let source = Source {
        suite: "../x".to_owned(),
        ..server.source("")
    };
    assert!(Release::fetch(&fetcher(), &source, &keyring).is_err());
}
