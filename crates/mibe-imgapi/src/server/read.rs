//! What IMGAPI is asked for: images, their files and icons, channels (sdc-imgapi, docs/index.md and lib/images.js).

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, RawQuery, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::Utf8Path;
use md5::Md5;
use mibe_image::manifest::State;
use serde_json::json;
use sha1::{Digest as _, Sha1};

use super::App;
use super::access::Who;
use super::change::ICON;
use super::file::{Served, answer, has_not_changed, insert};
use super::index::{Entry, Index, time};
use super::query::Query;
use super::refusal::Refusal;
use crate::filter::{Filter, States};
use crate::pull::uuid as as_uuid;

const CONTENT_MD5: header::HeaderName = header::HeaderName::from_static("content-md5");

pub async fn ping(Extension(who): Extension<Who>) -> Response {
    let mut pong = json!({
        "ping": "pong",
        "version": env!("CARGO_PKG_VERSION"),
        // imgadm tells an IMGAPI from the older dsapi by it.
        "imgapi": true,
    });
    if let Who::User(name) = who {
        pong["user"] = name.into();
    }
    json_answer(pong.to_string().into())
}

pub async fn channels(Shared(app): Shared<Arc<App>>) -> Result<Response, Refusal> {
    if app.store.channels.is_empty() {
        return Err(Refusal::not_found("/channels does not exist"));
    }
    let text = serde_json::to_string(&app.store.channels).unwrap_or_default();
    Ok(json_answer(text.into()))
}

pub async fn list(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    RawQuery(query): RawQuery,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    let query = Query::new(query.as_deref());
    let index = app.store.index().await;
    let channel = query.channel(&app.store.channels, true)?;
    let with_channels = knows_channels(&asked);
    let is_plain = query.is_empty() && who == Who::Stranger;
    let (body, etag) = if is_plain {
        let list = || {
            let filter = Filter::default();
            let wanted = |entry: &&Arc<Entry>| {
                entry.is_for_all()
                    && filter.fits(&entry.manifest)
                    && channel.is_none_or(|channel| entry.in_channel(channel))
            };
            joined(index.entries.iter().filter(wanted), with_channels)
        };
        index.lists[usize::from(with_channels)]
            .get_or_init(list)
            .clone()
    } else {
        let entries = filtered(&index, &query, channel, &who)?;
        joined(entries.into_iter(), with_channels)
    };
    if has_not_changed(&asked, &etag, None) {
        return Ok(not_modified(&etag));
    }
    let mut response = json_answer(body);
    insert(response.headers_mut(), header::ETAG, &format!("\"{etag}\""));
    Ok(response)
}

/// The images of a list, by its query.
pub fn filtered<'a>(
    index: &'a Index,
    query: &Query,
    channel: Option<&str>,
    who: &Who,
) -> Result<Vec<&'a Arc<Entry>>, Refusal> {
    let mut filter = Filter::default();
    let (mut limit, mut marker, mut descending) = (None, None, false);
    for (key, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        let invalid = |why: String| Refusal::parameter(key, "Invalid", why);
        match key {
            "limit" => {
                let number = value.parse::<usize>();
                let number = number.map_err(|_| invalid(format!("invalid limit: {value:?}")))?;
                limit = Some(number).filter(|number| *number > 0);
            }
            "marker" => marker = Some(marker_of(index, value)?),
            "sort" => {
                let (by, order) = value.split_once('.').unwrap_or((value, "asc"));
                if by != "published_at" || !matches!(&*order.to_ascii_lowercase(), "asc" | "desc") {
                    return Err(invalid(format!("invalid sort: {value:?}")));
                }
                descending = order.eq_ignore_ascii_case("desc");
            }
            "name" | "version" | "os" | "type" | "owner" | "public" | "state" | "billing_tag" => {
                filter.add(key, value).map_err(invalid)?;
            }
            _ if key.starts_with("tag.") => filter.add(key, value).map_err(invalid)?,
            // Others (account, inclAdminFields, ...) are for datacentres.
            _ => {}
        }
    }
    let account = query.get("account");
    if !who.is_trusted() {
        match filter.states {
            States::All => filter.states = States::Active,
            States::Only(state) if state != State::Active => return Ok(Vec::new()),
            _ => {}
        }
    }
    let wanted = |entry: &&Arc<Entry>| {
        let manifest = &entry.manifest;
        (who.is_trusted() || entry.is_for_all())
            && account.is_none_or(|account| {
                let acl = manifest.acl.iter().flatten();
                manifest.owner.as_deref() == Some(account)
                    || (!entry.pending
                        && (manifest.public == Some(true)
                            || acl.into_iter().any(|own| own == account)))
            })
            && filter.fits(manifest)
            && channel.is_none_or(|channel| entry.in_channel(channel))
            && marker.as_ref().is_none_or(|(from, uuid)| {
                let own = (time(manifest), Some(manifest.uuid.as_str()));
                let own = (own.0, own.1.filter(|_| uuid.is_some()));
                let from = (Some(*from), uuid.as_deref());
                if descending { own <= from } else { own >= from }
            })
    };
    let mut entries: Vec<_> = index.entries.iter().filter(wanted).collect();
    if descending {
        entries.reverse();
    }
    entries.truncate(limit.unwrap_or(usize::MAX));
    Ok(entries)
}

/// A marker is a UUID, or a time: the list goes on with images of that time and later. Of those of one time it goes on with the
/// image itself, so that a list of many ends (sdc-imgapi's begins with all of that time again).
fn marker_of(index: &Index, value: &str) -> Result<(jiff::Timestamp, Option<String>), Refusal> {
    if let Some(uuid) = as_uuid(value) {
        let entry = index.get(&uuid).ok_or_else(Refusal::no_image)?;
        let time = time(&entry.manifest).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        return Ok((time, Some(uuid)));
    }
    let date = || -> Option<jiff::Timestamp> {
        let date: jiff::civil::Date = value.parse().ok()?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let time = value.parse().ok().or_else(date);
    time.map(|time| (time, None)).ok_or_else(|| {
        Refusal::parameter(
            "marker",
            "Invalid",
            format!("invalid value for \"marker\" param: {value:?} is not a UUID or date string"),
        )
    })
}

fn joined<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>, channels: bool) -> (Bytes, String) {
    let mut body = vec![b'['];
    let mut digest = Sha1::new();
    digest.update([u8::from(channels)]);
    for entry in entries {
        if body.len() > 1 {
            body.push(b',');
        }
        body.extend_from_slice(if channels {
            &entry.json
        } else {
            &entry.json_without_channels
        });
        digest.update(entry.digest);
    }
    body.push(b']');
    (body.into(), mibe_image::file::hex(&digest.finalize()))
}

/// Clients from before there were channels say no `Accept-Version`, or one before 2.
fn knows_channels(asked: &HeaderMap) -> bool {
    let version = asked
        .get("accept-version")
        .and_then(|version| version.to_str().ok());
    version.is_some_and(|version| {
        let first = version.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '*');
        first.starts_with('*')
            || first
                .split('.')
                .next()
                .and_then(|major| major.parse::<u32>().ok())
                >= Some(2)
    })
}

impl App {
    /// The image of a path, as far as who asks may know of it.
    pub async fn entry(&self, uuid: &str, query: &Query, who: &Who) -> Result<Arc<Entry>, Refusal> {
        let entry = self.find(uuid, who).await?;
        let channel = query.channel(&self.store.channels, true)?;
        if channel.is_some_and(|channel| !entry.in_channel(channel)) {
            return Err(Refusal::no_image());
        }
        Ok(entry)
    }

    /// The image of this UUID, of whatever channel.
    pub async fn find(&self, uuid: &str, who: &Who) -> Result<Arc<Entry>, Refusal> {
        let uuid = as_uuid(uuid).ok_or_else(Refusal::no_image)?;
        let index = self.store.index().await;
        let entry = index.get(&uuid).ok_or_else(Refusal::no_image)?;
        if !who.is_trusted() && !entry.is_for_all() {
            return Err(Refusal::no_image());
        }
        Ok(Arc::clone(entry))
    }
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
    Ok(image_answer(&entry, &asked))
}

/// An image as an answer.
pub fn image_answer(entry: &Entry, asked: &HeaderMap) -> Response {
    let with_channels = knows_channels(asked);
    let mark = if with_channels { "" } else { "-1" };
    let etag = format!("{}{mark}", mibe_image::file::hex(&entry.digest));
    if has_not_changed(asked, &etag, None) {
        return not_modified(&etag);
    }
    let mut response = json_answer(if with_channels {
        entry.json.clone()
    } else {
        entry.json_without_channels.clone()
    });
    insert(response.headers_mut(), header::ETAG, &format!("\"{etag}\""));
    response
}

pub async fn file(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    let entry = app
        .entry(&uuid, &Query::new(query.as_deref()), &who)
        .await?;
    file_answer(&app, &entry, &method, &asked)
}

/// The file of an image as an answer.
pub fn file_answer(
    app: &App,
    entry: &Entry,
    method: &Method,
    asked: &HeaderMap,
) -> Result<Response, Refusal> {
    let path = entry
        .file
        .as_deref()
        .ok_or_else(|| Refusal::not_found("the image has no file"))?;
    let (file, size, modified) = open(path).map_err(|error| app.store.told(error))?;
    let listed = entry.own.files.iter().flatten().next();
    // It may have been replaced since it was looked at; what is not what the manifest says is not given.
    let listed = listed.filter(|listed| listed.size == size).ok_or_else(|| {
        app.store
            .warn(format!("{path} is not the file of its manifest any more"));
        Refusal::internal()
    })?;
    let served = Served {
        file,
        size,
        etag: listed.sha1.clone(),
        modified,
        content_type: "application/octet-stream",
    };
    let mut response = answer(served, method, asked, &app.metrics.sent);
    let headers = response.headers_mut();
    if let Some(md5) = listed.md5.as_deref().and_then(from_hex) {
        insert(headers, CONTENT_MD5, &STANDARD.encode(md5));
    }
    let name = path
        .file_name()
        .filter(|_| !entry.pending)
        .unwrap_or("file");
    if name
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    {
        let value = format!("attachment; filename=\"{name}\"");
        insert(headers, header::CONTENT_DISPOSITION, &value);
    }
    Ok(response)
}

pub async fn icon(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    let query = Query::new(query.as_deref());
    // Pages show the images of all channels.
    let entry = if query.get("channel").is_some() {
        app.entry(&uuid, &query, &who).await?
    } else {
        app.find(&uuid, &who).await?
    };
    let (path, content_type) = entry
        .icon
        .as_ref()
        .ok_or_else(|| Refusal::not_found("image has no icon"))?;
    let (file, size, modified) = open(path).map_err(|error| app.store.told(error))?;
    let nanoseconds = modified
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos());
    let mut bytes = vec![0; size.min(ICON as u64) as usize];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|error| app.store.told(error))?;
    let served = Served {
        file,
        size,
        etag: format!("{size:x}-{nanoseconds:x}"),
        modified,
        content_type,
    };
    let mut response = answer(served, &method, &asked, &app.metrics.sent);
    // Triton's client wants one.
    let md5 = STANDARD.encode(Md5::digest(&bytes));
    insert(response.headers_mut(), CONTENT_MD5, &md5);
    Ok(response)
}

fn open(path: &Utf8Path) -> std::io::Result<(File, u64, SystemTime)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata.len(), metadata.modified()?))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    });
    pairs.collect()
}

/// JSON as an answer; imgadm looks for just this content type.
pub fn json_answer(body: Bytes) -> Response {
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_TYPE, "application/json");
    insert(headers, header::CONTENT_LENGTH, &length.to_string());
    insert(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn not_modified(etag: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    insert(response.headers_mut(), header::ETAG, &format!("\"{etag}\""));
    response
}
