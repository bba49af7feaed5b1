//! Imports that come from a server, and those that are ended.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;

use crate::shape::{MIB, Shape, failed, run, sha256, world};
use crate::support::Who;

/// From a server, with its checksum, once: then from the cache.
#[test]
fn a_disk_by_url() {
    let (world, disk) = world(Who::Root, &Shape::vendor());
    run("gzip", &["-k", disk.to_str().unwrap()]);
    let packed = fs::read(disk.with_extension("raw.gz")).unwrap();
    let digest = sha256(&disk.with_extension("raw.gz"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let mut asked = 0;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap();
            if request[..count].starts_with(b"GET /end") {
                return asked;
            }
            asked += 1;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                packed.len()
            );
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&packed));
        }
        asked
    });
    let url = format!("http://127.0.0.1:{port}/disk.raw.gz");
    for version in ["1", "2"] {
        let ran = world.mibe(&[
            "disk",
            "import",
            &url,
            "--sha256",
            &digest,
            "--name",
            "x",
            "--version",
            version,
        ]);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    }
    let ran = world.mibe(&["disk", "import", &url, "--name", "x", "--version", "3"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("no checksum"), "{}", ran.stderr);
    let wrong = "0".repeat(128);
    let ran = world.mibe(&[
        "disk",
        "import",
        &url,
        "--sha512",
        &wrong,
        "--name",
        "x",
        "--version",
        "4",
    ]);
    failed(&ran, 1, &["SHA-512"]);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /end HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(server.join().unwrap(), 3);
    world.assert_nothing_left();
}

/// Killed in the middle, the next clean-up finds what was there.
#[test]
fn a_killed_import_is_cleaned_up() {
    let (world, disk) = world(Who::Root, &Shape::vendor());
    // Large enough to be met at it.
    let file = File::options().write(true).open(&disk).unwrap();
    let noise: Vec<u8> = (0..8 * MIB)
        .map(|index| ((index * index) >> 7) as u8)
        .collect();
    for place in 0..100 {
        file.write_all_at(&noise, (100 + place * 10) * MIB).unwrap();
    }
    for signal in ["-KILL", "-TERM", "-INT"] {
        let mut child = world
            .command(&[
                "disk",
                "import",
                "disk.raw",
                "--name",
                "x",
                "--version",
                "1",
            ])
            .spawn()
            .unwrap();
        let machines = world.home().join(".cache/mibe/machines");
        let begun = || fs::read_dir(&machines).is_ok_and(|mut entries| entries.next().is_some());
        while !begun() {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended before it began"
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        run("kill", &[signal, &child.id().to_string()]);
        assert!(!child.wait().unwrap().success());
        if signal == "-KILL" {
            assert!(begun());
            let ran = world.mibe(&["clean"]);
            assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        }
        world.assert_nothing_left();
        assert!(!world.home().join("images/x-1.json").exists());
    }
}
