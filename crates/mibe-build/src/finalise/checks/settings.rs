//! Settings that every instance would inherit: time zone, locale, the policy for new accounts.

use std::path::Path;

use mibe_sandbox::{Kind, Root};

use crate::finalise::{Report, exists, is_dir, shown, text};

/// The most bytes of a time zone's data; the largest of tzdata have some 3,500.
const ZONE_LIMIT: u64 = 1 << 16;
/// Names by which tzdata has UTC, below its folder.
const UTC: &[&str] = &[
    "UTC",
    "UCT",
    "Universal",
    "Zulu",
    "Etc/UTC",
    "Etc/UCT",
    "Etc/Universal",
    "Etc/Zulu",
];

pub fn check(root: &Root, report: &mut Report) {
    time_zone(root, report);
    locale(root, report);
    accounts(root, report);
}

/// Machines in a data centre keep UTC; another zone may be meant, so it is only noted.
fn time_zone(root: &Root, report: &mut Report) {
    let path = Path::new("etc/localtime");
    let zone = match root.metadata(path).map(|metadata| metadata.kind) {
        Ok(Kind::Symlink) => {
            let target = root.read_link(path).unwrap_or_default();
            let target = target.to_string_lossy();
            let zone = target
                .split_once("zoneinfo/")
                .map_or(&*target, |(_, zone)| zone);
            if UTC.contains(&zone) {
                return;
            }
            shown::name(zone)
        }
        Ok(Kind::File) => {
            let data = root.read(path, ZONE_LIMIT).unwrap_or_default();
            // The rule for times to come ends the data (RFC 8536, section 3.3).
            if data.ends_with(b"\nUTC0\n") {
                return;
            }
            "another, copied there".to_owned()
        }
        _ => return,
    };
    report.note(format!(
        "the time zone of every instance will not be UTC: /etc/localtime is {zone}"
    ));
}

/// A locale that isn't there has every program complain (glibc alone has a list of those that are).
fn locale(root: &Root, report: &mut Report) {
    if !exists(root, "usr/bin/localedef") || exists(root, "usr/lib/locale/locale-archive") {
        return;
    }
    for file in [
        "etc/default/locale",
        "etc/locale.conf",
        "etc/sysconfig/i18n",
    ] {
        let Some(text) = text(root, file) else {
            continue;
        };
        let Some(name) = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("LANG="))
            .next_back()
            .map(|name| name.trim_matches(['"', '\'', ' ']))
        else {
            continue;
        };
        if !has_locale(root, name) {
            report.warn(format!(
                "/{file} asks for the locale {}, which is not in the image (usr/lib/locale)",
                shown::name(name)
            ));
        }
    }
}

fn has_locale(root: &Root, name: &str) -> bool {
    let wanted = normal(name);
    if matches!(wanted.as_str(), "" | "C" | "POSIX" | "C.utf8") {
        return true;
    }
    let folder = Path::new("usr/lib/locale");
    root.resolve(folder)
        .and_then(|folder| root.read_dir(&folder))
        .is_ok_and(|entries| {
            entries
                .iter()
                .any(|entry| normal(&entry.name.to_string_lossy()) == wanted)
        })
}

/// glibc compares the character sets of locales without case and punctuation: en_US.UTF-8 is in the folder en_US.utf8.
fn normal(name: &str) -> String {
    match name.split_once('.') {
        None => name.to_owned(),
        Some((language, rest)) => {
            let (set, modifier) = match rest.split_once('@') {
                Some((set, modifier)) => (set, format!("@{modifier}")),
                None => (rest, String::new()),
            };
            let set: String = set
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|char| char.to_ascii_lowercase())
                .collect();
            format!("{language}.{set}{modifier}")
        }
    }
}

/// login.defs(5).
fn accounts(root: &Root, report: &mut Report) {
    let Some(text) = text(root, "etc/login.defs") else {
        let shadow = ["usr/sbin/useradd", "sbin/useradd"]
            .iter()
            .any(|path| exists(root, path));
        // openSUSE keeps its own below /usr/etc.
        if shadow && !exists(root, "usr/etc/login.defs") && !is_dir(root, "etc/login.defs.d") {
            report.warn(
                "useradd is installed but /etc/login.defs is missing, so accounts made in an instance get the ids and password hashes of its built-in defaults",
            );
        }
        return;
    };
    let setting = |key: &str| {
        text.lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                (words.next() == Some(key)).then(|| words.next()).flatten()
            })
            .next_back()
    };
    if let Some(method) = setting("ENCRYPT_METHOD")
        && ["DES", "MD5"].contains(&method.to_ascii_uppercase().as_str())
    {
        report.warn(format!(
            "/etc/login.defs has new passwords hashed with {method}, which is broken; set ENCRYPT_METHOD to YESCRYPT or SHA512"
        ));
    }
    if let Some(mask) = setting("UMASK")
        && u32::from_str_radix(mask, 8).is_ok_and(|mask| mask & 0o002 == 0)
    {
        report.warn(format!(
            "/etc/login.defs has UMASK {mask}: what the users of an instance make can be changed by all of them"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_are_compared_as_glibc_does() {
        assert_eq!(normal("en_US.UTF-8"), normal("en_US.utf8"));
        assert_eq!(normal("ca_ES.ISO-8859-15@euro"), "ca_ES.iso885915@euro");
        assert_ne!(normal("en_US.UTF-8"), normal("en_GB.UTF-8"));
    }
}
