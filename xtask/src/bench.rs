//! `cargo xtask bench`: ratios measured side by side.
//!
//! The outer half, always compiled, builds the release programs; the inner half is xtask itself in the
//! release profile with the feature `bench`, which brings in the libraries that are measured. So the
//! xtask that runs tests and checks stays quick to build.

#[cfg(feature = "bench")]
pub mod inner;

use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::parts;
use crate::project::{self, Project};

const USAGE: &str = "\
usage: cargo xtask bench [--tree DIR] [--rounds N] [NAME...]

Ratios measured side by side in one run: after a warm-up the rivals take turns, N times (5 unless given).
Printed are the median and the range of each, and of their ratio in each round. Names, all unless given:

  stream    tree to stream, against GNU tar of the same tree
  gzip      tree to .zfs.gz, against tar | gzip -9: time and size
  pigz      tree to .zfs.gz, against tar | pigz -6: time and size
  memory    peak memory of tree to stream and to .zfs.gz, for a tree of 200 MB and one of 2 GB
  verify    image of 1 GB verified, against gzip -dc | sha1sum of its file
  files     its files listed, against the same; peak memory for each file
  extract   it unpacked, against tar -x of the same tree
  check     150 build repositories of 10,000 files checked, against grep -rIc of one word in them
  serve     mibe serve under load, against nginx with the same file and list; its memory; a list of 10,000 images
  disk      a cloud disk of 2 GiB imported, against qemu-img convert and gzip -6: time, size and memory
  sandbox   dpkg unpacking cached packages in each sandbox mode, against root

  --tree DIR   measure on this tree instead of a Debian base
";

/// The benchmarks by name, in the order they are run.
const NAMES: [&str; 11] = [
    "stream", "gzip", "pigz", "memory", "verify", "files", "extract", "check", "serve", "disk",
    "sandbox",
];

/// What a user asks for.
#[cfg_attr(
    not(feature = "bench"),
    allow(dead_code, reason = "the outer half only checks it")
)]
struct Options {
    tree: Option<PathBuf>,
    rounds: usize,
    names: Vec<String>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self, Failure> {
        let mut options = Self {
            tree: None,
            rounds: 5,
            names: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| wrong_use(&format!("{argument} needs a value")))
            };
            match argument.as_str() {
                "--tree" => options.tree = Some(PathBuf::from(value()?)),
                "--rounds" => {
                    options.rounds = value()?
                        .parse()
                        .ok()
                        .filter(|rounds| *rounds > 0)
                        .ok_or_else(|| wrong_use("--rounds needs a number from 1"))?;
                }
                name if NAMES.contains(&name) => options.names.push(name.to_owned()),
                other => return Err(wrong_use(&format!("there is no benchmark {other}"))),
            }
        }
        if options.names.is_empty() {
            options.names = NAMES.map(str::to_owned).to_vec();
        }
        Ok(options)
    }
}

/// Builds the release programs and hands over to the inner half.
pub fn run(project: &Project, arguments: &[String]) -> Result<(), Failure> {
    if arguments
        .iter()
        .any(|argument| matches!(argument.as_str(), "-h" | "--help"))
    {
        print!("{USAGE}");
        return Ok(());
    }
    // A word that is not understood must not cost a build.
    Options::read(arguments)?;
    parts::ensure_some(&["gzip", "pigz", "uidmap", "passwd", "nginx-light"])?;
    project.cargo(&[
        "build",
        "--release",
        "--package",
        "xtask",
        "--features",
        "bench",
    ])?;
    project.cargo(&["build", "--release", "--package", "mibe"])?;
    let mut inner = Command::new(project.target.join("release/xtask"));
    inner
        .current_dir(&project.root)
        .arg("__bench")
        .args(arguments);
    project::run(&mut inner)
}

/// What was wrong with the arguments of a benchmark.
fn wrong_use(what: &str) -> Failure {
    Failure::usage(format!("{what}\n{USAGE}"))
}
