//! systemd in an LX zone: the kernel interfaces that its service sandboxing needs are not there, so a unit
//! that asks for it fails to start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mibe_sandbox::{Entry, Kind, Root};

use super::{
    FinaliseError, Report, at, directory, exists, is_dir, lookup, remove, shown, text, write,
};

/// Where packages and administrators put units (systemd.unit(5)), those that count less first. Where /lib is a
/// link to usr/lib the first two are the same.
const UNIT_DIRECTORIES: &[&str] = &[
    "lib/systemd/system",
    "usr/lib/systemd/system",
    "usr/local/lib/systemd/system",
    "etc/systemd/system",
];

/// Directives that need a mount, network or user namespace for a service, or the kernel's no_new_privs
/// (systemd.exec(5)), each with the value that turns it off; an empty value resets a list.
const SANDBOXING: &[(&str, &str)] = &[
    ("NoNewPrivileges", "no"),
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

/// Turned off in every drop-in, asked for or not: the common ones, which the next version of a package that already
/// sandboxes its service is likeliest to add when it is upgraded in an instance.
const ALWAYS: &[&str] = &[
    "NoNewPrivileges",
    "PrivateTmp",
    "PrivateDevices",
    "PrivateNetwork",
    "ProtectSystem",
    "ProtectHome",
];

const DYNAMIC_USER: &str = "DynamicUser";

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

/// The drop-ins of a unit are read in the order of their names and the last word counts (systemd.unit(5)), so ours
/// must come after those that packages and repositories lay in.
const DROP_IN: &str = "zz-mibe-lx.conf";

/// The most units that are named in a message.
const NAMED: usize = 20;

/// Whether the tree boots with systemd.
pub fn present(root: &Root) -> bool {
    exists(root, "usr/lib/systemd/systemd") || exists(root, "lib/systemd/systemd")
}

/// Makes the units of `root` startable in an LX zone, and says which can't be.
pub fn relax(root: &Root, report: &mut Report) -> Result<(), FinaliseError> {
    if !present(root) {
        return Ok(());
    }
    mask(root, report)?;
    let mut relaxed = Vec::new();
    let mut dynamic = Vec::new();
    for (name, settings) in units(root)? {
        if settings.get(DYNAMIC_USER) == Some(&true) {
            dynamic.push(name.clone());
        }
        let Some(drop_in) = drop_in(&settings) else {
            continue;
        };
        let folder = PathBuf::from(format!("etc/systemd/system/{name}.d"));
        directory(root, &folder, 0o755)?;
        write(root, folder.join(DROP_IN), 0o644, drop_in.as_bytes())?;
        relaxed.push(shown::name(&name));
    }
    if !relaxed.is_empty() {
        report.note(format!(
            "service sandboxing turned off for LX in {}",
            relaxed.join(", ")
        ));
    }
    dynamic_users(root, &dynamic, report)
}

/// For units with DynamicUser=yes systemd sets PrivateTmp=, ProtectSystem=strict, ProtectHome=read-only and
/// NoNewPrivileges= itself, and what a drop-in says to the contrary has no effect (systemd.exec(5)).
fn dynamic_users(root: &Root, units: &[String], report: &mut Report) -> Result<(), FinaliseError> {
    if units.is_empty() {
        return Ok(());
    }
    let enabled = enabled(root)?;
    let (started, others): (Vec<&String>, Vec<&String>) =
        units.iter().partition(|unit| enabled.contains(*unit));
    let named = |units: &[&String]| {
        let names: Vec<_> = units.iter().map(shown::name).collect();
        shown::list(&names, names.len(), NAMED)
    };
    if !started.is_empty() {
        report.warn(format!(
            "enabled with DynamicUser=yes, for which systemd always asks for sandboxing that an LX zone can't give, so they may fail to start: {}; disable them, or give each a user of its own and DynamicUser=no in a drop-in",
            named(&started)
        ));
    }
    if !others.is_empty() {
        report.note(format!(
            "not enabled, and with DynamicUser=yes unlikely to start in an LX zone: {}",
            named(&others)
        ));
    }
    Ok(())
}

fn mask(root: &Root, report: &mut Report) -> Result<(), FinaliseError> {
    directory(root, "etc/systemd/system", 0o755)?;
    let null = Path::new("/dev/null");
    for unit in MASKED {
        let path = PathBuf::from(format!("etc/systemd/system/{unit}"));
        match lookup(root, &path)?.map(|metadata| metadata.kind) {
            Some(Kind::Symlink) => {
                let target = root.read_link(&path).map_err(at("read the link", &path))?;
                if target == null {
                    continue;
                }
                report.note(format!(
                    "masked {unit}, which was a link to {}",
                    shown::name(&target)
                ));
                remove(root, &path)?;
            }
            Some(_) => {
                report.warn(format!(
                    "{} stays as this image has it, though {unit} does not work in an LX zone",
                    shown::path(&path)
                ));
                continue;
            }
            None => {}
        }
        root.symlink(null, &path).map_err(at("mask", &path))?;
    }
    Ok(())
}

/// What a unit or a fragment sets of [`SANDBOXING`] and of [`DYNAMIC_USER`]: true where the last word is not "off".
type Settings = BTreeMap<&'static str, bool>;

/// A unit as it is spread over [`UNIT_DIRECTORIES`].
#[derive(Default)]
struct Unit {
    /// Of its file in the directory that counts most; `None` while only drop-ins were met.
    file: Option<Settings>,
    /// Its file there is a link to /dev/null.
    masked: bool,
    /// By the names of its drop-ins.
    drop_ins: BTreeMap<String, Settings>,
}

/// Every service that is not masked, those that packages ship and those that the image adds, sorted by name, with
/// what it sets in the end.
fn units(root: &Root) -> Result<Vec<(String, Settings)>, FinaliseError> {
    let mut units = BTreeMap::<String, Unit>::new();
    for folder in UNIT_DIRECTORIES {
        for (path, entry) in listed(root, Path::new(folder))? {
            let Some(name) = entry.name.to_str() else {
                continue;
            };
            if let Some(unit) = name.strip_suffix(".d")
                && (unit == "service" || unit.ends_with(".service"))
            {
                let fragments = fragments(root, &path)?;
                let unit = units.entry(unit.to_owned()).or_default();
                unit.drop_ins.extend(fragments);
            } else if name.ends_with(".service") {
                match entry.metadata.kind {
                    Kind::File => {}
                    Kind::Symlink if !alias(root, &path, name) => {}
                    _ => continue,
                }
                let unit = units.entry(name.to_owned()).or_default();
                unit.masked = root
                    .read_link(&path)
                    .is_ok_and(|target| target == Path::new("/dev/null"));
                unit.file = Some(settings(&text(root, &path).unwrap_or_default()));
            }
        }
    }
    Ok(units
        .iter()
        .filter(|(name, unit)| {
            // Folders of drop-ins for many units (see `general`) are no units.
            let general = *name == "service" || name.ends_with("-.service");
            !unit.masked && (unit.file.is_some() || !general)
        })
        .map(|(name, unit)| (name.clone(), merged(&units, name, unit)))
        .collect())
}

/// A unit's file, then its drop-ins in the order of their names; of two with one name that of the more special folder counts.
fn merged(units: &BTreeMap<String, Unit>, name: &str, unit: &Unit) -> Settings {
    let mut drop_ins = BTreeMap::new();
    for folder in general(name) {
        if let Some(unit) = units.get(&folder) {
            drop_ins.extend(&unit.drop_ins);
        }
    }
    drop_ins.extend(&unit.drop_ins);
    let mut settings = unit.file.clone().unwrap_or_default();
    for drop_in in drop_ins.values() {
        settings.extend(drop_in.iter());
    }
    settings
}

/// Whose drop-ins a unit has besides its own, the most general first: for a-b-c.service those of "service",
/// a-.service and a-b-.service (systemd.unit(5)).
fn general(name: &str) -> impl Iterator<Item = String> + '_ {
    let dashes = name
        .match_indices('-')
        .map(|(at, _)| format!("{}-.service", &name[..at]));
    std::iter::once("service".to_owned()).chain(dashes)
}

/// Whether the link `path` only gives a unit of [`UNIT_DIRECTORIES`] another name; a link to elsewhere is a unit itself.
fn alias(root: &Root, path: &Path, name: &str) -> bool {
    let Ok(target) = root.resolve(path) else {
        return false;
    };
    target.file_name().is_none_or(|file| file != name)
        && UNIT_DIRECTORIES.iter().any(|folder| {
            root.resolve(Path::new(folder))
                .is_ok_and(|folder| target.parent() == Some(&folder))
        })
}

fn fragments(
    root: &Root,
    folder: &Path,
) -> Result<impl Iterator<Item = (String, Settings)>, FinaliseError> {
    let mut found = Vec::new();
    for (path, entry) in listed(root, folder)? {
        if let Some(name) = entry.name.to_str()
            && path.extension().is_some_and(|end| end == "conf")
            && name != DROP_IN
        {
            // An empty one or a link to /dev/null takes away that of the same name elsewhere.
            let text = text(root, &path).unwrap_or_default();
            found.push((name.to_owned(), settings(&text)));
        }
    }
    Ok(found.into_iter())
}

/// The units that some other unit wants or requires, by every name they go by; of an instance its template too.
fn enabled(root: &Root) -> Result<BTreeSet<String>, FinaliseError> {
    let mut enabled = BTreeSet::new();
    for folder in UNIT_DIRECTORIES {
        for (path, entry) in listed(root, Path::new(folder))? {
            let name = entry.name.as_encoded_bytes();
            if !name.ends_with(b".wants") && !name.ends_with(b".requires") {
                continue;
            }
            for (path, wanted) in listed(root, &path)? {
                let target = root.read_link(&path).unwrap_or_default();
                let names = [
                    wanted.name.to_str(),
                    target.file_name().and_then(|n| n.to_str()),
                ];
                for name in names.into_iter().flatten() {
                    if let Some((template, _)) = name.split_once('@') {
                        enabled.insert(format!("{template}@.service"));
                    }
                    enabled.insert(name.to_owned());
                }
            }
        }
    }
    Ok(enabled)
}

/// The entries of a directory, or of the one that a link leads to, with their paths; none if it isn't one.
fn listed(root: &Root, folder: &Path) -> Result<Vec<(PathBuf, Entry)>, FinaliseError> {
    if !is_dir(root, folder) {
        return Ok(Vec::new());
    }
    let folder = root.resolve(folder).map_err(at("find", folder))?;
    let entries = root.read_dir(&folder).map_err(at("list", &folder))?;
    Ok(entries
        .into_iter()
        .map(|entry| (folder.join(&entry.name), entry))
        .collect())
}

/// What the text of a unit sets; of several settings of one directive the last counts.
fn settings(text: &str) -> Settings {
    let mut settings = Settings::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let known = SANDBOXING
            .iter()
            .map(|(key, _)| *key)
            .chain([DYNAMIC_USER])
            .find(|key| *key == name.trim());
        if let Some(key) = known {
            settings.insert(key, !off(value));
        }
    }
    settings
}

/// A boolean that is false (systemd.syntax(7)), an emptied list, or the default of ProtectProc=.
fn off(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    matches!(
        value.as_str(),
        "" | "no" | "n" | "false" | "f" | "off" | "0" | "default"
    )
}

/// The drop-in that a unit needs, if it asks for anything that an LX zone can't give.
fn drop_in(settings: &Settings) -> Option<String> {
    let asks = |key: &str| settings.get(key) == Some(&true);
    if !SANDBOXING.iter().any(|(key, _)| asks(key)) {
        return None;
    }
    let mut text =
        String::from("# Laid in by mibe: an LX zone has no namespaces for services.\n[Service]\n");
    for (key, off) in SANDBOXING {
        if ALWAYS.contains(key) || asks(key) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key}={off}");
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_in_for(text: &str) -> Option<String> {
        drop_in(&settings(text))
    }

    #[test]
    fn a_sandboxed_unit_gets_a_drop_in_that_turns_off_what_it_asks_for() {
        let text = drop_in_for("[Service]\nPrivateTmp=true\nReadWritePaths=/var/x\n").unwrap();
        assert!(text.contains("PrivateTmp=no\n"));
        assert!(text.contains("ReadWritePaths=\n"));
        assert!(text.contains("NoNewPrivileges=no\n"));
        assert!(!text.contains("ProtectClock"));
    }

    #[test]
    fn no_new_privileges_alone_is_reason_enough() {
        let text = drop_in_for("[Service]\nNoNewPrivileges=yes\n").unwrap();
        assert!(text.contains("NoNewPrivileges=no\n"));
    }

    #[test]
    fn plain_units_and_comments_stay_as_they_are() {
        assert_eq!(drop_in_for("[Service]\nExecStart=/bin/true\n"), None);
        assert_eq!(
            drop_in_for("[Service]\n#PrivateTmp=true\nPrivateTmp=No\nProtectHome=f\n"),
            None
        );
    }

    #[test]
    fn the_last_setting_counts() {
        assert_eq!(
            drop_in_for("PrivateTmp=yes\nBindPaths=/a\nPrivateTmp=no\nBindPaths=\n"),
            None
        );
        assert!(drop_in_for("BindPaths=\nBindPaths=/a\n").is_some());
    }

    #[test]
    fn a_dynamic_user_is_no_reason_for_a_drop_in_that_could_not_help() {
        assert_eq!(drop_in_for("DynamicUser=yes\n"), None);
    }

    #[test]
    fn general_drop_ins_go_from_all_to_few() {
        let folders: Vec<_> = general("a-b-c.service").collect();
        assert_eq!(folders, ["service", "a-.service", "a-b-.service"]);
    }
}
