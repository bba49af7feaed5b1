//! What the manifest says of the base.

use crate::codes::Code;
use crate::naming::{is_uuid, split_name_version};
use crate::problem::{Collector, Located, Problem};
use crate::recipe::{Recipe, Target};

/// The system that a base has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    SmartOs,
    Linux,
}

/// First words of the names of published images.
const NATIVE: &[&str] = &[
    "minimal",
    "base",
    "base64",
    "base32",
    "pkgbuild",
    "smartos",
    "multiarch",
    "smartos64",
    "standard",
    "standard64",
];
const LINUX: &[&str] = &[
    "debian",
    "ubuntu",
    "centos",
    "alpine",
    "void",
    "fedora",
    "rocky",
    "alma",
    "almalinux",
    "devuan",
    "opensuse",
    "arch",
    "gentoo",
    "lx",
    "oracle",
];

pub(super) fn check(recipe: &Recipe, problems: &mut Collector) {
    match &recipe.base {
        // One that is wrong has been told of.
        None if problems.has_errors() => {}
        None => problems.push(Problem::of_file(
            Code::NoBase,
            recipe.name.file.clone(),
            "names no base, so the command line must",
            "add base to it, or build with --base",
        )),
        Some(base) => check_base(base, problems),
    }
}

fn check_base(base: &Located<String>, problems: &mut Collector) {
    let text = base.value.as_str();
    let suite = text.strip_prefix("debian:");
    let known = match suite {
        Some(suite) => {
            !suite.is_empty()
                && suite
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        }
        None => {
            is_uuid(text)
                || text.contains('/')
                || matches!(text, "." | "..")
                || [
                    ".tar", ".gz", ".tgz", ".xz", ".txz", ".zst", ".bz2", ".tbz2", ".zfs", ".json",
                    ".qcow2", ".raw", ".img", ".vmdk", ".vhdx", ".vhd", ".vdi",
                ]
                .iter()
                .any(|ending| text.ends_with(ending))
                || split_name_version(text).is_some()
                || text
                    .split_once('@')
                    .is_some_and(|(name, version)| !name.is_empty() && !version.is_empty())
        }
    };
    if !known {
        problems.push(base.problem(
            Code::BadBase,
            format!("the base `{}` is neither a UUID nor a name and version, nor any other form of base", text.escape_debug()),
            "write a name and version (minimal-64-lts-21.4.0), a UUID, debian:bookworm or a path",
        ));
    }
}

/// The system of the base, where the manifest tells.
pub(super) fn system(recipe: &Recipe) -> Option<System> {
    match recipe.target.as_ref().map(|target| target.value) {
        Some(Target::Lx) => return Some(System::Linux),
        Some(Target::Native) => return Some(System::SmartOs),
        Some(Target::Hvm) => {
            let os = recipe.disk.os.as_ref()?;
            return (os.value == "linux").then_some(System::Linux);
        }
        None => {}
    }
    let base = recipe.base.as_ref()?.value.as_str();
    if base.starts_with("debian:") {
        return Some(System::Linux);
    }
    if base.contains('/') {
        return None;
    }
    let first = base
        .split(['-', '@'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if LINUX.contains(&first.as_str()) {
        Some(System::Linux)
    } else if NATIVE.contains(&first.as_str()) {
        Some(System::SmartOs)
    } else {
        None
    }
}
