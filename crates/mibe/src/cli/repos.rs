//! `mibe init`, `init-home` and `repos`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Make a new build repository.
///
/// A NAME goes into the home's repos/, or the current folder where there is no home; a path where it says. An image is called like its
/// repository, without mi- before it.
#[derive(Debug, Args)]
pub struct Init {
    /// Its folder
    #[arg(value_name = "NAME")]
    pub name: PathBuf,
    /// What kind of image it makes
    #[arg(long, value_enum, default_value_t = TypeName::Lx)]
    pub r#type: TypeName,
    /// Make it a git repository with a first commit and this remote
    #[arg(long, value_name = "URL")]
    pub git: Option<String>,
}

/// Kinds of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TypeName {
    /// A SmartOS zone
    Native,
    /// A Linux zone
    Lx,
    /// A virtual machine
    #[value(alias = "zvol")]
    Hvm,
}

/// Make a home.
///
/// What is in the folder already stays as it is.
#[derive(Debug, Args)]
pub struct InitHome {
    /// The folder; the current one without it
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// Clone, pull and list the repositories named in etc/repos.list.
///
/// The home is the folder that MIBE_HOME names, or the first of the current folder and those above it that has mibe.toml, or
/// repos/ and etc/repos.list or etc/repos.conf.
#[derive(Debug, Subcommand)]
pub enum ReposCommand {
    /// Clone those that are not there yet
    Clone(ReposWork),
    /// Bring those that are there up to date, where nothing of your own would be lost
    Pull(ReposWork),
    /// List what the list names and what else is in repos/
    List(ReposList),
    /// Tell how each of them stands, without asking a server
    Status(ReposList),
}

/// Work on repositories.
#[derive(Debug, Args)]
pub struct ReposWork {
    /// Their names; all of the list without any
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// How many at once from one server [default: 4]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=64))]
    pub jobs: Option<u64>,
    /// How long one may take, in seconds [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,
    /// A JSON object a repository
    #[arg(long)]
    pub json: bool,
    /// The table alone
    #[arg(short, long)]
    pub quiet: bool,
}

/// Tell of repositories.
#[derive(Debug, Args)]
pub struct ReposList {
    /// A JSON object a repository
    #[arg(long)]
    pub json: bool,
}
