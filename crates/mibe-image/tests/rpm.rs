//! Databases of rpm against rpm itself: packages that rpmbuild made, in the database that rpm wrote, and the same headers in one that
//! Berkeley DB wrote. For ndb, which Debian's rpm can't write, they are put together here by the format's source.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use mibe_image::inventory::{Entries, Entry, Inventory};

/// Enough for a tree of several levels.
const PACKAGES: usize = 60;

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; `cargo xtask parts` installs it"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A spec of many packages, some with long headers.
fn spec() -> String {
    let mut spec = String::from(
        "Name: first\nVersion: 1.2\nRelease: 3\nEpoch: 2\nSummary: s\nLicense: l\nBuildArch: noarch\n%description\nd\n",
    );
    let mut install = String::from("%install\nmkdir -p %{buildroot}/opt\n");
    let mut files = String::from("%files\n");
    for number in 0..PACKAGES {
        let _ = writeln!(
            spec,
            "%package -n p{number}\nVersion: {number}.0\nSummary: s\n%description -n p{number}\nd"
        );
        let _ = writeln!(
            install,
            "for n in $(seq 1 {}); do echo $n > %{{buildroot}}/opt/{number}-a-long-name-of-a-file-$n; done",
            1 + number % 7 * 40
        );
        let _ = writeln!(files, "%files -n p{number}\n/opt/{number}-*");
    }
    spec + &install + &files
}

/// What rpm says is installed.
fn expected(folder: &Path) -> BTreeMap<String, (String, u64)> {
    let format = "%{NAME}.%{ARCH} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE} %{SIZE}\\n";
    let text = run(Command::new("rpm")
        .args(["-qa", "--qf", format, "--dbpath"])
        .arg(folder));
    text.lines()
        .map(|line| {
            let columns: Vec<&str> = line.split(' ').collect();
            let [name, version, size] = columns[..] else {
                panic!("{line}");
            };
            (
                format!("rpm:{name}"),
                (version.to_owned(), size.parse().unwrap()),
            )
        })
        .collect()
}

fn read(name: &str, content: &[u8]) -> Inventory {
    let path = format!("var/lib/rpm/{name}").into_bytes();
    Inventory::read(&Entries::from([(path, Entry::File(content.to_vec()))]))
}

fn check(inventory: &Inventory, expected: &BTreeMap<String, (String, u64)>) {
    assert_eq!(inventory.warnings, Vec::<String>::new());
    let found: BTreeMap<String, (String, u64)> = inventory
        .packages
        .iter()
        .map(|(name, package)| {
            (
                name.clone(),
                (package.version.clone(), package.size.unwrap()),
            )
        })
        .collect();
    assert_eq!(&found, expected);
}

/// Prints the headers in the database, in hexadecimal.
const HEADERS: &str = "import sqlite3,sys\nfor n,b in sqlite3.connect(sys.argv[1]).execute('select hnum,blob from Packages'): print(n, b.hex())";

#[test]
fn all_databases() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("first.spec"), spec()).unwrap();
    run(Command::new("rpmbuild")
        .arg("--define")
        .arg(format!("_topdir {}", at("top").display()))
        .args(["-bb", "first.spec"])
        .current_dir(folder.path()));
    fs::create_dir(at("db")).unwrap();
    let packages: Vec<_> = fs::read_dir(at("top/RPMS/noarch"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(packages.len(), PACKAGES + 1);
    run(Command::new("rpm")
        .args([
            "-i",
            "--justdb",
            "--nodeps",
            "--ignoreos",
            "--ignorearch",
            "--dbpath",
        ])
        .arg(at("db"))
        .args(&packages));
    let expected = expected(&at("db"));
    assert_eq!(expected.len(), PACKAGES + 1);
    let sqlite = fs::read(at("db/rpmdb.sqlite")).unwrap();
    check(&read("rpmdb.sqlite", &sqlite), &expected);

    let headers = run(Command::new("python3")
        .args(["-c", HEADERS])
        .arg(at("db/rpmdb.sqlite")));
    let headers: Vec<(u32, &str)> = headers
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(number, hex)| (number.parse().unwrap(), hex))
        .collect();

    // Numbers of headers are keys; 0 has the next number.
    let mut dump =
        String::from("VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END\n 00000000\n 64000000\n");
    for (number, header) in &headers {
        let _ = writeln!(dump, " {:08x}\n {header}", number.swap_bytes());
    }
    fs::write(at("dump"), dump + "DATA=END\n").unwrap();
    run(Command::new("db5.3_load")
        .arg("-f")
        .arg(at("dump"))
        .arg(at("Packages")));
    let bdb = fs::read(at("Packages")).unwrap();
    check(&read("Packages", &bdb), &expected);

    let ndb = ndb(&headers);
    check(&read("Packages.db", &ndb), &expected);

    for (name, content) in [
        ("rpmdb.sqlite", &sqlite),
        ("Packages", &bdb),
        ("Packages.db", &ndb),
    ] {
        damaged(name, content);
    }
}

/// `lib/backend/ndb/rpmpkg.c`: header, slots, blobs of 16-byte units.
fn ndb(headers: &[(u32, &str)]) -> Vec<u8> {
    let mut file = vec![0; 4096];
    file[..4].copy_from_slice(b"RpmP");
    file[12..16].copy_from_slice(&1_u32.to_le_bytes());
    for (index, (number, hex)) in headers.iter().enumerate() {
        let blob: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap())
            .collect();
        let slot = 32 + 16 * index;
        let start = file.len() as u32 / 16;
        file[slot..slot + 4].copy_from_slice(b"Slot");
        file[slot + 4..slot + 8].copy_from_slice(&number.to_le_bytes());
        file[slot + 8..slot + 12].copy_from_slice(&start.to_le_bytes());
        file.extend_from_slice(b"BlbS");
        file.extend_from_slice(&number.to_le_bytes());
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&(blob.len() as u32).to_le_bytes());
        file.extend_from_slice(&blob);
        file.resize(file.len().next_multiple_of(16), 0);
    }
    file
}

/// Whatever is done to a database, reading it ends.
fn damaged(name: &str, content: &[u8]) {
    for cut in (0..content.len()).step_by(content.len() / 200 + 1) {
        read(name, &content[..cut]);
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..300 {
        let mut changed = content.to_vec();
        for _ in 0..=round % 8 {
            // Most of what leads on stands at the starts of pages.
            let at = if round % 2 == 0 {
                random(content.len())
            } else {
                random(content.len() / 4096) * 4096 + random(64)
            };
            changed[at] = random(256) as u8;
        }
        read(name, &changed);
    }
}
