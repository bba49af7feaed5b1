//! From a recipe to the steps of its build, before anything is touched.

mod disk;
mod refusals;

use std::fmt;
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use mibe_image::file::Compression;
use mibe_image::library::ImagePaths;
use mibe_image::manifest::Manifest;
use mibe_image::open::Libraries;
use mibe_recipe::{Code, CopyEntry, EntryKind, Located, Problem, Recipe, Target};

use serde::Serialize;

pub use self::disk::DiskPlan;
use self::refusals::{buildable, buildable_on_host, disk_buildable, of_host, origin};
use crate::base::{BaseRef, FetchBase};
use crate::base_image::BaseImage;
use crate::error::BuildError;
use crate::host_base::{HostBase, HostBases};
use crate::lay;

/// A step of a build; the order of the variants is the order of the steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Make the base available.
    Resolve,
    /// Make the build machine.
    Create,
    /// Remove packages.
    DeletePackages(Vec<String>),
    /// Install packages.
    Packages(Vec<String>),
    /// Lay copy/ over the tree.
    Copy {
        /// Files, directories and links.
        entries: usize,
        /// Bytes in the files.
        bytes: u64,
    },
    /// Write /etc/motd and /etc/product.
    MotdProduct,
    /// Run customize.
    Customize,
    /// Make the tree fit to be an image.
    Finalise,
    /// Turn it into a stream, compressed.
    Capture,
    /// Write the image's manifest.
    Manifest,
}

impl Step {
    /// Its name, for people and for `--progress json`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Create => "create",
            Self::DeletePackages(_) => "delete packages",
            Self::Packages(_) => "packages",
            Self::Copy { .. } => "copy",
            Self::MotdProduct => "motd and product",
            Self::Customize => "customize",
            Self::Finalise => "finalise",
            Self::Capture => "capture",
            Self::Manifest => "manifest",
        }
    }
}

/// What will be built, from what, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The build repository.
    pub repository: Utf8PathBuf,
    /// What was read from it.
    pub recipe: Recipe,
    /// What is odd about it.
    pub warnings: Vec<Problem>,
    /// UUID of the image's owner where the recipe names none.
    pub owner: Option<String>,
    /// `CLOUD:CREATOR` of the image's urn where the recipe has none.
    pub urn: Option<String>,
    /// Where the build starts.
    pub base: BaseRef,
    /// The image that the base is, if it is one of this machine.
    pub base_image: Option<BaseImage>,
    /// The image that the base is, if it is one of a host.
    pub host_base: Option<HostBase>,
    /// The disk that the image will be, if it is one of a virtual machine.
    pub disk: Option<DiskPlan>,
    /// Whether the image will be one of illumos.
    native: bool,
    /// Whether only what differs from the base is to be in the image's stream.
    pub incremental: bool,
    /// The entries of copy/, as they are to be in the image.
    pub entries: Vec<lay::Entry>,
    /// What will be done, in order.
    pub steps: Vec<Step>,
    /// Compression of the image's file.
    pub compression: Compression,
    /// Where the image will be.
    pub image: ImagePaths,
}

/// What of the plan the user decides.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Overrides the recipe's base; a relative path counts from the current folder.
    pub base: Option<String>,
    /// Compression of the image's file; `None` takes the recipe's, or gzip.
    pub compression: Option<Compression>,
    /// Folder of the image.
    pub output: Utf8PathBuf,
    /// Other folders in which images are looked for, after that.
    pub libraries: Vec<Utf8PathBuf>,
    /// Images that the base stands on and that are in none of these folders.
    pub origins: Vec<Utf8PathBuf>,
    /// Make an incremental image, which needs the base where it is installed.
    pub incremental: bool,
    /// Steps to leave out.
    pub skip: Vec<Skip>,
    /// What holds where the recipe says nothing.
    pub defaults: Defaults,
}

/// What holds for every image of a site whose recipe says nothing else.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The base; a relative path counts from the repository.
    pub base: Option<String>,
    /// Compression of the image's file.
    pub compression: Option<Compression>,
    /// UUID of the image's owner.
    pub owner: Option<String>,
    /// `CLOUD:CREATOR`, from which with name and version the image's urn is made.
    pub urn: Option<String>,
}

/// A step that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Installing and removing packages.
    Packages,
    /// Running customize.
    Customize,
}

impl Plan {
    /// Reads a repository and lays out its build; touches nothing. Bases are images of `host` where it is given, else those of this
    /// machine, or what `fetch` brings.
    ///
    /// # Errors
    ///
    /// The repository has errors, or asks for what its builder can't do.
    pub fn make(
        repository: &Utf8Path,
        options: &PlanOptions,
        host: Option<&dyn HostBases>,
        fetch: Option<&dyn FetchBase>,
    ) -> Result<Self, BuildError> {
        let outcome = Recipe::read(repository).map_err(|problems| BuildError::Recipe {
            repository: repository.into(),
            problems: problems.0,
        })?;
        let (mut recipe, mut warnings) = (outcome.recipe, outcome.warnings);
        leave_out(&mut recipe, &options.skip);
        if let Some(owner) = &recipe.owner_name {
            warnings.push(owner.problem(
                Code::UnusedKey,
                "image manifests name an owner by its uuid alone; ownername is left out",
                "say owneruuid=\"UUID\"",
            ));
        }
        let of_recipe = recipe.base.as_ref().map(|base| &base.value);
        let base = match (&options.base, of_recipe.or(options.defaults.base.as_ref())) {
            (Some(base), _) => BaseRef::parse(base, Path::new(""))?,
            (None, Some(base)) => BaseRef::parse(base, repository.as_std_path())?,
            (None, None) => {
                return Err(BuildError::usage(
                    format!("{repository} names no base"),
                    &[
                        "put base=\"debian:bookworm\" (or another) into its manifest",
                        "or give one with --base: debian:SUITE, an image, a root file system as a tar archive, or a directory",
                        "or set build.base in mibe.toml for all repositories that name none",
                    ],
                ));
            }
        };
        let is_hvm = recipe
            .target
            .as_ref()
            .is_some_and(|target| target.value == Target::Hvm);
        let base = if is_hvm {
            base.of_disk(repository.as_std_path())?
        } else {
            base
        };
        let host_base = match host {
            Some(host) => Some(of_host(&base, host)?),
            None => None,
        };
        let base_image = match &base {
            BaseRef::Image(name) if host.is_none() => {
                let folders = [&options.output].into_iter().chain(&options.libraries);
                let libraries = Libraries::new(folders.cloned());
                Some(BaseImage::open(name, &libraries, &options.origins, fetch)?)
            }
            _ => None,
        };
        let image = base_image.as_ref();
        let mut disk = None;
        let native = match &host_base {
            Some(base) => buildable_on_host(&recipe, base)?,
            None if disk::is_wanted(&recipe, image) => {
                disk_buildable(&recipe, options.incremental)?;
                disk = Some(DiskPlan::of(&recipe, &base, image)?);
                false
            }
            None => buildable(&recipe, &base, image)?,
        };
        if options.incremental && host_base.is_none() {
            origin(base_image.as_ref(), &base)?;
        }
        let compression = match (options.compression, &recipe.compression) {
            (Some(compression), _) => compression,
            (None, Some(compression)) if compression.value == "none" => Compression::None,
            (None, Some(_)) => Compression::Gzip,
            (None, None) => options.defaults.compression.unwrap_or(Compression::Gzip),
        };
        let image = ImagePaths::new(&options.output, &recipe.name, &recipe.version, compression);
        let entries: Vec<_> = recipe.copy.iter().map(entry).collect();
        let bytes = recipe.copy.iter().map(|entry| entry.size).sum();
        let mut steps = vec![Step::Resolve, Step::Create];
        if !recipe.delete_packages.is_empty() {
            steps.push(Step::DeletePackages(names(&recipe.delete_packages)));
        }
        if !recipe.packages.is_empty() {
            steps.push(Step::Packages(names(&recipe.packages)));
        }
        if !entries.is_empty() {
            steps.push(Step::Copy {
                entries: entries.len(),
                bytes,
            });
        }
        steps.push(Step::MotdProduct);
        if recipe.customize.is_some() {
            steps.push(Step::Customize);
        }
        // What is done to an LX tree without the zone, and to any tree of a zone that ran.
        if !native || host_base.is_some() {
            steps.push(Step::Finalise);
        }
        steps.extend([Step::Capture, Step::Manifest]);
        Ok(Self {
            repository: repository.to_owned(),
            recipe,
            warnings,
            owner: options.defaults.owner.clone(),
            urn: options.defaults.urn.clone(),
            base,
            base_image,
            host_base,
            disk,
            native,
            incremental: options.incremental,
            entries,
            steps,
            compression,
            image,
        })
    }
}

impl Plan {
    /// Whether the image will be one of illumos.
    pub fn is_native(&self) -> bool {
        self.native
    }

    /// The manifest of the base, if it is an image and has one.
    pub fn base_manifest(&self) -> Option<&Manifest> {
        match &self.host_base {
            Some(base) => Some(&base.manifest),
            None => self.base_image.as_ref()?.manifest(),
        }
    }

    /// UUID of the image that the image will need where it is installed.
    pub fn origin(&self) -> Option<&str> {
        let base = self.base_manifest().filter(|_| self.incremental)?;
        Some(&base.uuid)
    }

    /// The plan as JSON, for programs.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "event": "plan",
            "version": mibe_image::progress::VERSION,
            "repository": self.repository,
            "recipe": self.recipe.summary(),
            "base": self.base.to_string(),
            "origin": self.origin(),
            "file": self.image.file(),
            "manifest": self.image.manifest(),
            "steps": self.steps,
            "warnings": self.warnings,
        })
    }
}

fn names(packages: &[Located<String>]) -> Vec<String> {
    packages
        .iter()
        .map(|package| package.value.clone())
        .collect()
}

fn entry(entry: &CopyEntry) -> lay::Entry {
    lay::Entry {
        path: entry.path.clone(),
        kind: match &entry.kind {
            EntryKind::Directory => lay::EntryKind::Directory,
            EntryKind::File => lay::EntryKind::File,
            EntryKind::Symlink(target) => lay::EntryKind::Symlink(target.clone()),
        },
        mode: lay::image_mode(entry.mode),
    }
}

/// Takes out of a recipe what is not to be done.
fn leave_out(recipe: &mut Recipe, skip: &[Skip]) {
    for skip in skip {
        match skip {
            Skip::Packages => {
                recipe.packages.clear();
                recipe.delete_packages.clear();
            }
            Skip::Customize => recipe.customize = None,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recipe = &self.recipe;
        let mut field = |name: &str, value: &str| writeln!(out, "  {name:<14} {value}");
        field("image", &format!("{} {}", *recipe.name, *recipe.version))?;
        let kind = match &self.disk {
            Some(disk) => format!("HVM (type zvol, for {})", disk.brands()),
            None if self.is_native() => "native (type zone-dataset, os smartos)".to_owned(),
            None => "LX (type lx-dataset, os linux, brand lx)".to_owned(),
        };
        field("kind", &kind)?;
        field("base", &self.base.to_string())?;
        match (&self.base_image, &self.host_base) {
            (Some(image), _) => field("base image", &image.title())?,
            (None, Some(base)) => field("base image", &base.described())?,
            (None, None) => {}
        }
        if let Some(disk) = &self.disk {
            field("disk", &disk.described())?;
        }
        if self.incremental {
            field("stream", "incremental: what differs from the base")?;
        }
        for (name, value) in [
            ("description", &recipe.description),
            ("homepage", &recipe.homepage),
        ] {
            if let Some(value) = value {
                field(name, value)?;
            }
        }
        let words = |values: &[Located<String>]| {
            let values: Vec<_> = values.iter().map(|value| value.value.as_str()).collect();
            values.join(" ")
        };
        let ram = match (&recipe.min_ram, &recipe.max_ram) {
            (None, None) => String::new(),
            (Some(least), None) => format!("{} MiB or more", **least),
            (None, Some(most)) => format!("{} MiB or less", **most),
            (Some(least), Some(most)) => format!("{} to {} MiB", **least, **most),
        };
        let networks: Vec<_> = recipe
            .networks
            .iter()
            .map(|network| format!("{} ({})", network.name, network.description))
            .collect();
        let text = |value: &Option<Located<String>>| {
            value
                .as_ref()
                .map_or_else(String::new, |value| value.value.clone())
        };
        for (name, value) in [
            ("users", words(&recipe.users)),
            ("memory", ram),
            ("networks", networks.join(", ")),
            ("kernel version", text(&recipe.kernel_version)),
            ("platform", text(&recipe.min_platform)),
            ("role", text(&recipe.role)),
            ("metadata", metadata(recipe)),
            ("billing tags", words(&recipe.billing_tags)),
            ("uuid", text(&recipe.image_uuid)),
            ("owner", text(&recipe.owner_uuid)),
            ("for", text(&recipe.restricted_to)),
        ] {
            if !value.is_empty() {
                field(name, &value)?;
            }
        }
        field("file", self.image.file().as_str())?;
        field("manifest", self.image.manifest().as_str())?;
        writeln!(out, "steps:")?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(out, "  {:>2}. {step}", number + 1)?;
        }
        Ok(())
    }
}

/// The keys that machines of the image may be told.
fn metadata(recipe: &Recipe) -> String {
    let keys: Vec<&str> = recipe
        .customer_metadata
        .iter()
        .chain(&recipe.internal_metadata)
        .map(|entry| entry.key.as_str())
        .collect();
    keys.join(" ")
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeletePackages(names) | Self::Packages(names) => {
                write!(out, "{}: {}", self.name(), names.join(" "))
            }
            Self::Copy { entries, bytes } => {
                write!(out, "{}: {entries} entries, {bytes} bytes", self.name())
            }
            Self::Resolve => write!(out, "{}: have the base here", self.name()),
            Self::Create => write!(out, "{}: make the build machine of it", self.name()),
            Self::MotdProduct | Self::Customize | Self::Manifest => out.write_str(self.name()),
            Self::Finalise => write!(out, "{}: make the tree fit to be an image", self.name()),
            Self::Capture => write!(out, "{}: write the ZFS stream", self.name()),
        }
    }
}
