//! Databases of package managers that are text: dpkg, apk, pkgsrc, pacman.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Entries, Entry, Inventory, lines, text};

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Its version, as its manager writes it.
    pub version: String,
    /// Bytes that it takes installed, if its manager says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

const DPKG: &[u8] = b"var/lib/dpkg/status";
/// Packages of images without a package manager ("distroless") each have a file here.
const DPKG_PARTS: &[u8] = b"var/lib/dpkg/status.d/";
const APK: [&[u8]; 2] = [b"lib/apk/db/installed", b"usr/lib/apk/db/installed"];
/// Where pkgsrc keeps its packages: SmartOS, its tools, NetBSD.
const PKGSRC: [&[u8]; 5] = [
    b"opt/local/pkg/",
    b"opt/local/.pkgdb/",
    b"opt/tools/.pkgdb/",
    b"opt/tools/pkg/",
    b"var/db/pkg/",
];
const PACMAN: &[u8] = b"var/lib/pacman/local/";

/// Whether a path is that of a database of all packages.
pub(super) fn is_database(path: &[u8]) -> bool {
    path == DPKG || APK.contains(&path)
}

/// Whether a path is that of what is said of one package.
pub(super) fn is_small(path: &[u8]) -> bool {
    path.strip_prefix(DPKG_PARTS)
        .is_some_and(|name| !name.ends_with(b".md5sums"))
        || pkgsrc(path).is_some_and(|(_, file)| file == b"+SIZE_PKG")
        || pacman(path).is_some()
}

/// Whether it is enough that there is something at a path.
pub(super) fn is_sign(path: &[u8]) -> bool {
    pkgsrc(path).is_some_and(|(_, file)| file == b"+CONTENTS")
}

/// Package with version, and the file about it.
fn pkgsrc(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = PKGSRC
        .iter()
        .find_map(|folder| path.strip_prefix(*folder))?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    Some((&rest[..slash], &rest[slash + 1..]))
}

fn pacman(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(PACMAN)?.strip_suffix(b"/desc")
}

pub(super) fn read(entries: &Entries, inventory: &mut Inventory) {
    for (path, entry) in entries {
        let Entry::File(content) = entry else {
            continue;
        };
        if path == DPKG || path.starts_with(DPKG_PARTS) {
            dpkg(content, inventory);
        } else if APK.contains(&path.as_slice()) {
            apk(content, inventory);
        } else if let Some((package, file)) = pkgsrc(path) {
            pkgsrc_file(package, file, content, inventory);
        } else if pacman(path).is_some() {
            pacman_file(content, inventory);
        }
    }
}

/// The fields of a paragraph of `NAME: value` lines; what goes on in further lines is not wanted.
fn fields(paragraph: &[&[u8]]) -> BTreeMap<String, String> {
    paragraph
        .iter()
        .filter(|line| !line.starts_with(b" ") && !line.starts_with(b"\t"))
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let value = line.get(colon + 1..)?.trim_ascii();
            Some((text(&line[..colon]), text(value)))
        })
        .collect()
}

/// Paragraphs that empty lines part.
fn paragraphs(content: &[u8]) -> Vec<Vec<&[u8]>> {
    let lines: Vec<&[u8]> = lines(content).collect();
    lines
        .split(|line| line.is_empty())
        .filter(|paragraph| !paragraph.is_empty())
        .map(<[&[u8]]>::to_vec)
        .collect()
}

/// deb-control(5), dpkg(1) for what Status means.
fn dpkg(content: &[u8], inventory: &mut Inventory) {
    for paragraph in paragraphs(content) {
        let fields = fields(&paragraph);
        let (Some(name), Some(version)) = (fields.get("Package"), fields.get("Version")) else {
            continue;
        };
        let state = fields
            .get("Status")
            .and_then(|status| status.rsplit(' ').next());
        // Without a status are those of images without dpkg.
        if state.is_some_and(|state| matches!(state, "not-installed" | "config-files")) {
            continue;
        }
        // One name may be there for two architectures; "all" and the first need no mark.
        let mut key = format!("dpkg:{name}");
        if inventory.packages.contains_key(&key)
            && let Some(architecture) = fields.get("Architecture")
        {
            key = format!("{key}:{architecture}");
        }
        let kib: Option<u64> = fields
            .get("Installed-Size")
            .and_then(|size| size.parse().ok());
        let package = Package {
            version: version.clone(),
            size: kib.and_then(|kib| kib.checked_mul(1024)),
        };
        inventory.packages.insert(key, package);
    }
}

/// apk's own form (`apk-package(5)`, "installed" database): `P:`, `V:`, `I:` among others.
fn apk(content: &[u8], inventory: &mut Inventory) {
    for paragraph in paragraphs(content) {
        let field = |letter: &[u8]| {
            let line = paragraph.iter().find_map(|line| line.strip_prefix(letter));
            line.map(text)
        };
        if let (Some(name), Some(version)) = (field(b"P:"), field(b"V:")) {
            let package = Package {
                version,
                size: field(b"I:").and_then(|size| size.parse().ok()),
            };
            inventory.packages.insert(format!("apk:{name}"), package);
        }
    }
}

/// pkg_add(1): each package has a directory NAME-VERSION; `+SIZE_PKG` has its bytes.
fn pkgsrc_file(package: &[u8], file: &[u8], content: &[u8], inventory: &mut Inventory) {
    // The version begins at the last dash, for versions have none.
    let Some(dash) = package.iter().rposition(|byte| *byte == b'-') else {
        return;
    };
    let key = format!("pkgsrc:{}", text(&package[..dash]));
    let known = inventory.packages.entry(key).or_insert_with(|| Package {
        version: text(&package[dash + 1..]),
        size: None,
    });
    if file == b"+SIZE_PKG" {
        known.size = text(content).trim().parse().ok();
    }
}

/// alpm-db: `%NAME%` and the value in the line after it.
fn pacman_file(content: &[u8], inventory: &mut Inventory) {
    let all: Vec<&[u8]> = lines(content).collect();
    let field = |name: &[u8]| {
        let at = all.iter().position(|line| *line == name)?;
        all.get(at + 1).map(|line| text(line))
    };
    if let (Some(name), Some(version)) = (field(b"%NAME%"), field(b"%VERSION%")) {
        let package = Package {
            version,
            size: field(b"%SIZE%").and_then(|size| size.parse().ok()),
        };
        inventory.packages.insert(format!("pacman:{name}"), package);
    }
}
