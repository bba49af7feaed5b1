//! What a manifest says of the disk of a virtual machine.

use serde::Serialize;

use crate::codes::Code;
use crate::manifest::Keys;
use crate::problem::Located;
use crate::recipe::{Recipe, Target};

/// Largest disk that can be asked for, in GiB.
const LARGEST: u32 = 64 << 10;

/// What only the images of virtual machines have.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// SHA-256 (64 digits) or SHA-512 (128) of the base's file, hexadecimal, in small letters.
    pub checksum: Option<Located<String>>,
    /// Size of the disk, in GiB, where it is to be larger than the base's.
    pub size: Option<Located<u32>>,
    /// Where the guest's metadata come from: `smartos`, `nocloud` or `keep`.
    pub datasource: Option<Located<String>>,
    /// The family of the guest's system, where it is not to be found out: `linux`, `bsd`, `windows` or `other`.
    pub os: Option<Located<String>>,
    /// The brand that machines must have, where the key `brand` names one of the platform: `kvm` or `bhyve`.
    pub brand: Option<Located<String>>,
}

/// [`Disk`] without places.
#[derive(Clone, Debug, Serialize)]
pub struct DiskSummary {
    /// Checksum of the base's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_checksum: Option<String>,
    /// GiB of the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u32>,
    /// Where metadata come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datasource: Option<String>,
    /// Family of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
}

impl Disk {
    pub(crate) fn summary(&self) -> DiskSummary {
        fn value<T: Clone>(located: Option<&Located<T>>) -> Option<T> {
            located.map(|located| located.value.clone())
        }
        DiskSummary {
            base_checksum: value(self.checksum.as_ref()),
            disk_size: value(self.size.as_ref()),
            datasource: value(self.datasource.as_ref()),
            os: value(self.os.as_ref()),
        }
    }
}

impl Keys<'_> {
    pub(crate) fn disk(&mut self, is_hvm: bool) -> Disk {
        Disk {
            checksum: self.checksum(),
            size: self.disk_size(),
            datasource: self.datasource(),
            // What is none of these is told of with the kind of image.
            os: self
                .one_of("os", &["linux", "bsd", "windows", "other"])
                .filter(|_| is_hvm),
            brand: self.one_of("brand", &["kvm", "bhyve"]),
        }
    }

    fn one_of(&self, key: &str, words: &[&str]) -> Option<Located<String>> {
        self.take(key)
            .filter(|value| words.contains(&value.value.as_str()))
    }

    fn checksum(&mut self) -> Option<Located<String>> {
        let value = self.take("base_checksum")?;
        let digits = value.trim().to_ascii_lowercase();
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && matches!(digits.len(), 64 | 128) {
            return Some(value.with(digits));
        }
        self.tell(
            &value,
            Code::BadChecksum,
            "`base_checksum` is neither a SHA-256 nor a SHA-512",
            "write the 64 or 128 hexadecimal digits of the vendor's SHA256SUMS or SHA512SUMS",
        );
        None
    }

    fn disk_size(&mut self) -> Option<Located<u32>> {
        let value = self.take("disk_size")?;
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.value.parse::<u32>() {
            Ok(gibibytes) if digits && (1..=LARGEST).contains(&gibibytes) => {
                Some(value.with(gibibytes))
            }
            _ => {
                self.tell(
                    &value,
                    Code::BadNumber,
                    format!("`disk_size` is not a whole number of GiB from 1 to {LARGEST}"),
                    "write disk_size=10 for 10 GiB",
                );
                None
            }
        }
    }

    fn datasource(&mut self) -> Option<Located<String>> {
        let value = self.take("datasource")?;
        if matches!(value.value.as_str(), "smartos" | "nocloud" | "keep") {
            return Some(value);
        }
        self.tell(
            &value,
            Code::BadDatasource,
            format!("`datasource` can't be `{}`", value.escape_debug()),
            "write smartos, nocloud or keep, or leave it out",
        );
        None
    }

    /// Tells of keys that do nothing for this image.
    pub(crate) fn disk_finish(&mut self, recipe: &Recipe) {
        if recipe
            .target
            .as_ref()
            .is_some_and(|target| target.value == Target::Hvm)
        {
            if let Some(base) = &recipe.base
                && is_url(base)
                && self.take("base_checksum").is_none()
            {
                self.tell(
                    base,
                    Code::UncheckedBase,
                    "the base comes from a server, and nothing says what it must be",
                    "add base_checksum, from the vendor's SHA256SUMS or SHA512SUMS",
                );
            }
            return;
        }
        for key in ["base_checksum", "disk_size", "datasource"] {
            if let Some(value) = self.take(key) {
                self.tell(
                    &value,
                    Code::UnusedKey,
                    format!("`{key}` is of disks, and this makes the image of a zone"),
                    "remove the line, or add type=\"zvol\"",
                );
            }
        }
    }
}

/// Whether a base is what a server has.
pub fn is_url(base: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        base.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}
