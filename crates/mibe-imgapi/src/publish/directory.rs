//! Into a folder that any web server can serve to imgadm.
//!
//! `images/index.json` is the list, `images/UUID/index.json` an image, `images/UUID/file` its file, `ping` what tells that it
//! is an image server. A server has to answer a request for a folder with its index.json, without a redirect, which imgadm does
//! not follow; the folder's README.txt says how some are told.

use std::fs::{self, File};
use std::io::{self, Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use mibe_image::arrival::Arrival;
use mibe_image::manifest::{Manifest, State};
use mibe_image::progress::{Event, Progress};
use serde_json::{Value, json};

use super::{Icon, Outcome, Ready, STEP, same};
use crate::error::Error;
use crate::http::Cancel;
use crate::whole;

/// Largest list that is read, in bytes.
const LIST: u64 = 256 << 20;

const README: &str = include_str!("directory.txt");
const HTACCESS: &str = "\
# Folders answer with their index.json, without a redirect, as imgadm wants it.
DirectorySlash Off
Options +FollowSymLinks
RewriteEngine On
RewriteCond %{REQUEST_FILENAME} -d
RewriteCond %{REQUEST_FILENAME}/index.json -f
RewriteRule ^(.+?)/?$ $1/index.json [END]
<Files \"ping\">
    ForceType application/json
</Files>
<Files \"file\">
    ForceType application/octet-stream
</Files>
";

/// A folder of published images.
pub struct Directory {
    path: Utf8PathBuf,
    cancel: Cancel,
}

impl Directory {
    /// The folder of this path, which is made when an image comes.
    pub fn new(path: impl Into<Utf8PathBuf>, cancel: Cancel) -> Self {
        Self {
            path: path.into(),
            cancel,
        }
    }

    /// Its path.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    fn images(&self) -> Utf8PathBuf {
        self.path.join("images")
    }

    /// The image of this UUID; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// Its manifest can't be read.
    pub fn get(&self, uuid: &str) -> Result<Option<Manifest>, Error> {
        let path = self.images().join(uuid).join("index.json");
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Ok(Some(Manifest::read(&path)?)),
        }
    }

    pub(super) fn publish(
        &self,
        ready: &Ready,
        icon: Option<&Icon>,
        progress: &dyn Progress,
    ) -> Result<Outcome, Error> {
        let uuid = &ready.manifest.uuid;
        let images = self.images();
        fs::create_dir_all(&images).map_err(Error::io("make", &*images))?;
        // One at a time: the list is read, changed and written.
        let lock_path = images.join(".lock");
        let lock = File::create(&lock_path).map_err(Error::io("write", &*lock_path))?;
        lock.lock().map_err(Error::io("lock", &*lock_path))?;
        let there = self.get(uuid)?;
        if let Some(there) = &there {
            same(there, ready, self.path.as_str())?;
        }
        let folder = images.join(uuid);
        fs::create_dir_all(&folder).map_err(Error::io("make", &*folder))?;
        if there.is_none() {
            self.copy(ready, &folder, progress)?;
        }
        if let Some(icon) = icon {
            write(&folder.join("icon"), &icon.bytes)?;
        }
        let mut manifest = ready.manifest.clone();
        manifest.state = Some(State::Active);
        manifest.activated = Some(true);
        manifest.disabled = Some(false);
        manifest.public.get_or_insert(true);
        manifest.icon = (icon.is_some() || folder.join("icon").is_file()).then_some(true);
        if there.as_ref() != Some(&manifest) {
            write(&folder.join("index.json"), manifest.to_json()?.as_bytes())?;
        }
        self.rest()?;
        Ok(if there.is_some() {
            Outcome::WasThere
        } else {
            Outcome::Published(State::Active)
        })
    }

    fn copy(&self, ready: &Ready, folder: &Utf8Path, progress: &dyn Progress) -> Result<(), Error> {
        let hidden = folder.join(".file.part");
        let mut arrival = Arrival::begin(&hidden)?
            .ok_or_else(|| Error::usage(format!("something else writes {hidden}"), &[]))?;
        arrival.restart()?;
        let mut file = File::open(&ready.path).map_err(Error::io("read", &*ready.path))?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            self.cancel.check()?;
            let count = file
                .read(&mut buffer)
                .map_err(Error::io("read", &*ready.path))?;
            if count == 0 {
                break;
            }
            if let Err(error) = arrival.write(buffer.get(..count).unwrap_or_default()) {
                arrival.discard()?;
                return Err(error.into());
            }
            progress.event(Event::Bytes {
                step: STEP.to_owned(),
                done: arrival.size(),
                total: Some(ready.file.size),
            });
        }
        let arrived = arrival.finish()?;
        if arrived.sha1 != ready.file.sha1.to_ascii_lowercase() {
            let _ = fs::remove_file(&hidden);
            return Err(Error::Unfit {
                image: super::title(&ready.manifest),
                server: self.path.to_string(),
                reasons: vec![format!("{} changed while it was read", ready.path)],
                hints: Vec::new(),
            });
        }
        let path = folder.join("file");
        fs::rename(&hidden, &path).map_err(Error::io("write", &*path))
    }

    /// The list anew, by what is there, and what goes with it.
    fn rest(&self) -> Result<(), Error> {
        let images = self.images();
        let mut list: Vec<Value> = Vec::new();
        let entries = images
            .read_dir_utf8()
            .map_err(Error::io("read", &*images))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &*images))?;
            let path = entry.path().join("index.json");
            let Ok(file) = File::open(&path) else {
                continue;
            };
            let mut text = Vec::new();
            file.take(LIST)
                .read_to_end(&mut text)
                .map_err(Error::io("read", &*path))?;
            list.push(
                serde_json::from_slice(&text)
                    .map_err(|error| Error::io("read", &*path)(io::Error::other(error)))?,
            );
        }
        let when = |image: &Value| {
            let text = |key: &str| {
                image
                    .get(key)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            (text("published_at"), text("uuid"))
        };
        list.sort_by_key(when);
        let pong = json!({
            "ping": "pong",
            "version": env!("CARGO_PKG_VERSION"),
            "imgapi": true,
        });
        write(&self.path.join("ping"), format!("{pong}\n").as_bytes())?;
        for (name, text) in [(".htaccess", HTACCESS), ("README.txt", README)] {
            let path = self.path.join(name);
            // Whoever changed it knows why.
            if fs::symlink_metadata(&path).is_err() {
                write(&path, text.as_bytes())?;
            }
        }
        let text = serde_json::to_string_pretty(&list).unwrap_or_default() + "\n";
        write(&images.join("index.json"), text.as_bytes())
    }
}

/// Writes a file for all to read.
fn write(path: &Utf8Path, bytes: &[u8]) -> Result<(), Error> {
    whole::write(path, bytes, 0o644).map_err(Error::io("write", path))
}
