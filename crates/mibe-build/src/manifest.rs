//! The manifest of a built image.

use mibe_image::file::FinishedFile;
use mibe_image::manifest::Manifest;
use mibe_recipe::Recipe;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::capture::{Captured, DiskFacts};
use crate::error::BuildError;
use crate::plan::Plan;

/// What `uname -r` says in a zone of the image where the recipe says nothing: what the published LX images say, and new enough
/// for the glibc of every Debian since.
const KERNEL_VERSION: &str = "5.10.0";

/// The platform that published LX images ask for where the recipe says nothing.
const MIN_PLATFORM: &str = "20220407T001427Z";

/// The owner that `imgadm create` writes: nobody in particular.
pub(crate) const NO_OWNER: &str = "00000000-0000-0000-0000-000000000000";

/// The image's name as a ZFS dataset takes it; receivers choose another.
pub(crate) fn dataset_name(recipe: &Recipe) -> String {
    dataset(&recipe.name, &recipe.version)
}

/// The same of a name and a version.
pub(crate) fn dataset(name: &str, version: &str) -> String {
    format!("{name}-{version}")
        .chars()
        .map(|character| match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-' => character,
            _ => '_',
        })
        .take(100)
        .collect()
}

/// A time in seconds since 1970 as manifests have it; `None` for those that no four digits of a year name.
pub fn published_at(epoch: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(epoch).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The manifest of what was captured.
///
/// # Errors
///
/// The recipe gives it values that an image server would refuse.
pub(crate) fn manifest(
    plan: &Plan,
    captured: &Captured,
    file: &FinishedFile,
    epoch: i64,
) -> Result<Manifest, BuildError> {
    let recipe = &plan.recipe;
    let published = published_at(epoch).ok_or_else(|| {
        BuildError::usage(
            format!("{epoch} seconds after 1970 is no time of this era"),
            &["see what SOURCE_DATE_EPOCH says"],
        )
    })?;
    let base = plan.base_manifest();
    let disk = captured.disk.as_ref();
    let requirements = requirements(plan, disk, base)?;
    let users = if recipe.users.is_empty() {
        default_users(disk.and_then(|disk| disk.default_user.as_deref()))
    } else {
        recipe
            .users
            .iter()
            .map(|user| json!({"name": user.value}))
            .collect()
    };
    let mut tags = Map::new();
    tags.insert(
        "role".into(),
        recipe
            .role
            .as_ref()
            .map_or("os", |role| role.value.as_str())
            .into(),
    );
    if let Some(disk) = disk {
        tags.extend(disk.tags.clone());
    } else if !plan.is_native() {
        // Zones of the image can't do without; so it comes from the base where the recipe has none.
        let of_base = base
            .and_then(|base| base.tags.as_ref()?.get("kernel_version")?.as_str())
            .unwrap_or(KERNEL_VERSION);
        let own = recipe.kernel_version.as_ref();
        let kernel_version = own.map_or(of_base, |version| version.value.as_str());
        tags.insert("kernel_version".into(), kernel_version.into());
    }
    if let Some(lbaas) = &recipe.lbaas {
        tags.insert("lbaas".into(), lbaas.value.into());
    }

    tags.extend(recipe.metadata_tags());
    let owner = recipe.owner_uuid.as_ref().map(|owner| &owner.value);

    let mut manifest = json!({
        "v": 2,
        "owner": owner.or(plan.owner.as_ref()).map_or(NO_OWNER, String::as_str),
        "name": recipe.name.value,
        "version": recipe.version.value,
        "published_at": published,
        "type": if plan.is_native() { "zone-dataset" } else { "lx-dataset" },
        "os": if plan.is_native() { "smartos" } else { "linux" },
        "requirements": requirements,
        "users": users,
        "tags": tags,
    });
    if let Some(fields) = manifest.as_object_mut() {
        if let Some(disk) = disk {
            fields.extend(disk.fields.clone());
        }
        for (key, value) in [
            ("description", &recipe.description),
            ("homepage", &recipe.homepage),
        ] {
            if let Some(value) = value.as_ref().filter(|value| !value.value.is_empty()) {
                fields.insert(key.into(), value.value.clone().into());
            }
        }
        let of_site = || {
            let site = plan.urn.as_ref()?;
            Some(format!(
                "{site}:{}:{}",
                recipe.name.value, recipe.version.value
            ))
        };
        if let Some(urn) = recipe
            .urn
            .as_ref()
            .map(|urn| urn.value.clone())
            .or_else(of_site)
        {
            fields.insert("urn".into(), urn.into());
        }
        if let Some(account) = &recipe.restricted_to {
            fields.insert("acl".into(), vec![account.value.clone()].into());
            // An access list means something on images alone that are not everybody's.
            fields.insert("public".into(), false.into());
        }
        if !recipe.billing_tags.is_empty() {
            let tags: Vec<Value> = recipe
                .billing_tags
                .iter()
                .map(|tag| tag.value.clone().into())
                .collect();
            fields.insert("billing_tags".into(), tags.into());
        }
        if let Some(base) = base {
            inherit(fields, base, recipe)?;
        }
        if let Some(origin) = plan.origin() {
            fields.insert("origin".into(), origin.into());
        }
        let uuid = uuid(recipe, captured, fields);
        fields.insert("uuid".into(), uuid.into());
        let file = json!({
            "sha1": file.sha1(),
            "size": file.size(),
            "compression": plan.compression.to_string(),
            "dataset_guid": captured.guid.to_string(),
        });
        fields.insert("files".into(), vec![file].into());
    }
    valid(manifest)
}

/// A manifest that keeps the rules of image manifests.
///
/// # Errors
///
/// It does not.
pub(crate) fn valid(manifest: Value) -> Result<Manifest, BuildError> {
    let manifest: Manifest = serde_json::from_value(manifest)
        .map_err(|error| BuildError::Manifest(vec![error.to_string()]))?;
    let violations = manifest.validate();
    if violations.is_empty() {
        Ok(manifest)
    } else {
        Err(BuildError::Manifest(
            violations
                .iter()
                .map(|violation| format!("{}: {}", violation.field, violation.message))
                .collect(),
        ))
    }
}

/// The users of an image whose recipe names none: root, and the one that cloud-init makes.
pub(crate) fn default_users(made: Option<&str>) -> Vec<Value> {
    let names = std::iter::once("root").chain(made.filter(|name| *name != "root"));
    names.map(|name| json!({"name": name})).collect()
}

/// What machines of the image need: what the recipe says, then what the base says, then what most images say.
fn requirements(
    plan: &Plan,
    disk: Option<&DiskFacts>,
    base: Option<&Manifest>,
) -> Result<Map<String, Value>, BuildError> {
    let recipe = &plan.recipe;
    let mut requirements = match base.and_then(|base| base.requirements.as_ref()) {
        Some(inherited) => object(inherited)?,
        None => Map::new(),
    };
    // A brand that the recipe asks for has firmware of its own.
    if recipe.disk.brand.is_some() {
        requirements.remove("brand");
        requirements.remove("bootrom");
    }
    if let Some(own) = &recipe.requirements {
        requirements.extend(own.value.clone());
    }
    if !recipe.networks.is_empty() || !requirements.contains_key("networks") {
        let networks: Vec<Value> = if recipe.networks.is_empty() {
            vec![json!({"name": "net0", "description": "public"})]
        } else {
            recipe
                .networks
                .iter()
                .map(|network| json!({"name": network.name, "description": network.description}))
                .collect()
        };
        requirements.insert("networks".into(), networks.into());
    }
    // Zones of Linux, which is all that is neither native nor a disk.
    let is_lx = !plan.is_native() && disk.is_none();
    if let Some(disk) = disk {
        for (key, value) in &disk.requirements {
            // Whether a key must be given, its author knows best.
            let said = || {
                let own = recipe.requirements.as_ref();
                own.is_some_and(|own| own.value.contains_key(key))
            };
            if key != "ssh_key" || !said() {
                requirements.insert(key.clone(), value.clone());
            }
        }
    } else if is_lx {
        requirements.insert("brand".into(), "lx".into());
    }
    // illumos promises programs of an older platform to run on a newer one, not the reverse: `imgadm create` asks for the
    // platform that a native image was made on, too (imgadm.js).
    let built_on = plan
        .host_base
        .as_ref()
        .filter(|_| plan.is_native())
        .map(|base| &base.platform);
    match recipe
        .min_platform
        .as_ref()
        .map(|platform| &platform.value)
        .or(built_on)
    {
        Some(platform) => {
            requirements.insert("min_platform".into(), json!({"7.0": platform}));
        }
        None if is_lx && !requirements.contains_key("min_platform") => {
            requirements.insert("min_platform".into(), json!({"7.0": MIN_PLATFORM}));
        }
        None => {}
    }
    if let Some(min_ram) = &recipe.min_ram {
        requirements.insert("min_ram".into(), min_ram.value.into());
    }
    if let Some(max_ram) = &recipe.max_ram {
        requirements.insert("max_ram".into(), max_ram.value.into());
    }
    Ok(requirements)
}

/// Takes over of a base's manifest what `imgadm create` takes over of an origin's (`imgadm.js`), where the recipe says
/// nothing of it. Type and os are the base's anyway, requirements are done.
fn inherit(
    fields: &mut Map<String, Value>,
    base: &Manifest,
    recipe: &Recipe,
) -> Result<(), BuildError> {
    let of_base = object(base)?;
    for key in [
        "traits",
        "generate_passwords",
        "inherited_directories",
        "billing_tags",
    ] {
        if let (Some(value), false) = (of_base.get(key), fields.contains_key(key)) {
            fields.insert(key.into(), value.clone());
        }
    }
    if let (Some(users), true) = (of_base.get("users"), recipe.users.is_empty()) {
        fields.insert("users".into(), users.clone());
    }
    Ok(())
}

fn object(value: &impl serde::Serialize) -> Result<Map<String, Value>, BuildError> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(BuildError::Manifest(vec![error.to_string()])),
    }
}

/// The recipe's uuid, or one of all that the image holds and says: the same image has the same uuid wherever it was built,
/// and another one another.
fn uuid(recipe: &Recipe, captured: &Captured, fields: &Map<String, Value>) -> String {
    match &recipe.image_uuid {
        Some(uuid) => uuid.value.clone(),
        None => content_uuid(&captured.digest, fields),
    }
}

/// A uuid of what an image holds, by its digest, and says.
pub(crate) fn content_uuid(digest: &str, fields: &Map<String, Value>) -> String {
    let mut hash = Sha256::new();
    hash.update(digest);
    for (key, value) in fields {
        let value = value.to_string();
        for part in [key, &value] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    let bytes = std::array::from_fn(|index| digest[index]);
    // Version 8 is for uuids made in a way of one's own (RFC 9562, 5.8), but older validators know only 1 to 5.
    uuid::Builder::from_sha1_bytes(bytes)
        .into_uuid()
        .to_string()
}
