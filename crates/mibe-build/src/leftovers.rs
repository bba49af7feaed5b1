//! What a tree holds of one machine (keys, ids, names), of its build (caches, logs) or of the moment of it, by path: what is no part
//! of an image.
//!
//! Patterns are those of a shell, each component by itself: `*` and `[0-9]`.

/// What one machine is known by: removed where it stands.
pub(crate) const IDENTITY: &[&str] = &[
    "etc/ssh/ssh_host_*",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/urandom/random-seed",
    "var/lib/cloud/instance*",
    "etc/udev/rules.d/70-persistent-*",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "etc/ssl/private/ssl-cert-snakeoil.key",
];

/// Removed where they stand, files and directories alike.
pub(crate) const REMOVED: &[&str] = &[
    // other builders' marks
    ".dockerenv",
    "run/.containerenv",
    // histories
    "root/.bash_history",
    "root/.ash_history",
    "root/.viminfo",
    "root/.lesshst",
    "root/.wget-hsts",
    "root/.python_history",
    "home/*/.bash_history",
    // caches of package managers
    "var/lib/apt/periodic/*",
    "var/lib/apt/listchanges*",
    "var/cache/dnf/*",
    "var/cache/yum/*",
    "var/cache/libdnf5/*",
    "var/cache/apk/*",
    "var/cache/xbps/*",
    // backups and indexes that differ between two equal builds; all are remade on demand
    "etc/.pwd.lock",
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "etc/subuid-",
    "etc/subgid-",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock*",
    "var/lib/apt/lists/lock",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/ucf/*.[0-9]",
    // logs whose only content was the build
    "var/log/dpkg.log*",
    "var/log/alternatives.log*",
    "var/log/bootstrap.log*",
    "var/log/fontconfig.log*",
    "var/log/apt/*",
    "var/log/journal/*",
    // the build itself
    "root/customize",
];

/// Emptied: every file below goes, directories stay with their mode and owner.
pub(crate) const EMPTIED: &[&str] = &["var/cache/man", "var/lib/apt/lists", "var/cache/apt"];

/// Emptied wholly, their directories too.
pub(crate) const SCRATCH: &[&str] = &["tmp", "var/tmp", "run"];

/// What only an illumos zone has of this: of one machine.
pub(crate) const OF_A_ZONE: &[&str] = &[
    "var/ssh/ssh_host_*",
    // the platform makes them of the VM's nics at every boot
    "etc/hostname.net*",
    "etc/hostname6.net*",
    "etc/dhcp.net*",
    "etc/defaultrouter",
    // scripts that the metadata agent fetched, and its marks that they ran (VM.js, mdata-execute)
    "var/svc/mdata-*-script",
    "var/svc/.ran-*",
    "var/svc/provisioning",
    "var/svc/provision_success",
    "var/svc/provision_exit",
    "var/svc/log/*",
    "var/adm/utmpx",
    "var/adm/wtmpx",
];
