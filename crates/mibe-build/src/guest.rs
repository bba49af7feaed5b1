//! The guest tools: what mibe lays into an LX image so that a zone of it configures itself from its metadata
//! and counts as provisioned.
//!
//! The files stand in this crate's folder `guest/`, whose README.md says what each does.

/// The system that starts an image's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Init {
    /// systemd: Debian, Ubuntu, Fedora, RHEL and its kin from 7 on, Arch.
    Systemd,
    /// OpenRC: Alpine, Gentoo.
    OpenRc,
    /// Scripts in /etc/init.d with links in /etc/rcN.d: Debian with sysvinit, Devuan, CentOS 6.
    Sysv,
    /// runit with the stages of Void.
    Runit,
}

/// A file to lay in, owned by root:root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFile {
    /// Absolute path in the image.
    pub path: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// The whole content.
    pub content: &'static [u8],
}

/// A symbolic link to lay in, owned by root:root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLink {
    /// Absolute path of the link in the image.
    pub path: &'static str,
    /// What it says, absolute or relative to its folder. It may lead to nothing outside a zone.
    pub target: &'static str,
}

macro_rules! file {
    ($source:literal, $path:literal, $mode:literal) => {
        GuestFile {
            path: $path,
            mode: $mode,
            content: include_bytes!(concat!("../guest/", $source)),
        }
    };
}

macro_rules! link {
    ($path:literal, $target:literal) => {
        GuestLink {
            path: $path,
            target: $target,
        }
    };
}

const FILES: &[GuestFile] = &[
    file!("README.md", "/usr/lib/mibe-guest/README.md", 0o644),
    file!("lib.sh", "/usr/lib/mibe-guest/lib.sh", 0o644),
    file!("boot", "/usr/lib/mibe-guest/boot", 0o755),
    file!("scripts", "/usr/lib/mibe-guest/scripts", 0o755),
];

/// The platform mounts its own programs below /native.
const LINKS: &[GuestLink] = &[
    link!("/usr/sbin/mdata-get", "/native/usr/sbin/mdata-get"),
    link!("/usr/sbin/mdata-put", "/native/usr/sbin/mdata-put"),
    link!("/usr/sbin/mdata-delete", "/native/usr/sbin/mdata-delete"),
    link!("/usr/sbin/mdata-list", "/native/usr/sbin/mdata-list"),
];

const SYSTEMD_FILES: &[GuestFile] = &[
    file!(
        "systemd/mibe-guest.service",
        "/usr/lib/systemd/system/mibe-guest.service",
        0o644
    ),
    file!(
        "systemd/mibe-guest-scripts.service",
        "/usr/lib/systemd/system/mibe-guest-scripts.service",
        0o644
    ),
];

const SYSTEMD_LINKS: &[GuestLink] = &[
    link!(
        "/etc/systemd/system/multi-user.target.wants/mibe-guest.service",
        "/usr/lib/systemd/system/mibe-guest.service"
    ),
    link!(
        "/etc/systemd/system/multi-user.target.wants/mibe-guest-scripts.service",
        "/usr/lib/systemd/system/mibe-guest-scripts.service"
    ),
];

const OPENRC_FILES: &[GuestFile] = &[
    file!("openrc/mibe-guest", "/etc/init.d/mibe-guest", 0o755),
    file!(
        "openrc/mibe-guest-scripts",
        "/etc/init.d/mibe-guest-scripts",
        0o755
    ),
];

const OPENRC_LINKS: &[GuestLink] = &[
    link!("/etc/runlevels/boot/mibe-guest", "/etc/init.d/mibe-guest"),
    link!(
        "/etc/runlevels/default/mibe-guest-scripts",
        "/etc/init.d/mibe-guest-scripts"
    ),
];

const SYSV_FILES: &[GuestFile] = &[
    file!("sysv/mibe-guest", "/etc/init.d/mibe-guest", 0o755),
    file!(
        "sysv/mibe-guest-scripts",
        "/etc/init.d/mibe-guest-scripts",
        0o755
    ),
];

const SYSV_LINKS: &[GuestLink] = &[
    link!("/etc/rc2.d/S01mibe-guest", "../init.d/mibe-guest"),
    link!("/etc/rc3.d/S01mibe-guest", "../init.d/mibe-guest"),
    link!("/etc/rc4.d/S01mibe-guest", "../init.d/mibe-guest"),
    link!("/etc/rc5.d/S01mibe-guest", "../init.d/mibe-guest"),
    link!(
        "/etc/rc2.d/S99mibe-guest-scripts",
        "../init.d/mibe-guest-scripts"
    ),
    link!(
        "/etc/rc3.d/S99mibe-guest-scripts",
        "../init.d/mibe-guest-scripts"
    ),
    link!(
        "/etc/rc4.d/S99mibe-guest-scripts",
        "../init.d/mibe-guest-scripts"
    ),
    link!(
        "/etc/rc5.d/S99mibe-guest-scripts",
        "../init.d/mibe-guest-scripts"
    ),
];

const RUNIT_FILES: &[GuestFile] = &[
    file!(
        "runit/98-mibe-guest.sh",
        "/etc/runit/core-services/98-mibe-guest.sh",
        0o644
    ),
    file!("runit/run", "/etc/sv/mibe-guest-scripts/run", 0o755),
];

const RUNIT_LINKS: &[GuestLink] = &[
    link!(
        "/etc/sv/mibe-guest-scripts/supervise",
        "/run/runit/supervise.mibe-guest-scripts"
    ),
    link!(
        "/etc/runit/runsvdir/default/mibe-guest-scripts",
        "/etc/sv/mibe-guest-scripts"
    ),
];

/// The files and links of the guest tools for an image that `init` starts. Their folders may be missing.
pub fn files(init: Init) -> (Vec<GuestFile>, Vec<GuestLink>) {
    let (files, links) = match init {
        Init::Systemd => (SYSTEMD_FILES, SYSTEMD_LINKS),
        Init::OpenRc => (OPENRC_FILES, OPENRC_LINKS),
        Init::Sysv => (SYSV_FILES, SYSV_LINKS),
        Init::Runit => (RUNIT_FILES, RUNIT_LINKS),
    };
    ([FILES, files].concat(), [LINKS, links].concat())
}
