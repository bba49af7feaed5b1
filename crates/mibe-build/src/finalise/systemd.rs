//! systemd in an LX zone: the kernel interfaces that its service sandboxing needs are not there, so a unit
//! that asks for it fails to start.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mibe_sandbox::{Kind, Root};

use super::{FinaliseError, Report, at, directory, exists, is_dir, lookup, text, write};

/// Where packages and administrators put units. `/lib/systemd` only counts where /lib is no link to usr/lib.
const UNIT_DIRECTORIES: &[&str] = &[
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "etc/systemd/system",
];

/// Directives that make systemd set up a mount, network or user namespace for a service
/// (systemd.exec(5)), each with the value that turns it off; an empty value resets a list.
const NAMESPACING: &[(&str, &str)] = &[
    ("PrivateTmp", "no"),
    ("PrivateDevices", "no"),
    ("PrivateNetwork", "no"),
    ("PrivateUsers", "no"),
    ("PrivateMounts", "no"),
    ("PrivateIPC", "no"),
    ("ProtectSystem", "no"),
    ("ProtectHome", "no"),
    ("ProtectHostname", "no"),
    ("ProtectClock", "no"),
    ("ProtectKernelTunables", "no"),
    ("ProtectKernelModules", "no"),
    ("ProtectKernelLogs", "no"),
    ("ProtectControlGroups", "no"),
    ("ProtectProc", "default"),
    ("ReadWritePaths", ""),
    ("ReadOnlyPaths", ""),
    ("InaccessiblePaths", ""),
    ("BindPaths", ""),
    ("BindReadOnlyPaths", ""),
    ("TemporaryFileSystem", ""),
    ("MountAPIVFS", "no"),
];

/// Always turned off in a drop-in, as systemd implies them from others (DynamicUser= among them).
const ALWAYS: &[&str] = &[
    "PrivateTmp",
    "PrivateDevices",
    "PrivateNetwork",
    "ProtectSystem",
    "ProtectHome",
];

/// Units that fail, or fight the platform, in an LX zone.
const MASKED: &[&str] = &[
    "systemd-resolved.service",
    "systemd-remount-fs.service",
    "fstrim.service",
    "fstrim.timer",
    "e2scrub@.service",
    "e2scrub_all.service",
    "e2scrub_all.timer",
    "e2scrub_fail@.service",
    "e2scrub_reap.service",
];

const DROP_IN: &str = "50-mibe-lx.conf";

/// Whether the tree boots with systemd.
pub fn present(root: &Root) -> bool {
    exists(root, "usr/lib/systemd/systemd") || exists(root, "lib/systemd/systemd")
}

/// Makes the units of `root` startable in an LX zone.
pub fn relax(root: &Root, report: &mut Report) -> Result<(), FinaliseError> {
    if !present(root) {
        return Ok(());
    }
    let mut relaxed = Vec::new();
    for (name, unit) in units(root)? {
        let Some(drop_in) = drop_in(&unit) else {
            continue;
        };
        let folder = PathBuf::from(format!("etc/systemd/system/{name}.d"));
        directory(root, &folder, 0o755)?;
        write(root, folder.join(DROP_IN), 0o644, drop_in.as_bytes())?;
        relaxed.push(name);
    }
    relaxed.dedup();
    if !relaxed.is_empty() {
        report.note(format!(
            "service sandboxing turned off for LX in {}",
            relaxed.join(", ")
        ));
    }
    mask(root, report)
}

fn mask(root: &Root, report: &mut Report) -> Result<(), FinaliseError> {
    directory(root, "etc/systemd/system", 0o755)?;
    for unit in MASKED {
        let path = PathBuf::from(format!("etc/systemd/system/{unit}"));
        match lookup(root, &path)?.map(|metadata| metadata.kind) {
            Some(Kind::Symlink) => root.remove_file(&path).map_err(at("remove", &path))?,
            Some(_) => {
                report.warn(format!(
                    "/{} stays as this image has it, though {unit} does not work in an LX zone",
                    path.display()
                ));
                continue;
            }
            None => {}
        }
        root.symlink(Path::new("/dev/null"), &path)
            .map_err(at("mask", &path))?;
    }
    Ok(())
}

/// Name and text of every service, those that a package ships and those that the image adds,
/// sorted by name; a drop-in of the image's own counts as part of its unit.
fn units(root: &Root) -> Result<Vec<(String, String)>, FinaliseError> {
    let mut units = std::collections::BTreeMap::<String, String>::new();
    for folder in UNIT_DIRECTORIES {
        let folder = Path::new(folder);
        if !is_dir(root, folder) {
            continue;
        }
        for entry in root.read_dir(folder).map_err(at("list", folder))? {
            let Some(name) = entry.name.to_str() else {
                continue;
            };
            let path = folder.join(name);
            if let Some(unit) = name.strip_suffix(".d") {
                if entry.metadata.kind == Kind::Dir && unit.ends_with(".service") {
                    for part in root.read_dir(&path).map_err(at("list", &path))? {
                        let ours = part.name == DROP_IN;
                        if let Some(text) = text(root, path.join(&part.name)).filter(|_| !ours) {
                            let unit = units.entry(unit.to_owned()).or_default();
                            unit.push('\n');
                            unit.push_str(&text);
                        }
                    }
                }
            } else if name.ends_with(".service")
                && entry.metadata.kind == Kind::File
                && let Some(text) = text(root, &path)
            {
                let unit = units.entry(name.to_owned()).or_default();
                unit.push('\n');
                unit.push_str(&text);
            }
        }
    }
    Ok(units.into_iter().collect())
}

/// The drop-in that a unit needs, if it asks for anything that an LX zone can't give.
fn drop_in(unit: &str) -> Option<String> {
    let asked: Vec<_> = NAMESPACING
        .iter()
        .filter(|(key, off)| unit.lines().any(|line| asks(line, key, off)))
        .collect();
    let dynamic = unit.lines().any(|line| asks(line, "DynamicUser", "no"));
    if asked.is_empty() && !dynamic {
        return None;
    }
    let mut text = String::from(
        "# Laid in by mibe: an LX zone has no namespaces for services.\n[Service]\nNoNewPrivileges=no\n",
    );
    for (key, off) in NAMESPACING {
        if ALWAYS.contains(key) || asked.iter().any(|(name, _)| name == key) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key}={off}");
        }
    }
    Some(text)
}

/// Whether a line of a unit sets `key` to something other than off.
fn asks(line: &str, key: &str, off: &str) -> bool {
    let Some((name, value)) = line.split_once('=') else {
        return false;
    };
    let value = value.trim();
    name.trim() == key
        && value != off
        && !matches!(value, "" | "no" | "false" | "off" | "0" | "default")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandboxed_unit_gets_a_drop_in_that_turns_off_what_it_asks_for() {
        let text = drop_in("[Service]\nPrivateTmp=true\nReadWritePaths=/var/x\n").unwrap();
        assert!(text.contains("PrivateTmp=no\n"));
        assert!(text.contains("ReadWritePaths=\n"));
        assert!(text.contains("NoNewPrivileges=no\n"));
        assert!(!text.contains("ProtectClock"));
    }

    #[test]
    fn plain_units_and_comments_stay_as_they_are() {
        assert_eq!(drop_in("[Service]\nExecStart=/bin/true\n"), None);
        assert_eq!(
            drop_in("[Service]\n#PrivateTmp=true\nPrivateTmp=no\n"),
            None
        );
    }
}
