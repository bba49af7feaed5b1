//! What the LX brand and its boot scripts expect of a tree.
//!
//! Sources: the brand's boot scripts in illumos-joyent (usr/src/lib/brand/lx/zone: lx_boot,
//! lx_boot_zone_debian, _redhat, _alpine, …) and the builders of the published LX images.

use std::path::{Path, PathBuf};

use mibe_sandbox::{Kind, Root};

use super::{
    FinaliseError, Report, at, directory, exists, is_dir, lookup, note_loss, remove, replace,
    shown, systemd, text, write,
};
use crate::guest::{self, Init};

/// Files by which the brand tells the distribution.
pub const MARKERS: &[&str] = &[
    "/etc/redhat-release",
    "/etc/lsb-release",
    "/etc/debian_version",
    "/etc/alpine-release",
    "/etc/void-release",
];

/// Mount points of the brand inside the zone, with their modes.
const MOUNT_POINTS: &[(&str, u32)] = &[
    ("native/dev", 0o755),
    ("native/etc/default", 0o755),
    ("native/etc/svc/volatile", 0o755),
    ("native/lib", 0o755),
    ("native/proc", 0o755),
    ("native/sbin", 0o755),
    ("native/tmp", 0o1777),
    ("native/usr", 0o755),
    ("native/var", 0o755),
    ("var/ld/64", 0o755),
    ("var/svc", 0o755),
    ("var/db", 0o755),
    ("system/object", 0o755),
    ("system/contract", 0o755),
    ("dev", 0o755),
    ("proc", 0o755),
    ("sys", 0o755),
    ("run", 0o755),
    ("mnt", 0o755),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
];

/// Directories that the boot script of Debian zones writes into; a missing or linked one stops the boot.
const DEBIAN_DIRECTORIES: &[&str] = &[
    "etc",
    "etc/init.d",
    "etc/network",
    "etc/rc0.d",
    "etc/rc1.d",
    "etc/rc2.d",
    "etc/rc3.d",
    "etc/rc4.d",
    "etc/rc5.d",
    "etc/rc6.d",
    "etc/rcS.d",
];

const FSTAB: &[u8] = b"none / zfs defaults 1 1\nproc /proc proc defaults 0 0\n";

/// A Linux distribution, as far as finalising differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// `ID` of os-release ("debian"), empty where there is none.
    pub id: String,
    /// `PRETTY_NAME` of os-release, or the id, or "unknown Linux".
    pub pretty_name: String,
    /// Handled by the brand as Debian is.
    pub debian_like: bool,
}

impl Distribution {
    /// Tells the distribution of a tree by its os-release (os-release(5)).
    pub fn of(root: &Root) -> Self {
        let release = text(root, "etc/os-release")
            .or_else(|| text(root, "usr/lib/os-release"))
            .unwrap_or_default();
        let field = |key: &str| {
            release
                .lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned())
                .filter(|value| !value.is_empty())
                .map(shown::name)
        };
        let id = field("ID").unwrap_or_default();
        let like = field("ID_LIKE").unwrap_or_default();
        let debian_like = id == "debian"
            || id == "ubuntu"
            || like.split(' ').any(|like| like == "debian")
            || exists(root, "etc/debian_version");
        let pretty_name = field("PRETTY_NAME").unwrap_or_else(|| {
            if id.is_empty() {
                "unknown Linux".to_owned()
            } else {
                id.clone()
            }
        });
        Self {
            id,
            pretty_name,
            debian_like,
        }
    }
}

/// Lays into `root` what the LX brand expects.
pub fn lay(
    root: &Root,
    distribution: &Distribution,
    report: &mut Report,
) -> Result<(), FinaliseError> {
    // The brand's scripts test for a regular file.
    if !MARKERS.iter().any(|marker| text(root, marker).is_some()) {
        return Err(FinaliseError::NoMarker);
    }
    if distribution.debian_like {
        if let Ok(target) = root.read_link(Path::new("etc")) {
            return Err(FinaliseError::LinkedEtc { target });
        }
        for path in DEBIAN_DIRECTORIES {
            real_directory(root, Path::new(path), report)?;
        }
    }
    for (path, mode) in MOUNT_POINTS {
        mount_point(root, Path::new(path), *mode, report)?;
    }
    let why = "the platform mounts the file systems of an LX zone";
    replace(root, "etc/fstab", FSTAB, why, report)?;
    write(root, "etc/mnttab", 0o644, b"")?;
    let why = "the platform fills it from the metadata of each instance";
    if distribution.debian_like {
        // The boot script fills these two, but only where they exist as regular files.
        replace(root, "etc/resolv.conf", b"", why, report)?;
        replace(root, "etc/network/interfaces", b"", why, report)?;
    } else {
        note_loss(root, Path::new("etc/resolv.conf"), b"", why, report)?;
        remove(root, "etc/resolv.conf")?;
    }
    modes(root)?;
    systemd::relax(root, report)?;
    guest_tools(root, report)
}

/// Makes `path` a directory of its own, where a link to one stands or nothing does.
fn real_directory(root: &Root, path: &Path, report: &mut Report) -> Result<(), FinaliseError> {
    let Some(metadata) = lookup(root, path)? else {
        return directory(root, path, 0o755);
    };
    let was = match metadata.kind {
        Kind::Dir => return Ok(()),
        Kind::Symlink => {
            let target = root.read_link(path).map_err(at("read the link", path))?;
            format!(
                "was a link to {}; what is there stays but is no longer found under this name, so lay what is needed into the directory itself",
                shown::name(target)
            )
        }
        _ => "was a file".to_owned(),
    };
    report.warn(format!(
        "{} is now an empty directory, because an LX zone of a Debian does not boot unless it is one of its own; it {was}",
        shown::path(path)
    ));
    remove(root, path)?;
    root.create_dir(path, 0o755).map_err(at("make", path))
}

/// Makes `path` a directory if it isn't, nor leads to one; nothing could be mounted on a link that leads nowhere.
fn mount_point(
    root: &Root,
    path: &Path,
    mode: u32,
    report: &mut Report,
) -> Result<(), FinaliseError> {
    if !is_dir(root, path)
        && let Ok(target) = root.read_link(path)
    {
        report.warn(format!(
            "{} is now an empty directory, because the LX brand mounts on it; it was a link to {}, where no directory is",
            shown::path(path),
            shown::name(target)
        ));
        remove(root, path)?;
    }
    directory(root, path, mode)
}

fn modes(root: &Root) -> Result<(), FinaliseError> {
    for (path, mode) in [
        ("", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("var/tmp", 0o1777),
    ] {
        let path = Path::new(path);
        if lookup(root, path)?.is_some_and(|metadata| metadata.kind == Kind::Dir) {
            root.chmod(path, mode)
                .map_err(at("change the mode of", path))?;
        }
    }
    Ok(())
}

/// Lays in guest tools, unless the base already has the ones of published images.
fn guest_tools(root: &Root, report: &mut Report) -> Result<(), FinaliseError> {
    if is_dir(root, "lib/smartdc") {
        report.note("guest tools: the base's own (/lib/smartdc)");
        return Ok(());
    }
    let init = init(root);
    let (files, links) = guest::files(init);
    for file in &files {
        let path = PathBuf::from(file.path.trim_start_matches('/'));
        if let Some(parent) = path.parent() {
            directory(root, parent, 0o755)?;
        }
        write(root, &path, file.mode, file.content)?;
    }
    for link in &links {
        let path = PathBuf::from(link.path.trim_start_matches('/'));
        if let Some(parent) = path.parent() {
            directory(root, parent, 0o755)?;
        }
        remove(root, &path)?;
        root.symlink(Path::new(link.target), &path)
            .map_err(at("link", &path))?;
    }
    report.note(format!(
        "guest tools: mibe's own, {} files and {} links, started by {init:?}",
        files.len(),
        links.len()
    ));
    Ok(())
}

fn init(root: &Root) -> Init {
    if systemd::present(root) {
        Init::Systemd
    } else if exists(root, "sbin/openrc") || exists(root, "usr/sbin/openrc") {
        Init::OpenRc
    } else if is_dir(root, "etc/runit") {
        Init::Runit
    } else {
        Init::Sysv
    }
}
