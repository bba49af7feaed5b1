//! The image manifest, version 2.
//!
//! The rules are those of Joyent's `imgmanifest` 3.2.1, the reference that image servers and `imgadm` use. A few are
//! stricter, so that every older server takes the image too: a name has at most 512 bytes (there 1024), a version 128
//! (there 512), and times, digests and guids must be well-formed.

mod rules;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;

use camino::Utf8Path;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::file::{Compression, FinishedFile};

pub use rules::Violation;
pub(crate) use rules::is_uuid;

/// Largest manifest that is read, in bytes: ten times what tags and description may fill.
const MANIFEST_SIZE: u64 = 1 << 20;

/// The manifest of an image. Fields that are `None` are left out of the JSON; their order is that of writing.
///
/// What a type can't hold (a number for a name, an unknown key) is an error of reading; the other rules are checked by
/// [`validate`](Self::validate).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub v: FormatVersion,
    /// The image's UUID, lower-case.
    pub uuid: String,
    /// The owner's UUID, lower-case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `^[A-Za-z0-9._/ -]+$`, at most 512 bytes.
    pub name: String,
    /// `^[A-Za-z0-9._/+-]+$`, at most 128 bytes.
    pub version: String,
    /// The image's name in version 1 of the format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urn: Option<String>,
    /// At most 10240 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// An http or https URL of at most 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// An http or https URL of at most 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eula: Option<String>,
    /// What happened of the image on its server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Whether it was withdrawn.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient_bool"
    )]
    pub disabled: Option<bool>,
    /// Whether it can be used; then `published_at` and `files` must be there.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient_bool"
    )]
    pub activated: Option<bool>,
    /// Whether everyone may use it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient_bool"
    )]
    pub public: Option<bool>,
    /// `YYYY-MM-DDTHH:MM:SSZ`, or with milliseconds; see [`published_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<String>,
    /// What the file holds.
    #[serde(rename = "type")]
    pub kind: ImageType,
    /// What runs in machines of the image.
    pub os: Os,
    /// UUID of the image that an incremental one needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The file: one entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<ImageFile>>,
    /// Whether the server has an icon for it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient_bool"
    )]
    pub icon: Option<bool>,
    /// UUIDs of the accounts that may use an image that is not public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Vec<String>>,
    /// What machines need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Requirements>,
    /// Users that get generated passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<User>>,
    /// Whether passwords are generated.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient_bool"
    )]
    pub generate_passwords: Option<bool>,
    /// Each at most 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_tags: Option<Vec<String>>,
    /// What servers must have to run machines of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traits: Option<Map<String, Value>>,
    /// At most 100 KiB of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Map<String, Value>>,
    /// Directories shared with the platform; `zone-dataset` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited_directories: Option<Vec<String>>,
    /// Model of network interfaces; `zvol` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic_driver: Option<String>,
    /// Model of disks; `zvol` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_driver: Option<String>,
    /// Model of processors; `zvol` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_type: Option<String>,
    /// Size of the disk in MiB; `zvol` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<u64>,
    /// Channels of a server that has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
    /// Why making the image failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Map<String, Value>>,
}

/// The format's version, which is 2; written as a number, also read as the text `"2"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "u32")]
pub struct FormatVersion;

impl From<FormatVersion> for u32 {
    fn from(_: FormatVersion) -> Self {
        2
    }
}

impl TryFrom<Value> for FormatVersion {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        if value == 2 || value == "2" {
            return Ok(Self);
        }
        Err("`v` is not 2: only manifests of version 2 can be read")
    }
}

/// Makes an enum whose variants are words of the manifest.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in manifests.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(self.name())
            }
        }
    };
}

words! {
    /// What an image's file holds.
    ImageType {
        /// A file system for a SmartOS zone.
        ZoneDataset = "zone-dataset",
        /// A file system for a Linux zone.
        LxDataset = "lx-dataset",
        /// The disk of a virtual machine.
        Zvol = "zvol",
        /// A layer of a Docker image.
        Docker = "docker",
        /// An LXD image.
        Lxd = "lxd",
        /// Anything else.
        Other = "other",
    }
}

words! {
    /// What runs in machines of an image.
    Os {
        /// SmartOS.
        Smartos = "smartos",
        /// Linux.
        Linux = "linux",
        /// Windows.
        Windows = "windows",
        /// A BSD.
        Bsd = "bsd",
        /// Another illumos than SmartOS.
        Illumos = "illumos",
        /// Anything else.
        Other = "other",
    }
}

words! {
    /// What happened of an image on its server.
    State {
        /// Can be used.
        Active = "active",
        /// Not complete, or not released yet.
        Unactivated = "unactivated",
        /// Withdrawn.
        Disabled = "disabled",
        /// Could not be made.
        Failed = "failed",
        /// Is being made.
        Creating = "creating",
    }
}

words! {
    /// The compressions that a manifest may name.
    FileCompression {
        /// gzip.
        Gzip = "gzip",
        /// bzip2.
        Bzip2 = "bzip2",
        /// xz.
        Xz = "xz",
        /// The stream as it is.
        None = "none",
    }
}

impl From<Compression> for FileCompression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip,
            Compression::None => Self::None,
        }
    }
}

/// The file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFile {
    /// SHA-1 of the file, 40 hexadecimal digits.
    pub sha1: String,
    /// Bytes in the file, not 0.
    pub size: u64,
    /// How it is compressed.
    pub compression: FileCompression,
    /// The guid of the stream's snapshot, decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_guid: Option<String>,
    /// MD5 of the file, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// What servers add of their own ("stor", "digest", "uncompressedDigest"); it passes everywhere.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImageFile {
    /// The entry of a file just written.
    pub fn of(file: &FinishedFile, dataset_guid: Option<u64>) -> Self {
        Self {
            sha1: file.sha1.clone(),
            size: file.size,
            compression: file.compression.into(),
            dataset_guid: dataset_guid.map(|guid| guid.to_string()),
            md5: None,
            other: Map::new(),
        }
    }
}

/// What machines of an image need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// Network interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<NetworkRequirement>>,
    /// The zone brand ("lx", "joyent", "bhyve").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// Whether an ssh key must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<bool>,
    /// Least memory, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ram: Option<u64>,
    /// Most memory, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ram: Option<u64>,
    /// The oldest platform by version of SmartDataCenter: `{"7.0": "20220407T001427Z"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_platform: Option<BTreeMap<String, String>>,
    /// The newest platform, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_platform: Option<BTreeMap<String, String>>,
    /// `bios` or `uefi`, with brand `bhyve` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootrom: Option<String>,
}

/// A network interface that machines need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRequirement {
    /// Name of the interface ("net0").
    pub name: String,
    /// What it is for ("public").
    pub description: String,
}

/// A user that gets a generated password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The user's name.
    pub name: String,
}

impl Manifest {
    /// A manifest with nothing in it but what each must have.
    pub fn new(
        uuid: impl Into<String>,
        name: impl Into<String>,
        version: impl Into<String>,
        kind: ImageType,
        os: Os,
    ) -> Self {
        Self {
            v: FormatVersion,
            uuid: uuid.into(),
            name: name.into(),
            version: version.into(),
            kind,
            os,
            owner: None,
            urn: None,
            description: None,
            homepage: None,
            eula: None,
            state: None,
            disabled: None,
            activated: None,
            public: None,
            published_at: None,
            origin: None,
            files: None,
            icon: None,
            acl: None,
            requirements: None,
            users: None,
            generate_passwords: None,
            billing_tags: None,
            traits: None,
            tags: None,
            inherited_directories: None,
            nic_driver: None,
            disk_driver: None,
            cpu_type: None,
            image_size: None,
            channels: None,
            error: None,
        }
    }

    /// Reads a manifest from its text; `path` only names it in errors. Rules are not checked yet.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] with line and column: the text is not JSON, has an unknown key, or a value of the wrong type.
    pub fn parse(text: &[u8], path: &Utf8Path) -> Result<Self, Error> {
        serde_json::from_slice(text).map_err(|error| Error::Json {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
            message: without_place(&error),
        })
    }

    /// Reads a manifest from a file of at most 1 MiB. Rules are not checked yet.
    ///
    /// # Errors
    ///
    /// The file can't be read, is too large, or as [`parse`](Self::parse).
    pub fn read(path: &Utf8Path) -> Result<Self, Error> {
        let failed = |error| Error::io("read", path, error);
        let mut text = Vec::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MANIFEST_SIZE + 1)
            .read_to_end(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > MANIFEST_SIZE {
            return Err(Error::Json {
                path: path.to_owned(),
                line: 1,
                column: 1,
                message: format!(
                    "is larger than {MANIFEST_SIZE} bytes, which no image manifest is"
                ),
            });
        }
        Self::parse(&text, path)
    }

    /// The manifest as it is kept: keys in the order of the fields, two blanks of indentation, a line end at the end.
    ///
    /// # Errors
    ///
    /// Never for what [`validate`](Self::validate) has no words against.
    pub fn to_json(&self) -> Result<String, Error> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Json {
            path: "manifest".into(),
            line: error.line(),
            column: error.column(),
            message: without_place(&error),
        })?;
        Ok(text + "\n")
    }
}

/// serde_json ends its messages with the place, which errors here have apart.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

/// Servers take `"true"` and `"false"` for booleans.
fn lenient_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "neither true nor false")]
    enum Lenient {
        Bool(bool),
        Word(Word),
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        True,
        False,
    }
    Ok(Some(match Lenient::deserialize(deserializer)? {
        Lenient::Bool(value) => value,
        Lenient::Word(word) => matches!(word, Word::True),
    }))
}

/// A time as manifests have it, from seconds since 1970.
///
/// `None` for years that four digits can't hold.
pub fn published_at(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    let text = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    rules::is_time(&text).then_some(text)
}

#[cfg(test)]
#[path = "../manifest_tests.rs"]
mod tests;
