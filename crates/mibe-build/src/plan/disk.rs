//! What a plan says of the disk of a virtual machine.

use mibe_disk::inspect::Os;
use mibe_disk::prepare::{Bootrom, Brand, Datasource, Wishes};
use mibe_recipe::{Recipe, Target};

use crate::base::BaseRef;
use crate::base_image::BaseImage;
use crate::disk::{Checksum, DiskInput};
use crate::error::BuildError;

/// A disk that becomes an image.
#[derive(Clone, Debug)]
pub struct DiskPlan {
    /// The file or URL that it comes from; `None` where the base is an image.
    pub input: Option<DiskInput>,
    /// Bytes that it is to have, where it is to be larger than it is.
    pub size: Option<u64>,
    brand: Option<Brand>,
    bootrom: Option<Bootrom>,
    datasource: Option<Datasource>,
    os: Option<Os>,
}

impl DiskPlan {
    /// What a recipe wants of the disk that it starts from.
    ///
    /// # Errors
    ///
    /// The base is no disk, or the recipe asks for what no disk can be.
    pub(super) fn of(
        recipe: &Recipe,
        base: &BaseRef,
        image: Option<&BaseImage>,
    ) -> Result<Self, BuildError> {
        let name = match (base, image) {
            (BaseRef::Disk(path), _) => Some(path.display().to_string()),
            (BaseRef::Url(url), _) => Some(url.clone()),
            (BaseRef::Image(_), Some(image)) if image.is_volume() => None,
            _ => {
                return Err(BuildError::usage(
                    format!(
                        "{} builds the disk of a virtual machine, and its base {base} is none",
                        recipe.directory
                    ),
                    &[
                        "take a vendor's cloud disk (a path, or a URL with base_checksum), or an image of type zvol",
                        "if it is meant for LX, put os=\"linux\" into its manifest instead of type=\"zvol\"",
                    ],
                ));
            }
        };
        let checksum = recipe.disk.checksum.as_ref();
        let checksum = checksum
            .map(|checksum| Checksum::parse(&checksum.value))
            .transpose()?;
        if let (Some(_), None) = (&checksum, &name) {
            return Err(BuildError::usage(
                format!(
                    "base_checksum is of a file, and the base {base} is an image, whose manifest has its own"
                ),
                &["leave base_checksum out"],
            ));
        }
        let required = |key: &str| {
            let requirements = recipe.requirements.as_ref()?;
            requirements.value.get(key)?.as_str()
        };
        let said = recipe.disk.brand.as_ref().map(|brand| brand.value.as_str());
        let brand = match said.or(required("brand")) {
            None => None,
            Some("kvm") => Some(Brand::Kvm),
            Some("bhyve") => Some(Brand::Bhyve),
            Some(other) => {
                return Err(BuildError::usage(
                    format!("no virtual machine is of the brand {other:?}"),
                    &["require kvm or bhyve, or no brand"],
                ));
            }
        };
        let bootrom = match required("bootrom") {
            None => None,
            Some("bios") => Some(Bootrom::Bios),
            Some("uefi") => Some(Bootrom::Uefi),
            Some(other) => {
                return Err(BuildError::usage(
                    format!("no virtual machine has the bootrom {other:?}"),
                    &["require bios or uefi, or no bootrom"],
                ));
            }
        };
        let disk = &recipe.disk;
        let plan = Self {
            input: name.map(|name| DiskInput {
                name,
                checksum,
                backing: Vec::new(),
            }),
            size: disk.size.as_ref().map(|size| u64::from(size.value) << 30),
            brand,
            bootrom,
            datasource: disk.datasource.as_ref().map(|word| match word.as_str() {
                "nocloud" => Datasource::Nocloud,
                "keep" => Datasource::Keep,
                _ => Datasource::Smartos,
            }),
            os: disk.os.as_ref().map(|word| match word.as_str() {
                "bsd" => Os::Bsd,
                "windows" => Os::Windows,
                "other" => Os::Other,
                _ => Os::Linux,
            }),
        };
        plan.wishes(0).check()?;
        Ok(plan)
    }

    /// What is wished of the disk, at a time in seconds since 1970.
    pub fn wishes(&self, now: i64) -> Wishes {
        Wishes {
            brand: self.brand,
            bootrom: self.bootrom,
            datasource: self.datasource,
            os: self.os,
            clean: true,
            now,
        }
    }

    /// The brands of machines of the image, as far as the recipe says.
    pub(super) fn brands(&self) -> &'static str {
        match (self.brand, self.datasource) {
            (Some(Brand::Kvm), _) => "kvm",
            (Some(Brand::Bhyve), _) | (_, Some(Datasource::Nocloud)) => "bhyve",
            _ => "kvm and bhyve",
        }
    }

    /// For people: how large.
    pub(super) fn described(&self) -> String {
        match self.size {
            Some(size) => format!("made {} GiB large, its root file system too", size >> 30),
            None => "as large as the base's".to_owned(),
        }
    }
}

/// Whether a recipe makes the disk of a virtual machine: it says so, or says nothing and starts from one.
pub(super) fn is_wanted(recipe: &Recipe, image: Option<&BaseImage>) -> bool {
    match &recipe.target {
        Some(target) => target.value == Target::Hvm,
        None => image.is_some_and(BaseImage::is_volume),
    }
}
