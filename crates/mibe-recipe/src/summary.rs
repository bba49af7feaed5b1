//! A recipe in few words, and as one number.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::codes::Code;
use crate::copy::EntryKind;
use crate::disk::DiskSummary;
use crate::metadata::{Metadata, MetadataSummary};
use crate::problem::{Located, Problem, Problems};
use crate::recipe::{Network, Recipe, Target};

/// Changed whenever the digest of an unchanged repository would change.
const DIGEST_VERSION: &[u8] = b"mibe recipe 1";

/// What a recipe says, for `--dry-run` and for machines. The order of fields is the order of output.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Name of the image.
    pub name: String,
    /// Version of the image.
    pub version: String,
    /// What it is, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The maker's word for a machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// Where to read about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// What it starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What it makes, where the recipe says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Users with generated passwords.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// The tag `role`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The tag `lbaas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lbaas: Option<bool>,
    /// Billing tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub billing_tags: Vec<String>,
    /// The old name of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urn: Option<String>,
    /// Least memory, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ram: Option<u32>,
    /// Most memory, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ram: Option<u32>,
    /// The image's fixed UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_uuid: Option<String>,
    /// The owner's UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_uuid: Option<String>,
    /// The owner's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_name: Option<String>,
    /// The one account that may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restricted_to: Option<String>,
    /// Network interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// Kernel version that zones show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_version: Option<String>,
    /// Oldest platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_platform: Option<String>,
    /// Compression of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// What machines may be told by their owner.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub customer_metadata: Vec<MetadataSummary>,
    /// What machines may be told by the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub internal_metadata: Vec<MetadataSummary>,
    /// Requirements as the manifest has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requirements: Option<serde_json::Map<String, serde_json::Value>>,
    /// What it says of a disk.
    #[serde(flatten)]
    pub disk: DiskSummary,
    /// Packages to remove.
    pub delete_packages: Vec<String>,
    /// Packages to install.
    pub packages: Vec<String>,
    /// What `copy/` holds.
    pub copy: CopySummary,
    /// Whether there is a `motd`.
    pub motd: bool,
    /// The interpreter that `customize` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
}

/// Totals of `copy/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopySummary {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes in the files.
    pub bytes: u64,
}

impl Recipe {
    /// What the recipe says, without places.
    pub fn summary(&self) -> Summary {
        fn value<T: Clone>(located: Option<&Located<T>>) -> Option<T> {
            located.map(|located| located.value.clone())
        }
        fn values<T: Clone>(located: &[Located<T>]) -> Vec<T> {
            located
                .iter()
                .map(|located| located.value.clone())
                .collect()
        }
        let mut copy = CopySummary::default();
        for entry in &self.copy {
            match entry.kind {
                EntryKind::File => copy.files += 1,
                EntryKind::Directory => copy.directories += 1,
                EntryKind::Symlink(_) => copy.symlinks += 1,
            }
            copy.bytes = copy.bytes.saturating_add(entry.size);
        }
        Summary {
            name: self.name.value.clone(),
            version: self.version.value.clone(),
            description: value(self.description.as_ref()),
            organization: value(self.organization.as_ref()),
            brand: value(self.brand.as_ref()),
            homepage: value(self.homepage.as_ref()),
            base: value(self.base.as_ref()),
            target: value(self.target.as_ref()),
            users: values(&self.users),
            role: value(self.role.as_ref()),
            lbaas: value(self.lbaas.as_ref()),
            billing_tags: values(&self.billing_tags),
            urn: value(self.urn.as_ref()),
            min_ram: value(self.min_ram.as_ref()),
            max_ram: value(self.max_ram.as_ref()),
            image_uuid: value(self.image_uuid.as_ref()),
            owner_uuid: value(self.owner_uuid.as_ref()),
            owner_name: value(self.owner_name.as_ref()),
            restricted_to: value(self.restricted_to.as_ref()),
            networks: values(&self.networks),
            kernel_version: value(self.kernel_version.as_ref()),
            min_platform: value(self.min_platform.as_ref()),
            compression: value(self.compression.as_ref()),
            customer_metadata: self
                .customer_metadata
                .iter()
                .map(Metadata::summary)
                .collect(),
            internal_metadata: self
                .internal_metadata
                .iter()
                .map(Metadata::summary)
                .collect(),
            requirements: value(self.requirements.as_ref()),
            disk: self.disk.summary(),
            delete_packages: values(&self.delete_packages),
            packages: values(&self.packages),
            copy,
            motd: self.motd.is_some(),
            interpreter: self
                .customize
                .as_ref()
                .and_then(|script| script.interpreter.clone()),
        }
    }

    /// SHA-256 of all that the recipe brings into an image: the values of the manifest (not how they were written),
    /// the lists, `motd`, `customize`, and names, modes, targets and contents below `copy/`.
    ///
    /// It does not depend on where the repository lies, on times, on owners, nor on the bits that a umask takes away
    /// from group and others.
    ///
    /// # Errors
    ///
    /// A file of `copy/` can't be read, or is not the one any more that was there at the reading.
    pub fn content_digest(&self) -> Result<[u8; 32], Problems> {
        let mut digest = Sha256::new();
        let mut field = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        field(DIGEST_VERSION);
        let summary = serde_json::to_vec(&self.summary()).map_err(|error| {
            Problems::one(Problem::of_file(
                Code::Internal,
                "",
                format!("the recipe can't be written as JSON: {error}"),
                "report this as a fault of mibe",
            ))
        })?;
        field(&summary);
        field(self.motd.as_deref().unwrap_or_default());
        field(
            self.customize
                .as_ref()
                .map_or(&[], |script| script.contents.as_slice()),
        );
        let mut buffer = vec![0; 1 << 16];
        for entry in &self.copy {
            let path = &entry.path;
            digest_entry(&mut digest, &self.directory, entry, &mut buffer).map_err(|error| {
                Problems::one(Problem::of_file(
                    Code::Unreadable,
                    format!("copy/{}", path.to_string_lossy().escape_debug()),
                    format!("can't be read: {error}"),
                    "let nothing change the repository while it is built, and try again",
                ))
            })?;
        }
        Ok(digest.finalize().into())
    }
}

fn digest_entry(
    digest: &mut Sha256,
    repository: &camino::Utf8Path,
    entry: &crate::CopyEntry,
    buffer: &mut [u8],
) -> io::Result<()> {
    let path = entry.path.as_os_str().as_bytes();
    digest.update((path.len() as u64).to_le_bytes());
    digest.update(path);
    match &entry.kind {
        EntryKind::Directory => digest.update(b"d"),
        EntryKind::Symlink(target) => {
            let target = target.as_os_str().as_bytes();
            digest.update(b"l");
            digest.update((target.len() as u64).to_le_bytes());
            digest.update(target);
        }
        EntryKind::File => {
            digest.update(b"f");
            digest.update((entry.mode & 0o7755).to_le_bytes());
            digest.update(entry.size.to_le_bytes());
            let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
            let mut file = OpenOptions::new()
                .read(true)
                .custom_flags(flags.bits() as i32)
                .open(repository.as_std_path().join("copy").join(&entry.path))?;
            let mut total = 0;
            loop {
                let count = match file.read(buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                digest.update(&buffer[..count]);
                total += count as u64;
            }
            if total != entry.size {
                return Err(io::Error::other(
                    "its size changed since the repository was read",
                ));
            }
            return Ok(());
        }
    }
    if entry.kind == EntryKind::Directory {
        digest.update((entry.mode & 0o7755).to_le_bytes());
    }
    Ok(())
}
