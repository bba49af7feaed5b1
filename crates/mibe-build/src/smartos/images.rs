//! The images of a host, by UUID or by name and version.

use std::time::Duration;

use mibe_host::{Command, Input, Outcome};
use mibe_image::manifest::Manifest;
use mibe_recipe::likeliest;

use super::tools::Tools;
use crate::error::BuildError;
use crate::host_base::HostBase;
use crate::machine::outcome_in_words;

/// Images that a misspelt name may have meant.
const NEAR: usize = 3;

/// Finds an image that the host has, or can import.
pub(super) fn find(
    tools: &Tools,
    pool: &str,
    platform: &str,
    name: &str,
) -> Result<HostBase, BuildError> {
    let base = |manifest, installed| HostBase {
        manifest,
        installed,
        platform: platform.to_owned(),
    };
    if uuid::Uuid::try_parse(name).is_ok() && name.len() == 36 {
        let uuid = name.to_ascii_lowercase();
        if let Some(manifest) = tools.image(pool, &uuid)? {
            return Ok(base(manifest, true));
        }
        return match tools.importable(&uuid)? {
            Some(manifest) => Ok(base(manifest, false)),
            None => Err(not_found(tools, name, &[])),
        };
    }
    let installed = tools.images("list", pool)?;
    let mut names: Vec<String> = Vec::new();
    for (verb, there) in [("list", true), ("avail", false)] {
        let images = if there {
            installed
                .iter()
                .map(|listed| listed.manifest.clone())
                .collect()
        } else {
            let mut images: Vec<Manifest> = tools
                .images(verb, pool)?
                .into_iter()
                .map(|listed| listed.manifest)
                .collect();
            images.sort_by(|one, other| one.published_at.cmp(&other.published_at));
            images
        };
        // Sources may have several of one name and version; the latest is meant.
        if let Some(manifest) = images.iter().rfind(|manifest| is(manifest, name)) {
            return Ok(base(manifest.clone(), there));
        }
        names.extend(
            images
                .iter()
                .map(|manifest| format!("{}-{}", manifest.name, manifest.version)),
        );
    }
    names.sort();
    names.dedup();
    Err(not_found(tools, name, &names))
}

/// Whether a name is `NAME-VERSION` or `NAME@VERSION` of an image.
fn is(manifest: &Manifest, name: &str) -> bool {
    name.strip_prefix(manifest.name.as_str())
        .is_some_and(|rest| rest.strip_prefix(['-', '@']) == Some(manifest.version.as_str()))
}

fn not_found(tools: &Tools, name: &str, names: &[String]) -> BuildError {
    let near = likeliest(name, names.iter().map(String::as_str), NEAR);
    let mut hints = Vec::new();
    if !near.is_empty() {
        hints.push(format!("did you mean {}?", near.join(", or ")));
    }
    hints.push("`imgadm list` and `imgadm avail` there show the images that can be named, by UUID or as NAME-VERSION".to_owned());
    BuildError::Base {
        message: format!(
            "{} has no image {name}, and its image sources have none",
            tools.title()
        ),
        hints,
        source: None,
    }
}

/// Refuses an image that wants another platform than the host's.
pub(super) fn fits(tools: &Tools, base: &HostBase) -> Result<(), BuildError> {
    let Some(requirements) = &base.manifest.requirements else {
        return Ok(());
    };
    let of = |platforms: &Option<std::collections::BTreeMap<String, String>>| {
        platforms.as_ref()?.get("7.0").cloned()
    };
    // Platforms are times in one form, so that they compare as texts.
    let wrong = match (
        of(&requirements.min_platform),
        of(&requirements.max_platform),
    ) {
        (Some(least), _) if least > base.platform => format!("{least} or newer"),
        (_, Some(most)) if most < base.platform => format!("{most} or older"),
        _ => return Ok(()),
    };
    Err(BuildError::host(
        format!(
            "the base {} needs platform {wrong}, and {} has {}",
            base.title(),
            tools.title(),
            base.platform
        ),
        &["take another base, or build on another host"],
    ))
}

/// Has the host import an image.
pub(super) fn import(
    tools: &Tools,
    pool: &str,
    uuid: &str,
    timeout: Duration,
    output: &mut dyn FnMut(&[u8]),
) -> Result<(), BuildError> {
    let argv = ["imgadm", "import", "-q", "-P", pool, uuid];
    let command = Command::new(argv).input(Input::Nothing).timeout(timeout);
    let mut printed = Vec::new();
    let outcome = tools.host().run(command, tools.cancel(), &mut |_, bytes| {
        output(bytes);
        if printed.len() < 1 << 16 {
            printed.extend_from_slice(bytes);
        }
    })?;
    match outcome {
        Outcome::Exited(0) => Ok(()),
        Outcome::Cancelled => Err(BuildError::Cancelled),
        outcome => Err(BuildError::Command {
            what: format!("imgadm import on {}", tools.title()),
            how: outcome_in_words(outcome, timeout),
            said: crate::log::last_words(&printed),
            hints: vec![format!("try `imgadm import {uuid}` there by hand")],
        }),
    }
}
