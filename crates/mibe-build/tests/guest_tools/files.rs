//! The files themselves: the table, and what shellcheck and systemd say.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mibe_build::guest::{self, Init};

use crate::zone::{SHELLS, Zone};

const INITS: &[Init] = &[Init::Systemd, Init::OpenRc, Init::Sysv, Init::Runit];

#[test]
fn the_table_names_every_file_of_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let mut shipped = Vec::new();
    for init in INITS {
        let (files, links) = guest::files(*init);
        for file in &files {
            assert!(file.path.starts_with('/') && !file.path.contains(".."));
            assert!(matches!(file.mode, 0o644 | 0o755), "{}", file.path);
            assert_eq!(
                file.content.starts_with(b"#!"),
                file.mode == 0o755,
                "{}",
                file.path
            );
            assert!(file.content.ends_with(b"\n") && !file.content.contains(&b'\r'));
            let text = std::str::from_utf8(file.content).unwrap();
            assert!(
                text.contains("mozilla.org/MPL/2.0/") || text.contains("MPL-2.0"),
                "{}",
                file.path
            );
        }
        for link in &links {
            assert!(link.path.starts_with('/'));
            // It leads to the platform, to a file of ours, or to where runit keeps its state.
            let name = link.target.rsplit('/').next().unwrap();
            assert!(
                link.target.starts_with("/native/usr/sbin/mdata-")
                    || link.target.starts_with("/run/runit/")
                    || files
                        .iter()
                        .any(|file| file.path.contains(&format!("/{name}"))),
                "{} -> {}",
                link.path,
                link.target
            );
        }
        let mut paths: Vec<_> = files.iter().map(|file| file.path).collect();
        paths.extend(links.iter().map(|link| link.path));
        paths.sort_unstable();
        let count = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), count);
        shipped.extend(files.iter().map(|file| file.content));
    }
    for path in all_files(&folder) {
        let content = fs::read(&path).unwrap();
        assert!(
            shipped.iter().any(|file| *file == content),
            "{} is not shipped",
            path.display()
        );
    }
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all_files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn shellcheck_finds_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let scripts = all_files(&folder).into_iter().filter(|path| {
        !matches!(
            path.extension().and_then(OsStr::to_str),
            Some("md" | "service")
        )
    });
    let output = Command::new("shellcheck")
        .args(["--external-sources", "--source-path"])
        .arg(&folder)
        .args(scripts)
        .output()
        .unwrap_or_else(|error| panic!("shellcheck: {error} (apt-get install shellcheck)"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn systemd_takes_the_units() {
    // Only where there is systemd; the units are text, and no other test stands on this one.
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        return;
    };
    assert!(version.status.success());
    let zone = Zone::new(SHELLS[0]);
    for unit in ["mibe-guest.service", "mibe-guest-scripts.service"] {
        let path = zone.path("usr/lib/systemd/system").join(unit);
        // The program is looked for on this machine.
        let text = fs::read_to_string(&path).unwrap();
        let here = format!("ExecStart={}/usr/lib", zone.root.path().display());
        fs::write(&path, text.replace("ExecStart=/usr/lib", &here)).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(zone.path("usr/lib/systemd/system/mibe-guest.service"))
        .arg(zone.path("usr/lib/systemd/system/mibe-guest-scripts.service"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("mibe-guest"), "{said}");
}
