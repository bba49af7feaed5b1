//! What the local builder runs inside the namespaces of a sandbox.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use mibe_sandbox::{Job, JobInput, Root};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::archive::{self, Existing};
use crate::base_image::ChainFiles;
use crate::bootstrap::install;
use crate::local::disk;
use crate::unpack_image::{self, Selection, UnpackImageError, Unpacked};
use crate::{capture, finalise, work};

pub(crate) const WORK: &str = "work";
pub(crate) const CAPTURE: &str = "capture";
pub(crate) const UNPACK: &str = "unpack";
pub(crate) const UNPACK_IMAGE: &str = "unpack-image";
pub(crate) const COPY_DIRECTORY: &str = "copy-directory";
pub(crate) const PACK: &str = "pack";
pub(crate) const TAR: &str = "tar";
pub(crate) const BOOTSTRAP: &str = "bootstrap";
pub(crate) const UNPACK_DISK: &str = "unpack-disk";
pub(crate) const DISK_DIFFERENCE: &str = "disk-difference";

/// What a program that embeds this crate must hand to [`mibe_sandbox::agent_main`].
pub const JOBS: &[Job] = &[
    Job {
        name: WORK,
        run: |root, input| answer(work::perform(root, &arguments(input.args)?)?),
    },
    Job {
        name: CAPTURE,
        run: |root, input| {
            let options = arguments(input.args)?;
            let out = output(input.output)?;
            answer(capture::capture(root, &options, out)?)
        },
    },
    Job {
        name: UNPACK,
        run: unpack,
    },
    Job {
        name: UNPACK_IMAGE,
        run: |root, input| answer(unpack_image(root, &arguments(input.args)?)?),
    },
    Job {
        name: COPY_DIRECTORY,
        run: copy_directory,
    },
    Job {
        name: PACK,
        run: pack,
    },
    Job {
        name: TAR,
        run: |root, input| {
            let out = BufWriter::with_capacity(1 << 20, output(input.output)?);
            let count = archive::pack(root, out, i64::MAX).map_err(|error| error.to_string())?;
            answer(count)
        },
    },
    Job {
        name: UNPACK_DISK,
        run: disk::unpack_job,
    },
    Job {
        name: DISK_DIFFERENCE,
        run: disk::difference_job,
    },
    Job {
        name: BOOTSTRAP,
        run: |root, input| {
            install::unpack(root, &arguments(input.args)?)?;
            Ok(Value::Null)
        },
    },
];

pub(super) fn arguments<T: DeserializeOwned>(args: Value) -> Result<T, String> {
    serde_json::from_value(args).map_err(|error| error.to_string())
}

pub(super) fn answer(value: impl Serialize) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

pub(super) fn output(file: Option<File>) -> Result<File, String> {
    file.ok_or_else(|| "no file to write to".to_owned())
}

fn unpack(root: &Root, input: JobInput) -> Result<Value, String> {
    let file = input.input.ok_or("no archive to read")?;
    let unpack = || {
        let tar = archive::decompressed(file)?;
        archive::unpack(root, tar, Existing::Overwrite)?;
        archive::check_root(root)
    };
    unpack().map_err(|error| error.to_string())?;
    Ok(Value::Null)
}

/// What [`UNPACK_IMAGE`] is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UnpackImage {
    /// The image and what it stands on.
    pub files: ChainFiles,
    /// The directory of the image whose content becomes the tree; empty for all.
    pub top: Vec<u8>,
    /// Paths below it that are wanted; all if there are none.
    pub paths: Vec<Vec<u8>>,
    /// Whether the tree must be one of Linux.
    pub is_linux: bool,
}

/// Where a zone's dataset has the zone's root.
pub(crate) const ZONE_ROOT: &[u8] = b"root";

fn unpack_image(root: &Root, args: &UnpackImage) -> Result<Unpacked, String> {
    let files = args.files.read()?;
    let snapshot = args.files.open()?;
    let selection = Selection {
        top: &args.top,
        paths: &args.paths,
    };
    let unpacked = unpack_image::unpack_image(root, &files, snapshot, &selection);
    let unpacked = unpacked.map_err(|error| match &error {
        UnpackImageError::Read(error) => args.files.failed(error),
        error => error.to_string(),
    })?;
    if args.is_linux {
        archive::check_root(root).map_err(|error| error.to_string())?;
    }
    Ok(unpacked)
}

fn copy_directory(root: &Root, input: JobInput) -> Result<Value, String> {
    let source: PathBuf = arguments(input.args)?;
    archive::copy_directory(root, &source)
        .and_then(|_| archive::check_root(root))
        .map_err(|error| error.to_string())?;
    Ok(Value::Null)
}

fn pack(root: &Root, input: JobInput) -> Result<Value, String> {
    let latest: i64 = arguments(input.args)?;
    install::finish(root).map_err(|error| error.to_string())?;
    finalise::anonymise(root).map_err(|error| error.to_string())?;
    let out = BufWriter::with_capacity(1 << 20, output(input.output)?);
    let count = archive::pack(root, out, latest).map_err(|error| error.to_string())?;
    answer(count)
}
