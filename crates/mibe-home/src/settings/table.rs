//! Every setting there is. The documentation and the commented `mibe.toml` of a new home are made from this table.

/// What a setting's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path; a relative one counts from the folder of the file.
    Path,
    /// A UUID.
    Uuid,
    /// A whole number between the two.
    Number(u64, u64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// A list of texts.
    List,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Table and key ("build.mirror").
    pub key: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// A value as it stands in the file.
    pub example: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// All of them, in the order of the documentation.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    Setting { key: "build.base", kind: Kind::Text, example: "\"debian:bookworm\"",
        meaning: "What repositories start from whose manifest names no base; `--base` overrides it." },
    Setting { key: "build.output", kind: Kind::Path, example: "\"images\"",
        meaning: "Folder of images; `--output` overrides it." },
    Setting { key: "build.logs", kind: Kind::Path, example: "\"logs\"",
        meaning: "Folder of logs; `--logs` overrides it." },
    Setting { key: "build.sandbox", kind: Kind::Words(&["auto", "root", "subuid", "single"]), example: "\"auto\"",
        meaning: "How the build machine gets the ownership of its files; `--sandbox` overrides it." },
    Setting { key: "build.network", kind: Kind::Words(&["host", "none"]), example: "\"host\"",
        meaning: "What the build machine sees of the network; `--network` overrides it." },
    Setting { key: "build.resolvers", kind: Kind::List, example: "[\"192.0.2.53\"]",
        meaning: "Name servers of the build machine instead of the host's; not in the image. `--resolver` overrides them." },
    Setting { key: "build.mirror", kind: Kind::Text, example: "\"http://mirror.example.org/debian\"",
        meaning: "Debian mirror to bootstrap and install from; `--mirror` overrides it." },
    Setting { key: "build.keyring", kind: Kind::Path, example: "\"keys/mirror.gpg\"",
        meaning: "OpenPGP keyring that the mirror's signatures must come from; `--keyring` overrides it." },
    Setting { key: "build.compression", kind: Kind::Words(&["gzip", "none"]), example: "\"gzip\"",
        meaning: "Compression of images whose manifest names none; `--compression` overrides it." },
    Setting { key: "build.timeout_customize", kind: Kind::Number(1, 604_800), example: "3600",
        meaning: "How long customize may take, in seconds; `--timeout-customize` overrides it." },
    Setting { key: "build.timeout_packages", kind: Kind::Number(1, 604_800), example: "7200",
        meaning: "How long one call of a package manager may take, in seconds." },
    Setting { key: "smartos.host", kind: Kind::Text, example: "\"root@headnode\"",
        meaning: "Where the SmartOS builder works, as ssh takes it, instead of this machine; `--host` overrides it." },
    Setting { key: "smartos.ssh_arguments", kind: Kind::List, example: "[\"-F\", \"/home/me/.ssh/other\"]",
        meaning: "Arguments of ssh before the host; what ~/.ssh/config says holds without them." },
    Setting { key: "smartos.pool", kind: Kind::Text, example: "\"zones\"",
        meaning: "Pool of build machines and their bases; `--pool` overrides it." },
    Setting { key: "smartos.vm_spec", kind: Kind::Path, example: "\"etc/vm.json\"",
        meaning: "The spec of build machines, as vmadm takes it; without it, etc/vm.json of the home where there is one. `--vm-spec` overrides it." },
    Setting { key: "smartos.pkgsrc_mirror", kind: Kind::Text, example: "\"http://pkgsrc.example.org\"",
        meaning: "Where pkgsrc comes from during a build instead of the image's server; `--pkgsrc-mirror` overrides it." },
    Setting { key: "smartos.timeout_boot", kind: Kind::Number(1, 86_400), example: "300",
        meaning: "How long a build machine may take to be up, in seconds; `--timeout-boot` overrides it." },
    Setting { key: "smartos.timeout_command", kind: Kind::Number(1, 86_400), example: "300",
        meaning: "How long one command of the host (vmadm stop, zfs snapshot) may take, and how long `zfs send` may be silent, in seconds." },
    Setting { key: "smartos.timeout_import", kind: Kind::Number(1, 604_800), example: "7200",
        meaning: "How long the host may take to import a base, in seconds." },
    Setting { key: "image.owner", kind: Kind::Uuid, example: "\"9dce1460-0c4c-4417-ab8b-25ca478c5a78\"",
        meaning: "UUID of the owner of images whose manifest has no owneruuid." },
    Setting { key: "image.urn_cloud_name", kind: Kind::Text, example: "\"sdc\"",
        meaning: "First part of the urn of images whose manifest has none; there is one only with both parts." },
    Setting { key: "image.urn_creator_name", kind: Kind::Text, example: "\"sdc\"",
        meaning: "Second part of that urn." },
    Setting { key: "repos.server", kind: Kind::Text, example: "\"https://github.com/joyent\"",
        meaning: "Where repositories come from that etc/repos.list names by their name alone; GITSERVER of etc/repos.conf stands over it." },
    Setting { key: "repos.jobs", kind: Kind::Number(1, 64), example: "4",
        meaning: "Repositories that are cloned or pulled at once from one server; `--jobs` overrides it." },
    Setting { key: "repos.timeout", kind: Kind::Number(1, 86_400), example: "300",
        meaning: "How long one repository may take, in seconds; `--timeout` overrides it." },
];

/// The keys of `.mibecfg` in forks of the shell mibe, and the settings that they are.
pub const OF_MIBECFG: &[(&str, Option<&str>)] = &[
    ("owneruuid", Some("image.owner")),
    // Image manifests name an owner by its UUID alone.
    ("ownername", None),
    ("urn_cloud_name", Some("image.urn_cloud_name")),
    ("urn_creator_name", Some("image.urn_creator_name")),
    ("compression", Some("build.compression")),
];
