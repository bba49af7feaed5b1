//! Images of a host as bases: the host has them, or can import them.

use mibe_image::manifest::Manifest;

use crate::error::BuildError;

/// An image of a host.
#[derive(Clone, Debug)]
pub struct HostBase {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Whether the host has it; it imports it otherwise.
    pub installed: bool,
    /// The host's platform ("20240101T000000Z").
    pub platform: String,
}

impl HostBase {
    /// Name and version for people.
    pub fn title(&self) -> String {
        format!("{} {}", self.manifest.name, self.manifest.version)
    }

    /// That, its UUID and whether it is there.
    pub fn described(&self) -> String {
        let there = if self.installed {
            "installed on the host"
        } else {
            "to be imported by the host"
        };
        format!("{}, {}, {there}", self.title(), self.manifest.uuid)
    }
}

/// A host that has images.
pub trait HostBases {
    /// What people call it.
    fn title(&self) -> &str;

    /// The image of a UUID, or of a name and version (`base-64-lts-22.4.0`, `base-64-lts@22.4.0`); touches nothing.
    ///
    /// # Errors
    ///
    /// There is none, or the host could not be asked.
    fn find(&self, name: &str) -> Result<HostBase, BuildError>;
}
