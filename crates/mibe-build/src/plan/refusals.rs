//! What a builder can't do, refused before anything is touched.

use std::fs::File;
use std::path::Path;

use mibe_image::manifest::ImageType;
use mibe_recipe::{Recipe, Target};

use crate::base::BaseRef;
use crate::base_image::BaseImage;
use crate::error::BuildError;
use crate::host_base::{HostBase, HostBases};

/// Makes sure that an incremental image can say what it stands on.
pub(super) fn origin(image: Option<&BaseImage>, base: &BaseRef) -> Result<(), BuildError> {
    match image.map(BaseImage::manifest) {
        Some(Some(_)) => Ok(()),
        Some(None) => Err(BuildError::usage(
            format!(
                "the base {base} has no manifest, so that an incremental image can't name its origin"
            ),
            &["put its manifest beside it, under the same name with .json at its end"],
        )),
        None => Err(BuildError::usage(
            format!(
                "the base {base} is no image, and an incremental image needs one as its origin"
            ),
            &["leave --incremental out, or name an image with --base"],
        )),
    }
}

/// Refuses what the local builder can't do, before anything is touched; says whether the image will be a native one.
pub(super) fn buildable(
    recipe: &Recipe,
    base: &BaseRef,
    image: Option<&BaseImage>,
) -> Result<bool, BuildError> {
    let target = recipe.target.as_ref().map(|target| target.value);
    let is_disk = match base {
        BaseRef::Url(_) | BaseRef::Disk(_) => true,
        BaseRef::Archive(path) => is_disk(path),
        _ => image.is_some_and(BaseImage::is_volume),
    };
    if is_disk {
        return Err(BuildError::usage(
            format!(
                "the base {base} is the disk of a virtual machine, and {} makes the image of a zone",
                recipe.directory
            ),
            &[
                "if the image is to be one of a virtual machine, put type=\"zvol\" into the manifest",
            ],
        ));
    }
    let base = image;
    let is_native = base.is_some_and(BaseImage::is_native);
    let has_native_base = is_native || base.is_some_and(|base| base.manifest().is_none());
    if target == Some(Target::Native) && !has_native_base {
        return Err(BuildError::usage(
            format!(
                "{} builds a native (illumos) image, and its base is none",
                recipe.directory
            ),
            &[
                "name a native image with --base; its programs do not run on Linux, so that copy/, motd and product are all that is done to it",
                "or, if it is meant for LX, put os=\"linux\" into its manifest",
            ],
        ));
    }
    let is_native = is_native || target == Some(Target::Native);
    if is_native && target == Some(Target::Lx) {
        return Err(BuildError::usage(
            format!(
                "{} builds an LX image, and its base is a native (illumos) one",
                recipe.directory
            ),
            &["name an image of type lx-dataset with --base"],
        ));
    }
    if is_native {
        let packages = !recipe.packages.is_empty() || !recipe.delete_packages.is_empty();
        let (what, skip) = match (packages, recipe.customize.is_some()) {
            (false, false) => return Ok(true),
            (true, true) => ("packages and customize", "customize,packages"),
            (true, false) => ("packages", "packages"),
            (false, true) => ("customize", "customize"),
        };
        return Err(BuildError::usage(
            format!(
                "{} has {what}, and the programs of its native (illumos) base do not run on Linux",
                recipe.directory
            ),
            &[
                "build it on a SmartOS machine, here or over ssh: `mibe build --builder smartos --host root@HOST`",
                &format!(
                    "leave them out with --skip {skip}: copy/, motd and product go into the image, and nothing else"
                ),
            ],
        ));
    }
    no_urls(recipe)?;
    Ok(false)
}

/// Whether a file is a disk by what it begins with; a raw one can't be told from anything else.
fn is_disk(path: &Path) -> bool {
    use mibe_disk::source::Format;
    let format = File::open(path).and_then(|file| Format::of_file(&file));
    matches!(
        format,
        Ok(Format::Qcow2
            | Format::Vmdk
            | Format::Vhdx
            | Format::Vhd
            | Format::FixedVhd
            | Format::Vdi)
    )
}

/// Refuses what can't be done to a disk.
pub(super) fn disk_buildable(recipe: &Recipe, incremental: bool) -> Result<(), BuildError> {
    if incremental {
        return Err(BuildError::usage(
            format!(
                "{} builds the disk of a virtual machine, and only images of zones can be incremental",
                recipe.directory
            ),
            &["leave --incremental out"],
        ));
    }
    no_urls(recipe)
}

/// Packages by URL are for pkg_add alone.
fn no_urls(recipe: &Recipe) -> Result<(), BuildError> {
    let url = recipe
        .packages
        .iter()
        .find(|package| package.value.contains("://"));
    match url {
        Some(url) => Err(BuildError::usage(
            format!(
                "packages names a URL, {}, which is for pkg_add of a native image",
                url.value
            ),
            &["fetch and install it in customize instead"],
        )),
        None => Ok(()),
    }
}

/// The image of a host that the base is.
pub(super) fn of_host(base: &BaseRef, host: &dyn HostBases) -> Result<HostBase, BuildError> {
    match base {
        BaseRef::Image(name) if !name.contains('/') => host.find(name),
        _ => Err(BuildError::usage(
            format!(
                "the base {base} is none of {}: a zone is made from an image that the host has or can import",
                host.title()
            ),
            &[
                "name an image by its UUID or as NAME-VERSION with --base or in the manifest; `imgadm list` and `imgadm avail` on the host show them",
                "an image of this machine gets there with `imgadm install -m MANIFEST -f FILE`",
                "leave --builder smartos out to build on this Linux machine",
            ],
        )),
    }
}

/// Refuses what a host can't do, before anything is touched; says whether the image will be a native one.
pub(super) fn buildable_on_host(recipe: &Recipe, base: &HostBase) -> Result<bool, BuildError> {
    let target = recipe.target.as_ref().map(|target| target.value);
    let title = base.title();
    let native = match base.manifest.kind {
        ImageType::ZoneDataset => true,
        ImageType::LxDataset => false,
        other => {
            return Err(BuildError::usage(
                format!("the base {title} is an image of type {other}, which no zone is made from"),
                &["take one of type zone-dataset or lx-dataset"],
            ));
        }
    };
    match target {
        Some(Target::Hvm) => {
            return Err(BuildError::usage(
                format!(
                    "{} builds the disk of a virtual machine, and the SmartOS builder makes images of zones",
                    recipe.directory
                ),
                &[
                    "disks are made on a Linux machine: leave --builder smartos out",
                    "if it is meant for LX, put os=\"linux\" into its manifest",
                ],
            ));
        }
        Some(Target::Native) if !native => {
            return Err(BuildError::usage(
                format!(
                    "{} builds a native (illumos) image, and its base {title} is an LX one",
                    recipe.directory
                ),
                &[
                    "name an image of type zone-dataset with --base, or put os=\"linux\" into the manifest",
                ],
            ));
        }
        Some(Target::Lx) if native => {
            return Err(BuildError::usage(
                format!(
                    "{} builds an LX image, and its base {title} is a native (illumos) one",
                    recipe.directory
                ),
                &["name an image of type lx-dataset with --base"],
            ));
        }
        _ => {}
    }
    if !native {
        no_urls(recipe)?;
    }
    Ok(native)
}
