//! The read form that was before IMGAPI, which old hosts and dsapid's clients ask for: manifests of version 1 (dsapid,
//! converter/dsapi; imgmanifest, `upgradeManifest`).

use std::sync::Arc;

use axum::extract::{Extension, Path, RawQuery, State as Shared};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use mibe_image::manifest::FileCompression;
use serde_json::{Value, json};

use super::App;
use super::access::Who;
use super::index::Entry;
use super::query::Query;
use super::read::{file_answer, filtered, json_answer};
use super::refusal::Refusal;

pub async fn list(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    RawQuery(query): RawQuery,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    let query = Query::new(query.as_deref());
    let index = app.store.index().await;
    let channel = query.channel(&app.store.channels, true)?;
    let url = app.url(&asked);
    let entries = filtered(&index, &query, channel, &who)?;
    let list: Vec<_> = entries
        .iter()
        .filter_map(|entry| manifest(entry, &url))
        .collect();
    Ok(json_answer(Value::Array(list).to_string().into()))
}

pub async fn get(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    let entry = app
        .entry(&uuid, &Query::new(query.as_deref()), &who)
        .await?;
    let manifest = manifest(&entry, &app.url(&asked)).ok_or_else(Refusal::no_image)?;
    Ok(json_answer(manifest.to_string().into()))
}

pub async fn file(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path((uuid, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    method: Method,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    let entry = app
        .entry(&uuid, &Query::new(query.as_deref()), &who)
        .await?;
    if file_name(&entry).is_none_or(|own| own != name) {
        return Err(Refusal::not_found("the image has no such file"));
    }
    file_answer(&app, &entry, &method, &asked)
}

/// Clients tell the compression by the name's end, and know these two.
fn file_name(entry: &Entry) -> Option<String> {
    let end = match entry.manifest.files.iter().flatten().next()?.compression {
        FileCompression::Gzip => "gz",
        FileCompression::Bzip2 => "bz2",
        FileCompression::Xz | FileCompression::None => return None,
    };
    Some(format!("{}.zfs.{end}", entry.manifest.uuid))
}

/// `None` for what version 1 has no words for: an origin, and files that its clients can't read.
fn manifest(entry: &Entry, url: &str) -> Option<Value> {
    let manifest = &entry.manifest;
    let name = file_name(entry).filter(|_| manifest.origin.is_none())?;
    let file = manifest.files.iter().flatten().next()?;
    let mut told = json!({
        "uuid": manifest.uuid,
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description.as_deref().unwrap_or_default(),
        "os": manifest.os,
        "type": manifest.kind,
        "platform_type": "smartos",
        "published_at": manifest.published_at,
        "created_at": manifest.published_at,
        "updated_at": manifest.published_at,
        "creator_uuid": manifest.owner,
        "creator_name": "mibe",
        "vendor_uuid": manifest.owner,
        "urn": manifest.urn.clone().unwrap_or_else(|| {
            format!("mibe:mibe:{}:{}", manifest.name, manifest.version)
        }),
        "files": [{
            "path": name,
            "url": format!("{url}/datasets/{}/{name}", manifest.uuid),
            "sha1": file.sha1,
            "size": file.size,
        }],
    });
    let mut add = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            told[key] = value;
        }
    };
    add("homepage", manifest.homepage.clone().map(Value::from));
    add(
        "requirements",
        manifest.requirements.as_ref().map(|it| json!(it)),
    );
    add("users", manifest.users.as_ref().map(|it| json!(it)));
    add("tags", manifest.tags.as_ref().map(|it| json!(it)));
    add(
        "generate_passwords",
        manifest.generate_passwords.map(Value::from),
    );
    add("nic_driver", manifest.nic_driver.clone().map(Value::from));
    add("disk_driver", manifest.disk_driver.clone().map(Value::from));
    add("cpu_type", manifest.cpu_type.clone().map(Value::from));
    add("image_size", manifest.image_size.map(Value::from));
    Some(told)
}
