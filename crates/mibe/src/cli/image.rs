//! `mibe image`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CompressionName;

/// Look into images.
///
/// IMAGE is the path of a manifest or of a stream (compressed with gzip, bzip2, xz or zstd, or not), a UUID, or
/// NAME@VERSION of an image in the library; `-` reads a stream from standard input.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List the images of the library
    List(ImageList),
    /// Show an image's manifest, sizes, ancestry and stream
    Show(OneImageJson),
    /// Tell what images servers offer
    #[cfg(feature = "servers")]
    Avail(super::ImageAvail),
    /// Bring images from servers, with what they stand on
    #[cfg(feature = "servers")]
    Pull(super::ImagePull),
    /// List the files in an image
    Files(ImageFiles),
    /// Write a file of an image to standard output
    Cat(ImageCat),
    /// Unpack an image, or some of its files, into a folder or a tar archive
    #[cfg(feature = "local")]
    Extract(ImageExtract),
    /// Tell how two images differ: files, packages, users and services
    Diff(ImageDiff),
    /// Look into every part of an image: checksums, records, references, manifest, file
    Verify(OneImageJson),
    /// Make a full image of an incremental one and its origins
    Flatten(ImageFlatten),
}

/// Where images are found.
#[derive(Debug, Args)]
pub struct Libraries {
    /// Folder in which images are looked for, before the cache [default: images, in the home if there is one]
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Image that IMAGE stands on and that is in no library (a manifest or a stream); may be given again
    #[arg(long, value_name = "FILE")]
    pub origin: Vec<PathBuf>,
}

/// An image.
#[derive(Debug, Args)]
pub struct OneImage {
    /// Path of a manifest or stream, UUID, NAME@VERSION, or - for standard input
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Where images are found
    #[command(flatten)]
    pub libraries: Libraries,
}

/// An image, told as text or JSON.
#[derive(Debug, Args)]
pub struct OneImageJson {
    /// The image
    #[command(flatten)]
    pub image: OneImage,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// List the images of the library.
#[derive(Debug, Args)]
pub struct ImageList {
    /// Where images are found
    #[command(flatten)]
    pub libraries: Libraries,
    /// A JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// List the files in an image.
#[derive(Debug, Args)]
pub struct ImageFiles {
    /// The image
    #[command(flatten)]
    pub image: OneImage,
    /// List what is at and below this path in the image only
    #[arg(value_name = "PATH")]
    pub path: Option<OsString>,
    /// With mode, links, owner, group, size and time (UTC)
    #[arg(short, long)]
    pub long: bool,
    /// A JSON object a line
    #[arg(long, conflicts_with = "long")]
    pub json: bool,
    /// With the SHA-256 of the content
    #[arg(long)]
    pub sha256: bool,
}

/// Write a file of an image to standard output.
#[derive(Debug, Args)]
pub struct ImageCat {
    /// The image
    #[command(flatten)]
    pub image: OneImage,
    /// Path of the file in the image
    #[arg(value_name = "PATH")]
    pub path: OsString,
}

/// Unpack an image into a folder or a tar archive.
///
/// Run by root, files get their owners. For others, owners and devices are kept in attributes of the files, and a tar
/// archive holds them as they are.
#[cfg(feature = "local")]
#[derive(Debug, Args)]
pub struct ImageExtract {
    /// The image
    #[command(flatten)]
    pub image: OneImage,
    /// The folder to make (not with --tar), then paths in the image to take, instead of all
    #[arg(value_name = "DIR] [PATH")]
    pub paths: Vec<PathBuf>,
    /// Write a tar archive instead; - is standard output
    #[arg(long, value_name = "FILE")]
    pub tar: Option<PathBuf>,
}

/// Tell how two images differ.
#[derive(Debug, Args)]
pub struct ImageDiff {
    /// The one image
    #[arg(value_name = "A")]
    pub one: String,
    /// The other
    #[arg(value_name = "B")]
    pub other: String,
    /// Where images are found
    #[command(flatten)]
    pub libraries: Libraries,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
    /// Tell of files that differ in nothing but their times, too
    #[arg(long)]
    pub times: bool,
}

/// Make a full image of an incremental one and its origins.
#[derive(Debug, Args)]
pub struct ImageFlatten {
    /// The image
    #[command(flatten)]
    pub image: OneImage,
    /// Where the image goes [default: images, in the home if there is one]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Its version [default: that of IMAGE with -full at its end]
    #[arg(long, value_name = "VERSION")]
    pub image_version: Option<String>,
    /// Compression of its file
    #[arg(long, value_enum, default_value_t = CompressionName::Gzip)]
    pub compression: CompressionName,
    /// Replace an image of the same name and version
    #[arg(long)]
    pub force: bool,
}
