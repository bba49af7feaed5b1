//! Images out of a library: to IMGAPI, to dsapid, or into a folder that any web server can serve.
//!
//! All that can be known is looked at before the first byte travels. What was interrupted is finished by publishing again:
//! the server knows how far it is.

mod directory;
mod dsapi;
mod fit;
mod imgapi;

use std::fs;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use mibe_image::chain::Chain;
use mibe_image::file::Packing;
use mibe_image::manifest::{ImageFile, Manifest, State};
use mibe_image::open::{Image, Libraries};
use mibe_image::progress::{Event, Progress};
use mibe_image::verify::verify;

use crate::client::{Client, UNSET_OWNER};
use crate::error::Error;
use crate::pull::title;
use crate::servers::ServerType;

pub use directory::Directory;

/// Largest icon that IMGAPI takes, in bytes.
const ICON: u64 = 128 << 10;

/// The name of the step that is told of.
pub const STEP: &str = "publish";

/// Where images go.
pub enum Target {
    /// A server.
    Server(Box<Client>, ServerType),
    /// A folder.
    Directory(Directory),
}

/// What is wanted of the published image.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Whether everyone may use it, instead of what its manifest says.
    pub public: Option<bool>,
    /// An icon: png, jpeg or gif.
    pub icon: Option<Utf8PathBuf>,
    /// Publish what it stands on, too, where the server lacks it.
    pub chain: bool,
    /// Whether it can be used at once.
    pub activate: bool,
}

/// An image that is fit to be published.
pub struct Ready {
    /// Its manifest as it will be there.
    pub manifest: Manifest,
    /// Its stream.
    pub path: Utf8PathBuf,
    /// Its entry in the manifest.
    pub file: ImageFile,
}

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there already, just so.
    WasThere,
    /// It is there.
    Published(State),
    /// It is there, and someone else has to let it be used.
    Pending,
}

/// An image and what became of it.
#[derive(Clone, Debug)]
pub struct Published {
    /// The image.
    pub manifest: Manifest,
    /// What became of it.
    pub outcome: Outcome,
}

/// An icon that a server takes.
struct Icon {
    bytes: Vec<u8>,
    content_type: &'static str,
}

impl Target {
    fn name(&self) -> String {
        match self {
            Self::Server(client, _) => client.name().to_owned(),
            Self::Directory(directory) => directory.path().to_string(),
        }
    }
}

/// Publishes an image of the libraries, or of files.
///
/// # Errors
///
/// The image is damaged or can't be there as it is; the target can't be reached or refuses; or as the libraries say. What
/// had been begun by this call was taken back then.
pub fn publish(
    image: &Image,
    libraries: &Libraries,
    origins: &[Utf8PathBuf],
    target: &Target,
    wishes: &Wishes,
    progress: &dyn Progress,
) -> Result<Vec<Published>, Error> {
    let chain = Chain::of(image, libraries, origins)?;
    let icon = wishes.icon.as_deref().map(Icon::read).transpose()?;
    let mut images = Vec::new();
    for (number, image) in chain.images().iter().enumerate() {
        let last = number + 1 == chain.images().len();
        images.push(ready(image, last, target, wishes)?);
    }
    let Some(own) = images.pop() else {
        return Ok(Vec::new());
    };
    let mut missing = Vec::new();
    if own.manifest.origin.is_some() {
        for origin in images {
            if !has(target, &origin)? {
                missing.push(origin);
            }
        }
    }
    let check = |ready: &Ready| {
        let unfit = fit::reasons(&ready.manifest, target);
        if unfit.0.is_empty() {
            return Ok(());
        }
        Err(Error::Unfit {
            image: title(&ready.manifest),
            server: target.name(),
            reasons: unfit.0,
            hints: unfit.1,
        })
    };
    for ready in missing.iter().chain([&own]) {
        check(ready)?;
    }
    if !missing.is_empty() && !wishes.chain {
        let names: Vec<_> = missing
            .iter()
            .map(|ready| format!("{} ({})", title(&ready.manifest), ready.manifest.uuid))
            .collect();
        return Err(Error::Unfit {
            image: title(&own.manifest),
            server: target.name(),
            reasons: vec![format!(
                "it stands on images that are not there: {}",
                names.join(", ")
            )],
            hints: vec![
                "--chain publishes them first".to_owned(),
                "`mibe image flatten` makes a full image of it, which stands on nothing".to_owned(),
            ],
        });
    }
    look_into(&chain, progress)?;
    let mut published = Vec::new();
    for ready in &missing {
        published.push(send(ready, None, target, true, progress)?);
    }
    published.push(send(
        &own,
        icon.as_ref(),
        target,
        wishes.activate,
        progress,
    )?);
    Ok(published)
}

/// Reads all of the image, so that nothing damaged is published.
fn look_into(chain: &Chain, progress: &dyn Progress) -> Result<(), Error> {
    progress.event(Event::Message {
        text: "reading all of the image, to see that it is sound".to_owned(),
    });
    let verified = verify(chain)?;
    if verified.findings.is_empty() {
        return Ok(());
    }
    Err(Error::Unfit {
        image: chain.image().to_string(),
        server: "any server".to_owned(),
        reasons: verified
            .findings
            .iter()
            .take(10)
            .map(|finding| finding.what.clone())
            .collect(),
        hints: vec!["`mibe image verify` tells more".to_owned()],
    })
}

/// The image with its manifest as the server is to have it.
fn ready(image: &Image, last: bool, target: &Target, wishes: &Wishes) -> Result<Ready, Error> {
    let mut manifest = image
        .manifest()
        .cloned()
        .ok_or_else(|| mibe_image::Error::NoManifest {
            image: image.to_string(),
        })?;
    let path = image.path().ok_or_else(|| {
        Error::usage(
            format!("{image} is no file, and an image that is published is read several times"),
            &["save it to a file, with its manifest beside it"],
        )
    })?;
    let file = manifest
        .files
        .iter()
        .flatten()
        .next()
        .cloned()
        .ok_or_else(|| {
            Error::usage(
                format!("the manifest of {image} does not speak of its file"),
                &["`mibe image verify` tells what is wrong with an image"],
            )
        })?;
    let unfit = |reason: String| Error::Unfit {
        image: title(&manifest),
        server: target.name(),
        reasons: vec![reason],
        hints: vec!["`mibe image verify` tells what is wrong with an image".to_owned()],
    };
    let mut start = Vec::new();
    let opened = fs::File::open(path).map_err(Error::io("read", path))?;
    let length = opened.metadata().map_err(Error::io("read", path))?.len();
    opened
        .take(Packing::MAGIC as u64)
        .read_to_end(&mut start)
        .map_err(Error::io("read", path))?;
    let packing = Packing::of(&start);
    if packing.label() != Some(file.compression) {
        return Err(unfit(format!(
            "its file is compressed with {packing}, and its manifest says {}",
            file.compression
        )));
    }
    if length != file.size {
        return Err(unfit(format!(
            "its file has {length} bytes, and its manifest says {}",
            file.size
        )));
    }
    // A datacentre gives it to its admin, a server without accounts leaves it so.
    manifest.owner.get_or_insert_with(|| UNSET_OWNER.to_owned());
    if last && let Some(public) = wishes.public {
        manifest.public = Some(public);
    }
    Ok(Ready {
        manifest,
        path: path.to_owned(),
        file,
    })
}

/// Whether an origin is there and can be used by others.
fn has(target: &Target, origin: &Ready) -> Result<bool, Error> {
    let found = match target {
        Target::Server(client, _) => client.get(&origin.manifest.uuid)?,
        Target::Directory(directory) => directory.get(&origin.manifest.uuid)?,
    };
    let Some(found) = found else {
        return Ok(false);
    };
    // One that was begun is finished.
    if crate::filter::state(&found) == State::Unactivated {
        return Ok(false);
    }
    same(&found, origin, &target.name())?;
    Ok(true)
}

/// Whether what is there under the UUID is the image.
fn same(found: &Manifest, ready: &Ready, server: &str) -> Result<(), Error> {
    let theirs = found.files.iter().flatten().next();
    if theirs.is_some_and(|file| file.sha1.eq_ignore_ascii_case(&ready.file.sha1)) {
        return Ok(());
    }
    Err(Error::Unfit {
        image: title(&ready.manifest),
        server: server.to_owned(),
        reasons: vec![format!(
            "another image ({}) has its UUID {} there, with another file",
            title(found),
            found.uuid
        )],
        hints: vec![
            "an image that was published is never changed: build it with another version, which gives it another UUID".to_owned(),
        ],
    })
}

fn send(
    ready: &Ready,
    icon: Option<&Icon>,
    target: &Target,
    activate: bool,
    progress: &dyn Progress,
) -> Result<Published, Error> {
    let outcome = match target {
        Target::Server(client, ServerType::Imgapi) => {
            imgapi::publish(client, ready, icon, activate, progress)?
        }
        Target::Server(client, ServerType::Dsapi) => {
            dsapi::publish(client, ready, activate, progress)?
        }
        Target::Directory(directory) => directory.publish(ready, icon, progress)?,
    };
    Ok(Published {
        manifest: ready.manifest.clone(),
        outcome,
    })
}

impl Icon {
    fn read(path: &Utf8Path) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(Error::io("read", path))?;
        file.take(ICON + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", path))?;
        if bytes.len() as u64 > ICON {
            return Err(Error::usage(
                format!(
                    "the icon {path} has more than {} KiB, which no image server takes",
                    ICON >> 10
                ),
                &[],
            ));
        }
        let content_type = content_type(&bytes).ok_or_else(|| {
            Error::usage(
                format!("the icon {path} is none of png, jpeg and gif, by its first bytes"),
                &[],
            )
        })?;
        Ok(Self {
            bytes,
            content_type,
        })
    }
}

/// The type of a picture that image servers take, by its first bytes.
pub(crate) fn content_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        _ => None,
    }
}
