//! Whether a kind of server takes an image as it is.

use mibe_image::manifest::{ImageType, Manifest};

use super::Target;
use crate::servers::ServerType;

/// What is in the way, and what to do about it.
pub(super) fn reasons(manifest: &Manifest, target: &Target) -> (Vec<String>, Vec<String>) {
    let mut reasons: Vec<String> = manifest
        .validate()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut hints = Vec::new();
    // What the servers' own rules (validatePublicManifest and validatePrivateManifest of imgmanifest) want beyond a manifest's
    // form; an import has the rest made by the server.
    if manifest.kind == ImageType::Zvol {
        let fields = [
            ("nic_driver", manifest.nic_driver.is_some()),
            ("disk_driver", manifest.disk_driver.is_some()),
            ("cpu_type", manifest.cpu_type.is_some()),
            ("image_size", manifest.image_size.is_some()),
        ];
        for (field, _) in fields.iter().filter(|(_, there)| !there) {
            reasons.push(format!(
                "its manifest has no {field}, which one of type zvol needs"
            ));
        }
    }
    if matches!(target, Target::Server(_, ServerType::Dsapi)) {
        let lost = [
            ("origin", manifest.origin.is_some()),
            ("icon", manifest.icon == Some(true)),
            ("traits", manifest.traits.is_some()),
            (
                "inherited_directories",
                manifest.inherited_directories.is_some(),
            ),
            ("generate_passwords", manifest.generate_passwords.is_some()),
            ("billing_tags", manifest.billing_tags.is_some()),
            (
                "acl",
                manifest.acl.as_ref().is_some_and(|acl| !acl.is_empty()),
            ),
        ];
        for (field, _) in lost.iter().filter(|(_, there)| *there) {
            reasons.push(format!("a dsapid loses its {field}"));
        }
        if manifest.origin.is_some() {
            hints.push(
                "`mibe image flatten` makes a full image of it, which stands on nothing".to_owned(),
            );
        }
        if manifest.public == Some(false) {
            reasons.push("a dsapid shows what is not public to nobody but its owner, and imgadm asks as nobody".to_owned());
        }
    }
    (reasons, hints)
}
