//! The images that an incremental image stands on.

use camino::Utf8PathBuf;

use super::{Image, Libraries, Listing, StreamHeader};
use crate::error::Error;
use crate::manifest::{Manifest, is_uuid};

impl Libraries {
    /// An image and all that it stands on: first the full image, last `image`.
    ///
    /// Whether an image has an origin is told by its stream. The origin is the image whose UUID the manifest names, or
    /// else the one whose stream has the guid that is needed. It is looked for among `extra_origins` (manifests or streams,
    /// in any order; they need not be of use) and then in the folders. Manifests may lie: the guid of every image in the
    /// chain is that of its stream.
    ///
    /// # Errors
    ///
    /// An origin is nowhere, broken, or has another guid than is needed; the origins go in a circle; an extra origin or
    /// the header of an image of the chain can't be read.
    pub fn chain(&self, image: &Image, extra_origins: &[Utf8PathBuf]) -> Result<Vec<Image>, Error> {
        let extras = extra_origins
            .iter()
            .map(|path| Image::at(path))
            .collect::<Result<Vec<_>, _>>()?;
        let mut chain = vec![(image.clone(), image.header()?)];
        while let Some((last, header)) = chain.last()
            && header.from_guid != 0
        {
            let uuid = last.manifest().and_then(origin_uuid);
            let round = chain.iter().position(|(image, known)| {
                known.to_guid == header.from_guid
                    || uuid.as_deref().is_some_and(|uuid| has_uuid(image, uuid))
            });
            if let Some(round) = round {
                let circle = chain.iter().skip(round).chain(chain.get(round));
                return Err(Error::OriginLoop {
                    images: circle.map(|(image, _)| image.to_string()).collect(),
                });
            }
            let origin = self.origin(last, header, uuid, &extras)?;
            let found = origin.header()?;
            if found.to_guid != header.from_guid {
                return Err(Error::WrongOrigin {
                    image: last.to_string(),
                    origin: origin.to_string(),
                    wanted: header.from_guid,
                    found: found.to_guid,
                });
            }
            chain.push((origin, found));
        }
        Ok(chain.into_iter().rev().map(|(image, _)| image).collect())
    }

    /// The origin of an incremental image. By its UUID it may be one of another guid.
    fn origin(
        &self,
        image: &Image,
        header: &StreamHeader,
        uuid: Option<String>,
        extras: &[Image],
    ) -> Result<Image, Error> {
        let by_uuid = |image: &&Image| uuid.as_deref().is_some_and(|uuid| has_uuid(image, uuid));
        if let Some(extra) = extras.iter().find(by_uuid) {
            return Ok(extra.clone());
        }
        for extra in extras {
            if extra.header()?.to_guid == header.from_guid {
                return Ok(extra.clone());
            }
        }
        let listing = self.list();
        if let Some(image) = listing.images.iter().find(by_uuid) {
            return Ok(image.clone());
        }
        if let Some(image) = listing.by_guid(header.from_guid) {
            return Ok(image.clone());
        }
        let broken = listing.broken_paths();
        let wanted = |manifest: &Manifest| {
            uuid.as_deref()
                .is_some_and(|uuid| manifest.uuid.eq_ignore_ascii_case(uuid))
                || dataset_guid(manifest) == Some(header.from_guid)
        };
        Err(listing.fault(wanted).unwrap_or_else(|| Error::NoOrigin {
            image: image.to_string(),
            uuid,
            guid: header.from_guid,
            folders: self.folders().to_vec(),
            broken,
        }))
    }
}

impl Listing {
    /// The first image whose stream has this guid. Those whose manifests say so are looked at first, since opening a
    /// stream takes time; one that can't be read is not the one.
    pub fn by_guid(&self, guid: u64) -> Option<&Image> {
        let told = |image: &&Image| image.manifest().and_then(dataset_guid) == Some(guid);
        let has = |image: &&Image| image.header().is_ok_and(|header| header.to_guid == guid);
        let first = self.images.iter().filter(told).find(has);
        first.or_else(|| self.images.iter().filter(|image| !told(image)).find(has))
    }
}

fn has_uuid(image: &Image, uuid: &str) -> bool {
    image
        .manifest()
        .is_some_and(|manifest| manifest.uuid.eq_ignore_ascii_case(uuid))
}

/// The UUID that a manifest names as origin; what is no UUID names nothing.
fn origin_uuid(manifest: &Manifest) -> Option<String> {
    let uuid = manifest.origin.as_ref()?.to_ascii_lowercase();
    is_uuid(&uuid).then_some(uuid)
}

/// The guid that a manifest tells of its image's snapshot.
fn dataset_guid(manifest: &Manifest) -> Option<u64> {
    let file = manifest.files.as_ref()?.first()?;
    file.dataset_guid.as_ref()?.parse().ok()
}
