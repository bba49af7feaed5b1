//! The expanded stream of an image, and the measure of its file.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use camino::Utf8Path;
use sha1::{Digest as _, Sha1};

use crate::error::Error;
use crate::file::decompress::ReadAhead;
use crate::file::{DecompressError, Packing, decompressed, hex};

/// The expanded stream of an image. Damage is an [`io::Error`] of kind `InvalidData` that holds a [`DecompressError`].
pub struct ImageStream {
    packing: Packing,
    reader: ReadAhead,
}

impl ImageStream {
    pub(super) fn new(raw: Box<dyn Read + Send>, path: &Utf8Path) -> Result<Self, Error> {
        let failed = |source| Error::Decompress {
            path: path.to_owned(),
            source,
        };
        let content = decompressed(raw).map_err(|error| match error {
            DecompressError::Read(error) => Error::io("read", path, error),
            other => failed(other),
        })?;
        let packing = content.packing();
        let reader = ReadAhead::new(content).map_err(|error| {
            failed(DecompressError::Start {
                packing,
                reason: error.to_string(),
            })
        })?;
        Ok(Self { packing, reader })
    }

    /// How the file is compressed: compare its [`label`](Packing::label) with what the manifest says.
    pub fn packing(&self) -> Packing {
        self.packing
    }
}

impl Read for ImageStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl fmt::Debug for ImageStream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ImageStream")
            .field("packing", &self.packing)
            .finish_non_exhaustive()
    }
}

/// Digest and size of a file, as manifests have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// SHA-1, 40 hexadecimal digits.
    pub sha1: String,
    /// Bytes.
    pub size: u64,
}

/// What will be known of an image's file when its stream has been read to the end.
#[derive(Clone, Debug)]
pub struct Measure(Arc<OnceLock<Measured>>);

impl Measure {
    /// The file; `None` until its end was read, which it was when the stream has ended (`read` gave 0). An error of the
    /// stream may come before that.
    pub fn get(&self) -> Option<&Measured> {
        self.0.get()
    }
}

/// Digests what is read of `raw`.
pub(super) fn measured(raw: Box<dyn Read + Send>) -> (Box<dyn Read + Send>, Measure) {
    let measure = Measure(Arc::default());
    let measuring = Measuring {
        raw,
        sha1: Some(Sha1::new()),
        size: 0,
        measure: measure.clone(),
    };
    (Box::new(measuring), measure)
}

struct Measuring {
    raw: Box<dyn Read + Send>,
    /// `None` after the end.
    sha1: Option<Sha1>,
    size: u64,
    measure: Measure,
}

impl Read for Measuring {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.raw.read(buffer)?;
        if count > 0 {
            if let Some(sha1) = &mut self.sha1 {
                sha1.update(buffer.get(..count).unwrap_or_default());
            }
            self.size += count as u64;
        } else if !buffer.is_empty()
            && let Some(sha1) = self.sha1.take()
        {
            // Set once only, since there is one digest to take.
            let _ = self.measure.0.set(Measured {
                sha1: hex(&sha1.finalize()),
                size: self.size,
            });
        }
        Ok(count)
    }
}
