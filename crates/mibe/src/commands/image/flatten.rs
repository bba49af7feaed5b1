//! `mibe image flatten`.

use mibe_image::file::Compression;
use mibe_image::flatten::flatten;
use mibe_image::library::ImagePaths;

use super::{Output, Readings, failed, open};
use crate::cli::{CompressionName, ImageFlatten};
use crate::error::{CommandError, Kind};
use crate::site::Site;

pub fn run(arguments: &ImageFlatten) -> Result<(), CommandError> {
    let chain = open(&arguments.image, Readings::Several)?;
    let image = chain.image();
    let Some(manifest) = image.manifest() else {
        return Err(failed(mibe_image::Error::NoManifest {
            image: image.to_string(),
        }));
    };
    if chain.images().len() == 1 {
        return Err(CommandError::new(
            Kind::Usage,
            format!("{image} is a full image already"),
        ));
    }
    let version = arguments
        .image_version
        .clone()
        .unwrap_or_else(|| format!("{}-full", manifest.version));
    let compression = match arguments.compression {
        CompressionName::Gzip => Compression::Gzip,
        CompressionName::None => Compression::None,
    };
    let folder = &Site::find()?.images(arguments.output.as_deref())?;
    std::fs::create_dir_all(folder)
        .map_err(mibe_build::BuildError::io("make", folder.as_std_path()))?;
    let paths = ImagePaths::new(folder, &manifest.name, &version, compression);
    let manifest =
        flatten(&chain, &version, &paths, arguments.force, &mut |_| {}).map_err(failed)?;
    let mut out = Output::new();
    out.line(&format!("image     {} {}", manifest.name, manifest.version));
    out.line(&format!("uuid      {}", manifest.uuid));
    out.line(&format!("file      {}", paths.file()));
    out.line(&format!("manifest  {}", paths.manifest()));
    out.finish()
}
