//! Indices of packages: a whole archive of made-up packages, and what must not be in one.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mibe_build::bootstrap::DebianError;
use mibe_build::bootstrap::download::Wanted;
use mibe_build::bootstrap::index::Index;
use mibe_build::bootstrap::install::file_name;
use mibe_build::bootstrap::release::{Keyring, Release};
use mibe_build::bootstrap::resolve::resolve;

use crate::keys::Gpg;
use crate::server::{Reply, Server, fetcher, sha256};

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error} (apt-get install dpkg xz-utils)"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn xz(text: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, text).unwrap();
    run("xz", &["-0", "-c", path.to_str().unwrap()])
}

/// A package that dpkg-deb builds.
fn deb(folder: &Path, name: &str, version: &str, fields: &str) -> Vec<u8> {
    let tree = folder.join(name);
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("usr/share")).unwrap();
    fs::write(tree.join("usr/share").join(name), version).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: T <t@example.org>\nDescription: x\n{fields}"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let file = folder.join(format!("{name}.deb"));
    run(
        "dpkg-deb",
        &[
            "--root-owner-group",
            "--build",
            tree.to_str().unwrap(),
            file.to_str().unwrap(),
        ],
    );
    fs::read(file).unwrap()
}

struct Archive {
    gpg: Gpg,
    key: String,
    server: Server,
    cache: tempfile::TempDir,
}

impl Archive {
    fn new() -> Self {
        let gpg = Gpg::new();
        let key = gpg.key("archive", None, "ed25519", "never");
        Self {
            gpg,
            key,
            server: Server::new(),
            cache: tempfile::tempdir().unwrap(),
        }
    }

    /// Publishes an index, signed as having these bytes.
    fn publish(&self, packages: &[u8], size: usize, digest: &str, by_hash: bool) {
        let plain = "/dists/bookworm/main/binary-amd64/Packages.xz";
        self.server.set(plain, &[Reply::Body(packages.to_vec())]);
        let hashed = format!("/dists/bookworm/main/binary-amd64/by-hash/SHA256/{digest}");
        self.server.set(&hashed, &[Reply::Body(packages.to_vec())]);
        let text = format!(
            "Codename: bookworm\nDate: Sat, 17 May 2025 08:53:44 UTC\nAcquire-By-Hash: {}\nSHA256:\n {digest} {size} main/binary-amd64/Packages.xz\n",
            if by_hash { "yes" } else { "no" }
        );
        let signed = self.gpg.sign(None, &[&self.key], &[], &text);
        self.server.set(
            "/dists/bookworm/InRelease",
            &[Reply::Body(signed.into_bytes())],
        );
    }

    fn index(&self) -> Result<Index, DebianError> {
        let keyring = Keyring::read(Some(&self.gpg.keyring("a.gpg", &[&self.key])))?;
        let release =
            Release::fetch(&fetcher(), &self.server.source("bookworm"), &keyring)?.unwrap();
        let mut index = Index::default();
        index.add(&fetcher(), &release, "amd64", self.cache.path())?;
        Ok(index)
    }

    fn publish_text(&self, text: &str) {
        let packed = xz(text.as_bytes());
        self.publish(&packed, packed.len(), &sha256(&packed), false);
    }
}

#[test]
fn a_good_archive_gives_its_packages() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::new();
    let mut text = String::new();
    for (name, version, fields) in [
        ("base", "1:2.0~rc1-1+b1", "Essential: yes\n"),
        ("lib", "3", "Depends: base (>= 1:1)\n"),
        ("tool", "4-1", "Depends: lib, absent | base\n"),
    ] {
        let deb = deb(folder.path(), name, version, fields);
        let path = format!("pool/main/{name}_1%3a2.0~rc1.deb");
        write!(
            text,
            "Package: {name}\nVersion: {version}\n{fields}Filename: {path}\nSize: {}\nSHA256: {}\nDescription: x\n .\n  y: z\n\n",
            deb.len(),
            sha256(&deb)
        )
        .unwrap();
        archive.server.set(&format!("/{path}"), &[Reply::Body(deb)]);
    }
    for by_hash in [true, false] {
        let packed = xz(text.as_bytes());
        archive.publish(&packed, packed.len(), &sha256(&packed), by_hash);
        let index = archive.index().unwrap();
        let chosen = resolve(&index, &["tool"]).unwrap();
        let names: Vec<_> = chosen.all().map(file_name).collect();
        assert_eq!(
            names,
            ["base_1%3a2.0~rc1-1+b1.deb", "lib_3.deb", "tool_4-1.deb"]
        );
        let wanted: Vec<Wanted> = chosen
            .all()
            .map(|package| Wanted {
                url: package.url.clone(),
                path: archive.cache.path().join("debs").join(&package.sha256),
                size: package.size,
                sha256: package.sha256.clone(),
            })
            .collect();
        fetcher().fetch_all(&wanted, &|_| {}).unwrap();
        for wanted in &wanted {
            run("dpkg-deb", &["--info", wanted.path.to_str().unwrap()]);
        }
        fs::remove_dir_all(archive.cache.path().join("lists")).unwrap();
    }
}

#[test]
fn an_index_that_is_not_the_signed_one_is_refused() {
    let archive = Archive::new();
    let packed = xz(b"Package: a\n");
    let digest = sha256(&packed);
    let lists = archive.cache.path().join("lists");
    for (what, size, digest, by_hash) in [
        ("digest", packed.len(), sha256(b"x"), false),
        ("digest by hash", packed.len(), sha256(b"x"), true),
        ("longer", packed.len() - 1, digest.clone(), false),
        ("shorter", packed.len() + 1, digest.clone(), false),
    ] {
        archive.publish(&packed, size, &digest, by_hash);
        let error = archive.index().unwrap_err();
        assert!(
            matches!(
                error,
                DebianError::Checksum { .. } | DebianError::Fetch { .. }
            ),
            "{what}: {error:?}"
        );
        assert!(
            error
                .to_string()
                .contains("/dists/bookworm/main/binary-amd64/"),
            "{error}"
        );
        assert_eq!(fs::read_dir(&lists).unwrap().count(), 0, "{what}");
    }
    // Signed, but damaged all the same: it does not stay in the cache.
    for damaged in [
        b"no xz".to_vec(),
        packed[..packed.len() - 8].to_vec(),
        Vec::new(),
    ] {
        archive.publish(&damaged, damaged.len(), &sha256(&damaged), false);
        let error = archive.index().unwrap_err();
        assert!(matches!(error, DebianError::Index { .. }), "{error:?}");
        assert_eq!(fs::read_dir(&lists).unwrap().count(), 0);
    }
}

#[test]
fn hostile_packages_are_refused() {
    let archive = Archive::new();
    let good = format!(
        "Package: a\nVersion: 1\nFilename: pool/a.deb\nSize: 3\nSHA256: {}\n",
        "0".repeat(64)
    );
    archive.publish_text(&good);
    assert!(archive.index().unwrap().get("a").is_some());
    let long = "x".repeat(3000);
    for (from, to) in [
        ("pool/a.deb", "../../etc/passwd"),
        ("pool/a.deb", "pool/../../a"),
        ("pool/a.deb", "/etc/passwd"),
        ("pool/a.deb", "pool//a"),
        ("pool/a.deb", "http://evil.example/x?y"),
        ("pool/a.deb", "pool/a b"),
        ("pool/a.deb", "pool/a\n b"),
        ("pool/a.deb", "pool/a#b"),
        ("pool/a.deb", "pool/\u{e9}"),
        ("pool/a.deb", ""),
        ("pool/a.deb", &long),
        ("Package: a", "Package: ../a"),
        ("Package: a", "Package: a/b"),
        ("Package: a", "Package: -a"),
        ("Package: a", "Package: a b"),
        ("Package: a", "Package: a\n b"),
        ("Package: a", "Package: ."),
        ("Package: a", "Package: \u{1b}[2J"),
        ("Package: a", "Package:"),
        ("Package: a", &format!("Package: {long}")),
        ("Version: 1", "Version: 1 2"),
        ("Version: 1", "Version: ../1"),
        ("Version: 1", "Version:"),
        ("Version: 1", "Version: \u{1b}"),
        ("Version: 1", &format!("Version: {long}")),
        ("Size: 3", "Size: -3"),
        ("Size: 3", "Size: 99999999999999999999"),
        ("Size: 3", "Sized: 3"),
        ("SHA256: 00", "SHA256: 0"),
        ("SHA256: 00", "SHA256: ../"),
        ("SHA256: 00", "SHA256: zz"),
    ] {
        let text = good.replacen(from, to, 1);
        archive.publish_text(&text);
        match archive.index() {
            Err(error @ DebianError::Index { .. }) => {
                let text = error.to_string();
                assert!(text.contains("bookworm"), "{text}");
                assert!(
                    !text.contains(char::is_control) && text.len() < 1000,
                    "{text:?}"
                );
            }
            other => panic!("{to:?}: {other:?}"),
        }
    }
    // Odd, and no harm: relations of no form, cycles, a package that needs itself.
    let odd = good.clone()
        + "Depends: , a, b | | (>= , a:any (=) [, a (\nProvides: (, x (= , y (= 1))\nConflicts: a, (\n";
    archive.publish_text(&odd);
    let index = archive.index().unwrap();
    let _ = resolve(&index, &["a"]);
    let cycle = good.replace("Size", "Depends: b\nSize")
        + "\n"
        + &good.replace("Package: a", "Package: b\nDepends: a (= 1)");
    archive.publish_text(&cycle);
    assert_eq!(
        resolve(&archive.index().unwrap(), &["a"])
            .unwrap()
            .others
            .len(),
        2
    );
}

#[test]
fn an_index_without_an_end_is_refused() {
    let archive = Archive::new();
    let line = format!("Package: a\nDepends: {}", "x".repeat(2 << 20));
    let lines = format!("Package: a\n{}", " more\n".repeat(1 << 20));
    for text in [line, lines] {
        archive.publish_text(&text);
        let error = archive.index().unwrap_err();
        assert!(error.to_string().contains("without an end"), "{error}");
    }
}
