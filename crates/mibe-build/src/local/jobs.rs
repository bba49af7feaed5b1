//! What the local builder runs inside the namespaces of a sandbox.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use mibe_sandbox::{Job, JobInput, Root};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::archive::{self, Existing};
use crate::bootstrap::install;
use crate::{capture, finalise, work};

pub(crate) const WORK: &str = "work";
pub(crate) const CAPTURE: &str = "capture";
pub(crate) const UNPACK: &str = "unpack";
pub(crate) const COPY_DIRECTORY: &str = "copy-directory";
pub(crate) const PACK: &str = "pack";
pub(crate) const BOOTSTRAP: &str = "bootstrap";

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
        name: COPY_DIRECTORY,
        run: copy_directory,
    },
    Job {
        name: PACK,
        run: pack,
    },
    Job {
        name: BOOTSTRAP,
        run: |root, input| {
            install::unpack(root, &arguments(input.args)?)?;
            Ok(Value::Null)
        },
    },
];

fn arguments<T: DeserializeOwned>(args: Value) -> Result<T, String> {
    serde_json::from_value(args).map_err(|error| error.to_string())
}

fn answer(value: impl Serialize) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

fn output(file: Option<File>) -> Result<File, String> {
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
