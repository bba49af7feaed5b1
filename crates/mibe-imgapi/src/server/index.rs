//! What a server offers, as it was when its folder was last looked at.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use mibe_image::manifest::{Manifest, State};
use mibe_image::open::Image;
use serde_json::Value;
use sha1::{Digest as _, Sha1};

use crate::client::UNSET_OWNER;
use crate::filter;

/// Where images wait for their file and for being activated.
pub const PENDING: &str = ".pending";
/// The file, beside those that wait, of the channels by image: manifests of images at rest have none.
pub const CHANNELS: &str = ".channels.json";
/// The name of a manifest that waits.
pub const PENDING_MANIFEST: &str = "manifest.json";
/// Extensions of icons beside an image, and their types.
pub const ICONS: [(&str, &str); 3] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("gif", "image/gif"),
];

/// Times of files may be as coarse as this: what changed so short before it was read may have changed again.
const TICK: Duration = Duration::from_secs(2);

/// An image that is offered.
pub struct Entry {
    /// As it is told: what a server adds is in it, its channels, too.
    pub manifest: Manifest,
    /// As it stands in its file.
    pub own: Manifest,
    /// As JSON for clients that know channels.
    pub json: Bytes,
    /// As JSON for those that don't.
    pub json_without_channels: Bytes,
    /// Digest of the JSON, which changes with it.
    pub digest: [u8; 20],
    /// The file; one that waits may have none.
    pub file: Option<Utf8PathBuf>,
    /// The icon and its type.
    pub icon: Option<(Utf8PathBuf, &'static str)>,
    /// Where the manifest stands.
    pub path: Utf8PathBuf,
    /// Whether it waits.
    pub pending: bool,
}

impl Entry {
    pub fn state(&self) -> State {
        filter::state(&self.manifest)
    }

    /// Whether those may see it of whom nothing is known.
    pub fn is_for_all(&self) -> bool {
        !self.pending && self.manifest.public != Some(false)
    }

    pub fn in_channel(&self, channel: &str) -> bool {
        let channels = self.manifest.channels.iter().flatten();
        channels.into_iter().any(|own| own == channel)
    }

    /// The whole `name@version`.
    pub fn title(&self) -> String {
        format!("{}@{}", self.manifest.name, self.manifest.version)
    }
}

/// A file as it was when it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// All that is offered.
#[derive(Default)]
pub struct Index {
    /// By time of publication, then UUID.
    pub entries: Vec<Arc<Entry>>,
    by_uuid: HashMap<String, Arc<Entry>>,
    by_path: HashMap<Utf8PathBuf, (Stamp, Arc<Entry>)>,
    /// Channels by image, of those that are not in the default one alone.
    pub channels: BTreeMap<String, Vec<String>>,
    /// What can't be offered, and why.
    pub broken: Vec<String>,
    /// The folder, before it was read; `None` if it changed just then.
    folder: Option<(i64, i64)>,
    /// The list that is asked for most: all that everyone may see, with and without channels.
    pub lists: [OnceLock<(Bytes, String)>; 2],
}

impl Index {
    pub fn get(&self, uuid: &str) -> Option<&Arc<Entry>> {
        self.by_uuid.get(uuid)
    }

    /// Images that stand on this one.
    pub fn dependents(&self, uuid: &str) -> Vec<&Arc<Entry>> {
        let stands = |entry: &&Arc<Entry>| entry.manifest.origin.as_deref() == Some(uuid);
        self.entries.iter().filter(stands).collect()
    }

    /// Whether the folder is as it was.
    pub fn is_fresh(&self, folder: &Utf8Path) -> bool {
        let now = fs::metadata(folder).map(|now| (now.mtime(), now.mtime_nsec()));
        now.is_ok_and(|now| Some(now) == self.folder)
    }

    /// Reads a folder. What did not change since `before` is not read again.
    ///
    /// # Errors
    ///
    /// The folder can't be read. A manifest that can't is told of in [`broken`](Self::broken).
    pub fn read(
        folder: &Utf8Path,
        before: &Self,
        default_channel: Option<&str>,
    ) -> io::Result<Self> {
        let metadata = fs::metadata(folder)?;
        let settled = metadata
            .modified()
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > TICK));
        let mut index = Self {
            folder: settled.then(|| (metadata.mtime(), metadata.mtime_nsec())),
            ..Self::default()
        };
        let mut found = Vec::new();
        for name in names(folder)? {
            let end = Utf8Path::new(&name).extension();
            if matches!(end, Some("json" | "imgmanifest")) && !name.starts_with('.') {
                found.push((folder.join(name), false));
            }
        }
        let pending = folder.join(PENDING);
        if default_channel.is_some() {
            index.channels = channels(&pending.join(CHANNELS))?;
        }
        for name in names(&pending).unwrap_or_default() {
            let path = pending.join(name).join(PENDING_MANIFEST);
            if path.is_file() {
                found.push((path, true));
            }
        }
        for (path, pending) in found {
            index.add(path, pending, before, default_channel);
        }
        index.entries.sort_by(|one, other| {
            let key = |entry: &Entry| (time(&entry.manifest), entry.manifest.uuid.clone());
            key(one).cmp(&key(other))
        });
        Ok(index)
    }

    fn add(&mut self, path: Utf8PathBuf, pending: bool, before: &Self, channel: Option<&str>) {
        let Ok(metadata) = fs::metadata(&path) else {
            return;
        };
        let stamp = Stamp::of(&metadata);
        let channels = |uuid: &str| {
            let own = self.channels.get(uuid).cloned();
            channel.map(|default| own.unwrap_or_else(|| vec![default.to_owned()]))
        };
        let known = before
            .by_path
            .get(&path)
            // The file of what waits comes without a word in its manifest's time.
            .filter(|(known, entry)| {
                *known == stamp
                    && !pending
                    && entry.manifest.channels == channels(&entry.manifest.uuid)
                    && entry.file.as_deref().is_some_and(Utf8Path::is_file)
            });
        let entry = match known {
            Some((_, entry)) => Arc::clone(entry),
            None => match entry(&path, pending, &metadata, &channels) {
                Ok(entry) => Arc::new(entry),
                Err(why) => {
                    self.broken.push(format!("{path}: {why}"));
                    return;
                }
            },
        };
        let uuid = entry.manifest.uuid.clone();
        if let Some(other) = self.by_uuid.get(&uuid) {
            // What was activated is still there to be cleared away.
            if !pending {
                let other = &other.path;
                self.broken
                    .push(format!("{path}: {other} has its UUID already"));
            }
            return;
        }
        self.by_path.insert(path, (stamp, Arc::clone(&entry)));
        self.by_uuid.insert(uuid, Arc::clone(&entry));
        self.entries.push(entry);
    }
}

/// When an image was published, to be sorted by.
pub fn time(manifest: &Manifest) -> Option<jiff::Timestamp> {
    manifest.published_at.as_deref()?.parse().ok()
}

fn channels(path: &Utf8Path) -> io::Result<BTreeMap<String, Vec<String>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        text => Ok(serde_json::from_slice(&text?)?),
    }
}

fn names(folder: &Utf8Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        // What is not UTF-8 is none of ours.
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What waits under this manifest.
pub fn waiting(path: &Utf8Path) -> Result<Entry, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    entry(path, true, &metadata, &|_| None)
}

fn entry(
    path: &Utf8Path,
    pending: bool,
    metadata: &Metadata,
    channels: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Result<Entry, String> {
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    let own = Manifest::read(path).map_err(|error| error.to_string())?;
    if let Some(violation) = own.validate().first() {
        return Err(violation.to_string());
    }
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let listed = own.files.iter().flatten().next();
    let file = if pending {
        let folder = path.parent().unwrap_or(path);
        let file = listed.map(|file| folder.join(format!("file-{}", file.sha1)));
        file.filter(|file| file.is_file())
    } else {
        let image = Image::at(path).map_err(|error| error.to_string())?;
        let file = image.path().ok_or("it has no file")?.to_owned();
        let listed = listed.ok_or("its manifest does not speak of its file")?;
        let size = fs::metadata(&file).map_or(0, |file| file.len());
        if size != listed.size {
            return Err(format!(
                "{file} has {size} bytes, and the manifest says {}",
                listed.size
            ));
        }
        Some(file)
    };
    let icon = icon_of(path, pending);
    let channels = channels(&own.uuid);
    let manifest = told(&own, pending, modified, icon.is_some(), channels);
    let mut bare = manifest.clone();
    bare.channels = None;
    let json = json(&manifest)?;
    let json_without_channels = if manifest.channels.is_none() {
        json.clone()
    } else {
        self::json(&bare)?
    };
    Ok(Entry {
        digest: Sha1::digest(&json).into(),
        json,
        json_without_channels,
        manifest,
        own,
        file,
        icon,
        path: path.to_owned(),
        pending,
    })
}

/// Where an image's icon is, by the path of its manifest.
pub fn icon_path(manifest: &Utf8Path, pending: bool, extension: &str) -> Utf8PathBuf {
    if pending {
        return manifest.with_file_name(format!("icon.{extension}"));
    }
    let name = manifest.file_name().unwrap_or_default();
    let stem = name
        .strip_suffix(".json")
        .or_else(|| name.strip_suffix(".imgmanifest"));
    manifest.with_file_name(format!("{}.{extension}", stem.unwrap_or(name)))
}

fn icon_of(manifest: &Utf8Path, pending: bool) -> Option<(Utf8PathBuf, &'static str)> {
    ICONS.iter().find_map(|(extension, kind)| {
        let path = icon_path(manifest, pending, extension);
        path.is_file().then_some((path, *kind))
    })
}

/// A manifest as a server tells it: what IMGAPI's `serialize` always has is there.
fn told(
    own: &Manifest,
    pending: bool,
    modified: SystemTime,
    icon: bool,
    channels: Option<Vec<String>>,
) -> Manifest {
    let mut told = own.clone();
    let state = if pending {
        State::Unactivated
    } else {
        filter::state(own)
    };
    told.state = Some(state);
    told.disabled = Some(own.disabled.unwrap_or(false));
    told.activated = None;
    told.public.get_or_insert(true);
    told.owner.get_or_insert_with(|| UNSET_OWNER.to_owned());
    told.icon = icon.then_some(true);
    if !pending && told.published_at.is_none() {
        let seconds = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| time.as_secs() as i64);
        told.published_at = mibe_image::manifest::published_at(seconds);
    }
    told.files.get_or_insert_default();
    for file in told.files.iter_mut().flatten() {
        file.other.clear();
        file.md5 = None;
    }
    told.acl = told.acl.filter(|acl| !acl.is_empty());
    told.channels = channels;
    told
}

fn json(manifest: &Manifest) -> Result<Bytes, String> {
    // By way of a value: its keys are those of others' servers, their order is not.
    let value: Value = serde_json::to_value(manifest).map_err(|error| error.to_string())?;
    let text = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    Ok(text.into())
}
