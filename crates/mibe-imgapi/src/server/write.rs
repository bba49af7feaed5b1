//! What IMGAPI is told to change (sdc-imgapi, docs/index.md and lib/images.js).

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, RawQuery, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use mibe_image::manifest::{FileCompression, Manifest};
use serde_json::Value;
use sha1::{Digest as _, Sha1};

use super::App;
use super::access::Who;
use super::change::{Announced, Change, ICON};
use super::index::ICONS;
use super::query::Query;
use super::read::image_answer;
use super::refusal::Refusal;
use super::store::Store;
use crate::pull::uuid as as_uuid;

/// Largest manifest, in bytes.
const MANIFEST: usize = 1 << 20;
/// Pieces of an upload that wait for the disk.
const WAITING: usize = 8;

/// Runs on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Store) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let store = Arc::clone(&app.store);
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.unwrap_or_else(|_| Err(Refusal::internal()))
}

impl App {
    fn may_write(&self, who: &Who) -> Result<(), Refusal> {
        if who.is_trusted() {
            return Ok(());
        }
        Err(self.access.refusal())
    }

    /// All of a small body.
    async fn body(&self, body: Body, limit: usize) -> Result<Bytes, Refusal> {
        let limited = http_body_util::Limited::new(body, limit);
        let collected = tokio::time::timeout(self.patience, limited.collect()).await;
        match collected {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::new(
                413,
                "RequestEntityTooLarge",
                format!("the request has more than {limit} bytes"),
            )),
            _ => Err(Refusal::upload("the request did not come whole")),
        }
    }
}

pub async fn post(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
    asked: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    app.may_write(&who)?;
    let uuid = as_uuid(&uuid).ok_or_else(Refusal::no_image)?;
    let query = Query::new(query.as_deref());
    let action = query.get("action").unwrap_or_default().to_owned();
    if action == "import" {
        if query.get("source").is_some() {
            return Err(unknown_action("import with a source"));
        }
        let channel = query
            .channel(&app.store.channels, false)?
            .map(ToOwned::to_owned);
        let body = app.body(body, MANIFEST).await?;
        let manifest = manifest(&body, &uuid)?;
        let entry = blocking(&app, move |store| {
            store.import(manifest, channel.as_deref())
        })
        .await?;
        return Ok(image_answer(&entry, &unconditional(&asked)));
    }
    app.entry(&uuid, &query, &who).await?;
    let change = match &*action {
        "activate" => Change::Activate,
        "enable" => Change::Enable,
        "disable" => Change::Disable,
        "update" => match json(&app.body(body, MANIFEST).await?)? {
            Value::Object(fields) => Change::Update(fields),
            _ => {
                return Err(Refusal::validation(
                    "body",
                    "Invalid",
                    "the body is no object",
                ));
            }
        },
        "channel-add" if !app.store.channels.is_empty() => {
            let body = json(&app.body(body, MANIFEST).await?)?;
            let name = body.get("channel").and_then(Value::as_str);
            let name = name
                .ok_or_else(|| Refusal::validation("channel", "MissingParameter", "no channel"))?;
            Change::ChannelAdd(name.to_owned())
        }
        other => return Err(unknown_action(other)),
    };
    let entry = blocking(&app, move |store| store.change(&uuid, change)).await?;
    Ok(image_answer(&entry, &unconditional(&asked)))
}

pub async fn acl(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
    asked: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    app.may_write(&who)?;
    let query = Query::new(query.as_deref());
    let uuid = app.entry(&uuid, &query, &who).await?.manifest.uuid.clone();
    let invalid =
        |why: &str| Refusal::parameter("acl", "Invalid", format!("invalid image \"acl\" ({why})"));
    let Value::Array(items) = json(&app.body(body, MANIFEST).await?)? else {
        return Err(invalid("not an array"));
    };
    let uuids: Option<Vec<_>> = items.iter().map(|item| as_uuid(item.as_str()?)).collect();
    let uuids = uuids.ok_or_else(|| invalid("an item is not a UUID"))?;
    let change = match query.get("action") {
        None | Some("add") => Change::AclAdd(uuids),
        Some("remove") => Change::AclRemove(uuids),
        Some(other) => return Err(unknown_action(other)),
    };
    let entry = blocking(&app, move |store| store.change(&uuid, change)).await?;
    Ok(image_answer(&entry, &unconditional(&asked)))
}

pub async fn put_file(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
    asked: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    app.may_write(&who)?;
    let query = Query::new(query.as_deref());
    let uuid = app.entry(&uuid, &query, &who).await?.manifest.uuid.clone();
    let announced = announced(&query, &asked)?;
    let begun = uuid.clone();
    let length = announced.length;
    let upload = blocking(&app, move |store| store.begin_upload(&begun, length)).await?;
    let (pieces, mut waiting) = tokio::sync::mpsc::channel::<Bytes>(WAITING);
    // The file has a thread of its own: it is written and digested while it comes.
    let store = Arc::clone(&app.store);
    let written = tokio::task::spawn_blocking(move || {
        let mut upload = upload;
        while let Some(piece) = waiting.blocking_recv() {
            upload.write(&piece).map_err(|error| store.told(error))?;
        }
        Ok(upload)
    });
    let came = app.receive(body, pieces).await;
    let upload = written.await.unwrap_or_else(|_| Err(Refusal::internal()))?;
    came?;
    let entry = blocking(&app, move |store| {
        store.finish_upload(&uuid, upload, &announced)
    })
    .await?;
    Ok(image_answer(&entry, &unconditional(&asked)))
}

impl App {
    /// Hands a body over piece by piece; an error if it does not come whole.
    async fn receive(
        &self,
        mut body: Body,
        pieces: tokio::sync::mpsc::Sender<Bytes>,
    ) -> Result<(), Refusal> {
        let begun = tokio::time::Instant::now();
        let mut size: u64 = 0;
        loop {
            let frame = match tokio::time::timeout(self.patience, body.frame()).await {
                Err(_) => return Err(Refusal::upload("the upload stalled")),
                Ok(None) => return Ok(()),
                Ok(Some(Err(_))) => return Err(Refusal::upload("the upload broke off")),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            size += piece.len() as u64;
            self.metrics.received.inc_by(piece.len() as u64);
            // A piece now and then keeps no connection for ever.
            let fair = self.patience + Duration::from_secs(size / self.slowest.max(1));
            if begun.elapsed() > fair {
                return Err(Refusal::upload("the upload is too slow"));
            }
            // Who wrote it has ended with an error, which is told instead.
            if pieces.send(piece).await.is_err() {
                return Ok(());
            }
        }
    }
}

pub async fn put_icon(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
    asked: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    app.may_write(&who)?;
    let query = Query::new(query.as_deref());
    let uuid = app.entry(&uuid, &query, &who).await?.manifest.uuid.clone();
    let kind = asked
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    if !ICONS.iter().any(|(_, known)| Some(*known) == kind) {
        return Err(Refusal::upload(
            "invalid content-type, must be one of image/png, image/jpeg, image/gif",
        ));
    }
    let icon = app.body(body, ICON).await?;
    if let Some(sha1) = query.get("sha1") {
        let own = mibe_image::file::hex(&Sha1::digest(&icon));
        if !own.eq_ignore_ascii_case(sha1) {
            return Err(Refusal::upload(format!(
                "\"sha1\" hash, {sha1}, does not match the uploaded icon sha1 hash, {own}"
            )));
        }
    }
    let entry = blocking(&app, move |store| store.set_icon(&uuid, Some(&icon))).await?;
    Ok(image_answer(&entry, &unconditional(&asked)))
}

pub async fn delete_icon(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    app.may_write(&who)?;
    let query = Query::new(query.as_deref());
    let uuid = app.entry(&uuid, &query, &who).await?.manifest.uuid.clone();
    let entry = blocking(&app, move |store| store.set_icon(&uuid, None)).await?;
    Ok(image_answer(&entry, &unconditional(&asked)))
}

pub async fn delete(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    app.may_write(&who)?;
    let query = Query::new(query.as_deref());
    let uuid = app.entry(&uuid, &query, &who).await?.manifest.uuid.clone();
    let channel = if query.flag("force_all_channels")? {
        None
    } else {
        query
            .channel(&app.store.channels, false)?
            .map(ToOwned::to_owned)
    };
    blocking(&app, move |store| store.delete(&uuid, channel.as_deref())).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

pub async fn create(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
) -> Result<Response, Refusal> {
    app.may_write(&who)?;
    Err(Refusal::new(
        501,
        "NotAvailable",
        "images come with their UUID: POST /images/UUID?action=import",
    ))
}

fn unknown_action(action: &str) -> Refusal {
    Refusal::parameter(
        "action",
        "Invalid",
        format!("this server has no action {action:?}"),
    )
}

fn announced(query: &Query, asked: &HeaderMap) -> Result<Announced, Refusal> {
    let Some(compression) = query.get("compression") else {
        return Err(Refusal::parameter(
            "compression",
            "Missing",
            "missing \"compression\"",
        ));
    };
    let known = FileCompression::ALL
        .iter()
        .find(|one| one.name() == compression);
    let compression = *known.ok_or_else(|| {
        Refusal::parameter(
            "compression",
            "Invalid",
            format!("invalid compression {compression:?} (must be one of bzip2, gzip, xz, none)"),
        )
    })?;
    let sha1 = query.get("sha1").map(ToOwned::to_owned);
    let dataset_guid = query.get("dataset_guid").map(ToOwned::to_owned);
    if dataset_guid
        .as_ref()
        .is_some_and(|guid| guid.parse::<u64>().is_err())
    {
        return Err(Refusal::parameter(
            "dataset_guid",
            "Invalid",
            "invalid \"dataset_guid\"",
        ));
    }
    let length = asked.get(header::CONTENT_LENGTH);
    Ok(Announced {
        compression,
        sha1,
        length: length.and_then(|length| length.to_str().ok()?.parse().ok()),
        dataset_guid,
    })
}

fn json(body: &Bytes) -> Result<Value, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, "InvalidContent", format!("invalid JSON: {error}")))
}

fn manifest(body: &Bytes, uuid: &str) -> Result<Manifest, Refusal> {
    let mut value = json(body)?;
    let own = value
        .get("uuid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if own != uuid {
        return Err(Refusal::parameter(
            "uuid",
            "Invalid",
            format!("URL UUID, \"{uuid}\" and body UUID, {own:?} do not match"),
        ));
    }
    if let Some(fields) = value.as_object_mut() {
        // What the server makes itself is taken from nobody.
        for key in ["channels", "files", "state", "activated", "icon", "error"] {
            fields.remove(key);
        }
    }
    serde_json::from_value(value).map_err(|error| {
        Refusal::new(
            422,
            "ValidationFailed",
            format!("invalid image data: {error}"),
        )
    })
}

/// An answer to a change is whole, whatever the client knows.
fn unconditional(asked: &HeaderMap) -> HeaderMap {
    let mut headers = asked.clone();
    headers.remove(header::IF_NONE_MATCH);
    headers.remove(header::IF_MODIFIED_SINCE);
    headers
}
