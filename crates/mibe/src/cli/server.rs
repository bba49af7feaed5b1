//! `mibe server`, `mibe image avail`, `mibe image pull`, `mibe publish`.

use std::net::SocketAddr;
use std::path::PathBuf;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueEnum};

use super::ProgressName;
use super::image::Libraries;

/// Name the image servers that images come from and go to.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// List the servers
    List(ServerList),
    /// Give a server a name
    Add(ServerAdd),
    /// Forget a server
    Remove(ServerRemove),
}

/// List the servers.
#[derive(Debug, Args)]
pub struct ServerList {
    /// A JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Give a server a name.
///
/// Where its credentials come from may be said, too; secrets themselves are kept nowhere.
#[derive(Debug, Args)]
pub struct ServerAdd {
    /// Its name
    pub name: String,
    /// Where it is: what stands before /images
    pub url: String,
    /// How it takes images
    #[arg(long = "type", value_enum, default_value_t = ServerTypeName::Imgapi)]
    pub kind: ServerTypeName,
    /// The channel that is meant where none is named
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Option<String>,
    /// Who asks
    #[command(flatten)]
    pub credentials: Credentials,
}

/// Forget a server.
#[derive(Debug, Args)]
pub struct ServerRemove {
    /// Its name
    pub name: String,
}

/// Kinds of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ServerTypeName {
    /// IMGAPI: images.smartos.org, a Triton datacentre, mibe itself
    Imgapi,
    /// dsapid: datasets.at
    Dsapi,
}

/// Who asks a server. A password or passphrase that no file has is taken from MIBE_PASSWORD, MIBE_TOKEN or MIBE_KEY_PASSPHRASE, or asked for.
#[derive(Debug, Args)]
pub struct Credentials {
    /// Who asks: the user of a password, or of a key
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// File with the password in its first line
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<Utf8PathBuf>,
    /// Sign with this private RSA key: a file, or agent, or agent:FINGERPRINT for one that your ssh-agent holds
    #[arg(
        long,
        value_name = "KEY",
        requires = "user",
        conflicts_with = "password_file"
    )]
    pub key: Option<String>,
    /// File with the token of a dsapid in its first line
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub token_file: Option<Utf8PathBuf>,
}

/// Tell what images servers offer.
///
/// A FILTER is KEY=VALUE or KEY~PART, with name, version, os, type, owner, public, state, tag.KEY or billing_tag as KEY: name~base type=lx-dataset
#[derive(Debug, Args)]
pub struct ImageAvail {
    /// What is wanted of them; all must fit
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Ask this server (a name or a URL) instead of all; may be given again
    #[arg(long, value_name = "SERVER")]
    pub server: Vec<String>,
    /// The channel, on a server that has some; * for all
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Option<String>,
    /// A JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Bring images from servers, with what they stand on.
///
/// What was cut off goes on where it ended. What is here already is left alone.
#[derive(Debug, Args)]
pub struct ImagePull {
    /// UUID, NAME@VERSION, NAME-VERSION, or a NAME, which means the newest of that name
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Ask this server (a name or a URL) instead of all; may be given again
    #[arg(long, value_name = "SERVER")]
    pub server: Vec<String>,
    /// The channel, on a server that has some
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Option<String>,
    /// Where they go [default: the cache, in which images are found by all commands]
    #[arg(long, value_name = "DIR")]
    pub into: Option<Utf8PathBuf>,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressName::Auto)]
    pub progress: ProgressName,
}

/// Publish an image: to an image server, or into a folder that any web server can serve.
///
/// All of the image is read before the first byte travels. What was interrupted is finished by publishing again.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct Publish {
    /// Path of a manifest or stream, UUID or NAME@VERSION
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The name of a server, a URL, or a folder
    #[arg(long, value_name = "SERVER|URL|DIR")]
    pub to: String,
    /// How a server that is named by its URL takes images
    #[arg(long = "type", value_enum)]
    pub kind: Option<ServerTypeName>,
    /// The channel, on a server that has some
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Option<String>,
    /// Everyone may use it, whatever its manifest says
    #[arg(long, conflicts_with = "private")]
    pub public: bool,
    /// Not everyone may use it
    #[arg(long)]
    pub private: bool,
    /// A picture for it: png, jpeg or gif of at most 128 KiB
    #[arg(long, value_name = "FILE")]
    pub icon: Option<Utf8PathBuf>,
    /// Publish what it stands on, too, where the server lacks it
    #[arg(long)]
    pub chain: bool,
    /// Let it be used at once, which is so without this, too
    #[arg(long, conflicts_with = "no_activate")]
    pub activate: bool,
    /// Leave it to be activated later: publishing it again without this does so
    #[arg(long)]
    pub no_activate: bool,
    /// Who asks
    #[command(flatten)]
    pub credentials: Credentials,
    /// Where images are found
    #[command(flatten)]
    pub libraries: Libraries,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressName::Auto)]
    pub progress: ProgressName,
}

impl Publish {
    /// Images that it stands on and that are in no library.
    pub fn origins(&self) -> &[PathBuf] {
        &self.libraries.origin
    }
}

/// Serve a folder of images: to imgadm, Triton and mibe as an image server (IMGAPI), to people as pages.
///
/// What builds leave in the folder is offered at once. On the loopback programs of this machine may publish to it; elsewhere only the users of
/// --auth may.
#[derive(Debug, Args)]
pub struct Serve {
    /// The folder [default: images, in the home if there is one]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Take no images
    #[arg(long, conflicts_with = "auth")]
    pub read_only: bool,
    /// File of the users who may publish, one a line: NAME:HASH as `htpasswd -nB NAME` prints it, or NAME ssh-rsa KEY. What is not public is
    /// shown to them alone
    #[arg(long, value_name = "FILE")]
    pub auth: Option<Utf8PathBuf>,
    /// Serve with TLS: the certificates, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<Utf8PathBuf>,
    /// The private key of the first certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<Utf8PathBuf>,
    /// A channel, with what it is for; may be given again. The first is meant where none is named
    #[arg(long, value_name = "NAME[:DESCRIPTION]")]
    pub channel: Vec<String>,
    /// The URL that people have it by, if it is another one than they ask for: behind a proxy
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// How long running transfers may go on after SIGTERM or Ctrl-C, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub grace: u64,
    /// How long a client may stall in the middle of a transfer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Do not tell of each request
    #[arg(long)]
    pub quiet: bool,
}
