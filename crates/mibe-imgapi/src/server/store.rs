//! The folder that is served. What is read of it is kept until it changes; see `change.rs` for what is written to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::index::Index;
use super::{Log, Report};
use crate::error::Error;

/// How often the folder is looked at, at most.
const LOOK: Duration = Duration::from_millis(500);

/// A channel of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it is meant where none is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
}

impl Channel {
    /// The channels that `NAME` or `NAME:DESCRIPTION` stand for; the first is the default one.
    ///
    /// # Errors
    ///
    /// A name can't be one (sdc-imgapi, lib/channels.js), or comes twice.
    pub fn all_of(texts: &[String]) -> Result<Vec<Self>, Error> {
        let mut channels: Vec<Self> = Vec::new();
        for text in texts {
            let (name, description) = text.split_once(':').unwrap_or((text, ""));
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fits) {
                return Err(Error::usage(
                    format!("{name:?} can't be the name of a channel"),
                    &["a name is of small letters, digits, _ and -, and begins with a letter"],
                ));
            }
            if channels.iter().any(|channel| channel.name == name) {
                return Err(Error::usage(format!("the channel {name} comes twice"), &[]));
            }
            channels.push(Self {
                name: name.to_owned(),
                description: description.to_owned(),
                default: channels.is_empty(),
            });
        }
        Ok(channels)
    }
}

/// A folder of images that is served.
pub struct Store {
    pub(super) folder: Utf8PathBuf,
    pub(super) channels: Vec<Channel>,
    index: RwLock<Arc<Index>>,
    looked: Mutex<Instant>,
    reading: tokio::sync::Mutex<()>,
    /// Held while the folder is read and what was read is put in place: who began earlier must not end later.
    scanning: Mutex<()>,
    /// Held while something is changed; the locked file says that no other process changes anything.
    pub(super) changing: Mutex<Option<std::fs::File>>,
    log: Log,
}

impl Store {
    /// Reads the folder for the first time.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub fn new(folder: &Utf8Path, channels: Vec<Channel>, log: Log) -> Result<Self, Error> {
        let store = Self {
            folder: folder.to_owned(),
            channels,
            index: RwLock::default(),
            looked: Mutex::new(Instant::now()),
            reading: tokio::sync::Mutex::default(),
            scanning: Mutex::default(),
            changing: Mutex::default(),
            log,
        };
        store.read().map_err(Error::io("read", folder))?;
        Ok(store)
    }

    /// What is offered, as of half a second ago or later.
    pub async fn index(self: &Arc<Self>) -> Arc<Index> {
        let due = {
            let mut looked = lock(&self.looked);
            let due = looked.elapsed() >= LOOK;
            if due {
                *looked = Instant::now();
            }
            due
        };
        let current = self.current();
        if !due || current.is_fresh(&self.folder) {
            return current;
        }
        // Whoever comes meanwhile has what was there before.
        let Ok(_reading) = self.reading.try_lock() else {
            return current;
        };
        let store = Arc::clone(self);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.read()).await {
            self.warn(format!("{}: {error}", self.folder));
        }
        self.current()
    }

    /// What was read last.
    pub fn current(&self) -> Arc<Index> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&index)
    }

    /// Reads the folder.
    pub(super) fn read(&self) -> std::io::Result<()> {
        let _scanning = lock(&self.scanning);
        let before = self.current();
        let channel = self.channels.first().map(|channel| &*channel.name);
        let index = Index::read(&self.folder, &before, channel)?;
        for broken in &index.broken {
            if !before.broken.contains(broken) {
                (self.log)(Report::Warning(format!("not offered: {broken}")));
            }
        }
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
        Ok(())
    }

    pub(super) fn warn(&self, text: String) {
        (self.log)(Report::Warning(text));
    }
}

/// A lock whatever became of those who had it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
