//! A vendor's disk made an image, against the programs that people do it with by hand.

use std::ffi::OsString;

use super::contest::{Aim, Contest, Rival};
use super::trees::Scratch;
use crate::failure::Failure;
use crate::project::Project;
use crate::test::cloud_disk;

/// Runs it; returns the aims that were missed.
pub fn run(project: &Project, scratch: &Scratch, rounds: usize) -> Result<Vec<String>, Failure> {
    let disk = cloud_disk(project)?.join("disk.qcow2");
    let folder = scratch.path.join("images");
    let raw = scratch.path.join("disk.raw");
    let contest = Contest {
        name: "disk",
        title: "Cloud disk of 2 GiB imported, against qemu-img convert -O raw and gzip -6",
        ours: Rival {
            name: "mibe import",
            program: shell(
                // What mibe works on meanwhile is on the same file system as theirs.
                "HOME=$1 XDG_STATE_HOME=$1 XDG_CACHE_HOME=$1 exec \"$2\" disk import \"$3\" --name disk --version 1 --output \"$1\" --force --progress none > /dev/null",
                [
                    folder.clone().into(),
                    project.target.join("release/mibe").into(),
                    disk.clone().into(),
                ],
            ),
            file: Some(folder.join("disk-1.zfs.gz")),
        },
        theirs: Rival {
            name: "qemu-img,gzip",
            // Synced, as mibe syncs its own.
            program: shell(
                "qemu-img convert -O raw \"$1\" \"$2\" && gzip -6f \"$2\" && sync \"$2.gz\"",
                [disk.into(), raw.clone().into()],
            ),
            file: Some(raw.with_extension("raw.gz")),
        },
        aims: vec![Aim::Faster(4.0), Aim::Size(1.05), Aim::Memory(64.0)],
    };
    contest.run(scratch, rounds)
}

fn shell<const N: usize>(script: &str, arguments: [OsString; N]) -> Vec<OsString> {
    let start = ["sh", "-c", script, "sh"].map(OsString::from);
    start.into_iter().chain(arguments).collect()
}
