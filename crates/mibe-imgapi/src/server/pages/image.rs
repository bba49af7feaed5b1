//! The page of one image.

use std::sync::Arc;

use axum::extract::{Extension, Path, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use mibe_image::manifest::{ImageType, Manifest, State};
use serde_json::{Map, Value, json};

use super::{bytes, day, icon, refused, size};
use crate::server::App;
use crate::server::access::Who;
use crate::server::index::{Entry, Index};

/// Links of a chain that are shown.
const CHAIN: usize = 64;

pub async fn page(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    asked: HeaderMap,
) -> Response {
    let entry = match app.find(&uuid, &who).await {
        Ok(entry) => entry,
        Err(refusal) => return refused("../", &refusal),
    };
    let index = app.store.index().await;
    let manifest = &entry.manifest;
    let main = html! {
        div class="title" {
            (icon("../", &entry))
            h1 { (manifest.name) " " (manifest.version) }
        }
        @if entry.state() != State::Active { p { span class="badge off" { (entry.state()) } } }
        @if let Some(description) = &manifest.description { p { (description) } }
        (about(&entry))
        h2 { "Requirements" }
        (requirements(manifest))
        (metadata(manifest))
        h2 { "Built upon" }
        (chain(&index, &entry, &who))
        h2 { "In it" }
        ul {
            @if manifest.kind == ImageType::Zvol {
                li { "The disk of a virtual machine: its files are not looked into." }
            } @else {
                li { a href={ (manifest.uuid) "/files" } { "The files in it" } }
                @if manifest.origin.is_some() {
                    li { a href={ (manifest.uuid) "/difference" } { "What differs from the image it is built upon" } }
                }
            }
            li { a href={ "../images/" (manifest.uuid) } { "Its manifest" } }
            @if entry.file.is_some() {
                li { a href={ "../images/" (manifest.uuid) "/file" } { "Its file" } " (" (bytes(size(&entry))) ")" }
            }
        }
        h2 { "Have it" }
        (lines(&entry, &app.url(&asked)))
    };
    super::page("../", &entry.title(), None, &main)
}

fn about(entry: &Entry) -> Markup {
    let manifest = &entry.manifest;
    let file = manifest.files.iter().flatten().next();
    let public = if manifest.public == Some(false) {
        "no"
    } else {
        "yes"
    };
    html! {
        dl {
            dt { "UUID" } dd { code { (manifest.uuid) } }
            dt { "Type" } dd { (manifest.kind) }
            dt { "System" } dd { (manifest.os) }
            dt { "Published" } dd { time datetime=(manifest.published_at.as_deref().unwrap_or_default()) { (day(entry)) } }
            @if let Some(file) = file {
                dt { "Size" } dd { (bytes(file.size)) ", " (file.compression) }
                dt { "SHA-1" } dd { code { (file.sha1) } }
            }
            dt { "For everyone" } dd { (public) }
            @if let Some(channels) = &manifest.channels { dt { "Channels" } dd { (channels.join(", ")) } }
            @if let Some(homepage) = &manifest.homepage {
                dt { "Homepage" } dd { a rel="noopener noreferrer nofollow" href=(homepage) { (homepage) } }
            }
            @if let Some(eula) = &manifest.eula {
                dt { "Licence" } dd { a rel="noopener noreferrer nofollow" href=(eula) { (eula) } }
            }
        }
    }
}

fn requirements(manifest: &Manifest) -> Markup {
    let mut lines: Vec<(&str, String)> = Vec::new();
    if let Some(needed) = &manifest.requirements {
        let mut add = |label: &'static str, text: Option<String>| {
            lines.extend(text.map(|text| (label, text)));
        };
        add("Brand", needed.brand.clone());
        add("Boot ROM", needed.bootrom.clone());
        add(
            "Least memory",
            needed.min_ram.map(|ram| format!("{ram} MiB")),
        );
        add(
            "Most memory",
            needed.max_ram.map(|ram| format!("{ram} MiB")),
        );
        let platform = |platforms: &std::collections::BTreeMap<String, String>| {
            let all: Vec<_> = platforms
                .iter()
                .map(|(sdc, platform)| format!("{platform} ({sdc})"))
                .collect();
            all.join(", ")
        };
        add(
            "Oldest platform",
            needed.min_platform.as_ref().map(platform),
        );
        add(
            "Newest platform",
            needed.max_platform.as_ref().map(platform),
        );
        add(
            "SSH key",
            needed
                .ssh_key
                .filter(|key| *key)
                .map(|_| "must be given".to_owned()),
        );
        add(
            "Networks",
            needed
                .networks
                .as_ref()
                .filter(|networks| !networks.is_empty())
                .map(|networks| {
                    let all: Vec<_> = networks
                        .iter()
                        .map(|network| format!("{} ({})", network.name, network.description))
                        .collect();
                    all.join(", ")
                }),
        );
    }
    html! {
        @if lines.is_empty() { p { "None." } }
        @else {
            dl { @for (label, text) in &lines { dt { (label) } dd { (text) } } }
        }
    }
}

/// A metadata key that machines of an image take.
struct Key<'a> {
    name: &'a str,
    kind: &'a str,
    description: &'a str,
    required: bool,
    secret: bool,
}

impl Key<'_> {
    fn demands(&self) -> &'static str {
        match (self.required, self.secret) {
            (true, true) => "required, secret",
            (true, false) => "required",
            (false, true) => "secret",
            (false, false) => "",
        }
    }
}

/// The keys that the tags tell of: `customer_metadata_keys`, and `customer_metadata_type:KEY` and the like (deploy-zone,
/// docs/metadata_tags.md).
fn keys<'a>(tags: &'a Map<String, Value>, prefix: &str) -> Vec<Key<'a>> {
    let names = tags.get(&format!("{prefix}_keys")).and_then(Value::as_str);
    let of = |what: &str, name: &str| tags.get(&format!("{prefix}_{what}:{name}"));
    let text = |what: &str, name: &str| of(what, name).and_then(Value::as_str).unwrap_or_default();
    let is = |what: &str, name: &str| {
        of(what, name).is_some_and(|value| value == true || value == "true")
    };
    names
        .unwrap_or_default()
        .split_whitespace()
        .map(|name| Key {
            name,
            kind: text("type", name),
            description: text("description", name),
            required: is("required", name),
            secret: is("secret", name),
        })
        .collect()
}

fn metadata(manifest: &Manifest) -> Markup {
    let none = Map::new();
    let tags = manifest.tags.as_ref().unwrap_or(&none);
    let kinds = [
        ("customer_metadata", keys(tags, "customer_metadata")),
        ("internal_metadata", keys(tags, "internal_metadata")),
    ];
    let others: Vec<_> = tags
        .iter()
        .filter(|(key, _)| {
            !key.starts_with("customer_metadata_") && !key.starts_with("internal_metadata_")
        })
        .collect();
    html! {
        @for (title, keys) in kinds.iter().filter(|(_, keys)| !keys.is_empty()) {
            h2 { "What it takes in " code { (title) } }
            div class="scroll" { table {
                thead { tr { th { "Key" } th { "Type" } th { "What for" } th { "" } } }
                tbody { @for key in keys {
                    tr {
                        td { code { (key.name) } }
                        td { (if key.kind.is_empty() { "text" } else { key.kind }) }
                        td { (key.description) }
                        td { (key.demands()) }
                    }
                } }
            } }
        }
        @if !others.is_empty() {
            h2 { "Tags" }
            dl { @for (key, value) in others { dt { (key) } dd { (plain(value)) } } }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn chain(index: &Index, entry: &Entry, who: &Who) -> Markup {
    let mut links = Vec::new();
    let mut next = entry.manifest.origin.as_deref();
    while let Some(uuid) = next
        && links.len() < CHAIN
    {
        let origin = index
            .get(uuid)
            .filter(|origin| who.is_trusted() || origin.is_for_all());
        links.push((uuid, origin));
        next = origin.and_then(|origin| origin.manifest.origin.as_deref());
    }
    html! {
        @if links.is_empty() { p { "Nothing: it is a full image." } }
        @else {
            ol class="chain" {
                @for (uuid, origin) in &links {
                    li {
                        @match origin {
                            Some(origin) => { a href=(uuid) { (origin.manifest.name) " " (origin.manifest.version) } " (" (bytes(size(origin))) ")" }
                            None => { code { (uuid) } ", which is not here" }
                        }
                    }
                }
            }
        }
    }
}

/// What to type.
fn lines(entry: &Entry, url: &str) -> Markup {
    let manifest = &entry.manifest;
    let spec = serde_json::to_string_pretty(&spec(manifest)).unwrap_or_default();
    html! {
        p { "On a SmartOS host:" }
        pre { "imgadm import -S " (url) " " (manifest.uuid) }
        p { "A machine of it:" }
        pre { "vmadm create <<'EOF'\n" (spec) "\nEOF" }
        p { "With mibe, on any machine:" }
        pre { "mibe image pull --server " (url) " " (manifest.uuid) }
    }
}

fn spec(manifest: &Manifest) -> Value {
    let needed = manifest.requirements.clone().unwrap_or_default();
    let is_hvm = manifest.kind == ImageType::Zvol;
    let brand = needed.brand.unwrap_or_else(|| {
        let brand = match manifest.kind {
            ImageType::Zvol => "bhyve",
            ImageType::LxDataset => "lx",
            _ => "joyent",
        };
        brand.to_owned()
    });
    let memory = needed.min_ram.unwrap_or(1024);
    let mut spec = json!({
        "brand": brand,
        "alias": manifest.name.replace(['/', ' '], "-"),
    });
    if is_hvm {
        spec["ram"] = memory.into();
        spec["vcpus"] = 2.into();
        spec["disks"] = json!([{"image_uuid": manifest.uuid, "boot": true, "model": manifest.disk_driver.as_deref().unwrap_or("virtio")}]);
        if let Some(bootrom) = needed.bootrom {
            spec["bootrom"] = bootrom.into();
        }
    } else {
        spec["image_uuid"] = manifest.uuid.clone().into();
        spec["max_physical_memory"] = memory.into();
        spec["quota"] = 20.into();
    }
    if brand == "lx" {
        let version = manifest
            .tags
            .as_ref()
            .and_then(|tags| tags.get("kernel_version")?.as_str());
        spec["kernel_version"] = version.unwrap_or("5.10.0").into();
    }
    let networks = needed.networks.unwrap_or_default();
    let count = networks.len().max(1);
    let nics: Vec<_> = (0..count)
        .map(|number| {
            let mut nic =
                json!({"nic_tag": if number == 0 { "external" } else { "admin" }, "ips": ["dhcp"]});
            if number == 0 {
                nic["primary"] = true.into();
            }
            if is_hvm {
                nic["model"] = manifest.nic_driver.as_deref().unwrap_or("virtio").into();
            }
            nic
        })
        .collect();
    spec["nics"] = nics.into();
    let none = Map::new();
    let tags = manifest.tags.as_ref().unwrap_or(&none);
    for prefix in ["customer_metadata", "internal_metadata"] {
        let keys = keys(tags, prefix);
        if !keys.is_empty() {
            let values: Map<String, Value> = keys
                .iter()
                .map(|key| (key.name.to_owned(), Value::from("")))
                .collect();
            spec[prefix] = values.into();
        }
    }
    spec
}
