//! Takes out of a tree what belongs to one machine (keys, ids, names), to its build (caches, logs,
//! resolvers) or to the moment of it (backups and indexes that differ from build to build).

use std::path::{Path, PathBuf};

use mibe_sandbox::{Kind, Root};

use crate::leftovers::{EMPTIED, IDENTITY, REMOVED, SCRATCH};

use super::{FinaliseError, Report, at, exists, is_dir, lookup, remove, replace, shown, write};

/// Cleans `root`; ordinary removals become notes, those of something a repository may have laid in
/// on purpose warnings.
pub fn clean(root: &Root, report: &mut Report) -> Result<(), FinaliseError> {
    clean_machine(root, report)?;
    names(root, report)
}

/// The same, but for the names that a zone gets from the platform: the guest of a virtual machine gives itself its own.
pub fn clean_machine(root: &Root, report: &mut Report) -> Result<(), FinaliseError> {
    remove_all(root, IDENTITY, report)?;
    remove_all(root, REMOVED, report)?;
    for directory in EMPTIED {
        empty_files(root, Path::new(directory))?;
    }
    for directory in SCRATCH {
        empty(root, Path::new(directory))?;
    }
    authorized_keys(root, report)?;
    truncate_logs(root, Path::new("var/log"), report)?;
    machine_id(root)
}

/// Takes out what would make all machines of one base pass for one, and two equal bases differ.
pub fn anonymise(root: &Root, report: &mut Report) -> Result<(), FinaliseError> {
    remove_all(root, IDENTITY, report)?;
    machine_id(root)
}

fn remove_all(root: &Root, patterns: &[&str], report: &mut Report) -> Result<(), FinaliseError> {
    for pattern in patterns {
        for path in matches(root, pattern)? {
            if remove(root, &path)? {
                report.note(format!("removed {}", shown::path(&path)));
            }
        }
    }
    Ok(())
}

/// Keys that open every instance of an image to whoever built it.
fn authorized_keys(root: &Root, report: &mut Report) -> Result<(), FinaliseError> {
    for path in ["root/.ssh/authorized_keys", "root/.ssh/authorized_keys2"] {
        if remove(root, path)? {
            report.warn(format!(
                "removed /{path}: an image must not carry its builder's keys; instances get theirs from the metadata"
            ));
        }
    }
    Ok(())
}

/// systemd fills an empty machine-id at first boot and, unlike a missing one, treats it as "not yet known"
/// rather than as a read-only system (machine-id(5)). Without systemd nobody would fill it.
fn machine_id(root: &Root) -> Result<(), FinaliseError> {
    if exists(root, "etc/machine-id") || super::systemd::present(root) {
        write(root, "etc/machine-id", 0o444, b"")?;
    }
    Ok(())
}

/// The build machine's name must not become every instance's; boot scripts fill the file in, if it is there.
fn names(root: &Root, report: &mut Report) -> Result<(), FinaliseError> {
    let why = "every instance gets its own name from the platform";
    replace(root, "etc/hostname", b"", why, report)?;
    if !exists(root, "etc/hosts") {
        let hosts = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
        write(root, "etc/hosts", 0o644, hosts)?;
    }
    Ok(())
}

/// Empties every log that is left, keeping its mode and owner, since the daemons that write them
/// often may not create them.
fn truncate_logs(root: &Root, directory: &Path, report: &mut Report) -> Result<(), FinaliseError> {
    for (path, metadata) in children(root, directory)? {
        match metadata.kind {
            Kind::Dir => truncate_logs(root, &path, report)?,
            Kind::File if rotated(&path) => {
                remove(root, &path)?;
                report.note(format!("removed {}", shown::path(&path)));
            }
            Kind::File if metadata.size > 0 => {
                write(root, &path, metadata.mode, b"")?;
                root.chown(&path, metadata.uid, metadata.gid)
                    .map_err(at("change the owner of", &path))?;
                root.chmod(&path, metadata.mode)
                    .map_err(at("change the mode of", &path))?;
                report.note(format!("emptied {}", shown::path(&path)));
            }
            _ => {}
        }
    }
    Ok(())
}

fn rotated(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| {
            matches!(extension, "gz" | "xz" | "old") || extension.parse::<u32>().is_ok()
        })
}

/// Removes all that stands in `directory`, which stays.
fn empty(root: &Root, directory: &Path) -> Result<(), FinaliseError> {
    for (path, _) in children(root, directory)? {
        remove(root, &path)?;
    }
    Ok(())
}

/// Removes every non-directory below `directory`.
fn empty_files(root: &Root, directory: &Path) -> Result<(), FinaliseError> {
    for (path, metadata) in children(root, directory)? {
        if metadata.kind == Kind::Dir {
            empty_files(root, &path)?;
        } else {
            remove(root, &path)?;
        }
    }
    Ok(())
}

/// The entries of a directory with their paths; none where there is no such directory or it is reached
/// through a link (what a link names is cleaned under its own name, if at all).
fn children(
    root: &Root,
    directory: &Path,
) -> Result<Vec<(PathBuf, mibe_sandbox::Metadata)>, FinaliseError> {
    match lookup(root, directory)? {
        Some(metadata) if metadata.kind == Kind::Dir => {}
        _ => return Ok(Vec::new()),
    }
    let entries = root.read_dir(directory).map_err(at("list", directory))?;
    Ok(entries
        .into_iter()
        .map(|entry| (directory.join(&entry.name), entry.metadata))
        .collect())
}

/// The paths a pattern of [`REMOVED`] names: components may hold one `*`, or end in `[0-9]`.
fn matches(root: &Root, pattern: &str) -> Result<Vec<PathBuf>, FinaliseError> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.split('/') {
        let mut next = Vec::new();
        for directory in found {
            if !component.contains(['*', '[']) {
                next.push(directory.join(component));
            } else if is_dir(root, &directory) {
                for (path, _) in children(root, &directory)? {
                    let name = path.file_name().unwrap_or_default();
                    if component_matches(component, &name.to_string_lossy()) {
                        next.push(path);
                    }
                }
            }
        }
        found = next;
    }
    Ok(found)
}

fn component_matches(pattern: &str, name: &str) -> bool {
    if let Some(pattern) = pattern.strip_suffix("[0-9]") {
        return name.ends_with(|last: char| last.is_ascii_digit())
            && component_matches(pattern, &name[..name.len() - 1]);
    }
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_components() {
        assert!(component_matches("ssh_host_*", "ssh_host_rsa_key.pub"));
        assert!(!component_matches("ssh_host_*", "moduli"));
        assert!(component_matches("*-old", "status-old"));
        assert!(!component_matches("a*a", "a"));
        assert!(component_matches("*.[0-9]", "hashfile.3"));
        assert!(!component_matches("*.[0-9]", "hashfile"));
        assert!(!component_matches("*.[0-9]", "é"));
    }

    #[test]
    fn rotated_logs_are_told_from_live_ones() {
        assert!(rotated(Path::new("var/log/syslog.1")));
        assert!(rotated(Path::new("var/log/syslog.2.gz")));
        assert!(!rotated(Path::new("var/log/nginx/access.log")));
    }
}
