//! The jobs of this program: they run in the sandbox's process and answer in JSON.

use std::io::{BufWriter, Read as _};
use std::path::Path;

use mibe_build::archive::{self, ArchiveError, Existing};
use mibe_build::bootstrap::install;
use mibe_sandbox::{Job, JobInput, Root};
use serde_json::{Value, json};

use crate::{fuzz, listing};

pub const JOBS: &[Job] = &[
    Job {
        name: "unpack",
        run: unpack,
    },
    Job {
        name: "list",
        run: |root, _| Ok(json!(listing::of_root(root))),
    },
    Job {
        name: "pack",
        run: pack,
    },
    Job {
        name: "debs",
        run: |root, input| {
            let order = serde_json::from_value(input.args).map_err(|error| error.to_string())?;
            Ok(json!(install::unpack(root, &order).err()))
        },
    },
    Job {
        name: "fuzz",
        run: fuzz::job,
    },
];

/// How an archive went in: the number of members, or the error's kind and text; and the most memory that the process ever had.
fn unpack(root: &Root, input: JobInput) -> Result<Value, String> {
    let file = input.input.ok_or("no file")?;
    let done =
        archive::decompressed(file).and_then(|tar| archive::unpack(root, tar, Existing::Overwrite));
    let (kind, text) = match done {
        Ok(count) => ("ok", count.to_string()),
        Err(error) => (kind(&error), error.to_string()),
    };
    Ok(json!({ "kind": kind, "text": text, "memory": peak_memory() }))
}

pub fn kind(error: &ArchiveError) -> &'static str {
    match error {
        ArchiveError::Damaged { .. } => "damaged",
        ArchiveError::Member { .. } => "member",
        ArchiveError::Io { .. } => "io",
        ArchiveError::NoRoot(_) => "no root",
    }
}

/// Bytes.
fn peak_memory() -> u64 {
    let mut text = String::new();
    std::fs::File::open("/proc/self/status")
        .and_then(|mut file| file.read_to_string(&mut text))
        .unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1024
}

fn pack(root: &Root, input: JobInput) -> Result<Value, String> {
    let latest: i64 = serde_json::from_value(input.args).map_err(|error| error.to_string())?;
    let out = BufWriter::new(input.output.ok_or("no file")?);
    let count = archive::pack(root, out, latest).map_err(|error| error.to_string())?;
    Ok(json!(count))
}

/// Empties the tree.
pub fn clear(root: &Root) {
    for entry in root.read_dir(Path::new("")).unwrap() {
        root.remove_dir_all(Path::new(&entry.name)).unwrap();
    }
}
