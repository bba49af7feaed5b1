//! The pages of what is in an image.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Extension, Path, RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use mibe_image::diff::ImageDiff;
use mibe_image::inventory::Changes;
use mibe_image::listing::FileEntry;

use super::facts::{Fact, Files, Of, Row};
use super::{bytes, query as written, refused};
use crate::server::App;
use crate::server::access::Who;
use crate::server::index::Entry;
use crate::server::query::Query;

/// Lines of a table on a page.
const LINES: usize = 1000;

pub async fn files(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let entry = match app.find(&uuid, &who).await {
        Ok(entry) => entry,
        Err(refusal) => return refused("../../", &refusal),
    };
    let query = Query::new(query.as_deref());
    if stands_on_hidden(&app, &entry, &who).await {
        return hidden(&entry, "Files");
    }
    match app.facts.ask(&entry, Of::Files) {
        Fact::Files(files) => {
            let path = query.get("path").unwrap_or("/");
            let words = query.get("q").unwrap_or_default().trim();
            whole(&entry, "Files", &listed(&files, path, words))
        }
        other => not_yet(&entry, "Files", &other),
    }
}

pub async fn difference(
    Shared(app): Shared<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(uuid): Path<String>,
) -> Response {
    let entry = match app.find(&uuid, &who).await {
        Ok(entry) => entry,
        Err(refusal) => return refused("../../", &refusal),
    };
    if entry.manifest.origin.is_none() {
        let text = html! { p { "It is a full image, which is built upon nothing." } };
        return whole(&entry, "Difference", &text);
    }
    if stands_on_hidden(&app, &entry, &who).await {
        return hidden(&entry, "Difference");
    }
    match app.facts.ask(&entry, Of::Difference) {
        Fact::Difference(diff) => whole(&entry, "Difference", &compared(&diff)),
        other => not_yet(&entry, "Difference", &other),
    }
}

/// Whether an image stands on one that is here, and not for who asks: what is in the one tells of the other.
async fn stands_on_hidden(app: &App, entry: &Entry, who: &Who) -> bool {
    let index = app.store.index().await;
    let mut seen = BTreeSet::new();
    let mut next = entry.manifest.origin.as_deref();
    while let Some(uuid) = next
        && seen.insert(uuid)
    {
        let Some(origin) = index.get(uuid) else {
            return false;
        };
        if !who.is_trusted() && !origin.is_for_all() {
            return true;
        }
        next = origin.manifest.origin.as_deref();
    }
    false
}

fn hidden(entry: &Entry, what: &str) -> Response {
    let text = html! { p { "It stands on an image that is not for everyone." } };
    whole(entry, what, &text)
}

fn heading(entry: &Entry, what: &str) -> Markup {
    html! {
        h1 { (what) ": " a href={ "../" (entry.manifest.uuid) } { (entry.manifest.name) " " (entry.manifest.version) } }
    }
}

fn whole(entry: &Entry, what: &str, main: &Markup) -> Response {
    let main = html! { (heading(entry, what)) (main) };
    super::page(
        "../../",
        &format!("{what} of {}", entry.title()),
        None,
        &main,
    )
}

fn not_yet(entry: &Entry, what: &str, fact: &Fact) -> Response {
    let (text, refresh) = match fact {
        Fact::Unknown(why) => (format!("It can't be told: {why}"), None),
        Fact::Busy => (
            "Other images are being read; this one comes after them. The page asks again."
                .to_owned(),
            Some(10),
        ),
        _ => (
            "The image is being read. The page asks again.".to_owned(),
            Some(2),
        ),
    };
    let main = html! { (heading(entry, what)) p role="status" { (text) } };
    let title = format!("{what} of {}", entry.title());
    let mut response = super::page("../../", &title, refresh, &main);
    if matches!(fact, Fact::Busy) {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// The folder that a path is in.
fn folder(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}

fn listed(files: &Files, path: &str, words: &str) -> Markup {
    let path = if path.len() > 1 {
        path.trim_end_matches('/')
    } else {
        path
    };
    let found: Vec<&Row> = if words.is_empty() {
        let in_it = |row: &&Row| row.path != "/" && folder(&row.path) == path;
        files.rows.iter().filter(in_it).collect()
    } else {
        files
            .rows
            .iter()
            .filter(|row| row.path.contains(words))
            .collect()
    };
    let sizes = files
        .rows
        .iter()
        .filter(|row| row.kind == "file")
        .map(|row| row.size);
    let total: u64 = sizes.sum();
    html! {
        p { (files.rows.len()) (if files.cut { " files and more" } else { " files and folders" }) ", " (bytes(total)) " of content." }
        form role="search" method="get" action="" {
            label class="wide" { "Search" input type="search" name="q" value=(words) placeholder="part of a path"; }
            button type="submit" { "Search" }
        }
        @if words.is_empty() {
            p { "In " code { (path) } @if path != "/" { " · " a href={ "?" (written(&[("path", folder(path))])) } { "up" } } }
        } @else {
            p { (found.len()) " found. " a href="?" { "Show all" } }
        }
        div class="scroll" { table {
            thead { tr { th { "Name" } th { "Mode" } th { "Owner" } th class="number" { "Size" } } }
            tbody { @for row in found.iter().take(LINES) { (file(row, words.is_empty())) } }
        } }
        @if found.len() > LINES { p { "… and " (found.len() - LINES) " more." } }
    }
}

fn file(row: &Row, short: bool) -> Markup {
    let name = if short {
        row.path.rsplit('/').next().unwrap_or(&row.path)
    } else {
        &row.path
    };
    html! {
        tr {
            td {
                @if row.kind == "directory" { a href={ "?" (written(&[("path", &row.path)])) } { (name) "/" } }
                @else { (name) }
                @if let Some(target) = &row.target { " → " (target) }
                @if !matches!(row.kind, "file" | "directory" | "symlink") { " (" (row.kind) ")" }
            }
            td { code { (row.mode) } }
            td { (row.owner) }
            td class="number" { @if row.kind == "file" { (bytes(row.size)) } }
        }
    }
}

fn compared(diff: &ImageDiff) -> Markup {
    let sum = |files: &[FileEntry]| {
        let sizes = files
            .iter()
            .filter(|file| file.kind == "file")
            .map(|file| file.size);
        bytes(sizes.sum())
    };
    let inventory = &diff.inventory;
    let none = diff.added.is_empty()
        && diff.removed.is_empty()
        && diff.changed.is_empty()
        && inventory.packages.is_empty()
        && inventory.users.is_empty()
        && inventory.groups.is_empty()
        && inventory.services.is_empty();
    html! {
        @if none { p { "The images do not differ." } }
        (section("Packages", &inventory.packages, |package| package.version.clone()))
        (section("Users", &inventory.users, |user| format!("{}:{} {} {}", user.uid, user.gid, user.home, user.shell)))
        (section("Groups", &inventory.groups, Clone::clone))
        (section("Services", &inventory.services, Clone::clone))
        @if !diff.added.is_empty() {
            h2 { "Files added: " (diff.added.len()) " (" (sum(&diff.added)) ")" }
            (paths("plus", "+", diff.added.iter().map(|file| (file.path.as_str(), String::new()))))
        }
        @if !diff.removed.is_empty() {
            h2 { "Files removed: " (diff.removed.len()) " (" (sum(&diff.removed)) ")" }
            (paths("minus", "−", diff.removed.iter().map(|file| (file.path.as_str(), String::new()))))
        }
        @if !diff.changed.is_empty() {
            h2 { "Files changed: " (diff.changed.len()) }
            (paths("", "~", diff.changed.iter().map(|file| (file.path.as_str(), file.what.join(", ")))))
        }
        @for warning in &inventory.warnings { p { "Note: " (warning) } }
    }
}

fn paths<'a>(
    class: &str,
    sign: &str,
    files: impl ExactSizeIterator<Item = (&'a str, String)>,
) -> Markup {
    let more = files.len().saturating_sub(LINES);
    html! {
        div class="scroll" { table { tbody {
            @for (path, what) in files.take(LINES) {
                tr { td { span class=(class) { (sign) } " " code { (path) } } td { (what) } }
            }
        } } }
        @if more > 0 { p { "… and " (more) " more." } }
    }
}

fn section<T: Clone + PartialEq>(
    title: &str,
    changes: &Changes<T>,
    show: impl Fn(&T) -> String,
) -> Markup {
    html! {
        @if !changes.is_empty() {
            h2 { (title) }
            div class="scroll" { table { tbody {
                @for (name, value) in changes.added.iter().take(LINES) {
                    tr { td { span class="plus" { "+" } " " (name) } td { (show(value)) } }
                }
                @for (name, value) in changes.removed.iter().take(LINES) {
                    tr { td { span class="minus" { "−" } " " (name) } td { (show(value)) } }
                }
                @for (name, change) in changes.changed.iter().take(LINES) {
                    tr { td { "~ " (name) } td { (show(&change.from)) " → " (show(&change.to)) } }
                }
            } } }
        }
    }
}
