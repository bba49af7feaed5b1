//! Images read: verified, listed and unpacked by mibe itself, against the tools that do the same work for archives.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::contest::{Aim, Contest, Rival};
use super::measure::measure;
use super::own_program;
use super::trees::{self, Scratch, Tree};
use crate::failure::{Context, Failure};
use crate::project::{Project, run};

/// Size of the content, in megabytes.
const SIZE: u64 = 1000;
/// Most bytes of memory that a file may take while an image is read.
const PER_FILE: f64 = 200.0;
/// What reading takes whatever is in it: buffers of the stream and of its expansion.
const FIXED_MIB: f64 = 16.0;

/// Runs the wanted ones; returns the aims that were missed.
pub fn run_wanted(
    project: &Project,
    tree: &Tree,
    scratch: &Scratch,
    rounds: usize,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Failure> {
    let files = Files::make(tree, scratch)?;
    let mut missed = Vec::new();
    for contest in files.contests(project) {
        if wanted(contest.name) {
            missed.extend(contest.run(scratch, rounds)?);
        }
    }
    if wanted("files") {
        let program = vec![
            mibe(project),
            "image".into(),
            "files".into(),
            files.compressed.clone().into(),
        ];
        let peak = measure(scratch, &shell("\"$@\" > /dev/null", program))?.peak_mib();
        let allowed = FIXED_MIB + PER_FILE * files.count as f64 / (1024.0 * 1024.0);
        println!(
            "  listing {} files took {peak:.1} MiB (aim: under {allowed:.1})\n",
            files.count
        );
        if peak >= allowed {
            missed.push(format!("files: {peak:.1} MiB, aim under {allowed:.1}"));
        }
    }
    Ok(missed)
}

/// One tree as an image and as an archive.
struct Files {
    stream: PathBuf,
    compressed: PathBuf,
    archive: PathBuf,
    /// Where it is unpacked.
    folder: PathBuf,
    count: u64,
}

impl Files {
    fn make(tree: &Tree, scratch: &Scratch) -> Result<Self, Failure> {
        let copy = trees::of_size(tree, scratch, SIZE)?;
        let file = |name: &str| scratch.path.join(name);
        let files = Self {
            stream: file("large.zfs"),
            compressed: file("large.zfs.gz"),
            archive: file("large.tar"),
            folder: file("unpacked"),
            count: fs_count(&copy)?,
        };
        run(Command::new(own_program()?)
            .arg("__capture")
            .args([&copy, &files.compressed]))?;
        run(Command::new("sh")
            .args(["-c", "gzip -dc \"$1\" > \"$2\"", "sh"])
            .args([&files.compressed, &files.stream]))?;
        run(Command::new("tar")
            .arg("--numeric-owner")
            .arg("-cf")
            .arg(&files.archive)
            .arg("-C")
            .args([&copy, Path::new(".")]))?;
        fs::remove_dir_all(&copy).context(|| format!("can't remove {}", copy.display()))?;
        Ok(files)
    }

    fn contests(&self, project: &Project) -> Vec<Contest> {
        let image = |command: &str, more: &[&Path]| -> Vec<OsString> {
            let mut program = vec![mibe(project), "image".into(), command.into()];
            program.extend(more.iter().map(OsString::from));
            program
        };
        let digest = || Rival {
            name: "gzip|sha1sum",
            program: shell(
                "gzip -dc \"$1\" | sha1sum > /dev/null",
                vec![self.compressed.clone().into()],
            ),
            file: None,
        };
        let rival = |name, program| Rival {
            name,
            program,
            file: None,
        };
        vec![
            Contest {
                name: "verify",
                title: "Image of 1 GB verified, against gzip -dc | sha1sum of its file",
                ours: rival("mibe verify", image("verify", &[&self.compressed])),
                theirs: digest(),
                aims: vec![Aim::Faster(1.0)],
            },
            Contest {
                name: "files",
                title: "Files of an image of 1 GB, against gzip -dc | sha1sum of its file",
                ours: rival(
                    "mibe files",
                    shell("\"$@\" > /dev/null", image("files", &[&self.compressed])),
                ),
                theirs: digest(),
                aims: vec![Aim::Faster(1.0)],
            },
            Contest {
                name: "extract",
                title: "Image of 1 GB unpacked, against tar -x of the same tree",
                ours: rival(
                    "mibe extract",
                    emptied(
                        &self.folder,
                        false,
                        image("extract", &[&self.stream, &self.folder]),
                    ),
                ),
                theirs: rival(
                    "tar -x",
                    emptied(
                        &self.folder,
                        true,
                        vec![
                            "tar".into(),
                            "-xf".into(),
                            self.archive.clone().into(),
                            "-C".into(),
                            self.folder.clone().into(),
                        ],
                    ),
                ),
                aims: vec![Aim::Faster(1.0 / 1.2)],
            },
        ]
    }
}

fn fs_count(tree: &Path) -> Result<u64, Failure> {
    let text = crate::project::output(Command::new("find").arg(tree).args(["-printf", "x"]))?;
    Ok(text.len() as u64)
}

/// The release program, which the outer half built.
fn mibe(project: &Project) -> OsString {
    project.target.join("release/mibe").into()
}

fn shell(script: &str, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut program: Vec<OsString> = vec!["sh".into(), "-c".into(), script.into(), "sh".into()];
    program.extend(arguments);
    program
}

/// Takes away what the one before unpacked, which costs both sides the same; tar wants an empty folder, mibe none.
fn emptied(folder: &Path, make: bool, program: Vec<OsString>) -> Vec<OsString> {
    let script = if make {
        "rm -rf \"$1\" && mkdir \"$1\" && shift && \"$@\" > /dev/null"
    } else {
        "rm -rf \"$1\" && shift && \"$@\" > /dev/null"
    };
    let mut arguments = vec![folder.into()];
    arguments.extend(program);
    shell(script, arguments)
}
