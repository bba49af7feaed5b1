//! The recipe, and the reading of a whole repository.

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::copy::{self, CopyEntry};
use crate::dialect::shell;
use crate::files::{Customize, Folder};
use crate::manifest;
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
    /// The base as written: a UUID, a name and version, `debian:SUITE`, a path.
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
        let folder = Folder::open(directory)?;
        if let Some(problem) = not_a_repository(&folder, directory) {
            return Err(Problems(vec![problem]));
        }
        let mut problems = Collector::default();
        let fields = folder.manifest(&mut problems).and_then(|contents| {
            let source = Source {
                file: "manifest".into(),
                bytes: &contents.bytes,
            };
            let assignments = shell::parse(source, &mut problems);
            manifest::interpret(assignments, &mut problems)
        });
        let mut list = |name: &str| {
            let contents = folder.list(name, &mut problems);
            contents.map_or_else(Vec::new, |contents| {
                packages::parse(
                    Source {
                        file: name.into(),
                        bytes: &contents.bytes,
                    },
                    &mut problems,
                )
            })
        };
        let packages = list("packages");
        let delete_packages = list("delete_packages");
        let motd = folder
            .text("motd", &mut problems)
            .map(|contents| contents.bytes);
        let customize = folder.customize(&mut problems);
        let copy = read_copy(&folder, &mut problems);
        unread_files(&folder, &copy, &mut problems);
        let recipe = fields.map(|fields| {
            let mut recipe = fields.into_recipe(directory);
            recipe.packages = packages;
            recipe.delete_packages = delete_packages;
            recipe.motd = motd;
            recipe.customize = customize;
            recipe.copy = copy;
            recipe
        });
        let failed = problems.has_errors();
        let problems = problems.finish();
        match recipe {
            Some(recipe) if !failed => Ok(ReadOutcome {
                recipe,
                warnings: problems,
            }),
            _ => Err(Problems(problems)),
        }
    }

    /// Name and version as one word ("hello-lx-1.0.0").
    pub fn name_version(&self) -> String {
        format!("{}-{}", self.name.value, self.version.value)
    }
}

/// Tells folders that are no build repository from ones with a mistake in them.
fn not_a_repository(folder: &Folder<'_>, directory: &Utf8Path) -> Option<Problem> {
    if folder.has("manifest") {
        return None;
    }
    let error = |code, message: String, advice: &str| {
        Some(Problem::of_file(Severity::Error, code, "", message, advice))
    };
    if folder.has("manifest.json") {
        return error(
            "json-manifest",
            format!(
                "{directory} has a manifest.json and no manifest, and manifest.json can't be read yet"
            ),
            "write its name, version, description, homepage and base as key=\"value\" lines into a file manifest",
        );
    }
    for foreign in ["create-image", "ks.cfg", "sdc-vmtools"] {
        if folder.has(foreign) {
            return error(
                "not-a-repository",
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
            "missing-manifest",
            format!("{directory} has no manifest"),
            "add a file manifest with at least name=\"…\" and version=\"…\"",
        );
    }
    error(
        "not-a-repository",
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
                Severity::Error,
                "not-a-folder",
                "copy",
                "is not a folder",
                "make it a folder with the files to lay over the image's root",
            ));
            Vec::new()
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            problems.push(Problem::of_file(
                Severity::Error,
                "unreadable",
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
        problems.push(Problem::of_file(
            Severity::Warning,
            code,
            file,
            message,
            advice,
        ));
    };
    if folder.has("manifest.json") {
        warn(
            "json-manifest",
            "manifest.json",
            "is not read: the file manifest beside it is",
            "see that both say the same",
        );
    }
    if folder.has("copy.tar") {
        warn(
            "unread-file",
            "copy.tar",
            "is not read",
            "unpack it into copy/",
        );
    }
    let path = std::path::Path::new("root/customize");
    if copy.iter().any(|entry| entry.path == path) {
        warn(
            "hidden-by-customize",
            "copy/root/customize",
            "will not be in the image: the customize script takes its place and is removed after its run",
            "give the file another name",
        );
    }
}
