//! Pages for people: what is there, and how to have it. Plain HTML without scripts.

mod contents;
pub mod facts;
mod image;
mod list;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};

use super::App;
use super::index::Entry;
use super::refusal::Refusal;

const STYLE: &str = include_str!("style.css");
/// Nothing comes from elsewhere, and nothing runs.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// An icon for tabs, drawn here.
const TAB: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='3' fill='%230b57c2'/%3E%3Cpath d='M3 12V4l5 5 5-5v8' fill='none' stroke='white' stroke-width='2'/%3E%3C/svg%3E";

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(list::page))
        .route("/i/{uuid}", get(image::page))
        .route("/i/{uuid}/files", get(contents::files))
        .route("/i/{uuid}/difference", get(contents::difference))
        .route("/style.css", get(style))
}

async fn style() -> Response {
    let kind = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "max-age=3600"),
    ];
    (kind, STYLE).into_response()
}

/// Whether a browser asks.
pub fn wants_page(asked: &HeaderMap) -> bool {
    let accepted = asked
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

/// The page of what is not there.
pub fn nothing() -> Response {
    let text = html! {
        h1 { "There is nothing here" }
        p { a href="/" { "All images" } }
    };
    let mut response = page("/", "Nothing here", None, &text);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// A refusal as a page.
fn refused(root: &str, refusal: &Refusal) -> Response {
    let text = html! {
        h1 { (refusal.message) }
        p { a href=(root) { "All images" } }
    };
    let mut response = page(root, "Not found", None, &text);
    *response.status_mut() = refusal.status;
    response
}

/// A page. `root` leads from it to the list of images.
fn page(root: &str, title: &str, refresh: Option<u32>, main: &Markup) -> Response {
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(seconds) = refresh {
                    meta http-equiv="refresh" content=(seconds);
                }
                title { (title) " · mibe" }
                link rel="stylesheet" href={ (root) "style.css" };
                link rel="icon" href=(TAB);
            }
            body {
                a class="skip" href="#main" { "To the content" }
                header { a href=(if root.is_empty() { "./" } else { root }) { "Machine images" } }
                main id="main" { (main) }
                footer { "Served by mibe " (env!("CARGO_PKG_VERSION")) "." }
            }
        }
    };
    let mut response = Html(whole.into_string()).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The icon of an image, or the first letter of its name.
fn icon(root: &str, entry: &Entry) -> Markup {
    let letter = entry
        .manifest
        .name
        .chars()
        .find(char::is_ascii_alphanumeric);
    html! {
        @if entry.icon.is_some() {
            img class="icon" src={ (root) "images/" (entry.manifest.uuid) "/icon" } alt="";
        } @else {
            span class="icon letter" aria-hidden="true" { (letter.unwrap_or('?').to_ascii_uppercase()) }
        }
    }
}

/// The day an image was published.
fn day(entry: &Entry) -> &str {
    let time = entry.manifest.published_at.as_deref().unwrap_or_default();
    time.split('T').next().unwrap_or(time)
}

/// Bytes for people.
fn bytes(size: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut value = size as f64;
    let mut unit = "";
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

fn size(entry: &Entry) -> u64 {
    entry
        .manifest
        .files
        .iter()
        .flatten()
        .map(|file| file.size)
        .sum()
}

/// A query with these values, without those that are empty.
fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(key, value);
    }
    query.finish()
}
