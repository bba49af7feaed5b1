//! What changes the folder that is served.
//!
//! An image waits in `.pending/UUID/`: `manifest.json` from its import on, `file-SHA1` once its file has come whole. Activated, the
//! file gets a second name among the images, then the manifest comes, then what waited goes; wherever that ends early, the
//! image is either still waiting or there, and whole.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::{Arc, MutexGuard};

use camino::Utf8Path;
use md5::Md5;
use mibe_image::arrival::place;
use mibe_image::file::{Packing, hex};
use mibe_image::manifest::{FileCompression, ImageFile, ImageType, Manifest, State};
use mibe_image::open::Image;
use serde_json::{Map, Value, json};
use sha1::{Digest as _, Sha1};

use super::index::{CHANNELS, Entry, ICONS, PENDING, PENDING_MANIFEST, icon_path, waiting};
use super::refusal::Refusal;
use super::store::{Store, lock};
use crate::client::UNSET_OWNER;
use crate::whole;

/// Largest icon, in bytes (sdc-imgapi, lib/constants.js).
pub const ICON: usize = 128 << 10;

/// Fields that an update may change: those that imgmanifest calls mutable (its `fields`), but `channels`, which have an action of
/// their own.
const MUTABLE: [&str; 21] = [
    "owner",
    "name",
    "version",
    "description",
    "homepage",
    "eula",
    "public",
    "os",
    "type",
    "acl",
    "requirements",
    "users",
    "billing_tags",
    "traits",
    "tags",
    "generate_passwords",
    "inherited_directories",
    "nic_driver",
    "disk_driver",
    "cpu_type",
    "image_size",
];

/// What is done to an image that is there.
#[derive(Clone, Debug)]
pub enum Change {
    Activate,
    Enable,
    Disable,
    Update(Map<String, Value>),
    ChannelAdd(String),
    AclAdd(Vec<String>),
    AclRemove(Vec<String>),
}

/// A file that comes.
pub struct Upload {
    file: Option<tempfile::NamedTempFile>,
    sha1: Sha1,
    md5: Md5,
    size: u64,
}

/// What is said of a file that comes.
pub struct Announced {
    pub compression: FileCompression,
    pub sha1: Option<String>,
    pub length: Option<u64>,
    pub dataset_guid: Option<String>,
}

impl Store {
    /// Nobody else changes anything while this is held.
    fn begin(&self) -> Result<MutexGuard<'_, Option<File>>, Refusal> {
        let mut guard = lock(&self.changing);
        if guard.is_none() {
            let folder = self.folder.join(PENDING);
            fs::create_dir_all(&folder).map_err(|error| self.told(error))?;
            let file = File::create(folder.join(".lock")).map_err(|error| self.told(error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    self.warn(format!("another server writes to {}", self.folder));
                    return Err(Refusal::new(
                        503,
                        "StorageIsDown",
                        "another server writes to the folder of this one",
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(self.told(error)),
            }
            self.read().map_err(|error| self.told(error))?;
            self.clear(&folder);
            *guard = Some(file);
        }
        // Others than servers write to the folder, too.
        self.read().map_err(|error| self.told(error))?;
        Ok(guard)
    }

    /// The one who runs the server is told what is wrong with the folder.
    #[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
    pub(super) fn told(&self, error: io::Error) -> Refusal {
        self.warn(format!("{}: {error}", self.folder));
        Refusal::storage(&error)
    }

    fn found(&self, uuid: &str) -> Result<Arc<Entry>, Refusal> {
        let index = self.current();
        index.get(uuid).cloned().ok_or_else(Refusal::no_image)
    }

    /// The image as it is after a change.
    fn changed(&self, uuid: &str) -> Result<Arc<Entry>, Refusal> {
        self.read().map_err(|error| self.told(error))?;
        self.found(uuid)
    }

    /// Takes an image in, whose file is to come.
    pub fn import(
        &self,
        mut manifest: Manifest,
        channel: Option<&str>,
    ) -> Result<Arc<Entry>, Refusal> {
        let _changing = self.begin()?;
        let uuid = manifest.uuid.clone();
        if self.current().get(&uuid).is_some() {
            return Err(Refusal::new(
                409,
                "ImageUuidAlreadyExists",
                format!("image with UUID \"{uuid}\" already exists"),
            ));
        }
        if let Some(origin) = &manifest.origin
            && self.current().get(origin).is_none()
        {
            return Err(Refusal::new(
                422,
                "OriginDoesNotExist",
                format!("origin image \"{origin}\" does not exist"),
            ));
        }
        manifest.state = None;
        manifest.activated = Some(false);
        manifest.disabled = None;
        manifest.files = None;
        manifest.icon = None;
        manifest.channels = None;
        manifest.public.get_or_insert(true);
        manifest.owner.get_or_insert_with(|| UNSET_OWNER.to_owned());
        check(&manifest)?;
        let folder = self.folder.join(PENDING).join(&uuid);
        fs::create_dir_all(&folder).map_err(|error| self.told(error))?;
        let path = folder.join(PENDING_MANIFEST);
        self.set_channels(&uuid, channel.map(|channel| vec![channel.to_owned()]))?;
        if let Err(error) = write_manifest(&path, &manifest) {
            let _ = fs::remove_dir(&folder);
            return Err(self.told(error));
        }
        self.changed(&uuid)
    }

    /// Begins to take a file in. Space that is surely missing is told before it comes.
    pub fn begin_upload(&self, uuid: &str, length: Option<u64>) -> Result<Upload, Refusal> {
        let _changing = self.begin()?;
        let entry = self.found(uuid)?;
        if !entry.pending {
            return Err(Refusal::new(
                422,
                "ImageFilesImmutable",
                format!("cannot modify files on activated image \"{uuid}\""),
            ));
        }
        let folder = entry.path.parent().unwrap_or(&self.folder);
        if let Some(length) = length
            && let Ok(space) = rustix::fs::statvfs(folder.as_std_path())
            && space.f_bavail.saturating_mul(space.f_frsize) < length
        {
            return Err(Refusal::storage(&io::ErrorKind::StorageFull.into()));
        }
        let file = tempfile::Builder::new()
            .prefix(".upload-")
            .suffix(".part")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(|error| self.told(error))?;
        Ok(Upload {
            file: Some(file),
            sha1: Sha1::new(),
            md5: Md5::new(),
            size: 0,
        })
    }

    /// Takes in what has come of a file, if it is what was announced.
    pub fn finish_upload(
        &self,
        uuid: &str,
        mut upload: Upload,
        announced: &Announced,
    ) -> Result<Arc<Entry>, Refusal> {
        let file = upload.file.take().ok_or_else(Refusal::internal)?;
        let sha1 = hex(&upload.sha1.finalize());
        if upload.size == 0 {
            return Err(Refusal::download(
                "image file size is 0 bytes, empty files are not allowed",
            ));
        }
        if announced.length.is_some_and(|length| length != upload.size) {
            return Err(Refusal::download(format!(
                "\"Content-Length\" header, {}, does not match uploaded size, {}",
                announced.length.unwrap_or_default(),
                upload.size
            )));
        }
        if let Some(said) = &announced.sha1
            && !said.eq_ignore_ascii_case(&sha1)
        {
            return Err(Refusal::download(format!(
                "\"sha1\" hash, {said}, does not match the uploaded file sha1 hash, {sha1}"
            )));
        }
        file.as_file()
            .sync_all()
            .map_err(|error| self.told(error))?;
        let temporary = Utf8Path::from_path(file.path()).ok_or_else(Refusal::internal)?;
        let entry = self.found(uuid)?;
        let guid = looked_into(temporary, &entry.manifest, announced)?;

        let _changing = self.begin()?;
        let entry = self.found(uuid)?;
        if !entry.pending {
            return Err(Refusal::new(
                422,
                "ImageFilesImmutable",
                format!("cannot modify files on activated image \"{uuid}\""),
            ));
        }
        let mut manifest = entry.own.clone();
        let before = manifest.files.replace(vec![ImageFile {
            sha1: sha1.clone(),
            size: upload.size,
            compression: announced.compression,
            dataset_guid: guid,
            md5: Some(hex(&upload.md5.finalize())),
            other: Map::new(),
        }]);
        let path = entry.path.with_file_name(format!("file-{sha1}"));
        file.persist(&path)
            .map_err(|error| self.told(error.error))?;
        write_manifest(&entry.path, &manifest).map_err(|error| self.told(error))?;
        for old in before.iter().flatten().filter(|old| old.sha1 != sha1) {
            let _ = fs::remove_file(entry.path.with_file_name(format!("file-{}", old.sha1)));
        }
        self.changed(uuid)
    }

    /// Takes an icon in, or away.
    pub fn set_icon(&self, uuid: &str, icon: Option<&[u8]>) -> Result<Arc<Entry>, Refusal> {
        let _changing = self.begin()?;
        let entry = self.found(uuid)?;
        let mut kept = None;
        if let Some(bytes) = icon {
            let kind = crate::publish::content_type(bytes);
            let extension = ICONS.iter().find(|(_, known)| Some(*known) == kind);
            let (extension, _) = extension
                .ok_or_else(|| Refusal::upload("the icon is none of png, jpeg and gif"))?;
            let path = icon_path(&entry.path, entry.pending, extension);
            write(&path, bytes).map_err(|error| self.told(error))?;
            kept = Some(*extension);
        }
        for (extension, _) in ICONS {
            if kept != Some(extension) {
                remove(&icon_path(&entry.path, entry.pending, extension))
                    .map_err(|error| self.told(error))?;
            }
        }
        // An icon leaves no trace in the manifest's time, which is what is looked at.
        write_manifest(&entry.path, &entry.own).map_err(|error| self.told(error))?;
        self.changed(uuid)
    }

    /// Changes an image.
    pub fn change(&self, uuid: &str, change: Change) -> Result<Arc<Entry>, Refusal> {
        let _changing = self.begin()?;
        let entry = self.found(uuid)?;
        let mut manifest = entry.own.clone();
        match change {
            Change::Activate => {
                self.activate(&entry)?;
                return self.changed(uuid);
            }
            Change::Enable | Change::Disable => {
                let disabled = matches!(change, Change::Disable);
                manifest.disabled = Some(disabled);
                if !entry.pending {
                    manifest.state = Some(if disabled {
                        State::Disabled
                    } else {
                        State::Active
                    });
                    manifest.activated = Some(true);
                }
            }
            Change::Update(fields) => manifest = updated(&manifest, &fields)?,
            Change::ChannelAdd(name) => {
                if !self.channels.iter().any(|channel| channel.name == name) {
                    return Err(Refusal::validation(
                        "channel",
                        "Invalid",
                        format!("unknown channel: {name}"),
                    ));
                }
                let mut channels = entry.manifest.channels.clone().unwrap_or_default();
                if !channels.contains(&name) {
                    channels.push(name);
                }
                self.set_channels(uuid, Some(channels))?;
                return self.changed(uuid);
            }
            Change::AclAdd(uuids) => {
                let acl = manifest.acl.get_or_insert_default();
                for uuid in uuids {
                    if !acl.contains(&uuid) {
                        acl.push(uuid);
                    }
                }
            }
            Change::AclRemove(uuids) => {
                if let Some(acl) = &mut manifest.acl {
                    acl.retain(|uuid| !uuids.contains(uuid));
                }
            }
        }
        check(&manifest)?;
        write_manifest(&entry.path, &manifest).map_err(|error| self.told(error))?;
        self.changed(uuid)
    }

    fn activate(&self, entry: &Entry) -> Result<(), Refusal> {
        let uuid = &entry.manifest.uuid;
        if !entry.pending {
            return Err(Refusal::new(
                422,
                "ImageAlreadyActivated",
                format!("image \"{uuid}\" is already activated"),
            ));
        }
        let file = entry.file.as_deref().ok_or_else(|| {
            Refusal::new(
                422,
                "NoActivationNoFile",
                format!("image \"{uuid}\" cannot be activated: image has no files"),
            )
        })?;
        if let Some(origin) = &entry.manifest.origin {
            let index = self.current();
            if index.get(origin).is_none_or(|origin| origin.pending) {
                return Err(Refusal::new(
                    422,
                    "OriginIsNotActive",
                    format!("origin image \"{origin}\" is not active"),
                ));
            }
        }
        let mut manifest = entry.own.clone();
        let disabled = manifest.disabled == Some(true);
        manifest.activated = Some(true);
        manifest.disabled = Some(disabled);
        manifest.state = Some(if disabled {
            State::Disabled
        } else {
            State::Active
        });
        if manifest.published_at.is_none() {
            let now = jiff::Timestamp::now().as_second();
            manifest.published_at = mibe_image::manifest::published_at(now);
        }
        check(&manifest)?;
        self.forget_links(file).map_err(|error| self.told(error))?;
        let link = self.folder.join(format!(".serve-{uuid}.part"));
        let placed = remove(&link)
            .and_then(|()| fs::hard_link(file, &link))
            .map_err(|error| self.told(error))
            .and_then(|()| {
                place(&self.folder, &link, &manifest).map_err(|error| {
                    self.warn(error.to_string());
                    Refusal::storage(&io::Error::other("placed"))
                })
            });
        let placed = match placed {
            Ok(placed) => placed,
            Err(refusal) => {
                let _ = fs::remove_file(&link);
                return Err(refusal);
            }
        };
        self.settle(entry, &placed.manifest)
            .map_err(|error| self.told(error))
    }

    /// Takes away what waited of an image that has its place now.
    fn settle(&self, entry: &Entry, placed: &Utf8Path) -> io::Result<()> {
        if let Some((icon, kind)) = &entry.icon
            && let Some((extension, _)) = ICONS.iter().find(|(_, own)| own == kind)
        {
            fs::rename(icon, icon_path(placed, false, extension))?;
        }
        let folder = entry.path.parent().unwrap_or(&self.folder);
        remove(&entry.path)?;
        fs::remove_dir_all(folder)
    }

    /// Ends what an earlier server left unfinished.
    fn clear(&self, pending: &Utf8Path) {
        let index = self.current();
        let entries = pending.read_dir_utf8().into_iter().flatten().flatten();
        for folder in entries.filter(|entry| entry.path().is_dir()) {
            let files = folder
                .path()
                .read_dir_utf8()
                .into_iter()
                .flatten()
                .flatten();
            for file in files {
                let name = file.file_name();
                if name.starts_with(".upload-") || name.starts_with(whole::PREFIX) {
                    let _ = fs::remove_file(file.path());
                }
            }
            let manifest = folder.path().join(PENDING_MANIFEST);
            if !manifest.exists() {
                // It was never imported, or is deleted.
                let _ = fs::remove_dir_all(folder.path());
                continue;
            }
            let placed = index.get(folder.file_name()).filter(|entry| !entry.pending);
            if let (Some(placed), Ok(waiting)) = (placed, waiting(&manifest))
                && let Err(error) = self.settle(&waiting, &placed.path)
            {
                self.warn(format!("{}: {error}", folder.path()));
            }
        }
    }

    /// Takes away other names of a file that waits: those of a try that ended early.
    fn forget_links(&self, file: &Utf8Path) -> io::Result<()> {
        let own = fs::metadata(file)?;
        if own.nlink() == 1 {
            return Ok(());
        }
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let other = entry.metadata()?;
            if (other.dev(), other.ino()) == (own.dev(), own.ino()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes down the channels of an image; `None` for the default one alone.
    fn set_channels(&self, uuid: &str, channels: Option<Vec<String>>) -> Result<(), Refusal> {
        let mut all = self.current().channels.clone();
        let same = match channels {
            Some(channels) => all.insert(uuid.to_owned(), channels.clone()) == Some(channels),
            None => all.remove(uuid).is_none(),
        };
        if same {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&all).map_err(|_| Refusal::internal())?;
        write(&self.folder.join(PENDING).join(CHANNELS), text.as_bytes())
            .map_err(|error| self.told(error))
    }

    /// Takes an image away; from a channel alone, where it is in others, too, and `channel` names one.
    pub fn delete(&self, uuid: &str, channel: Option<&str>) -> Result<(), Refusal> {
        let _changing = self.begin()?;
        let entry = self.found(uuid)?;
        let index = self.current();
        let dependents = index.dependents(uuid);
        let dependents: Vec<_> = dependents
            .iter()
            .filter(|entry| channel.is_none_or(|channel| entry.in_channel(channel)))
            .map(|entry| entry.manifest.uuid.clone())
            .collect();
        if !dependents.is_empty() {
            return Err(Refusal::new(
                422,
                "ImageHasDependentImages",
                format!(
                    "cannot delete image \"{uuid}\" because it has dependent images: {}",
                    dependents.join(", ")
                ),
            ));
        }
        if let (Some(channel), Some(channels)) = (channel, &entry.manifest.channels)
            && channels.len() > 1
        {
            let mut rest = channels.clone();
            rest.retain(|own| own != channel);
            self.set_channels(uuid, Some(rest))?;
            return self.read().map_err(|error| self.told(error));
        }
        // The manifest first: without it there is no image.
        let mut gone = remove(&entry.path);
        if entry.pending {
            if let Some(file) = &entry.file {
                gone = gone.and_then(|()| self.forget_links(file));
            }
            let folder = entry.path.parent().unwrap_or(&entry.path);
            gone = gone.and_then(|()| fs::remove_dir_all(folder));
        } else {
            let files = [entry.file.as_ref(), entry.icon.as_ref().map(|icon| &icon.0)];
            for path in files.into_iter().flatten() {
                gone = gone.and_then(|()| remove(path));
            }
        }
        gone.map_err(|error| self.told(error))?;
        self.set_channels(uuid, None)?;
        self.read().map_err(|error| self.told(error))
    }
}

impl Upload {
    /// Adds what came.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(piece)?;
        }
        self.sha1.update(piece);
        self.md5.update(piece);
        self.size += piece.len() as u64;
        Ok(())
    }
}

/// Whether a file is what its manifest and its sender say, by its first bytes and by what its stream says of itself; the guid of
/// its snapshot.
fn looked_into(
    path: &Utf8Path,
    manifest: &Manifest,
    announced: &Announced,
) -> Result<Option<String>, Refusal> {
    let streams = [
        ImageType::ZoneDataset,
        ImageType::LxDataset,
        ImageType::Zvol,
    ];
    if !streams.contains(&manifest.kind) {
        return Ok(announced.dataset_guid.clone());
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| {
        io::Read::read_to_end(&mut io::Read::take(file, Packing::MAGIC as u64), &mut start)
    });
    read.map_err(|error| Refusal::storage(&error))?;
    let packing = Packing::of(&start);
    if packing.label() != Some(announced.compression) {
        return Err(Refusal::parameter(
            "compression",
            "Invalid",
            format!(
                "the file is compressed with {packing}, and the compression given is {}",
                announced.compression
            ),
        ));
    }
    let image = Image::at(path).and_then(|image| image.header());
    let header = image.map_err(|error| {
        // The file's name here is of no use to who sent it.
        let text = error.to_string().replace(path.as_str(), "the file");
        Refusal::upload(format!("the file is no ZFS stream: {text}"))
    })?;
    let guid = header.to_guid.to_string();
    if announced
        .dataset_guid
        .as_ref()
        .is_some_and(|said| *said != guid)
    {
        return Err(Refusal::parameter(
            "dataset_guid",
            "Invalid",
            format!("the file's stream is of the snapshot {guid}"),
        ));
    }
    if (header.from_guid != 0) != manifest.origin.is_some() {
        return Err(Refusal::upload(if header.from_guid == 0 {
            "the file's stream is a full one, and the image has an origin"
        } else {
            "the file's stream is an incremental one, and the image has no origin"
        }));
    }
    Ok(Some(guid))
}

fn check(manifest: &Manifest) -> Result<(), Refusal> {
    let violations = manifest.validate();
    if violations.is_empty() {
        return Ok(());
    }
    Err(Refusal::violations(&violations))
}

fn updated(manifest: &Manifest, fields: &Map<String, Value>) -> Result<Manifest, Refusal> {
    if fields.is_empty() {
        return Err(Refusal::new(
            422,
            "ValidationFailed",
            "invalid image update data: no parameters provided",
        ));
    }
    let wrong: Vec<_> = fields
        .keys()
        .filter(|key| !MUTABLE.contains(&key.as_str()))
        .collect();
    if !wrong.is_empty() {
        let names: Vec<_> = wrong.iter().map(|key| key.as_str()).collect();
        let mut refusal = Refusal::new(
            422,
            "ValidationFailed",
            format!("invalid image update data: {}", names.join(", ")),
        );
        refusal.errors = names
            .iter()
            .map(|name| json!({"field": name, "code": "NotAllowed", "message": "Parameter cannot be updated"}))
            .collect();
        return Err(refusal);
    }
    let mut value = serde_json::to_value(manifest).map_err(|_| Refusal::internal())?;
    if let Some(object) = value.as_object_mut() {
        for (key, field) in fields {
            if field.is_null() {
                object.remove(key);
            } else {
                object.insert(key.clone(), field.clone());
            }
        }
    }
    serde_json::from_value(value).map_err(|error| {
        Refusal::new(
            422,
            "ValidationFailed",
            format!("invalid image update data: {error}"),
        )
    })
}

fn write_manifest(path: &Utf8Path, manifest: &Manifest) -> io::Result<()> {
    let text = manifest.to_json().map_err(io::Error::other)?;
    write(path, text.as_bytes())
}

/// Writes a file for all to read.
fn write(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    whole::write(path, bytes, 0o644)
}

fn remove(path: &Utf8Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
