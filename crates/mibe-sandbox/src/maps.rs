//! The user and group maps of a sandbox's user namespace.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Mode, Unavailable};

/// Ids that a root file system may use: 0 to 65535.
pub(crate) const SPAN: u32 = 65536;
/// A file of id ranges larger than this is not one.
const RANGES_LIMIT: u64 = 16 << 20;

/// Writes the maps of the process `pid`, which is in a new user namespace and whose ids are still ours.
pub(crate) fn write(mode: Mode, pid: u32) -> Result<(), Unavailable> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    match mode {
        Mode::Root => Ok(()),
        Mode::Single => {
            let write = |file: &str, text: String| {
                let path = format!("/proc/{pid}/{file}");
                fs::write(&path, text).map_err(|error| Unavailable {
                    mode,
                    reason: format!("write {path}: {error}"),
                    remedy: crate::probe::userns_remedy(),
                })
            };
            write("setgroups", "deny".to_owned())?;
            write("uid_map", format!("0 {uid} 1"))?;
            write("gid_map", format!("0 {gid} 1"))
        }
        Mode::Subuid => {
            let name = user_name(uid);
            delegate(
                pid,
                "newuidmap",
                uid,
                &ranges("/etc/subuid", name.as_deref(), uid)?,
            )?;
            delegate(
                pid,
                "newgidmap",
                gid,
                &ranges("/etc/subgid", name.as_deref(), uid)?,
            )
        }
    }
}

/// The name of a user in /etc/passwd, or of whatever NSS knows through `id`.
fn user_name(uid: u32) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let local = text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    local.or_else(|| {
        let output = Command::new("id")
            .arg("-un")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let name = String::from_utf8(output.stdout).ok()?;
        (output.status.success() && !name.trim().is_empty()).then(|| name.trim().to_owned())
    })
}

/// The user's ranges in a file of `NAME-OR-UID:FIRST:COUNT` lines, as many as [`SPAN`] takes: (first, count).
fn ranges(file: &str, name: Option<&str>, uid: u32) -> Result<Vec<(u32, u32)>, Unavailable> {
    let unavailable = |reason: String| {
        let who = name.map_or_else(|| uid.to_string(), str::to_owned);
        Unavailable {
            mode: Mode::Subuid,
            reason,
            remedy: format!(
                "give the user a range as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {who} \
                 (a range no one else has), or use mode single"
            ),
        }
    };
    let mut text = String::new();
    match fs::File::open(file) {
        Ok(handle) => {
            handle
                .take(RANGES_LIMIT)
                .read_to_string(&mut text)
                .map_err(|error| unavailable(format!("read {file}: {error}")))?;
        }
        Err(error) => return Err(unavailable(format!("read {file}: {error}"))),
    }
    let found = parse_ranges(&text, name, uid);
    let total: u64 = found.iter().map(|range| u64::from(range.1)).sum();
    if total < u64::from(SPAN) {
        return Err(unavailable(format!(
            "{file} gives this user {total} ids of the {SPAN} that are needed"
        )));
    }
    Ok(found)
}

fn parse_ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let mut left = SPAN;
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.trim().split(':');
        let (Some(who), Some(first), Some(count)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if Some(who) != name && who != uid.to_string() {
            continue;
        }
        let (Ok(first), Ok(count)) = (first.parse::<u32>(), count.parse::<u32>()) else {
            continue;
        };
        let count = count.min(left);
        if count > 0 {
            found.push((first, count));
            left -= count;
        }
    }
    found
}

fn delegate(pid: u32, tool: &str, own: u32, ranges: &[(u32, u32)]) -> Result<(), Unavailable> {
    let mut arguments = vec![pid.to_string()];
    let mut inside = 0;
    for (first, count) in ranges {
        arguments.extend([inside.to_string(), first.to_string(), count.to_string()]);
        inside += count;
    }
    // The caller's own id, above those of the tree, so that the caller's files stay within reach.
    arguments.extend([inside.to_string(), own.to_string(), "1".to_owned()]);
    let unavailable = |reason: String, remedy: &str| Unavailable {
        mode: Mode::Subuid,
        reason,
        remedy: remedy.into(),
    };
    let program = ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(tool))
        .find(|path| path.exists());
    let Some(program) = program else {
        return Err(unavailable(
            format!("{tool} is missing"),
            "install the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora), or use mode single",
        ));
    };
    let output = Command::new(&program)
        .args(&arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(unavailable(
            format!(
                "{} failed: {}",
                program.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            ),
            "check that it is set-uid root (or has cap_setuid) and that the ranges in /etc/subuid and /etc/subgid are the user's, \
             or use mode single",
        )),
        Err(error) => Err(unavailable(
            format!("run {}: {error}", program.display()),
            "check its permissions",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_add_up_to_the_span() {
        let text = "other:1:65536\nme:100000:30000\n# comment\nme:x:1\n1000:200000:65536\nme:400000:65536\n";
        assert_eq!(
            parse_ranges(text, Some("me"), 1000),
            [(100_000, 30_000), (200_000, 35_536)]
        );
        assert!(parse_ranges(text, Some("nobody"), 7).is_empty());
    }
}
