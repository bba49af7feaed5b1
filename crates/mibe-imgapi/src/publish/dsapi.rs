//! To dsapid, which runs datasets.at (its server/handler/api_upload.go and middleware/auth.go).

use std::fs;
use std::io::{Cursor, Read};

use mibe_image::manifest::State;
use mibe_image::progress::{Event, Progress};
use serde_json::Value;

use super::imgapi::Metered;
use super::{Outcome, Ready, same};
use crate::client::Client;
use crate::error::{Error, Reply};
use crate::filter;
use crate::http::{Method, shown};

pub(super) fn publish(
    client: &Client,
    ready: &Ready,
    activate: bool,
    progress: &dyn Progress,
) -> Result<Outcome, Error> {
    let uuid = &ready.manifest.uuid;
    let answer = client.ping()?;
    let Some(user) = answer.get("auth") else {
        return Err(Error::Refused {
            url: client.http().url("/ping"),
            reply: Reply {
                status: 401,
                code: None,
                message: "a dsapid takes images from users alone whose token it knows".to_owned(),
            },
        });
    };
    if let Some(name) = user.get("name").and_then(Value::as_str) {
        progress.event(Event::Message {
            text: format!("{} knows you as {}", client.name(), shown(name)),
        });
    }
    if let Some(there) = client.get(uuid)? {
        same(&there, ready, client.name())?;
        return match filter::state(&there) {
            State::Active => Ok(Outcome::WasThere),
            _ if activate => enable(client, ready, progress),
            _ => Ok(Outcome::Pending),
        };
    }
    if !activate {
        progress.event(Event::Warning {
            text: "a dsapid decides by itself whether an image can be used at once: what its admins upload can".to_owned(),
            advice: None,
        });
    }
    upload(client, ready, progress)?;
    let there = client.get(uuid)?;
    match there.as_ref().map(filter::state) {
        Some(State::Active) => Ok(Outcome::Published(State::Active)),
        _ if activate => enable(client, ready, progress),
        _ => Ok(Outcome::Pending),
    }
}

fn upload(client: &Client, ready: &Ready, progress: &dyn Progress) -> Result<(), Error> {
    let manifest = serde_json::to_string(&ready.manifest)
        .map_err(|error| Error::usage(error.to_string(), &[]))?;
    // The file's own digest: a word that is in neither part.
    let boundary = format!("mibe-{}", ready.file.sha1);
    let before = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"manifest\"; filename=\"manifest.json\"\r\n\
         Content-Type: application/json\r\n\r\n{manifest}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let after = format!("\r\n--{boundary}--\r\n");
    let length = before.len() as u64 + ready.file.size + after.len() as u64;
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let answer = client.http().retry(|http| {
        let opened = fs::File::open(&ready.path).map_err(Error::io("read", &*ready.path))?;
        let file = Metered::new(opened, ready.file.size, progress);
        let mut body = Cursor::new(before.clone())
            .chain(file)
            .chain(Cursor::new(after.clone()));
        http.send(false, "/api/upload", &content_type, length, &mut body)
    });
    let url = client.http().url("/api/upload");
    match answer {
        Ok(answer) => {
            // It looks at the digest itself, where it looks at all.
            let sha1 = answer
                .get("files")
                .and_then(|files| files.get(0)?.get("sha1")?.as_str());
            if sha1.is_some_and(|sha1| !sha1.eq_ignore_ascii_case(&ready.file.sha1)) {
                return Err(Error::Wrong {
                    url,
                    what: "the server has another file than the one that was sent".to_owned(),
                });
            }
            Ok(())
        }
        Err(Error::Refused { reply, .. })
            if reply.status == 500 && reply.message.contains("already exists") =>
        {
            // It is there, and is shown to nobody yet.
            progress.event(Event::Message {
                text: format!("{} has the image already", client.name()),
            });
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Has an image used that waits for it, if the user may say so.
fn enable(client: &Client, ready: &Ready, progress: &dyn Progress) -> Result<Outcome, Error> {
    let path = format!("/api/datasets/{}?action=enable", ready.manifest.uuid);
    match client.http().change(Method::Post, &path, None) {
        Ok(_) => Ok(Outcome::Published(State::Active)),
        Err(Error::Refused { reply, .. }) if matches!(reply.status, 401 | 403) => {
            progress.event(Event::Message {
                text: format!(
                    "the image is uploaded; an admin of {} has to enable it before others see it",
                    client.name()
                ),
            });
            Ok(Outcome::Pending)
        }
        Err(error) => Err(error),
    }
}
