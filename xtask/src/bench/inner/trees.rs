//! The trees that are measured on, and the directory that they live in meanwhile.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context, Failure};
use crate::project::{Project, is_root, output, run};

/// A directory for the time of the benchmarks.
pub struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    /// Makes it anew; what a killed run left in it goes.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        if path.exists() {
            fs::remove_dir_all(path).context(|| format!("can't remove {}", path.display()))?;
        }
        fs::create_dir_all(path).context(|| format!("can't make {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A tree to measure on.
pub struct Tree {
    pub path: PathBuf,
    pub what: String,
    /// Entries and bytes, in words.
    pub size: String,
    bytes: u64,
}

/// The tree that was asked for, or that of a Debian base, which mibe makes itself where its cache has none.
pub fn debian(project: &Project, scratch: &Scratch, given: Option<&Path>) -> Result<Tree, Failure> {
    if let Some(given) = given {
        return describe(given.to_owned(), given.display().to_string());
    }
    let archive = if let Some(archive) = cached_base()? {
        archive
    } else {
        println!(
            "no Debian base in the cache yet: mibe builds examples/hello-lx, which makes one\n"
        );
        let mut mibe = Command::new(project.target.join("release/mibe"));
        mibe.current_dir(&project.root)
            .args([
                "build",
                "examples/hello-lx",
                "--base",
                "debian:bookworm",
                "--progress",
                "plain",
                "--output",
            ])
            .arg(scratch.path.join("images"))
            .arg("--logs")
            .arg(scratch.path.join("logs"));
        run(&mut mibe)?;
        cached_base()?
            .ok_or_else(|| Failure::new("mibe built an image and left no base in its cache"))?
    };
    let path = scratch.path.join("tree");
    fs::create_dir(&path).context(|| format!("can't make {}", path.display()))?;
    let mut tar = Command::new("tar");
    tar.arg("-C")
        .arg(&path)
        .args(["--numeric-owner", "-xpf"])
        .arg(&archive);
    if !is_root() {
        // Only root makes device nodes; ownership is not what is measured.
        tar.arg("--exclude=./dev/*").arg("--exclude=dev/*");
    }
    run(&mut tar)?;
    let name = archive
        .file_name()
        .unwrap_or_default()
        .display()
        .to_string();
    describe(path, format!("the base {name}"))
}

/// The newest of the Debian bases that mibe keeps.
fn cached_base() -> Result<Option<PathBuf>, Failure> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .ok_or_else(|| {
            Failure::machine("neither XDG_CACHE_HOME nor HOME says where mibe keeps its bases")
        })?;
    let Ok(entries) = fs::read_dir(cache.join("mibe/bases")) else {
        return Ok(None);
    };
    let mut archives: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    archives.sort();
    Ok(archives.pop().map(|(_, path)| path))
}

/// A copy of the tree, again and again until it holds so many megabytes, for the caller to remove.
pub fn of_size(tree: &Tree, scratch: &Scratch, megabytes: u64) -> Result<PathBuf, Failure> {
    let all = scratch.path.join("large");
    fs::create_dir(&all).context(|| format!("can't make {}", all.display()))?;
    let copies = (megabytes * 1_000_000).div_ceil(tree.bytes.max(1));
    if copies == 1 {
        // Close enough to the wanted size only when it is about one tree; say what it is.
        println!(
            "  (one copy of the tree, {}, stands for {megabytes} MB)",
            tree.size
        );
    }
    for copy in 0..copies {
        run(Command::new("cp")
            .args(["-a", "--"])
            .arg(&tree.path)
            .arg(all.join(format!("copy{copy}"))))?;
    }
    Ok(all)
}

fn describe(path: PathBuf, what: String) -> Result<Tree, Failure> {
    if !path.is_dir() {
        return Err(Failure::usage(format!(
            "{} is not a directory",
            path.display()
        )));
    }
    let text = output(
        Command::new("du")
            .args(["-s", "-B1", "--apparent-size", "--"])
            .arg(&path),
    )?;
    let number = |text: &[u8]| {
        String::from_utf8_lossy(text)
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let bytes = number(&text);
    let entries = number(&output(
        Command::new("du").args(["-s", "--inodes", "--"]).arg(&path),
    )?);
    let size = format!("{entries} entries, {} MB", bytes / 1_000_000);
    Ok(Tree {
        path,
        what,
        size,
        bytes,
    })
}
