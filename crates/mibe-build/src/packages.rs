//! The package managers of Linux distributions, as far as a build calls them.

#[cfg(feature = "local")]
use std::path::Path;

#[cfg(feature = "local")]
use mibe_sandbox::Root;
use serde::{Deserialize, Serialize};

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackageManager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora, RHEL and its kin from 8 on.
    Dnf,
    /// CentOS 7.
    Yum,
    /// Alpine.
    Apk,
    /// Void.
    Xbps,
}

use PackageManager::{Apk, Apt, Dnf, Xbps, Yum};

impl PackageManager {
    /// The package manager of a tree: the first whose program is there.
    #[cfg(feature = "local")]
    pub fn of(root: &Root) -> Option<Self> {
        [
            (Apt, "usr/bin/apt-get"),
            (Dnf, "usr/bin/dnf"),
            (Yum, "usr/bin/yum"),
            (Apk, "sbin/apk"),
            (Apk, "usr/bin/apk"),
            (Xbps, "usr/bin/xbps-install"),
        ]
        .into_iter()
        .find(|(_, path)| root.metadata(Path::new(path)).is_ok())
        .map(|(manager, _)| manager)
    }

    /// The program, for people.
    pub fn name(self) -> &'static str {
        match self {
            Apt => "apt-get",
            Dnf => "dnf",
            Yum => "yum",
            Apk => "apk",
            Xbps => "xbps-install",
        }
    }

    /// Brings the lists of packages up to date.
    pub fn update(self) -> Vec<&'static str> {
        match self {
            Apt => vec!["apt-get", "update"],
            Dnf => vec!["dnf", "-y", "makecache"],
            Yum => vec!["yum", "-y", "makecache"],
            Apk => vec!["apk", "update"],
            Xbps => vec!["xbps-install", "-S", "-y"],
        }
    }

    /// Installs the packages that follow.
    pub fn install(self) -> Vec<&'static str> {
        match self {
            Apt => vec!["apt-get", "install", "-y", "--"],
            Dnf => vec!["dnf", "install", "-y"],
            Yum => vec!["yum", "install", "-y"],
            Apk => vec!["apk", "add"],
            Xbps => vec!["xbps-install", "-y"],
        }
    }

    /// Removes the packages that follow, with their configuration where the manager tells the two apart.
    pub fn remove(self) -> Vec<&'static str> {
        match self {
            Apt => vec!["apt-get", "purge", "-y", "--"],
            Dnf => vec!["dnf", "remove", "-y"],
            Yum => vec!["yum", "remove", "-y"],
            Apk => vec!["apk", "del"],
            Xbps => vec!["xbps-remove", "-R", "-y"],
        }
    }

    /// Variables that keep it from asking.
    pub fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Apt => &[
                ("DEBIAN_FRONTEND", "noninteractive"),
                ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
                ("APT_LISTCHANGES_FRONTEND", "none"),
                ("APT_CONFIG", APT_CONFIG),
            ],
            _ => &[],
        }
    }
}

/// Folder inside the tree that only the build uses; it is gone from the image.
pub const SCRATCH: &str = ".mibe";
/// Where the build's own settings of apt stand.
pub const APT_CONFIG: &str = "/.mibe/apt.conf";
/// Where the build's own package sources stand, if this host has a mirror of its own.
pub const APT_SOURCES: &str = "/.mibe/sources.list";
