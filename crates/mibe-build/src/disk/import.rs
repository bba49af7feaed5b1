//! A disk made an image.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use camino::Utf8PathBuf;
use mibe_disk::inspect::Problem;
use mibe_disk::prepare::{self, Wishes};
use mibe_disk::source::About;
use mibe_disk::volume;
use mibe_image::file::Compression;
use mibe_image::library::{self, ImagePaths};
use mibe_image::manifest::Manifest;
use mibe_image::progress::{Event, Progress};
use serde_json::{Map, Value, json};
use zfs_stream::StreamOptions;

use super::{DiskInput, Workshop};
use crate::build::{announce, begin_file, output_folder};
use crate::error::BuildError;
use crate::manifest::{NO_OWNER, content_uuid, dataset, default_users, published_at, valid};
use crate::paths::Paths;

/// What is to be made of a disk.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The disk.
    pub input: DiskInput,
    /// Name of the image.
    pub name: String,
    /// Its version.
    pub version: String,
    /// A word about it.
    pub description: Option<String>,
    /// Where to read more.
    pub homepage: Option<String>,
    /// UUID of its owner.
    pub owner: Option<String>,
    /// Compression of its file.
    pub compression: Compression,
    /// Its folder.
    pub output: Utf8PathBuf,
    /// Bytes of the volume, where it is to be larger than the disk.
    pub size: Option<u64>,
    /// `volblocksize`.
    pub block_size: u32,
    /// How the disk is to be made fit.
    pub wishes: Wishes,
    /// Replace an existing image.
    pub force: bool,
    /// The user's folders.
    pub paths: Paths,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Where the image is.
    pub paths: ImagePaths,
    /// What its manifest says.
    pub image: Manifest,
    /// What the disk was.
    pub about: About,
    /// Bytes of the stream before compression.
    pub stream_size: u64,
    /// What was done to the disk.
    pub notes: Vec<String>,
    /// What may not be as it was meant.
    pub warnings: Vec<Problem>,
}

/// Makes an image of a disk. Nothing of the disk's own file is changed.
///
/// # Errors
///
/// The disk can't be read or made fit, or the image not be written; nothing is left then.
pub fn import(
    options: &ImportOptions,
    cancel: &Arc<AtomicBool>,
    progress: &dyn Progress,
) -> Result<Imported, BuildError> {
    let paths = ImagePaths::new(
        &options.output,
        &options.name,
        &options.version,
        options.compression,
    );
    options.wishes.check()?;
    paths.check_free(options.force)?;
    check_names(options)?;
    output_folder(&options.output)?;
    let mut workshop = Workshop::new(&options.paths, &options.input.name)?;
    let steps = Steps { progress };
    let folder = workshop.path().to_owned();
    let first = if options.input.is_url() {
        "fetch"
    } else {
        "open"
    };
    let (opened, file) = steps.step(first, |bytes| {
        super::open(&options.input, &options.paths, &folder, cancel, &|done| {
            bytes(done, None);
        })
    })?;
    let size = prepare::image_size(opened.about.virtual_size, options.size)?;
    prepare::check(opened.source.as_ref(), &file, &options.wishes)
        .map_err(|error| error.named(&file, options.input.name.as_ref()))?;
    let raw = folder.join("disk.raw");
    let disk = steps.step("copy", |bytes| {
        let total = opened.about.virtual_size;
        super::work_copy(
            &options.input,
            &opened,
            &file,
            &raw,
            size,
            cancel,
            &mut |done| {
                bytes(done, Some(total));
            },
        )
    })?;
    drop(opened.source);
    let named = |error: mibe_disk::DiskError| {
        BuildError::from(error.named(&raw, options.input.name.as_ref()))
    };
    let prepared = steps.step("prepare", |_| {
        prepare::prepare(&disk, &raw, &options.wishes, &folder, cancel).map_err(named)
    })?;

    let (digested, stream, written) = steps.step("capture", |bytes| {
        let digested = volume::digest(&disk, options.block_size, &raw, cancel).map_err(named)?;
        let mut writer = begin_file(&paths, workshop.record()?)?;
        let about = StreamOptions {
            to_name: format!("mibe/{}@final", dataset(&options.name, &options.version)),
            to_guid: digested.guid,
            creation_time: options.wishes.now.max(0).cast_unsigned(),
        };
        let summary = volume::write(
            &disk,
            options.block_size,
            &about,
            &mut writer,
            cancel,
            &mut |done| bytes(done, Some(size)),
        )
        .map_err(named)?;
        Ok((digested, summary, writer.finish()?))
    })?;
    let mut fields = Map::new();
    fields.insert("v".into(), 2.into());
    fields.insert(
        "owner".into(),
        options.owner.as_deref().unwrap_or(NO_OWNER).into(),
    );
    fields.insert("name".into(), options.name.clone().into());
    fields.insert("version".into(), options.version.clone().into());
    let published = published_at(options.wishes.now)
        .ok_or_else(|| BuildError::usage("the time of the image is none of this era", &[]))?;
    fields.insert("published_at".into(), published.into());
    fields.extend(prepared.fields(size));
    let mut requirements = prepared.requirements();
    requirements.insert(
        "networks".into(),
        json!([{"name": "net0", "description": "public"}]),
    );
    fields.insert("requirements".into(), requirements.into());
    let users = default_users(prepared.default_user.as_deref());
    fields.insert("users".into(), users.into());
    let mut tags = prepared.tags.clone();
    tags.insert("role".into(), "os".into());
    fields.insert("tags".into(), tags.into());
    for (key, value) in [
        ("description", &options.description),
        ("homepage", &options.homepage),
    ] {
        if let Some(value) = value {
            fields.insert(key.into(), value.clone().into());
        }
    }
    fields.insert(
        "uuid".into(),
        content_uuid(&digested.digest, &fields).into(),
    );
    fields.insert(
        "files".into(),
        json!([{
            "sha1": written.sha1(),
            "size": written.size(),
            "compression": options.compression.to_string(),
            "dataset_guid": digested.guid.to_string(),
        }]),
    );
    let image = valid(Value::Object(fields))?;
    announce(&paths, workshop.record()?)?;
    steps.step("manifest", |_| {
        Ok(library::publish(written, &image, &paths, options.force)?)
    })?;
    Ok(Imported {
        paths,
        image,
        about: opened.about,
        stream_size: stream.stream_bytes,
        notes: prepared.notes,
        warnings: prepared.warnings,
    })
}

/// What no image server would take is known before the work begins.
fn check_names(options: &ImportOptions) -> Result<(), BuildError> {
    let minimal = json!({
        "v": 2,
        "uuid": "00000000-0000-4000-8000-000000000000",
        "name": options.name,
        "version": options.version,
        "type": "other",
        "os": "other",
        "owner": options.owner.as_deref().unwrap_or(NO_OWNER),
        "description": options.description,
        "homepage": options.homepage,
    });
    valid(minimal).map(drop).map_err(|error| match error {
        BuildError::Manifest(problems) => BuildError::usage(
            format!("the image can't be called so: {}", problems.join("; ")),
            &[],
        ),
        error => error,
    })
}

/// Tells of steps.
struct Steps<'a> {
    progress: &'a dyn Progress,
}

/// Bytes between two reports.
const REPORT_EVERY: u64 = 8 << 20;

impl Steps<'_> {
    fn step<T>(
        &self,
        name: &str,
        work: impl FnOnce(&dyn Fn(u64, Option<u64>)) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let started = std::time::Instant::now();
        let step = name.to_owned();
        self.progress
            .event(Event::StepStarted { step: step.clone() });
        let shown = std::cell::Cell::new(0);
        let result = work(&|done, total| {
            if done >= shown.get() + REPORT_EVERY || Some(done) == total {
                shown.set(done);
                self.progress.event(Event::Bytes {
                    step: step.clone(),
                    done,
                    total,
                });
            }
        });
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.event(match &result {
            Ok(_) => Event::StepFinished { step, milliseconds },
            Err(error) => Event::StepFailed {
                step,
                message: error.to_string(),
                milliseconds,
            },
        });
        result
    }
}
