//! To IMGAPI: import, file, icon, activate (sdc-imgapi, docs/index.md).

use std::fs;
use std::io::{self, Read};

use mibe_image::manifest::{Manifest, State};
use mibe_image::progress::{Event, Progress};
use serde_json::Value;
use sha1::{Digest as _, Sha1};

use super::{Icon, Outcome, Ready, STEP, same};
use crate::client::Client;
use crate::error::Error;
use crate::filter;
use crate::http::Method;

/// Keys that an import does not take: the server makes them.
const SERVERS_OWN: [&str; 6] = [
    "files",
    "state",
    "activated",
    "icon",
    "disabled",
    "channels",
];

pub(super) fn publish(
    client: &Client,
    ready: &Ready,
    icon: Option<&Icon>,
    activate: bool,
    progress: &dyn Progress,
) -> Result<Outcome, Error> {
    let uuid = &ready.manifest.uuid;
    let there = client.get(uuid)?;
    let mut begun = false;
    let mut has_file = false;
    match there.as_ref().map(|there| (there, filter::state(there))) {
        None => {}
        Some((there, State::Unactivated)) => {
            // The rest of an earlier try. What it sent already is good if it is whole.
            if is_of(there, &ready.manifest) {
                begun = true;
                has_file = file_is(there, ready);
            } else {
                progress.event(Event::Message {
                    text: format!(
                        "an earlier try left another manifest at {}: begun anew",
                        client.name()
                    ),
                });
                delete(client, uuid)?;
            }
        }
        Some((there, state)) => {
            same(there, ready, client.name())?;
            if state != State::Active {
                return Err(Error::Unfit {
                    image: super::title(&ready.manifest),
                    server: client.name().to_owned(),
                    reasons: vec![format!("it is there, and {state}")],
                    hints: vec!["those who run the server can enable it".to_owned()],
                });
            }
            if let Some(icon) = icon {
                put_icon(client, uuid, icon)?;
            }
            return Ok(Outcome::WasThere);
        }
    }
    let mut taken_back = TakenBack {
        client,
        uuid,
        begun: false,
    };
    let result = steps(
        client,
        ready,
        icon,
        activate,
        progress,
        begun,
        has_file,
        &mut taken_back,
    );
    match result {
        Ok(outcome) => Ok(outcome),
        Err(error) => Err(taken_back.after(error)),
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "what is known when the steps begin"
)]
fn steps(
    client: &Client,
    ready: &Ready,
    icon: Option<&Icon>,
    activate: bool,
    progress: &dyn Progress,
    begun: bool,
    has_file: bool,
    taken_back: &mut TakenBack<'_>,
) -> Result<Outcome, Error> {
    let uuid = &ready.manifest.uuid;
    if !begun {
        // A lost answer may mean that it is there.
        taken_back.begun = true;
        import(client, ready)?;
    }
    if has_file {
        progress.event(Event::Bytes {
            step: STEP.to_owned(),
            done: ready.file.size,
            total: Some(ready.file.size),
        });
    } else {
        put_file(client, ready, progress)?;
    }
    if let Some(icon) = icon {
        put_icon(client, uuid, icon)?;
    }
    if !activate {
        return Ok(Outcome::Published(State::Unactivated));
    }
    let path = client.path(&format!("/images/{uuid}"), &[("action", "activate")]);
    let answer = match client.http().change(Method::Post, &path, None) {
        Ok(answer) => Some(answer),
        // Done, and the answer lost, is done.
        Err(Error::Unreachable { url, reason }) => match client.get(uuid) {
            Ok(Some(there)) if filter::state(&there) == State::Active => None,
            _ => return Err(Error::Unreachable { url, reason }),
        },
        Err(error) => return Err(error),
    };
    // The answer has been enough for some servers to be wrong about.
    if let Some(answer) = answer
        && answer.get("state").and_then(Value::as_str) != Some("active")
    {
        let there = client.get(uuid)?;
        if there.is_none_or(|there| filter::state(&there) != State::Active) {
            return Err(Error::Wrong {
                url: client.http().url(&path),
                what: "the image is not active after it was activated".to_owned(),
            });
        }
    }
    Ok(Outcome::Published(State::Active))
}

/// Takes back what this call began, if it fails.
struct TakenBack<'a> {
    client: &'a Client,
    uuid: &'a str,
    begun: bool,
}

impl TakenBack<'_> {
    fn after(self, error: Error) -> Error {
        if !self.begun {
            return error;
        }
        // Someone else's image, or one that is active for all that, is not ours to delete.
        match self.client.get_uncancelled(self.uuid) {
            Ok(Some(there)) if filter::state(&there) == State::Unactivated => {}
            Ok(_) => return error,
            Err(left) => return self.left(error, left),
        }
        match self.client.delete_uncancelled(self.uuid) {
            Ok(()) => error,
            Err(left) => self.left(error, left),
        }
    }

    fn left(&self, source: Error, left: Error) -> Error {
        Error::Left {
            source: Box::new(source),
            uuid: self.uuid.to_owned(),
            left: Box::new(left),
        }
    }
}

fn import(client: &Client, ready: &Ready) -> Result<(), Error> {
    let uuid = &ready.manifest.uuid;
    let mut manifest = serde_json::to_value(&ready.manifest)
        .map_err(|error| Error::usage(error.to_string(), &[]))?;
    if let Some(fields) = manifest.as_object_mut() {
        for key in SERVERS_OWN {
            fields.remove(key);
        }
        // A server without a word of it takes it for private.
        fields.entry("public").or_insert(Value::Bool(true));
    }
    let query = [("action", "import")];
    let path = client.path(&format!("/images/{uuid}"), &query);
    match client.http().change(Method::Post, &path, Some(&manifest)) {
        Ok(_) => Ok(()),
        Err(Error::Unreachable { url, reason }) => match client.get(uuid) {
            Ok(Some(there)) if is_of(&there, &ready.manifest) => Ok(()),
            _ => Err(Error::Unreachable { url, reason }),
        },
        Err(error) => Err(error),
    }
}

fn put_file(client: &Client, ready: &Ready, progress: &dyn Progress) -> Result<(), Error> {
    let file = &ready.file;
    let compression = file.compression.to_string();
    let mut query = vec![("compression", &*compression), ("sha1", &*file.sha1)];
    if let Some(guid) = &file.dataset_guid {
        query.push(("dataset_guid", guid));
    }
    let path = client.path(&format!("/images/{}/file", ready.manifest.uuid), &query);
    let answer = client.http().retry(|http| {
        let opened = fs::File::open(&ready.path).map_err(Error::io("read", &*ready.path))?;
        let mut body = Metered::new(opened, file.size, progress);
        http.send(
            true,
            &path,
            "application/octet-stream",
            file.size,
            &mut body,
        )
    });
    let answer = match answer {
        Ok(answer) => answer,
        // The file may have come, and the answer not.
        Err(Error::Unreachable { url, reason }) => match client.get(&ready.manifest.uuid) {
            Ok(Some(there)) if file_is(&there, ready) => return Ok(()),
            _ => return Err(Error::Unreachable { url, reason }),
        },
        Err(error) => return Err(error),
    };
    let entry = answer.get("files").and_then(|files| files.get(0));
    let says = |key: &str| entry.and_then(|entry| entry.get(key));
    let fits = says("sha1")
        .and_then(Value::as_str)
        .is_some_and(|sha1| sha1.eq_ignore_ascii_case(&file.sha1))
        && says("size").and_then(Value::as_u64) == Some(file.size)
        && says("compression").and_then(Value::as_str) == Some(&compression);
    if fits {
        return Ok(());
    }
    Err(Error::Wrong {
        url: client.http().url(&path),
        what: "the server has another file than the one that was sent".to_owned(),
    })
}

fn put_icon(client: &Client, uuid: &str, icon: &Icon) -> Result<(), Error> {
    let sha1 = mibe_image::file::hex(&Sha1::digest(&icon.bytes));
    let path = client.path(&format!("/images/{uuid}/icon"), &[("sha1", &sha1)]);
    client.http().retry(|http| {
        let mut body = &*icon.bytes;
        http.send(
            true,
            &path,
            icon.content_type,
            icon.bytes.len() as u64,
            &mut body,
        )
    })?;
    Ok(())
}

fn delete(client: &Client, uuid: &str) -> Result<(), Error> {
    let path = client.path(&format!("/images/{uuid}"), &[]);
    match client.http().change(Method::Delete, &path, None) {
        Err(error) if error.status() != Some(404) => Err(error),
        _ => Ok(()),
    }
}

/// Whether what is there was begun with this manifest: a server adds to it, changes the owner where it knows no accounts, and does
/// not show all (sdc-imgapi lib/images.js, `serialize` and `handleOwner`).
fn is_of(there: &Manifest, manifest: &Manifest) -> bool {
    let value = |manifest: &Manifest| serde_json::to_value(manifest).unwrap_or_default();
    let (there, own) = (value(there), value(manifest));
    let Value::Object(own) = own else {
        return false;
    };
    own.iter()
        .filter(|(key, _)| !SERVERS_OWN.contains(&&***key) && *key != "owner")
        .all(|(key, value)| match there.get(key) {
            None => matches!(
                &**key,
                "billing_tags" | "traits" | "acl" | "generate_passwords"
            ),
            Some(theirs) => theirs == value,
        })
}

/// Whether the file there is the image's.
fn file_is(there: &Manifest, ready: &Ready) -> bool {
    let file = there.files.iter().flatten().next();
    file.is_some_and(|file| {
        file.sha1.eq_ignore_ascii_case(&ready.file.sha1)
            && file.size == ready.file.size
            && file.compression == ready.file.compression
    })
}

/// A file on its way out.
pub(super) struct Metered<'a, R> {
    inner: R,
    done: u64,
    total: u64,
    progress: &'a dyn Progress,
}

impl<'a, R: Read> Metered<'a, R> {
    pub fn new(inner: R, total: u64, progress: &'a dyn Progress) -> Self {
        Self {
            inner,
            done: 0,
            total,
            progress,
        }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        self.progress.event(Event::Bytes {
            step: STEP.to_owned(),
            done: self.done,
            total: Some(self.total),
        });
        Ok(count)
    }
}
