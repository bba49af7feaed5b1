//! What is in images, read from them in the background, one at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use mibe_image::chain::Chain;
use mibe_image::diff::{ImageDiff, diff};
use mibe_image::listing::{FileEntry, list};
use mibe_image::open::{Image, Libraries};

use crate::server::index::Entry;
use crate::server::store::{Store, lock};

/// Files that are shown of an image, at most.
const FILES: usize = 200_000;
/// Images whose facts are kept.
const KEPT: usize = 6;
/// Images that wait to be read.
const WAITING: usize = 16;

/// A file of an image.
pub struct Row {
    pub path: String,
    pub kind: &'static str,
    pub mode: String,
    pub owner: String,
    pub size: u64,
    pub target: Option<String>,
}

/// The files of an image, folders before what is in them.
pub struct Files {
    pub rows: Vec<Row>,
    /// Whether there are more.
    pub cut: bool,
}

/// What is asked of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    Files,
    Difference,
}

/// What was found.
#[derive(Clone)]
pub enum Fact {
    /// It is being read.
    Coming,
    /// Too many are.
    Busy,
    /// It can't be told, and why.
    Unknown(String),
    Files(Arc<Files>),
    Difference(Arc<ImageDiff>),
}

type Key = ([u8; 20], Of);

#[derive(Default)]
struct Kept {
    facts: BTreeMap<Key, Fact>,
    order: VecDeque<Key>,
}

/// Facts of images.
pub struct Facts {
    store: Arc<Store>,
    kept: Arc<Mutex<Kept>>,
    one: Arc<Mutex<()>>,
}

impl Facts {
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            kept: Arc::default(),
            one: Arc::default(),
        }
    }

    /// What is known; if nothing is, it is found out from now on.
    pub fn ask(&self, entry: &Arc<Entry>, of: Of) -> Fact {
        let key = (entry.digest, of);
        let mut kept = lock(&self.kept);
        if let Some(fact) = kept.facts.get(&key) {
            return fact.clone();
        }
        let coming = kept
            .facts
            .values()
            .filter(|fact| matches!(fact, Fact::Coming));
        if coming.count() >= WAITING {
            return Fact::Busy;
        }
        kept.facts.insert(key, Fact::Coming);
        let work = Work {
            kept: Arc::clone(&self.kept),
            key,
        };
        let (store, entry, one) = (
            Arc::clone(&self.store),
            Arc::clone(entry),
            Arc::clone(&self.one),
        );
        tokio::task::spawn_blocking(move || {
            // Reading an image takes a core or two.
            let _turn = lock(&one);
            let fact = match read(&store, &entry, of) {
                Ok(fact) => fact,
                Err(error) => {
                    // Where the images are is nobody's business.
                    let folder = format!("{}/", store.folder);
                    Fact::Unknown(error.to_string().replace(&folder, ""))
                }
            };
            work.found(fact);
        });
        Fact::Coming
    }
}

/// A fact on its way; if nothing is found, not even an error, it can be asked for again.
struct Work {
    kept: Arc<Mutex<Kept>>,
    key: Key,
}

impl Work {
    fn found(self, fact: Fact) {
        let mut kept = lock(&self.kept);
        kept.facts.insert(self.key, fact);
        kept.order.push_back(self.key);
        while kept.order.len() > KEPT {
            if let Some(old) = kept.order.pop_front() {
                kept.facts.remove(&old);
            }
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let mut kept = lock(&self.kept);
        if let Some(Fact::Coming) = kept.facts.get(&self.key) {
            kept.facts.remove(&self.key);
        }
    }
}

fn read(store: &Store, entry: &Entry, of: Of) -> Result<Fact, mibe_image::Error> {
    let libraries = Libraries::new([store.folder.clone()]);
    let chain = |image: &Image| Chain::of(image, &libraries, &[]);
    let own = chain(&Image::at(&entry.path)?)?;
    if let (Of::Difference, Some(origin)) = (of, &entry.manifest.origin) {
        let origin = chain(&libraries.find(origin)?)?;
        return Ok(Fact::Difference(Arc::new(diff(&origin, &own, false)?)));
    }
    let mut files = Files {
        rows: Vec::new(),
        cut: false,
    };
    list(&own, &mut |file| {
        files.cut = files.rows.len() >= FILES;
        if !files.cut {
            files.rows.push(row(file));
        }
        !files.cut
    })?;
    Ok(Fact::Files(Arc::new(files)))
}

fn row(file: FileEntry) -> Row {
    Row {
        kind: file.kind,
        mode: file.mode,
        owner: format!("{}:{}", file.uid, file.gid),
        size: file.size,
        target: file.target,
        path: file.path,
    }
}
