//! The files of new repositories and homes.

/// What kind of image a new repository makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// A Linux zone.
    Lx,
    /// A SmartOS zone.
    Native,
    /// A virtual machine.
    Hvm,
}

/// A file of a new repository. `@name@`, `@folder@`, `@homepage@` and `@organization@` are filled in.
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) text: &'static str,
    pub(super) executable: bool,
}

macro_rules! file {
    ($path:literal, $source:literal) => {
        File {
            path: $path,
            text: include_str!(concat!("../../templates/", $source)),
            executable: false,
        }
    };
    ($path:literal, $source:literal, executable) => {
        File {
            executable: true,
            ..file!($path, $source)
        }
    };
}

const ALL: [File; 4] = [
    file!("motd", "all/motd"),
    file!("README.md", "all/README.md"),
    file!("Changelog.md", "all/Changelog.md"),
    file!(".gitignore", "all/gitignore"),
];

const LX: [File; 4] = [
    file!("manifest", "lx/manifest"),
    file!("packages", "lx/packages"),
    file!("customize", "lx/customize", executable),
    KEEP,
];

const NATIVE: [File; 4] = [
    file!("manifest", "native/manifest"),
    file!("packages", "native/packages"),
    file!("customize", "native/customize", executable),
    file!(
        "copy/var/zoneinit/includes/31-setup.sh",
        "native/include.sh"
    ),
];

const HVM: [File; 4] = [
    file!("manifest", "hvm/manifest"),
    file!("packages", "hvm/packages"),
    file!("customize", "hvm/customize", executable),
    KEEP,
];

/// git keeps no empty folders; a build leaves this file out.
const KEEP: File = File {
    path: "copy/.keep",
    text: "",
    executable: false,
};

/// The files of a new repository.
pub(super) fn files(template: Template) -> impl Iterator<Item = &'static File> {
    let own: &'static [File] = match template {
        Template::Lx => &LX,
        Template::Native => &NATIVE,
        Template::Hvm => &HVM,
    };
    ALL.iter().chain(own)
}

/// `etc/repos.conf` of a new home.
pub(super) const REPOS_CONF: &str = "\
# Where repositories come from that repos.list names by their name alone: https://HOST/OWNER, git@HOST:OWNER,
# ssh://…, git://… or a folder.
# GITSERVER=\"https://github.com/joyent\"
";

/// `etc/repos.list` of a new home.
pub(super) const REPOS_LIST: &str = "\
# Build repositories, one a line:
#
#   mi-example                              on GITSERVER of repos.conf
#   skylime/mi-core-base                    of another owner there
#   https://git.example.org/mi-foo.git      anywhere (https, ssh, git, git@host:path, a folder)
#   mi-example@v1.0                         a branch, tag or commit
#   mi-example@develop mi-example-dev       in a folder of another name
";
