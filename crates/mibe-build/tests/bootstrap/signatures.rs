//! What makes an InRelease file believed, and what doesn't.

use std::fs;
use std::path::Path;

use mibe_build::bootstrap::DebianError;
use mibe_build::bootstrap::release::{Keyring, Release};

use crate::keys::Gpg;
use crate::server::{Reply, Server, fetcher};

const GOOD: &str = "Origin: Test\nSuite: stable\nCodename: bookworm\nVersion: 12.11\n\
    Date: Sat, 17 May 2025 08:53:44 UTC\nAcquire-By-Hash: yes\nSHA256:\n \
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef 17 main/binary-amd64/Packages.xz\n";

fn fetch(text: &[u8], keyring: &Path, suite: &str) -> Result<Option<Release>, DebianError> {
    let server = Server::new();
    server.set(
        &format!("/dists/{suite}/InRelease"),
        &[Reply::Body(text.to_vec())],
    );
    let keyring = Keyring::read(Some(keyring))?;
    Release::fetch(&fetcher(), &server.source(suite), &keyring)
}

#[track_caller]
fn refused(what: &str, text: &[u8], keyring: &Path, word: &str) {
    match fetch(text, keyring, "bookworm") {
        Err(error @ DebianError::Signature { .. }) => {
            let text = error.to_string();
            assert!(text.contains("/dists/bookworm/InRelease: "), "{text}");
            assert!(text.contains(word), "{what}: {text}");
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(!error.hints().is_empty());
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_good_one_is_believed() {
    let gpg = Gpg::new();
    for algorithm in ["ed25519", "rsa3072", "nistp256"] {
        let key = gpg.key(algorithm, None, algorithm, "never");
        let keyring = gpg.keyring("good.gpg", &[&key]);
        let armored = gpg.path("good.asc");
        fs::write(&armored, gpg.gpg(None, &["--armor", "--export", &key], b"")).unwrap();
        for text in [
            gpg.sign(None, &[&key], &[], GOOD),
            gpg.sign(None, &[&key], &["--digest-algo=SHA512"], GOOD),
            // Dashes, blanks at line ends, other line ends.
            gpg.sign(
                None,
                &[&key],
                &[],
                &format!("{GOOD}Description: x  \t\n -----BEGIN\n- x: y\n"),
            ),
            gpg.sign(None, &[&key], &[], GOOD).replace('\n', "\r\n"),
            gpg.sign(None, &[&key], &[], GOOD) + "\n \n",
        ] {
            for keyring in [&keyring, &armored] {
                let release = fetch(text.as_bytes(), keyring, "bookworm")
                    .unwrap()
                    .unwrap();
                assert_eq!(release.version.as_deref(), Some("12.11"));
                assert_eq!(release.files["main/binary-amd64/Packages.xz"].0, 17);
                assert!(release.by_hash);
            }
            assert!(gpg.gpgv(&keyring, text.as_bytes()));
            assert!(
                fetch(text.as_bytes(), &keyring, "stable")
                    .unwrap()
                    .is_some()
            );
        }
    }
}

#[test]
fn one_good_signature_of_several_is_enough() {
    let gpg = Gpg::new();
    let (known, other) = (
        gpg.key("known", None, "ed25519", "never"),
        gpg.key("other", None, "ed25519", "never"),
    );
    let keyring = gpg.keyring("known.gpg", &[&known]);
    for order in [[&known[..], &other], [&other, &known]] {
        let text = gpg.sign(None, &order, &[], GOOD);
        assert!(
            fetch(text.as_bytes(), &keyring, "bookworm")
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn a_signing_subkey_is_as_good_as_its_key() {
    let gpg = Gpg::new();
    let key = gpg.key("primary", None, "ed25519", "never");
    gpg.gpg(
        None,
        &["--quick-add-key", &key, "ed25519", "sign", "never"],
        b"",
    );
    let keyring = gpg.keyring("before.gpg", &[&key]);
    let list =
        String::from_utf8(gpg.gpg(None, &["--with-colons", "--list-keys", &key], b"")).unwrap();
    let subkey = list
        .lines()
        .filter(|line| line.starts_with("fpr:"))
        .nth(1)
        .unwrap();
    let subkey = format!("{}!", subkey.split(':').nth(9).unwrap());
    let text = gpg.sign(None, &[&subkey], &[], GOOD);
    assert!(gpg.gpgv(&keyring, text.as_bytes()));
    assert!(
        fetch(text.as_bytes(), &keyring, "bookworm")
            .unwrap()
            .is_some()
    );
    // Revoked, it is none any more, and the primary key still is.
    let commands = "key 1\nrevkey\ny\n0\n\ny\nsave\n";
    gpg.gpg(
        None,
        &["--command-fd=0", "--no-tty", "--edit-key", &key],
        commands.as_bytes(),
    );
    let keyring = gpg.keyring("after.gpg", &[&key]);
    refused(
        "revoked subkey",
        text.as_bytes(),
        &keyring,
        "subkey that was revoked",
    );
    assert!(!gpg.gpgv(&keyring, text.as_bytes()));
    let text = gpg.sign(None, &[&format!("{key}!")], &[], GOOD);
    assert!(
        fetch(text.as_bytes(), &keyring, "bookworm")
            .unwrap()
            .is_some()
    );
    // An expired subkey.
    let past = Some("20200101T000000");
    let key = gpg.key("aged", past, "ed25519", "never");
    gpg.gpg(
        past,
        &["--quick-add-key", &key, "ed25519", "sign", "1y"],
        b"",
    );
    let keyring = gpg.keyring("aged.gpg", &[&key]);
    let text = gpg.sign(past, &[&key], &[], GOOD);
    refused("expired subkey", text.as_bytes(), &keyring, "expired");
}

#[test]
fn what_is_not_signed_by_a_valid_key_is_refused() {
    let gpg = Gpg::new();
    let key = gpg.key("good", None, "ed25519", "never");
    let other = gpg.key("other", None, "ed25519", "never");
    let keyring = gpg.keyring("good.gpg", &[&key]);
    let good = gpg.sign(None, &[&key], &[], GOOD);
    let body = good.split_once("\n\n").unwrap().1;
    let second = |text: &str, what: &str, word: &str, keyring: &Path| {
        refused(what, text.as_bytes(), keyring, word);
        assert!(!gpg.gpgv(keyring, text.as_bytes()), "gpgv takes it: {what}");
    };
    second(
        &gpg.sign(None, &[&other], &[], GOOD),
        "wrong key",
        "by no key",
        &keyring,
    );
    second(
        &good.replace("12.11", "12.12"),
        "tampered text",
        "changed",
        &keyring,
    );
    second(
        &good.replace(" 17 main", " 18 main"),
        "tampered size",
        "changed",
        &keyring,
    );
    second(GOOD, "unsigned", "does not begin", &keyring);
    second("", "empty", "does not begin", &keyring);
    second("<html>\n", "a page", "does not begin", &keyring);
    let cut = &good[..good.find("-----BEGIN PGP SIGNATURE").unwrap()];
    second(cut, "without its signature", "no end", &keyring);
    second(
        &good[..good.len() - 60],
        "a cut signature",
        "no end",
        &keyring,
    );
    let empty = format!("{cut}-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n");
    second(&empty, "an empty signature", "signature", &keyring);
    let garbage =
        format!("{cut}-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n");
    second(&garbage, "a damaged signature", "signature", &keyring);
    // A signature that covers less than all of it, or nothing of it.
    let standalone = gpg.gpg(
        None,
        &["--armor", "--detach-sign", "--local-user", &key],
        b"O",
    );
    let standalone = format!("{cut}{}", String::from_utf8(standalone).unwrap());
    second(&standalone, "of something else", "signature", &keyring);

    let past = Some("20200101T000000");
    let old = gpg.key("old", past, "ed25519", "1y");
    let old_ring = gpg.keyring("old.gpg", &[&old]);
    second(
        &gpg.sign(past, &[&old], &[], GOOD),
        "expired key",
        "expired",
        &old_ring,
    );
    let sign_expired = gpg.key("aging", past, "ed25519", "never");
    let ring = gpg.keyring("aging.gpg", &[&sign_expired]);
    let text = gpg.sign(past, &[&sign_expired], &["--default-sig-expire=1y"], GOOD);
    second(&text, "expired signature", "expired", &ring);
    let text = gpg.sign(
        None,
        &[&key],
        &["--digest-algo=SHA1", "--allow-weak-digest-algos"],
        GOOD,
    );
    refused("SHA-1", text.as_bytes(), &keyring, "signature");

    let revoked = gpg.key("revoked", None, "ed25519", "never");
    let text = gpg.sign(None, &[&revoked], &[], GOOD);
    let certificate =
        fs::read_to_string(gpg.path(&format!("openpgp-revocs.d/{revoked}.rev"))).unwrap();
    gpg.gpg(
        None,
        &["--import"],
        certificate.replace(":-----BEGIN", "-----BEGIN").as_bytes(),
    );
    let revoked_ring = gpg.keyring("revoked.gpg", &[&revoked]);
    second(&text, "revoked key", "revoked", &revoked_ring);

    // gpgv takes these, as it leaves out what is not signed; apt and mibe don't.
    for (what, text) in [
        ("before", format!("Suite: evil\n{good}")),
        ("an empty line before", format!("\n{good}")),
        ("after", format!("{good}Suite: evil\n")),
        ("twice", format!("{good}{good}")),
        (
            "a header",
            good.replacen("Hash: ", "Comment: Suite evil\nHash: ", 1),
        ),
        (
            "between",
            good.replace(
                "\n-----BEGIN PGP SIGNATURE",
                "\n-----END\n-----BEGIN PGP SIGNATURE",
            ),
        ),
        (
            "no header",
            format!("-----BEGIN PGP SIGNED MESSAGE-----\n{body}"),
        ),
        (
            "a carriage return",
            good.replace("Suite: stable", "Suite: stable\rSuite: evil"),
        ),
        ("not UTF-8", String::new()),
    ] {
        let mut text = text.into_bytes();
        if text.is_empty() {
            text = [good.as_bytes(), b"\xff"].concat();
        }
        refused(what, &text, &keyring, "text");
    }
}

#[test]
fn many_lines_and_signatures_take_no_time() {
    let gpg = Gpg::new();
    let key = gpg.key("good", None, "ed25519", "never");
    let keyring = gpg.keyring("good.gpg", &[&key]);
    let good = gpg.sign(None, &[&key], &[], GOOD);
    let start = std::time::Instant::now();
    let (head, signature) = good.split_at(good.find("-----BEGIN PGP SIGNATURE").unwrap());
    let text = format!("{head}{}{signature}", "\n".repeat(8 << 20));
    refused("lines", text.as_bytes(), &keyring, "changed");
    let text = format!("{head}{}", signature.repeat(10_000));
    refused("signatures", text.as_bytes(), &keyring, "after");
    let detached = gpg.gpg(None, &["--detach-sign", "--local-user", &key], b"x");
    let many = gpg.gpg(None, &["--enarmor"], &detached.repeat(5000));
    let many = String::from_utf8(many)
        .unwrap()
        .replace("ARMORED FILE", "SIGNATURE");
    let many = &many[many.find("-----BEGIN").unwrap()..];
    refused(
        "packets",
        format!("{head}{many}").as_bytes(),
        &keyring,
        "signature",
    );
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[test]
fn what_is_signed_must_be_right_too() {
    let gpg = Gpg::new();
    let key = gpg.key("good", None, "ed25519", "never");
    let keyring = gpg.keyring("good.gpg", &[&key]);
    for (text, word) in [
        (
            GOOD.replace("bookworm", "trixie")
                .replace("stable", "testing"),
            "\"testing or trixie\", not \"bookworm\"",
        ),
        (
            GOOD.replace("Suite: stable\nCodename: bookworm\n", ""),
            "not \"bookworm\"",
        ),
        (GOOD.replace("Date: ", "Dated: "), "no date"),
        (
            GOOD.replace("Sat, 17 May 2025", "Thu, 17 May 2525"),
            "future",
        ),
        (
            GOOD.replace(
                "SHA256:",
                "Valid-Until: Sat, 24 May 2025 08:53:44 UTC\nSHA256:",
            ),
            "valid until",
        ),
        (
            GOOD.replace("SHA256:", "Valid-Until: soon\nSHA256:"),
            "no date",
        ),
        (GOOD.replace("SHA256:", "MD5Sum:"), "no SHA-256"),
        (
            GOOD.replace(
                "0123456789abcdef0123456789abcdef",
                "../../../../../../../../../../../",
            ),
            "no SHA-256",
        ),
        (String::new(), "empty"),
    ] {
        let signed = gpg.sign(None, &[&key], &[], &text);
        match fetch(signed.as_bytes(), &keyring, "bookworm") {
            Err(error @ DebianError::Release { .. }) => {
                assert!(error.to_string().contains(word), "{error}");
                assert!(error.to_string().contains("/dists/bookworm/InRelease: "));
            }
            other => panic!("{word}: {other:?}"),
        }
    }
    let good = GOOD.replace(
        "SHA256:",
        "Valid-Until: Thu, 24 May 2125 08:53:44 UTC\nSHA256:",
    );
    let signed = gpg.sign(None, &[&key], &[], &good);
    assert!(
        fetch(signed.as_bytes(), &keyring, "bookworm")
            .unwrap()
            .is_some()
    );
}

#[test]
fn keyrings_without_keys_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    for content in [
        &b""[..],
        b"garbage",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
        &[0x99; 5000],
    ] {
        fs::write(&file, content).unwrap();
        let error = Keyring::read(Some(&file)).err().unwrap();
        assert!(matches!(error, DebianError::Keyring(_)), "{error}");
    }
    assert!(Keyring::read(Some(&folder.path().join("absent"))).is_err());
}
