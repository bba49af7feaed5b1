//! What the host is, in files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The folder that all is in.
pub struct Host {
    pub folder: PathBuf,
}

/// `FOLDER/state.json`.
#[derive(Default, Serialize, Deserialize)]
pub struct State {
    pub datasets: BTreeMap<String, Dataset>,
    pub vms: BTreeMap<String, Vm>,
    /// Installed images.
    pub images: BTreeMap<String, Value>,
    /// Images of the sources: their folders in `FOLDER/source` have a tree and a stream.
    pub sources: BTreeMap<String, Value>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Dataset {
    pub properties: BTreeMap<String, String>,
    pub snapshots: BTreeMap<String, u64>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Vm {
    pub payload: Map<String, Value>,
    pub state: String,
    /// Milliseconds since 1970 at which its boot is over.
    pub boots_until: u128,
    /// Whether what runs at its first boot has run.
    pub booted: bool,
}

/// The state, and the lock on it.
pub struct Locked {
    pub state: State,
    path: PathBuf,
    _lock: File,
}

impl Host {
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where a dataset is mounted.
    pub fn mountpoint(&self, dataset: &str) -> PathBuf {
        self.path("mnt").join(dataset)
    }

    /// Where the content of a snapshot is.
    pub fn snapshot(&self, name: &str) -> PathBuf {
        self.path("snapshots").join(name.replace('/', "+"))
    }

    /// The stream of an image's snapshot.
    pub fn stream(&self, image: &str) -> PathBuf {
        self.path("streams").join(image)
    }

    pub fn lock(&self) -> Locked {
        let lock = File::create(self.path("lock")).unwrap();
        lock.lock().unwrap();
        let path = self.path("state.json");
        let state = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
            Err(_) => State::default(),
        };
        Locked {
            state,
            path,
            _lock: lock,
        }
    }
}

impl Locked {
    pub fn save(&self) {
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(&self.state).unwrap()).unwrap();
        fs::rename(&new, &self.path).unwrap();
    }
}

pub fn now() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis()
}
