//! `mibe image show`.

use std::fs;

use mibe_image::open::{Image, StreamHeader};

use super::{Output, Readings, failed, open};
use crate::cli::OneImageJson;
use crate::error::CommandError;
use crate::units;

pub fn run(arguments: &OneImageJson) -> Result<(), CommandError> {
    let chain = open(&arguments.image, Readings::Once)?;
    let images = chain.images();
    let headers: Vec<StreamHeader> = images
        .iter()
        .map(|image| image.header().map_err(failed))
        .collect::<Result<_, _>>()?;
    let mut out = Output::new();
    if arguments.json {
        let object = serde_json::json!({
            "image": chain.image().manifest(),
            "chain": images.iter().zip(&headers).map(|(image, header)| json(image, header)).collect::<Vec<_>>(),
        });
        out.json(&object);
        return out.finish();
    }
    for (image, header) in images.iter().zip(&headers).rev().take(1) {
        for line in manifest(image).into_iter().chain(stream(header)) {
            out.line(&line);
        }
    }
    // Base first, as they are received.
    if images.len() > 1 {
        out.line("ancestry, base first:");
        for (image, header) in images.iter().zip(&headers) {
            let manifest = image.manifest();
            let name = manifest.map_or_else(
                || image.to_string(),
                |manifest| format!("{} {} {}", manifest.uuid, manifest.name, manifest.version),
            );
            let size = size(image).map_or_else(|| "-".to_owned(), units::bytes);
            out.line(&format!("  {name} (guid {}, {size})", header.to_guid));
        }
    }
    out.finish()
}

fn field(name: &str, value: impl std::fmt::Display) -> String {
    format!("{name:<14} {value}")
}

fn size(image: &Image) -> Option<u64> {
    Some(fs::metadata(image.path()?).ok()?.len())
}

fn manifest(image: &Image) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(manifest) = image.manifest() {
        lines.push(field("name", &manifest.name));
        lines.push(field("version", &manifest.version));
        lines.push(field("uuid", &manifest.uuid));
        lines.push(field("type", manifest.kind));
        lines.push(field("os", manifest.os));
        for (name, value) in [
            ("description", &manifest.description),
            ("homepage", &manifest.homepage),
            ("published", &manifest.published_at),
            ("origin", &manifest.origin),
        ] {
            if let Some(value) = value {
                lines.push(field(name, value));
            }
        }
        if let Some(size) = manifest.image_size {
            let driver = |driver: &Option<String>| driver.clone().unwrap_or_default();
            lines.push(field(
                "disk",
                format_args!(
                    "{size} MiB (disk {}, nic {})",
                    driver(&manifest.disk_driver),
                    driver(&manifest.nic_driver)
                ),
            ));
        }
        for (name, value) in [
            (
                "requirements",
                serde_json::to_string(&manifest.requirements),
            ),
            ("tags", serde_json::to_string(&manifest.tags)),
        ] {
            if let Ok(text) = value
                && text != "null"
            {
                lines.push(field(name, text));
            }
        }
        if let Some(path) = image.manifest_path() {
            lines.push(field("manifest", path));
        }
    } else {
        lines.push(field("manifest", "none"));
    }
    if let Some(path) = image.path() {
        let size =
            size(image).map_or_else(String::new, |size| format!(" ({})", units::bytes(size)));
        lines.push(field("file", format_args!("{path}{size}")));
    }
    lines
}

fn stream(header: &StreamHeader) -> Vec<String> {
    let mut lines = vec![
        field(
            "stream",
            format_args!(
                "{} of a {}",
                if header.from_guid == 0 {
                    "full"
                } else {
                    "incremental"
                },
                header.kind
            ),
        ),
        field("snapshot", &header.to_name),
        field("guid", header.to_guid),
    ];
    if header.from_guid != 0 {
        lines.push(field("from guid", header.from_guid));
    }
    if let Some(time) = mibe_build::manifest::published_at(header.creation_time.cast_signed()) {
        lines.push(field("made", time));
    }
    lines
}

fn json(image: &Image, header: &StreamHeader) -> serde_json::Value {
    serde_json::json!({
        "uuid": image.manifest().map(|manifest| &manifest.uuid),
        "file": image.path(),
        "size": size(image),
        "manifest": image.manifest_path(),
        "stream": {
            "kind": header.kind.to_string(),
            "snapshot": header.to_name,
            // Numbers of 64 bits, which JavaScript would round.
            "guid": header.to_guid.to_string(),
            "from_guid": (header.from_guid != 0).then(|| header.from_guid.to_string()),
            "creation_time": header.creation_time,
            "features": header.features,
            "flags": header.flags,
            "compound": header.compound,
        },
    })
}
