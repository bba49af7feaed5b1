//! `cargo xtask test`: the parts, the oracle, the reference rules, then all tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context, Failure};
use crate::parts;
use crate::project::{self, Project};

/// Where the tests find what was built for them.
pub struct Built {
    /// MIBE_ORACLE: the directory of zrecv, zsend, zstream and zdb.
    oracle: PathBuf,
    /// MIBE_IMGMANIFEST: a directory that Node's `require` takes.
    imgmanifest: PathBuf,
    /// MIBE_SERVER_PARTS: a directory with node_modules in it.
    servers: PathBuf,
    /// MIBE_DS_IDENTIFY: a directory with a directory for each cloud-init.
    identify: PathBuf,
}

/// The tests that hold without the feature `local`, which a SmartOS global zone builds without.
const PORTABLE: &[&str] = &[
    "--no-default-features",
    "--package",
    "mibe",
    "--package",
    "mibe-build",
    "--package",
    "mibe-image",
    "--lib",
    "--bins",
    "--test",
    "check",
    "--test",
    "open",
    "--test",
    "file",
];

/// Runs the tests. `arguments` are those after `test`.
pub fn run(project: &Project, arguments: &[String]) -> Result<(), Failure> {
    let mut slow = false;
    let mut portable = false;
    let mut filters = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--slow" => slow = true,
            "--portable" => portable = true,
            option if option.starts_with('-') => {
                return Err(Failure::usage(format!(
                    "cargo xtask test has no option {option}"
                )));
            }
            filter => filters.push(filter),
        }
    }
    let built = prepare(project, slow)?;
    let which = if portable { PORTABLE } else { &["--workspace"] };
    println!(
        "xtask: cargo test {}{}",
        which.join(" "),
        if slow { ", the slow tests too" } else { "" }
    );
    let mut command = project::cargo();
    command
        .current_dir(&project.root)
        .args(["test", "--no-fail-fast"])
        .args(which)
        .arg("--")
        .args(filters)
        .env("MIBE_ORACLE", built.oracle)
        .env("MIBE_IMGMANIFEST", built.imgmanifest)
        .env("MIBE_SERVER_PARTS", built.servers)
        .env("MIBE_DS_IDENTIFY", built.identify);
    if slow {
        command
            .env("MIBE_SLOW_TESTS", "1")
            .env("MIBE_CLOUD_DISK", cloud_disk(project)?);
    }
    project::run(&mut command)
}

/// Installs and builds what the tests need, where it is missing or old; `slow`: what the long ones need is installed too.
pub fn prepare(project: &Project, slow: bool) -> Result<Built, Failure> {
    parts::ensure_all(slow)?;
    let sources = project.root.join("xtask");
    let oracle = make(
        "the oracle out of Debian's OpenZFS packages",
        &sources.join("oracle"),
        &project.target.join("oracle"),
        |source, into| project::run(Command::new(source.join("build.sh")).arg(into)),
    )?;
    let imgmanifest = npm(project, "imgmanifest", "imgmanifest, by npm")?;
    let servers = npm(
        project,
        "servers",
        "Triton's image client and its like, by npm",
    )?;
    let identify = make(
        "cloud-init's ds-identify, out of Debian's packages",
        &sources.join("parts/ds-identify"),
        &project.target.join("parts/ds-identify"),
        |source, into| project::run(Command::new("sh").arg(source.join("fetch.sh")).arg(into)),
    )?;
    Ok(Built {
        oracle,
        imgmanifest,
        servers,
        identify,
    })
}

/// The directory of a vendor's cloud disk, as disk.raw and disk.qcow2, made of Debian's packages where it is missing or old.
pub fn cloud_disk(project: &Project) -> Result<PathBuf, Failure> {
    parts::ensure_some(&[
        "debian-archive-keyring",
        "dosfstools",
        "e2fsprogs",
        "gdisk",
        "grub-common",
        "grub-efi-amd64-bin",
        "grub-pc-bin",
        "mmdebstrap",
        "mtools",
        "qemu-utils",
        "tar",
    ])?;
    make(
        "a cloud disk out of Debian's packages",
        &project.root.join("xtask/parts/disk"),
        &project.target.join("parts/disk"),
        |source, into| project::run(Command::new("sh").arg(source.join("make.sh")).arg(into)),
    )
}

/// Installs the packages that a folder of `xtask/parts` names, by its lock file.
fn npm(project: &Project, name: &str, what: &str) -> Result<PathBuf, Failure> {
    let parts = project.target.join("parts");
    make(
        what,
        &project.root.join("xtask/parts").join(name),
        &parts.join(name),
        |source, into| {
            for (name, path) in files(source)? {
                fs::copy(&path, into.join(&name)).context(|| format!("can't copy {name}"))?;
            }
            let mut npm = Command::new("npm");
            npm.current_dir(into)
                .args([
                    "ci",
                    "--ignore-scripts",
                    "--omit=optional",
                    "--no-audit",
                    "--no-fund",
                    "--silent",
                ])
                .env("npm_config_cache", parts.join("npm-cache"))
                .env("npm_config_update_notifier", "false");
            project::run(&mut npm)
        },
    )
}

/// Makes a directory out of the files of another, anew only when one of them or the system's release
/// has changed. What is made must bear being moved: it appears under its name only when it is whole.
fn make(
    what: &str,
    source: &Path,
    directory: &Path,
    build: impl FnOnce(&Path, &Path) -> Result<(), Failure>,
) -> Result<PathBuf, Failure> {
    let stamp = stamp(source)?;
    if fs::read(directory.join(STAMP)).is_ok_and(|found| found == stamp) {
        return Ok(directory.to_owned());
    }
    println!("xtask: making {what}");
    let aside = directory.with_extension("new");
    remove(&aside)?;
    fs::create_dir_all(&aside).context(|| format!("can't make {}", aside.display()))?;
    let built = build(source, &aside);
    if built.is_err() {
        remove(&aside)?;
        return built.map(|()| directory.to_owned());
    }
    fs::write(aside.join(STAMP), stamp)
        .context(|| format!("can't write in {}", aside.display()))?;
    remove(directory)?;
    fs::rename(&aside, directory).context(|| format!("can't rename {}", aside.display()))?;
    Ok(directory.to_owned())
}

/// The file that says what a directory was made of.
const STAMP: &str = "made-of";

fn stamp(source: &Path) -> Result<Vec<u8>, Failure> {
    let mut stamp = fs::read("/etc/os-release").unwrap_or_default();
    for (name, path) in files(source)? {
        let content = fs::read(&path).context(|| format!("can't read {}", path.display()))?;
        stamp.extend(format!("\n=== {name}, {} bytes\n", content.len()).bytes());
        stamp.extend(content);
    }
    Ok(stamp)
}

/// The names and paths of a flat directory, sorted.
fn files(directory: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let what = || format!("can't read the directory {}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).context(what)? {
        let entry = entry.context(what)?;
        files.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ));
    }
    files.sort();
    Ok(files)
}

fn remove(directory: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::new(format!(
            "can't remove {}: {error}",
            directory.display()
        ))),
        _ => Ok(()),
    }
}
