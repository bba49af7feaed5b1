//! Debian packages: what dpkg-deb builds goes in as dpkg-deb takes it out, and what is none is an error that names the file.

use std::fs;
use std::path::PathBuf;

use mibe_build::bootstrap::install::Unpack;

use crate::forge::Forge;
use crate::listing;
use crate::world::{Case, World, run, text};

pub const CASES: &[Case] = &[
    ("packages of dpkg-deb", built),
    ("packages that are none", damaged),
];

fn order(essential: Vec<PathBuf>) -> Unpack {
    Unpack {
        debs: essential
            .iter()
            .map(|path| (path.clone(), "package.deb".to_owned()))
            .collect(),
        essential,
        sources: "deb http://deb.debian.org/debian bookworm main\n".to_owned(),
        architecture: "amd64".to_owned(),
        merged_usr: true,
    }
}

fn built() {
    let mut world = World::new();
    let tree = world.path("package");
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("bin")).unwrap();
    let control = "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n";
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    fs::write(tree.join("bin/tool"), "#!/bin/sh\n").unwrap();
    fs::write(tree.join("n".repeat(200)), "long").unwrap();
    for compression in ["-Zxz", "-Zgzip", "-Zzstd", "-Znone"] {
        let deb = world.path("p.deb");
        run(
            "dpkg-deb",
            &[
                "--root-owner-group",
                compression,
                "--build",
                text(&tree),
                text(&deb),
            ],
        );
        world.renew();
        assert_eq!(
            world.unpack_debs(&order(vec![deb.clone()])),
            None,
            "{compression}"
        );
        let theirs = world.path("theirs");
        run("dpkg-deb", &["--extract", text(&deb), text(&theirs)]);
        // /bin is a link in a merged /usr, and the tool is behind it.
        let theirs_list = listing::of_host(&theirs);
        fs::remove_dir_all(&theirs).unwrap();
        let ours = world.list();
        for line in theirs_list.iter().filter(|line| line.contains(" File ")) {
            let line = line.replace("\"bin/", "\"usr/bin/");
            assert!(ours.contains(&line), "{line} in {ours:#?}");
        }
        assert!(ours.iter().any(|line| line.starts_with("\"bin\" Symlink")));
        assert!(
            ours.iter()
                .any(|line| line.starts_with("\".mibe/debs/package.deb\" File"))
        );
    }
}

/// An ar archive of members as they are given.
fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in members {
        bytes.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                644,
                data.len()
            )
            .bytes(),
        );
        bytes.extend_from_slice(data);
        if data.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

fn damaged() {
    let mut world = World::new();
    let good = Forge::default().file("file", b"x").end();
    let up = Forge::default().file("../file", b"x").end();
    let outside = Forge::default()
        .symlink("link", world.outside().to_str().unwrap())
        .file("link/file", b"x")
        .end();
    let mut huge = ar(&[("debian-binary", b"2.0\n"), ("data.tar", &good)]);
    huge[8 + 48..8 + 58].copy_from_slice(b"9999999999");
    let mut negative = huge.clone();
    negative[8 + 48..8 + 58].copy_from_slice(b"-1        ");
    let mut unmarked = ar(&[("data.tar", &good)]);
    unmarked[8 + 58] = b'x';
    let whole = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", b"odd"),
        ("data.tar", &good),
    ]);
    let cases: &[(&str, Vec<u8>, Option<&str>)] = &[
        ("good", whole.clone(), None),
        ("empty", Vec::new(), Some("byte 0")),
        (
            "no ar",
            b"<html>not a package</html>".to_vec(),
            Some("no Debian package"),
        ),
        (
            "no data",
            ar(&[("debian-binary", b"2.0\n")]),
            Some("no data.tar"),
        ),
        ("a huge member", huge, Some("no data.tar")),
        ("a negative one", negative, Some("damaged header")),
        ("a damaged header", unmarked, Some("damaged header")),
        ("cut", whole[..whole.len() - 1600].to_vec(), Some("byte ")),
        (
            "data that is no archive",
            ar(&[("data.tar.xz", b"nothing")]),
            Some("byte 0"),
        ),
        (
            "a name that leaves the tree",
            ar(&[("data.tar", &up)]),
            Some("leaves the tree"),
        ),
        (
            "a link that leaves the tree",
            ar(&[("data.tar", &outside)]),
            Some("link/file"),
        ),
    ];
    for (what, bytes, word) in cases {
        world.renew();
        let path = world.path("hostile.deb");
        fs::write(&path, bytes).unwrap();
        let error = world.unpack_debs(&order(vec![path]));
        match (error, word) {
            (None, None) => {}
            (Some(error), Some(word)) => {
                assert!(
                    error.contains("hostile.deb") && error.contains(word),
                    "{what}: {error}"
                );
            }
            (error, _) => panic!("{what}: {error:?}"),
        }
    }
}
