//! From a choice of packages to a root file system.
//!
//! The essential packages are unpacked by mibe itself, which needs no program of the tree; then dpkg, which is one of them, installs
//! them properly and the others after them, in the sandbox (the order of debootstrap's second stage: base-passwd first, for the
//! users that others' maintainer scripts name).

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use mibe_sandbox::Root;
use serde::{Deserialize, Serialize};

use super::index::Package;
use crate::archive::{self, ArchiveError, Existing};

/// Folder of the tree where the packages' files are while they are installed.
pub const DEBS: &str = ".mibe/debs";

/// What the job that makes the tree is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unpack {
    /// Files of the essential packages on this host, in order.
    pub essential: Vec<PathBuf>,
    /// Files of all packages on this host, with the names they get in [`DEBS`].
    pub debs: Vec<(PathBuf, String)>,
    /// Content of /etc/apt/sources.list.
    pub sources: String,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// Whether /bin, /sbin and /lib are links into /usr: in every suite but old ones.
    pub merged_usr: bool,
}

/// Name of a package's file in [`DEBS`].
pub fn file_name(package: &Package) -> String {
    format!(
        "{}_{}.deb",
        package.name,
        package.version.replace(':', "%3a")
    )
}

/// Unpacks the essential packages into an empty tree and lays the files of all packages beside them.
///
/// # Errors
///
/// A package's file is damaged, or the tree can't be written; the text names the file.
pub fn unpack(root: &Root, order: &Unpack) -> Result<(), String> {
    skeleton(root, order).map_err(|error| format!("prepare the tree: {error}"))?;
    for deb in &order.essential {
        let mut file = File::open(deb).map_err(|error| format!("{}: {error}", deb.display()))?;
        data(&mut file)
            .and_then(|data| {
                let tar = archive::decompressed(data)?;
                archive::unpack(root, tar, Existing::Keep)
            })
            .map_err(|error| format!("{}: {error}", deb.display()))?;
    }
    let debs = Path::new(DEBS);
    root.create_dir_all(debs, 0o755)
        .map_err(|error| format!("make /{DEBS}: {error}"))?;
    for (deb, name) in &order.debs {
        let copy = || -> io::Result<()> {
            let mut from = File::open(deb)?;
            let mut to = root.create(&debs.join(name), 0o644)?;
            io::copy(&mut from, &mut to).map(drop)
        };
        copy().map_err(|error| format!("copy {}: {error}", deb.display()))?;
    }
    after(root, order).map_err(|error| format!("prepare the tree: {error}"))
}

/// Directories that are links in a merged /usr.
fn usr_links(architecture: &str) -> Vec<&'static str> {
    let mut links = vec!["bin", "sbin", "lib"];
    if architecture == "amd64" {
        links.push("lib64");
    }
    links
}

fn skeleton(root: &Root, order: &Unpack) -> io::Result<()> {
    if order.merged_usr {
        for name in usr_links(&order.architecture) {
            let target = Path::new("usr").join(name);
            root.create_dir_all(&target, 0o755)?;
            root.symlink(&target, Path::new(name))?;
        }
    }
    for folder in ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        root.create_dir_all(Path::new(folder), 0o755)?;
    }
    Ok(())
}

/// What dpkg and maintainer scripts count on before the packages that ship it are configured.
fn after(root: &Root, order: &Unpack) -> io::Result<()> {
    for empty in ["var/lib/dpkg/status", "var/lib/dpkg/available"] {
        root.write(Path::new(empty), 0o644, b"")?;
    }
    let missing = |path: &str| root.metadata(Path::new(path)).is_err();
    if missing("etc/passwd") {
        root.write(
            Path::new("etc/passwd"),
            0o644,
            b"root:x:0:0:root:/root:/bin/bash\n",
        )?;
    }
    if missing("etc/group") {
        let groups = b"root:x:0:\nmail:x:8:\nutmp:x:43:\nshadow:x:42:\nstaff:x:50:\n";
        root.write(Path::new("etc/group"), 0o644, groups)?;
    }
    if missing("etc/fstab") {
        root.write(Path::new("etc/fstab"), 0o644, b"")?;
    }
    if missing("usr/bin/awk") {
        root.symlink(Path::new("mawk"), Path::new("usr/bin/awk"))?;
    }
    root.create_dir_all(Path::new("etc/apt"), 0o755)?;
    root.write(
        Path::new("etc/apt/sources.list"),
        0o644,
        order.sources.as_bytes(),
    )
}

/// The commands that make the unpacked tree a Debian, in order: dpkg runs in the tree.
pub fn commands(essential: &[Package], others: &[Package]) -> Vec<Vec<String>> {
    let dpkg = |packages: Vec<&Package>, what: &str| {
        let mut argv: Vec<String> = [
            "dpkg",
            "--force-depends",
            "--force-confdef",
            "--force-confold",
            what,
        ]
        .map(ToOwned::to_owned)
        .into();
        argv.extend(
            packages
                .iter()
                .map(|package| format!("/{DEBS}/{}", file_name(package))),
        );
        argv
    };
    let first: Vec<&Package> = essential
        .iter()
        .filter(|package| package.name == "base-passwd")
        .collect();
    let mut commands = Vec::new();
    if !first.is_empty() {
        commands.push(dpkg(first, "--install"));
    }
    let configure = [
        "dpkg",
        "--force-confdef",
        "--force-confold",
        "--configure",
        "--pending",
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    commands.push(dpkg(essential.iter().collect(), "--unpack"));
    commands.push(configure.clone());
    if !others.is_empty() {
        commands.push(dpkg(others.iter().collect(), "--unpack"));
        commands.push(configure);
    }
    commands
}

/// The `data.tar` of a package, still compressed: a `.deb` is an ar archive (deb(5)).
fn data(file: &mut File) -> Result<impl Read + '_, ArchiveError> {
    let damaged = |offset: u64, reason: &str| ArchiveError::Damaged {
        offset,
        reason: reason.to_owned(),
    };
    let mut magic = [0; 8];
    file.read_exact(&mut magic)
        .map_err(|error| damaged(0, &error.to_string()))?;
    if &magic != b"!<arch>\n" {
        return Err(damaged(0, "it is no Debian package"));
    }
    let mut offset = 8;
    loop {
        let mut header = [0; 60];
        file.read_exact(&mut header)
            .map_err(|_| damaged(offset, "it has no data.tar"))?;
        let size: u64 = std::str::from_utf8(&header[48..58])
            .ok()
            .filter(|_| header.ends_with(b"`\n"))
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| damaged(offset, "a damaged header of a member"))?;
        if header.starts_with(b"data.tar") {
            return Ok(file.take(size));
        }
        offset += 60 + size + size % 2;
        file.seek(SeekFrom::Start(offset))
            .map_err(|error| damaged(offset, &error.to_string()))?;
    }
}

/// Whether a suite has the merged /usr: Debian requires it from bookworm on, and bullseye has it by default.
pub fn merged_usr(suite: &str) -> bool {
    !matches!(suite, "buster" | "stretch" | "jessie" | "oldoldstable")
}

/// Removes what only the bootstrap needed.
///
/// # Errors
///
/// The tree can't be written.
pub fn finish(root: &Root) -> io::Result<()> {
    let scratch = Path::new(".mibe");
    if root.metadata(scratch).is_ok() {
        root.remove_dir_all(scratch)?;
    }
    for file in [
        "var/lib/dpkg/available",
        "var/lib/dpkg/available-old",
        "var/lib/dpkg/status-old",
        "var/lib/dpkg/diversions-old",
        "var/lib/dpkg/statoverride-old",
        "var/log/dpkg.log",
        "var/log/alternatives.log",
        "var/cache/ldconfig/aux-cache",
        "etc/passwd-",
        "etc/group-",
        "etc/shadow-",
        "etc/gshadow-",
        "etc/.pwd.lock",
    ] {
        let file = Path::new(file);
        if root.metadata(file).is_ok() {
            root.remove_file(file)?;
        }
    }
    Ok(())
}

/// What stands beside a base in the cache.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BaseRecord {
    /// The suite.
    pub suite: String,
    /// For people: "Debian bookworm 12.11".
    pub title: String,
    /// Bytes in the archive.
    pub size: u64,
    /// SHA-256 of the archive.
    pub sha256: String,
    /// The packages in it: name, version and SHA-256 of the file.
    pub packages: Vec<(String, String, String)>,
}

impl BaseRecord {
    /// The record beside an archive, if it fits the archive in length.
    pub fn read(path: &Path, archive: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let size = fs::metadata(archive).ok()?.len();
        (record.size == size).then_some(record)
    }
}
