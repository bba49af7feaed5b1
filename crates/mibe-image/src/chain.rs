//! An image with all that it stands on, to be read as one.

use camino::Utf8PathBuf;
use zfs_stream::read::{Contents, Filesystem, ReadError, Snapshot};

use crate::error::Error;
use crate::open::{Image, ImageStream, Libraries, Measure};

/// An image with all that it stands on. Nothing of it is open; each reading opens all anew.
#[derive(Clone, Debug)]
pub struct Chain {
    images: Vec<Image>,
}

impl Chain {
    /// Finds what an image stands on, see [`Libraries::chain`].
    ///
    /// # Errors
    ///
    /// As [`Libraries::chain`].
    pub fn of(
        image: &Image,
        libraries: &Libraries,
        origins: &[Utf8PathBuf],
    ) -> Result<Self, Error> {
        Ok(Self {
            images: libraries.chain(image, origins)?,
        })
    }

    /// The same chain, to be read as often as one likes, see [`Image::kept`].
    ///
    /// # Errors
    ///
    /// As [`Image::kept`].
    pub fn kept(&self) -> Result<Self, Error> {
        let images: Result<_, _> = self.images.iter().map(Image::kept).collect();
        Ok(Self { images: images? })
    }

    /// The image.
    pub fn image(&self) -> &Image {
        // There is always one.
        &self.images[self.images.len() - 1]
    }

    /// All, the full image first.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Starts to read the snapshot that the chain amounts to.
    ///
    /// # Errors
    ///
    /// A file can't be opened, is no stream, or does not fit the one before.
    pub fn snapshot(&self) -> Result<Snapshot<ImageStream>, Error> {
        let streams: Result<Vec<_>, _> = self.images.iter().map(Image::stream).collect();
        Snapshot::open(streams?).map_err(|error| self.failed(error))
    }

    /// The same, with what is measured of the files meanwhile, the full image's first.
    ///
    /// # Errors
    ///
    /// As [`snapshot`](Self::snapshot).
    pub fn measured_snapshot(&self) -> Result<(Snapshot<ImageStream>, Vec<Opened>), Error> {
        let mut streams = Vec::new();
        let mut opened = Vec::new();
        for image in &self.images {
            let (stream, measure) = image.measured_stream()?;
            opened.push(Opened {
                packing: stream.packing(),
                measure,
            });
            streams.push(stream);
        }
        let snapshot = Snapshot::open(streams).map_err(|error| self.failed(error))?;
        Ok((snapshot, opened))
    }

    /// Reads the files of the image; contents go to `contents`.
    ///
    /// # Errors
    ///
    /// As [`snapshot`](Self::snapshot), or a stream is damaged.
    pub fn files(&self, contents: &mut dyn Contents) -> Result<Filesystem, Error> {
        let mut snapshot = self.snapshot()?;
        Filesystem::read(&mut snapshot, contents).map_err(|error| self.failed(error))
    }

    /// An error of reading, with the file that it is of.
    pub fn failed(&self, error: ReadError) -> Error {
        let image = self.images.get(error.place.stream);
        let path = image.unwrap_or(self.image()).place();
        Error::Stream {
            path: path.to_owned(),
            source: Box::new(error),
        }
    }
}

/// A file of a chain that is being read.
#[derive(Debug)]
pub struct Opened {
    /// How it is compressed.
    pub packing: crate::file::Packing,
    /// Its digest and size, once it was read to the end.
    pub measure: Measure,
}
