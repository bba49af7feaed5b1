//! Services that are started: systemd (`systemd.unit(5)`), the runlevels of System V, OpenRC, SMF.

use super::{Entries, Inventory, text};

/// What a path says of a service: the system, the service, and what starts it.
fn service(path: &[u8]) -> Option<(&'static str, &[u8], &[u8])> {
    let mut parts = path.split(|byte| *byte == b'/');
    let (parts, more) = (
        [(); 6].map(|()| parts.next().unwrap_or_default()),
        parts.next().is_some(),
    );
    if more {
        return None;
    }
    match parts {
        [b"etc", b"systemd", b"system", target, name, b""]
            if target.ends_with(b".wants") || target.ends_with(b".requires") =>
        {
            Some(("systemd", name, target))
        }
        [b"etc", b"rc.d", level, name, b"", b""] | [b"etc", level, name, b"", b"", b""]
            if level.starts_with(b"rc")
                && level.ends_with(b".d")
                && name.first() == Some(&b'S') =>
        {
            // S20ssh: the number is an order, not a name.
            let digits = name.iter().skip(1).take_while(|byte| byte.is_ascii_digit());
            Some(("sysv", name.get(1 + digits.count()..)?, level))
        }
        [b"etc", b"runlevels", level, name, b"", b""] => Some(("openrc", name, level)),
        _ => None,
    }
}

/// The manifests of SMF; whether a service is enabled stands in a database of its own, which is not read.
fn manifest(path: &[u8]) -> Option<&[u8]> {
    let rest = path
        .strip_prefix(b"lib/svc/manifest/")
        .or_else(|| path.strip_prefix(b"var/svc/manifest/"))
        .or_else(|| path.strip_prefix(b"opt/local/lib/svc/manifest/"))?;
    rest.strip_suffix(b".xml")
}

pub(super) fn is_wanted(path: &[u8]) -> bool {
    path.starts_with(b"etc/systemd/system/") && service(path).is_some()
        || service(path).is_some_and(|(_, name, _)| !name.is_empty())
        || manifest(path).is_some()
}

pub(super) fn read(entries: &Entries, inventory: &mut Inventory) {
    for path in entries.keys() {
        let (key, starts) = if let Some((system, name, starts)) = service(path) {
            (format!("{system}:{}", text(name)), text(starts))
        } else if let Some(name) = manifest(path) {
            (format!("smf:{}", text(name)), "manifest".to_owned())
        } else {
            continue;
        };
        let known = inventory.services.entry(key).or_default();
        if !known.is_empty() {
            known.push(' ');
        }
        known.push_str(&starts);
    }
}
