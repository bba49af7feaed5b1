//! File work carried out in a tree of this host.

use std::path::Path;

use mibe_sandbox::{Kind, Root};

use crate::packages::{PackageManager, SCRATCH};
use crate::work::{Guest, Work, WorkReport};
use crate::{finalise, lay};

/// Denies the start of services while packages are installed (invoke-rc.d's policy layer); 101 is "forbidden".
const POLICY: &[u8] = b"#!/bin/sh\nexit 101\n";
const POLICY_PATH: &str = "usr/sbin/policy-rc.d";
const POLICY_SAVED: &str = "usr/sbin/policy-rc.d.mibe-saved";

const PIN_PATH: &str = "etc/apt/preferences.d/mibe-lx";
const PIN: &[u8] = b"Explanation: udev does not work in an LX zone (laid in by mibe)\nPackage: udev\nPin: release *\nPin-Priority: -1\n";

/// Carries out `work` in `root`; an error names the path.
pub fn perform(root: &Root, work: &Work) -> Result<WorkReport, String> {
    let mut report = WorkReport::default();
    match work {
        Work::Inspect => {
            report.package_manager = PackageManager::of(root);
            report.distribution = finalise::Distribution::of(root).pretty_name;
        }
        Work::Prepare(guest) => prepare(root, *guest)?,
        Work::Lay {
            source,
            entries,
            mtime,
        } => {
            lay::lay(root, source, entries, *mtime).map_err(|error| error.to_string())?;
        }
        Work::Write(files) => {
            for file in files {
                if let Some(parent) = file.path.parent() {
                    root.create_dir_all(parent, 0o755)
                        .map_err(named("make", parent))?;
                }
                root.write(&file.path, file.mode, &file.content)
                    .map_err(named("write", &file.path))?;
            }
        }
        Work::Remove(path) => remove(root, path)?,
        Work::Finalise(guest) => {
            restore(root)?;
            let finalised = match guest {
                Guest::Zone => finalise::finalise_lx(root),
                Guest::Machine => finalise::finalise_machine(root),
            };
            report.finalised = finalised.map_err(|error| error.to_string())?;
        }
    }
    Ok(report)
}

fn prepare(root: &Root, guest: Guest) -> Result<(), String> {
    if root.metadata(Path::new("usr/sbin")).is_ok() {
        if root.metadata(Path::new(POLICY_PATH)).is_ok()
            && root.metadata(Path::new(POLICY_SAVED)).is_err()
        {
            root.rename(Path::new(POLICY_PATH), Path::new(POLICY_SAVED))
                .map_err(named("rename", Path::new(POLICY_PATH)))?;
        }
        root.write(Path::new(POLICY_PATH), 0o755, POLICY)
            .map_err(named("write", Path::new(POLICY_PATH)))?;
    }
    if guest == Guest::Zone && root.metadata(Path::new("etc/apt/preferences.d")).is_ok() {
        root.write(Path::new(PIN_PATH), 0o644, PIN)
            .map_err(named("write", Path::new(PIN_PATH)))?;
    }
    Ok(())
}

fn restore(root: &Root) -> Result<(), String> {
    remove(root, Path::new(SCRATCH))?;
    let ours = root
        .read(Path::new(POLICY_PATH), 1 << 16)
        .is_ok_and(|content| content == POLICY);
    if ours {
        remove(root, Path::new(POLICY_PATH))?;
    }
    if root.metadata(Path::new(POLICY_SAVED)).is_ok() {
        if root.metadata(Path::new(POLICY_PATH)).is_ok() {
            // The build laid in one of its own: it stays, the base's goes.
            remove(root, Path::new(POLICY_SAVED))?;
        } else {
            root.rename(Path::new(POLICY_SAVED), Path::new(POLICY_PATH))
                .map_err(named("rename", Path::new(POLICY_SAVED)))?;
        }
    }
    Ok(())
}

fn remove(root: &Root, path: &Path) -> Result<(), String> {
    match root.metadata(path) {
        Ok(metadata) if metadata.kind == Kind::Dir => {
            root.remove_dir_all(path).map_err(named("remove", path))
        }
        Ok(_) => root.remove_file(path).map_err(named("remove", path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(named("remove", path)(error)),
    }
}

fn named<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> String + 'a {
    move |error| format!("{action} /{} in the image: {error}", path.display())
}
