//! A server that is asked.

use std::collections::BTreeSet;

use camino::Utf8Path;
use mibe_image::manifest::Manifest;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::credentials::Credentials;
use crate::error::Error;
use crate::filter::Filter;
use crate::http::{Cancel, Http, Method, Patience};
use crate::servers::Server;

/// Images that a list is asked for at once, which is as many as IMGAPI gives.
const PAGE: usize = 1000;
/// Most images that a server is believed to have.
const MOST: usize = 200_000;

/// The owner of images that are nobody's (sdc-imgapi, lib/constants.js).
pub(crate) const UNSET_OWNER: &str = "00000000-0000-0000-0000-000000000000";

/// Most keys that a manifest may have beside those that there are.
const UNKNOWN_KEYS: u32 = 16;

/// What stands for itself in a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Reads from a server.
pub struct Client {
    name: String,
    http: Http,
    channel: Option<String>,
}

/// What a server has.
#[derive(Debug, Default)]
pub struct Offer {
    /// Images, in the server's order.
    pub images: Vec<Manifest>,
    /// What is among them and is no image, in words.
    pub odd: Vec<String>,
}

impl Client {
    /// A client of a server, which people know by `name`.
    ///
    /// # Errors
    ///
    /// Its URL is none.
    pub fn new(
        name: impl Into<String>,
        server: &Server,
        credentials: Credentials,
        patience: Patience,
        cancel: Cancel,
    ) -> Result<Self, Error> {
        Ok(Self {
            name: name.into(),
            http: Http::new(&server.url, credentials, patience, cancel)?,
            channel: server.channel.clone(),
        })
    }

    /// The same with another channel.
    #[must_use]
    pub fn in_channel(mut self, channel: Option<String>) -> Self {
        if channel.is_some() {
            self.channel = channel;
        }
        self
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The requests below.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// A path with its query, the channel included.
    pub(crate) fn path(&self, path: &str, query: &[(&str, &str)]) -> String {
        let channel = self.channel.as_deref().map(|channel| ("channel", channel));
        let mut text = path.to_owned();
        for (number, (key, value)) in query.iter().copied().chain(channel).enumerate() {
            text.push(if number == 0 { '?' } else { '&' });
            text.extend(utf8_percent_encode(key, PLAIN));
            text.push('=');
            text.extend(utf8_percent_encode(value, PLAIN));
        }
        text
    }

    /// What the server says of itself.
    ///
    /// # Errors
    ///
    /// It can't be reached, or is no image server.
    pub fn ping(&self) -> Result<Value, Error> {
        let answer = self.http.get_json("/ping")?;
        answer
            .filter(|answer| answer.get("ping").is_some() || answer.get("imgapi").is_some())
            .ok_or_else(|| Error::Wrong {
                url: self.http.url("/ping"),
                what: "no image server answers there".to_owned(),
            })
    }

    /// The image of this UUID, whatever its state; `None` if the server has none.
    ///
    /// # Errors
    ///
    /// The server can't be reached, or answers with another image or with none.
    pub fn get(&self, uuid: &str) -> Result<Option<Manifest>, Error> {
        let path = self.path(&format!("/images/{uuid}"), &[]);
        let Some(answer) = self.http.get_json(&path)? else {
            return Ok(None);
        };
        let wrong = |what: String| Error::Wrong {
            url: self.http.url(&path),
            what,
        };
        let manifest = manifest(answer).map_err(wrong)?;
        if manifest.uuid != uuid {
            return Err(wrong(format!(
                "the server answers with another image, {:?}",
                manifest.uuid
            )));
        }
        Ok(Some(manifest))
    }

    /// The same as [`get`](Self::get), also after the work was ended from outside.
    pub(crate) fn get_uncancelled(&self, uuid: &str) -> Result<Option<Manifest>, Error> {
        self.uncancelled()?.get(uuid)
    }

    /// Deletes an image, also after the work was ended from outside.
    pub(crate) fn delete_uncancelled(&self, uuid: &str) -> Result<(), Error> {
        let client = self.uncancelled()?;
        let path = client.path(&format!("/images/{uuid}"), &[]);
        match client.http.change(Method::Delete, &path, None) {
            Err(error) if error.status() != Some(404) => Err(error),
            _ => Ok(()),
        }
    }

    /// A client that goes on when the work was ended: to take back what it began.
    fn uncancelled(&self) -> Result<Self, Error> {
        Ok(Self {
            name: self.name.clone(),
            http: self.http.uncancelled()?,
            channel: self.channel.clone(),
        })
    }

    /// The images that the server has of those wanted.
    ///
    /// # Errors
    ///
    /// The server can't be reached, or answers with something else.
    pub fn list(&self, filter: &Filter) -> Result<Offer, Error> {
        let mut offer = Offer::default();
        let mut seen = BTreeSet::new();
        let mut marker: Option<String> = None;
        let wanted = filter.query();
        loop {
            let mut query: Vec<_> = wanted
                .iter()
                .map(|(key, value)| (&**key, &**value))
                .collect();
            // The first page is asked for without a limit: old servers know none, and give all.
            let limit = PAGE.to_string();
            if let Some(marker) = &marker {
                query.push(("limit", &limit));
                query.push(("marker", marker));
            }
            let path = self.path("/images", &query);
            let url = self.http.url(&path);
            let answer = self.http.get_json(&path)?.ok_or_else(|| Error::Wrong {
                url: url.clone(),
                what: "there is no list of images".to_owned(),
            })?;
            let Value::Array(page) = answer else {
                return Err(Error::Wrong {
                    url,
                    what: "the answer is no list of images".to_owned(),
                });
            };
            let count = page.len();
            let mut last = None;
            for answer in page {
                let uuid = answer
                    .get("uuid")
                    .and_then(Value::as_str)
                    .map(ToOwned::to_owned);
                last.clone_from(&uuid);
                // The image of the marker comes again, and so do those of its time.
                if uuid.is_some_and(|uuid| !seen.insert(uuid)) {
                    continue;
                }
                match manifest(answer) {
                    Ok(manifest) if filter.fits(&manifest) => offer.images.push(manifest),
                    Ok(_) => {}
                    Err(what) => offer.odd.push(what),
                }
            }
            if seen.len() > MOST {
                return Err(Error::Wrong {
                    url,
                    what: format!("the server lists more than {MOST} images"),
                });
            }
            let further = last.is_some() && last != marker;
            if count < PAGE || !further {
                return Ok(offer);
            }
            marker = last;
        }
    }

    /// The server's channels; `None` if it has none.
    ///
    /// # Errors
    ///
    /// The server can't be reached.
    pub fn channels(&self) -> Result<Option<Value>, Error> {
        self.http.get_json("/channels")
    }
}

/// The manifest in an answer. What manifests have no field for is left out: servers add to them.
fn manifest(mut answer: Value) -> Result<Manifest, String> {
    let uuid = |answer: &Value| {
        let uuid = answer.get("uuid").and_then(Value::as_str);
        format!("{:.36?}", uuid.unwrap_or("without a UUID"))
    };
    let mut left = UNKNOWN_KEYS;
    loop {
        left -= 1;
        // Copied, since what does not fit is taken out and it is tried again.
        match serde_json::from_value::<Manifest>(answer.clone()) {
            Ok(manifest) => {
                let violations = manifest.validate();
                // What only the file's user must know is looked at when the file comes.
                if let Some(violation) = violations
                    .iter()
                    .find(|violation| violation.field == "uuid")
                {
                    return Err(format!("an image whose {violation}"));
                }
                return Ok(manifest);
            }
            Err(error) => {
                let text = error.to_string();
                let unknown = text
                    .strip_prefix("unknown field `")
                    .and_then(|rest| rest.split('`').next());
                let removed = unknown.and_then(|key| answer.as_object_mut()?.remove(key));
                if removed.is_none() || left == 0 {
                    return Err(format!(
                        "image {}: {}",
                        uuid(&answer),
                        crate::http::shown(&text)
                    ));
                }
            }
        }
    }
}

/// A manifest as text, read as servers' answers are.
///
/// # Errors
///
/// What is wrong with it.
pub fn manifest_of_text(text: &[u8], path: &Utf8Path) -> Result<Manifest, Error> {
    let wrong = |what: String| Error::Wrong {
        url: path.to_string(),
        what,
    };
    let value = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
    manifest(value).map_err(wrong)
}
