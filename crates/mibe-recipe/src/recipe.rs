//! The recipe, and the reading of a whole repository.

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::both;
use crate::codes::Code;
use crate::copy::{self, CopyEntry};
use crate::dialect::json_manifest::{self, Contents};
use crate::dialect::{shell, structure};
use crate::disk::Disk;
use crate::files::{Customize, Folder};
use crate::manifest::{self, Fields};
use crate::metadata::Metadata;
use crate::packages;
use crate::problem::{Collector, Located, Problem, Problems, Severity, Source};

/// What kind of machine a recipe makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A Linux zone: image type `lx-dataset`, os `linux`.
    Lx,
    /// A SmartOS zone: image type `zone-dataset`, os `smartos`.
    Native,
    /// A virtual machine with its own kernel: image type `zvol`.
    Hvm,
}

/// A network interface that machines of the image need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Name of the interface ("net0").
    pub name: String,
    /// What it is for ("public").
    pub description: String,
}

/// All that a build repository says. Values that were empty in the manifest are `None` here.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The repository's folder, as it was given.
    pub directory: Utf8PathBuf,
    /// Name of the image: `^[A-Za-z0-9._/ -]+$`, at most 512 bytes.
    pub name: Located<String>,
    /// Version of the image: `^[A-Za-z0-9._/+-]+$`, at most 128 bytes.
    pub version: Located<String>,
    /// At most 10240 characters.
    pub description: Option<Located<String>>,
    /// Who makes the image, for `/etc/product`.
    pub organization: Option<Located<String>>,
    /// The maker's word for a machine ("Instance"), for `/etc/product` and `motd`.
    pub brand: Option<Located<String>>,
    /// An http or https URL of at most 1024 characters.
    pub homepage: Option<Located<String>>,
    /// Names of users whose passwords a datacentre generates; `users` of the image manifest.
    pub users: Vec<Located<String>>,
    /// What the image is for ("database"); the tag `role`.
    pub role: Option<Located<String>>,
    /// The tag `lbaas`.
    pub lbaas: Option<Located<bool>>,
    /// `billing_tags` of the image manifest, each of at most 128 characters.
    pub billing_tags: Vec<Located<String>>,
    /// `urn` of the image manifest, a relic of its first version.
    pub urn: Option<Located<String>>,
    /// The base as written: a UUID, a name and version, `debian:SUITE`, a path, a URL.
    pub base: Option<Located<String>>,
    /// `requirements.min_ram`, in MiB, at least 1.
    pub min_ram: Option<Located<u32>>,
    /// `requirements.max_ram`, in MiB, not below `min_ram`.
    pub max_ram: Option<Located<u32>>,
    /// The image's UUID, lower-case, where the recipe fixes one.
    pub image_uuid: Option<Located<String>>,
    /// UUID of the image's owner, lower-case.
    pub owner_uuid: Option<Located<String>>,
    /// Name of the image's owner.
    pub owner_name: Option<Located<String>>,
    /// UUID of the one account that may use the image, lower-case.
    pub restricted_to: Option<Located<String>>,
    /// `requirements.networks`.
    pub networks: Vec<Located<Network>>,
    /// The kernel version that an LX zone shows; the tag `kernel_version`.
    pub kernel_version: Option<Located<String>>,
    /// The oldest platform that runs the image, `YYYYMMDDTHHMMSSZ`.
    pub min_platform: Option<Located<String>>,
    /// `gzip` or `none`.
    pub compression: Option<Located<String>>,
    /// What machines of the image may be told, by whoever owns them.
    pub customer_metadata: Vec<Metadata>,
    /// What machines of the image may be told, by the operator only.
    pub internal_metadata: Vec<Metadata>,
    /// `requirements` of the image manifest as the recipe has it; the keys above stand over it.
    pub requirements: Option<Located<Map<String, Value>>>,
    /// What it says of the disk of a virtual machine.
    pub disk: Disk,
    /// What the recipe makes, where it says so; the base decides otherwise.
    pub target: Option<Located<Target>>,
    /// Packages to install, in order, none twice.
    pub packages: Vec<Located<String>>,
    /// Packages to remove before that.
    pub delete_packages: Vec<Located<String>>,
    /// `motd` as it stands, at most 1 MiB.
    pub motd: Option<Vec<u8>>,
    /// The script that finishes the image; always there after [`Recipe::read`].
    pub customize: Option<Customize>,
    /// The tree laid over the image, sorted, parents before children.
    pub copy: Vec<CopyEntry>,
}

/// A repository that can be built.
#[derive(Clone, Debug)]
pub struct ReadOutcome {
    /// What it says.
    pub recipe: Recipe,
    /// What is odd about it.
    pub warnings: Vec<Problem>,
}

impl Recipe {
    /// Reads the build repository in `directory`.
    ///
    /// # Errors
    ///
    /// All errors of all its files, with the warnings; at least one error.
    pub fn read(directory: &Utf8Path) -> Result<ReadOutcome, Problems> {
        let mut problems = Collector::default();
        let parts = Parts::read(directory, &mut problems)?;
        let failed = problems.has_errors();
        let mut problems = problems.finish();
        problems.retain(|problem| problem.severity != Severity::Info);
        match parts.into_recipe() {
            Some(recipe) if !failed => Ok(ReadOutcome {
                recipe,
                warnings: problems,
            }),
            _ => Err(Problems(problems)),
        }
    }

    /// What manifests alone say, with no folder around them: those of the two dialects that there are.
    ///
    /// # Errors
    ///
    /// All of their errors, with the warnings.
    pub fn of_manifests(
        shell: Option<&[u8]>,
        json: Option<&[u8]>,
    ) -> Result<ReadOutcome, Problems> {
        let mut problems = Collector::default();
        let fields = manifests(shell, json, shell.is_some(), &mut problems);
        let failed = problems.has_errors();
        let warnings = problems.finish();
        match fields {
            Some(fields) if !failed => Ok(ReadOutcome {
                recipe: fields.into_recipe(Utf8Path::new("")),
                warnings,
            }),
            _ => Err(Problems(warnings)),
        }
    }

    /// Name and version as one word ("hello-lx-1.0.0").
    pub fn name_version(&self) -> String {
        format!("{}-{}", self.name.value, self.version.value)
    }
}

/// What was read of a repository, whether it can be built or not.
pub(crate) struct Parts {
    /// What the manifest says, without the files beside it.
    pub(crate) recipe: Option<Recipe>,
    pub(crate) packages: Vec<Located<String>>,
    pub(crate) delete_packages: Vec<Located<String>>,
    pub(crate) motd: Option<Vec<u8>>,
    pub(crate) customize: Option<Customize>,
    pub(crate) copy: Vec<CopyEntry>,
}

impl Parts {
    /// Reads all files of a repository.
    ///
    /// # Errors
    ///
    /// The folder is no build repository.
    pub(crate) fn read(directory: &Utf8Path, problems: &mut Collector) -> Result<Self, Problems> {
        let folder = Folder::open(directory)?;
        if let Some(problem) = not_a_repository(&folder, directory) {
            return Err(Problems(vec![problem]));
        }
        let recipe = read_manifests(&folder, problems).map(|fields| fields.into_recipe(directory));
        let mut list = |name: &str| {
            let contents = folder.list(name, problems);
            contents.map_or_else(Vec::new, |contents| {
                let source = Source {
                    file: name.into(),
                    bytes: &contents.bytes,
                };
                packages::parse(source, problems)
            })
        };
        let packages = list("packages");
        let delete_packages = list("delete_packages");
        let motd = folder.text("motd", problems).map(|contents| contents.bytes);
        let customize = folder.customize(problems);
        let copy = read_copy(&folder, problems);
        unread_files(&folder, &copy, problems);
        Ok(Self {
            recipe,
            packages,
            delete_packages,
            motd,
            customize,
            copy,
        })
    }

    /// All of it as one recipe.
    pub(crate) fn into_recipe(self) -> Option<Recipe> {
        Some(Recipe {
            packages: self.packages,
            delete_packages: self.delete_packages,
            motd: self.motd,
            customize: self.customize,
            copy: self.copy,
            ..self.recipe?
        })
    }
}

/// What the manifests in a folder say.
fn read_manifests(folder: &Folder<'_>, problems: &mut Collector) -> Option<Fields> {
    let shell = folder.manifest("manifest", problems);
    let json = folder.manifest("manifest.json", problems);
    manifests(
        shell.as_ref().map(|contents| contents.bytes.as_slice()),
        json.as_ref().map(|contents| contents.bytes.as_slice()),
        folder.has("manifest"),
        problems,
    )
}

/// What one manifest, or both together, say; `beside` is whether a `manifest` stands there, read or not.
fn manifests(
    shell: Option<&[u8]>,
    json: Option<&[u8]>,
    beside: bool,
    problems: &mut Collector,
) -> Option<Fields> {
    let json = json.map(|bytes| {
        let source = Source {
            file: "manifest.json".into(),
            bytes,
        };
        json_manifest::parse(source, problems)
    });
    let shell = shell.map(|bytes| {
        let source = Source {
            file: "manifest".into(),
            bytes,
        };
        let mut assignments = shell::parse(source, problems);
        structure::read_embedded(source, &mut assignments, problems);
        assignments
    });
    if let Some(Contents::Payload(sign)) = json {
        let what = format!("is a payload of `vmadm create` (it has `{sign}`), not a manifest");
        let (code, advice) = if beside {
            (Code::VmadmPayloadBeside, "rename it to vm.json")
        } else {
            (
                Code::VmadmPayload,
                "rename it to vm.json, and add a manifest with name and version",
            )
        };
        problems.push(Problem::of_file(code, "manifest.json", what, advice));
    }
    match (shell, json) {
        (Some(shell), Some(Contents::Manifest(json))) => {
            let merged = both::merge(shell, json, problems);
            manifest::interpret(merged, "manifest.json".into(), problems)
        }
        (Some(shell), _) => manifest::interpret(shell, "manifest".into(), problems),
        (None, Some(Contents::Manifest(json))) => {
            manifest::interpret(json, "manifest.json".into(), problems)
        }
        (None, _) => None,
    }
}

/// Tells folders that are no build repository from ones with a mistake in them.
fn not_a_repository(folder: &Folder<'_>, directory: &Utf8Path) -> Option<Problem> {
    if folder.has("manifest") || folder.has("manifest.json") {
        return None;
    }
    let error =
        |code, message: String, advice: &str| Some(Problem::of_file(code, "", message, advice));
    for foreign in ["create-image", "ks.cfg", "sdc-vmtools"] {
        if folder.has(foreign) {
            return error(
                Code::NotARepository,
                format!(
                    "{directory} is not a build repository: it has {foreign} and no manifest, as folders have that make images from installers"
                ),
                "build it with the tool it was written for",
            );
        }
    }
    if ["customize", "packages", "copy", "motd"]
        .iter()
        .any(|name| folder.has(name))
    {
        return error(
            Code::MissingManifest,
            format!("{directory} has no manifest"),
            "add a file manifest with at least name=\"…\" and version=\"…\"",
        );
    }
    error(
        Code::NotARepository,
        format!(
            "{directory} is not a build repository: it has none of manifest, packages, customize, copy/, motd"
        ),
        "give the path of the folder that holds the manifest",
    )
}

fn read_copy(folder: &Folder<'_>, problems: &mut Collector) -> Vec<CopyEntry> {
    let top = folder.path("copy");
    match std::fs::symlink_metadata(&top) {
        Ok(metadata) if metadata.is_dir() => copy::walk(top.as_std_path(), problems),
        Ok(_) => {
            problems.push(Problem::of_file(
                Code::NotAFolder,
                "copy",
                "is not a folder",
                "make it a folder with the files to lay over the image's root",
            ));
            Vec::new()
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            problems.push(Problem::of_file(
                Code::Unreadable,
                "copy",
                format!("can't be read: {error}"),
                "make it readable for the user who builds",
            ));
            Vec::new()
        }
    }
}

/// Warns of files that people may believe to be used.
fn unread_files(folder: &Folder<'_>, copy: &[CopyEntry], problems: &mut Collector) {
    let mut warn = |code, file: &str, message: &str, advice: &str| {
        problems.push(Problem::of_file(code, file, message, advice));
    };
    if folder.has("copy.tar") {
        warn(
            Code::UnreadFile,
            "copy.tar",
            "is not read",
            "unpack it into copy/",
        );
    }
    let path = std::path::Path::new("root/customize");
    if copy.iter().any(|entry| entry.path == path) {
        warn(
            Code::HiddenByCustomize,
            "copy/root/customize",
            "will not be in the image: the customize script takes its place and is removed after its run",
            "give the file another name",
        );
    }
}
