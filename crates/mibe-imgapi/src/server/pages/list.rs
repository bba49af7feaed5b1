//! The page of all images, and the search among them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use mibe_image::manifest::State;

use super::{bytes, day, icon, query as written, size};
use crate::server::App;
use crate::server::access::Who;
use crate::server::index::Entry;
use crate::server::query::Query;

/// Images on a page.
const IMAGES: usize = 50;

pub async fn page(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    RawQuery(query): RawQuery,
    asked: HeaderMap,
) -> Response {
    let url = app.url(&asked);
    let query = Query::new(query.as_deref());
    let index = app.store.index().await;
    let text = query.get("q").unwrap_or_default().trim();
    let (kind, os) = (
        query.get("type").unwrap_or_default(),
        query.get("os").unwrap_or_default(),
    );
    let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
    let seen = |entry: &&Arc<Entry>| {
        who.is_trusted() || (entry.is_for_all() && entry.state() == State::Active)
    };
    let wanted = |entry: &&Arc<Entry>| {
        let manifest = &entry.manifest;
        (kind.is_empty() || manifest.kind.name() == kind)
            && (os.is_empty() || manifest.os.name() == os)
            && (words.is_empty() || {
                let about = format!(
                    "{} {} {} {} {} {}",
                    manifest.name,
                    manifest.version,
                    manifest.uuid,
                    manifest.description.as_deref().unwrap_or_default(),
                    manifest.os,
                    manifest.kind
                )
                .to_lowercase();
                words.iter().all(|word| about.contains(word))
            })
    };
    let all: Vec<_> = index.entries.iter().rev().filter(seen).collect();
    let found: Vec<_> = all.iter().copied().filter(wanted).collect();
    let kinds: BTreeSet<_> = all.iter().map(|entry| entry.manifest.kind.name()).collect();
    let systems: BTreeSet<_> = all.iter().map(|entry| entry.manifest.os.name()).collect();
    let pages = found.len().div_ceil(IMAGES).max(1);
    let number = query.get("page").and_then(|page| page.parse().ok());
    let number: usize = number.unwrap_or(1).clamp(1, pages);
    let to_page = |number: usize| {
        let number = number.to_string();
        format!(
            "?{}",
            written(&[("q", text), ("type", kind), ("os", os), ("page", &number)])
        )
    };
    let count = if found.len() == all.len() {
        format!("{} images", all.len())
    } else {
        format!("{} of {} images", found.len(), all.len())
    };
    let main = html! {
        h1 { "Images" }
        form role="search" method="get" action="" {
            label class="wide" { "Search" input type="search" name="q" value=(text) placeholder="name, version, words"; }
            (choice("type", "Type", &kinds, kind))
            (choice("os", "System", &systems, os))
            button type="submit" { "Search" }
        }
        p { (count) @if found.is_empty() && !all.is_empty() { ". " a href="./" { "Show all" } } }
        ul class="images" {
            @for entry in found.iter().skip((number - 1) * IMAGES).take(IMAGES) {
                (line(entry))
            }
        }
        @if pages > 1 {
            nav class="pages" aria-label="Pages" {
                @if number > 1 { a rel="prev" href=(to_page(number - 1)) { "Newer" } }
                span { "Page " (number) " of " (pages) }
                @if number < pages { a rel="next" href=(to_page(number + 1)) { "Older" } }
            }
        }
        h2 { "On a SmartOS host" }
        p { "Have " code { "imgadm" } " look here, too:" }
        pre { "imgadm sources -a " (url) }
    };
    super::page("", "Images", None, &main)
}

fn choice(name: &str, label: &str, values: &BTreeSet<&str>, chosen: &str) -> Markup {
    html! {
        label { (label)
            select name=(name) {
                option value="" { "all" }
                @for value in values {
                    option value=(value) selected[*value == chosen] { (value) }
                }
            }
        }
    }
}

fn line(entry: &Entry) -> Markup {
    let manifest = &entry.manifest;
    let state = entry.state();
    html! {
        li {
            (icon("", entry))
            div class="what" {
                a class="name" href={ "i/" (manifest.uuid) } { (manifest.name) " " (manifest.version) }
                @if state != State::Active { " " span class="badge off" { (state) } }
                @if manifest.public == Some(false) { " " span class="badge" { "private" } }
                @if let Some(description) = &manifest.description {
                    p { (short(description)) }
                }
            }
            div class="side" {
                (manifest.kind) " · " (manifest.os) br;
                (bytes(size(entry))) " · " time datetime=(manifest.published_at.as_deref().unwrap_or_default()) { (day(entry)) }
            }
        }
    }
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(200).collect();
    if text.chars().nth(200).is_some() {
        short.push('…');
    }
    short
}
