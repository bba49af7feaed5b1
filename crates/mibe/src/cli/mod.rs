//! The arguments of every command.

mod disk;
mod image;
mod repos;
#[cfg(feature = "servers")]
mod server;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use disk::{
    BootromName, BrandName, DatasourceName, DiskCommand, DiskImport, DiskInspect, OsName,
};
#[cfg(feature = "local")]
pub use image::ImageExtract;
pub use image::{
    ImageCat, ImageCommand, ImageDiff, ImageFiles, ImageFlatten, ImageList, Libraries, OneImage,
    OneImageJson,
};
pub use repos::{Init, InitHome, ReposCommand, ReposList, ReposWork, TypeName};
#[cfg(feature = "servers")]
pub use server::{
    Credentials, ImageAvail, ImagePull, Publish, Serve, ServerAdd, ServerCommand, ServerList,
    ServerTypeName,
};

/// Make machine images for SmartOS and Triton.
#[derive(Debug, Parser)]
#[command(
    name = "mibe",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "A home (MIBE_HOME, or the first of the current folder and those above it that is one) holds repositories by name, settings \
        (mibe.toml), images and logs; `mibe init-home` makes one. Settings of the user: ~/.config/mibe/mibe.toml."
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build images from build repositories
    Build(Box<Build>),
    /// Tell all that can be known of build repositories without building them
    Check(Check),
    /// Write a manifest of either dialect as the other
    Convert(Convert),
    /// Make a new build repository
    Init(Init),
    /// Make a home: a folder with etc/, repos/, images/, logs/, settings, and the old commands' names
    InitHome(InitHome),
    /// Clone, pull and list the repositories named in etc/repos.list
    #[command(subcommand)]
    Repos(ReposCommand),
    /// Look into images, compare, verify, unpack and flatten them
    #[command(subcommand)]
    Image(ImageCommand),
    /// Make images for kvm and bhyve of vendors' cloud disks
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Publish an image: to an image server, or into a folder that any web server can serve
    #[cfg(feature = "servers")]
    Publish(Box<Publish>),
    /// Serve a folder of images: to imgadm, Triton and mibe as an image server, to people as pages
    #[cfg(feature = "servers")]
    Serve(Serve),
    /// Name the image servers that images come from and go to
    #[cfg(feature = "servers")]
    #[command(subcommand)]
    Server(ServerCommand),
    /// Tell what this machine can do, and how to make it do the rest
    #[cfg(feature = "local")]
    Doctor(Doctor),
    /// Destroy what interrupted builds left behind, and old caches
    Clean(Clean),
    /// Print the completions of a shell
    Completions(Completions),
    /// Write the manual pages
    Man(Man),
}

/// Build images from build repositories.
///
/// Each REPO is a folder with a manifest, packages, customize, copy/ and motd, or the name of one in the home's repos/. The image is left in
/// the output folder as NAME-VERSION.zfs.gz (a zfs send stream) and NAME-VERSION.json (its manifest).
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct Build {
    /// Build repositories
    #[arg(required = true, value_name = "REPO")]
    pub repos: Vec<PathBuf>,
    /// Start from this instead of the manifest's base: debian:SUITE, an image (path, UUID or NAME@VERSION), a root
    /// file system as a tar archive (.tar, .gz, .xz, .zst, .bz2), or a directory
    #[arg(long, value_name = "REF")]
    pub base: Option<String>,
    /// Do not fetch a base that no library has from the image servers
    #[cfg(all(feature = "servers", feature = "local"))]
    #[arg(long, help_heading = LOCAL)]
    pub no_pull: bool,
    /// Where the image goes [default: images, in the home if there is one]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Where the log of the build goes [default: logs, in the home if there is one]
    #[arg(long, value_name = "DIR")]
    pub logs: Option<PathBuf>,
    /// What provides the build machine
    #[arg(long, value_enum, default_value_t = BuilderName::DEFAULT)]
    pub builder: BuilderName,
    /// How the build machine gets the ownership of its files: as root, as a user with ranges in
    /// /etc/subuid, or as a user with nothing but its own uid [default: auto]
    #[cfg(feature = "local")]
    #[arg(long, value_enum, help_heading = LOCAL)]
    pub sandbox: Option<SandboxName>,
    /// What the build machine sees of the network [default: host]
    #[cfg(feature = "local")]
    #[arg(long, value_enum, help_heading = LOCAL)]
    pub network: Option<NetworkName>,
    /// Name server of the build machine instead of the host's; may be given again; not in the image
    #[arg(long, value_name = "IP")]
    pub resolver: Vec<IpAddr>,
    /// Debian mirror to bootstrap and install from, instead of the one of this machine's apt
    #[cfg(feature = "local")]
    #[arg(long, value_name = "URL", help_heading = LOCAL)]
    pub mirror: Option<String>,
    /// OpenPGP keyring that the mirror's signatures must come from
    #[cfg(feature = "local")]
    #[arg(long, value_name = "FILE", help_heading = LOCAL)]
    pub keyring: Option<PathBuf>,
    /// Build there, over your own ssh, instead of in the global zone that this machine is: root@HOST, or a name of ssh_config
    #[arg(long, value_name = "HOST", help_heading = SMARTOS)]
    pub host: Option<String>,
    /// The spec of the build machine, as vmadm or Triton wrote it or by hand [default: etc/vm.json of the home, if there is one]
    #[arg(long, value_name = "FILE", help_heading = SMARTOS)]
    pub vm_spec: Option<PathBuf>,
    /// Set a property of the build machine (max_physical_memory=4096, nics.0.nic_tag=external); may be given again
    #[arg(long, value_name = "KEY=VALUE", help_heading = SMARTOS)]
    pub set: Vec<String>,
    /// The pool of the build machine and its base [default: zones]
    #[arg(long, value_name = "POOL", help_heading = SMARTOS)]
    pub pool: Option<String>,
    /// Where pkgsrc comes from during the build, up to the path of its repositories (http://mirror); not in the image
    #[arg(long, value_name = "URL", help_heading = SMARTOS)]
    pub pkgsrc_mirror: Option<String>,
    /// How long the build machine may take to be up, in seconds [default: 300]
    #[arg(long, value_name = "SECONDS", help_heading = SMARTOS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout_boot: Option<u64>,
    /// Compression of the image's file, instead of the manifest's [default: gzip]
    #[arg(long, value_enum)]
    pub compression: Option<CompressionName>,
    /// Make an incremental image: only what differs from the base, which must be an image and be there where it is installed
    #[arg(long)]
    pub incremental: bool,
    /// Leave steps out
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STEP")]
    pub skip: Vec<SkipName>,
    /// Image that the base stands on and that is in no library (a manifest or a stream); may be given again
    #[arg(long, value_name = "FILE")]
    pub origin: Vec<PathBuf>,
    /// How long customize may take, in seconds [default: 3600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout_customize: Option<u64>,
    /// Keep the build machine when the build fails, and say where it is
    #[arg(long)]
    pub keep_on_failure: bool,
    /// Replace an image of the same name and version
    #[arg(long)]
    pub force: bool,
    /// Print the recipe and the plan; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressName::Auto)]
    pub progress: ProgressName,
    /// Show what scripts print as they print it
    #[arg(short, long)]
    pub verbose: bool,
}

/// Tell all that can be known of build repositories without building them.
///
/// Each REPO is a folder or the name of one in the home's repos/; without any, the current folder is checked. Nothing of a repository
/// is run. Exit status 1 when there is an error.
#[derive(Debug, Args)]
pub struct Check {
    /// Build repositories
    #[arg(value_name = "REPO")]
    pub repos: Vec<PathBuf>,
    /// A JSON object a repository
    #[arg(long)]
    pub json: bool,
    /// Exit status 1 for warnings, too
    #[arg(long)]
    pub strict: bool,
    /// Tell of a kind of finding by its name (unclosed-quote, say), or of all
    #[arg(long, value_name = "CODE", conflicts_with_all = ["repos", "json", "strict"])]
    pub explain: Option<String>,
}

/// Write a manifest of either dialect as the other, nothing lost.
///
/// `manifest` becomes `manifest.json`, or the other way round. The one that is read stays as it is.
#[derive(Debug, Args)]
pub struct Convert {
    /// The build repository
    #[arg(value_name = "REPO")]
    pub repo: PathBuf,
    /// What to write, where both are there
    #[arg(long, value_enum)]
    pub to: Option<DialectName>,
    /// Replace a manifest that is there
    #[arg(long)]
    pub force: bool,
    /// Print it instead
    #[arg(long)]
    pub stdout: bool,
}

/// Dialects of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DialectName {
    /// manifest, shell assignments
    Shell,
    /// manifest.json
    Json,
}

/// Headings of the options that only one builder has.
#[cfg(feature = "local")]
const LOCAL: &str = "Options of the local builder";
const SMARTOS: &str = "Options of the SmartOS builder";

/// Builders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BuilderName {
    /// A sandbox on this Linux machine
    #[cfg(feature = "local")]
    Local,
    /// A zone in a SmartOS global zone, this machine or one behind ssh
    Smartos,
}

impl BuilderName {
    #[cfg(feature = "local")]
    const DEFAULT: Self = Self::Local;
    #[cfg(not(feature = "local"))]
    const DEFAULT: Self = Self::Smartos;
}

/// Steps that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SkipName {
    /// What packages and delete_packages ask for
    Packages,
    /// The customize script
    Customize,
}

/// Sandbox modes.
#[cfg(feature = "local")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SandboxName {
    /// The first of the others that works here
    Auto,
    /// Real root
    Root,
    /// A user with subordinate ids
    Subuid,
    /// A user with a single id; ownership is kept in a ledger
    Single,
}

/// Networks of a build machine.
#[cfg(feature = "local")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// The host's
    Host,
    /// Loopback alone
    None,
}

/// Compressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionName {
    /// What every tool takes
    Gzip,
    /// A plain stream
    None,
}

/// Ways to show progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressName {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// A line a step
    Plain,
    /// A JSON object a line, on standard output
    Json,
    /// Nothing but the result and errors
    None,
}

/// Tell what this machine can do, and how to make it do the rest.
#[cfg(feature = "local")]
#[derive(Debug, Args)]
pub struct Doctor {
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Destroy what interrupted builds left behind, and old caches.
#[derive(Debug, Args)]
pub struct Clean {
    /// Remove every download and every base, too, not only those unused for 30 days
    #[arg(long)]
    pub all: bool,
    /// Print what would go; touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Print the completions of a shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// Write the manual pages.
#[derive(Debug, Args)]
pub struct Man {
    /// Folder to write mibe.1, mibe-build.1 and the others into; without it, mibe.1 goes to standard output
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}
