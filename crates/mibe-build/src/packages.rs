//! The package managers of Linux distributions and of pkgsrc, as far as a build calls them.

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
    /// pkgsrc of native images.
    Pkgin,
    /// pkgsrc without pkgin.
    PkgAdd,
}

use PackageManager::{Apk, Apt, Dnf, PkgAdd, Pkgin, Xbps, Yum};

impl PackageManager {
    /// Where the programs are that tell them; the first that is there is the image's.
    pub(crate) const PROGRAMS: &[(Self, &str)] = &[
        (Apt, "usr/bin/apt-get"),
        (Dnf, "usr/bin/dnf"),
        (Yum, "usr/bin/yum"),
        (Apk, "sbin/apk"),
        (Apk, "usr/bin/apk"),
        (Xbps, "usr/bin/xbps-install"),
        (Pkgin, "opt/local/bin/pkgin"),
        (PkgAdd, "opt/local/sbin/pkg_add"),
    ];

    /// The package manager of a tree: the first whose program is there.
    #[cfg(feature = "local")]
    pub fn of(root: &Root) -> Option<Self> {
        Self::PROGRAMS
            .iter()
            .find(|(_, path)| root.metadata(Path::new(path)).is_ok())
            .map(|(manager, _)| *manager)
    }

    /// The program, for people.
    pub fn name(self) -> &'static str {
        match self {
            Apt => "apt-get",
            Dnf => "dnf",
            Yum => "yum",
            Apk => "apk",
            Xbps => "xbps-install",
            Pkgin => "pkgin",
            PkgAdd => "pkg_add",
        }
    }

    /// Brings the lists of packages up to date; nothing where there are none.
    pub fn update(self) -> Vec<&'static str> {
        match self {
            Apt => vec!["apt-get", "update"],
            Dnf => vec!["dnf", "-y", "makecache"],
            Yum => vec!["yum", "-y", "makecache"],
            Apk => vec!["apk", "update"],
            Xbps => vec!["xbps-install", "-S", "-y"],
            Pkgin => vec!["pkgin", "-y", "update"],
            PkgAdd => Vec::new(),
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
            Pkgin => vec!["pkgin", "-y", "install"],
            // -U: what an image has already of another version is replaced (pkg_add(1)).
            PkgAdd => vec!["pkg_add", "-U"],
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
            Pkgin => vec!["pkgin", "-y", "remove"],
            PkgAdd => vec!["pkg_delete", "-r"],
        }
    }

    /// The manager that takes packages by URL.
    pub fn by_url(self) -> Option<Self> {
        matches!(self, Pkgin | PkgAdd).then_some(PkgAdd)
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

/// What only the build tells apt: it may not ask, and tries again where the network fails.
pub(crate) const APT_SETTINGS: &str = "Acquire::Retries \"3\";\nAcquire::Languages \"none\";\nDpkg::Use-Pty \"0\";\n\
     APT::Cmd::Pattern-Only \"true\";\nDpkg::Options { \"--force-confdef\"; \"--force-confold\"; };\n";
