//! `mibe image list`.

use std::fs;

use mibe_image::open::Image;

use super::{Output, libraries};
use crate::cli::ImageList;
use crate::error::CommandError;
use crate::{output, units};

pub fn run(arguments: &ImageList) -> Result<(), CommandError> {
    let libraries = libraries(&arguments.libraries)?;
    let listing = libraries.list();
    let mut out = Output::new();
    if arguments.json {
        for image in &listing.images {
            if !out.json(&json(image)) {
                break;
            }
        }
        for broken in &listing.broken {
            let object = serde_json::json!({
                "manifest": broken.path,
                "error": broken.error.to_string(),
            });
            out.json(&object);
        }
        return out.finish();
    }
    let mut rows =
        vec![["UUID", "NAME", "VERSION", "TYPE", "SIZE", "ORIGIN", "FILE"].map(String::from)];
    let shown = |cell: String| output::visible(&cell).into_owned();
    rows.extend(listing.images.iter().map(|image| row(image).map(shown)));
    if rows.len() == 1 && listing.broken.is_empty() {
        let folders: Vec<_> = libraries
            .folders()
            .iter()
            .map(|folder| folder.as_str())
            .collect();
        out.line(&format!("no images in {}", folders.join(" or ")));
        return out.finish();
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..7).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        out.line(line.trim_end());
    }
    for broken in &listing.broken {
        out.line(&format!("broken: {}", broken.error));
    }
    out.finish()
}

fn size(image: &Image) -> Option<u64> {
    Some(fs::metadata(image.path()?).ok()?.len())
}

fn row(image: &Image) -> [String; 7] {
    let dash = || "-".to_owned();
    let file = image.path().map_or_else(dash, ToString::to_string);
    let size = size(image).map_or_else(dash, units::bytes);
    let Some(manifest) = image.manifest() else {
        return [dash(), dash(), dash(), dash(), size, dash(), file];
    };
    [
        manifest.uuid.clone(),
        manifest.name.clone(),
        manifest.version.clone(),
        manifest.kind.to_string(),
        size,
        manifest.origin.clone().unwrap_or_else(dash),
        file,
    ]
}

fn json(image: &Image) -> serde_json::Value {
    serde_json::json!({
        "file": image.path(),
        "size": size(image),
        "manifest": image.manifest_path(),
        "image": image.manifest(),
    })
}
