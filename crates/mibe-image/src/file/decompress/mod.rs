//! Compressions of images and archives, told by their first bytes.

mod ahead;
mod gzip;
mod window;
mod zstd;

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use crate::manifest::FileCompression;

pub use ahead::ReadAhead;

use self::gzip::GzipMembers;
use self::window::{Meter, Window};
use self::zstd::ZstdFrames;

/// Most memory that an xz stream may ask for; `xz -9` takes 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;

/// How data is compressed, told by their first bytes: all that can be read, while [`Compression`](super::Compression) is
/// what is written and [`FileCompression`] what manifests may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// gzip (RFC 1952).
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// zstd (RFC 8878), which no image server takes.
    Zstd,
    /// Nothing that is known here: the data are taken as they are.
    None,
}

impl Packing {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Gzip, Self::Bzip2, Self::Xz, Self::Zstd, Self::None];

    /// Bytes at the start that [`of`](Self::of) wants to see.
    pub const MAGIC: usize = 6;

    /// The compression of what starts with `start`: [`MAGIC`](Self::MAGIC) bytes, fewer only where there are no more.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A frame, or one that is to be skipped, which pzstd begins with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The word for it, which is that of manifests where they have one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::None => "none",
        }
    }

    /// The end of file names, without the dot before it.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "zfs.gz",
            Self::Bzip2 => "zfs.bz2",
            Self::Xz => "zfs.xz",
            Self::Zstd => "zfs.zst",
            Self::None => "zfs",
        }
    }

    /// What the manifest of a file compressed like this must say; `None` where manifests have no word for it.
    pub fn label(self) -> Option<FileCompression> {
        match self {
            Self::Gzip => Some(FileCompression::Gzip),
            Self::Bzip2 => Some(FileCompression::Bzip2),
            Self::Xz => Some(FileCompression::Xz),
            Self::Zstd => None,
            Self::None => Some(FileCompression::None),
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// Compressed data could not be expanded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The first bytes could not be read.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// There is no memory or no thread for a decoder.
    #[error("can't start to expand {packing} data: {reason}")]
    Start {
        /// The compression.
        packing: Packing,
        /// What the decoder or the system said.
        reason: String,
    },
    /// The data are damaged, cut short, followed by something else, or ask for more memory than they may.
    #[error("the {packing} data are damaged before byte {offset}: {reason}")]
    Damaged {
        /// The compression.
        packing: Packing,
        /// Compressed bytes that were looked at when it was found.
        offset: u64,
        /// What the decoder said.
        reason: String,
    },
}

/// The content of compressed data; see [`decompressed`].
pub struct Decompressed<'a> {
    packing: Packing,
    meter: Arc<Meter>,
    reader: Box<dyn Read + Send + 'a>,
}

impl Decompressed<'_> {
    /// How the data are compressed.
    pub fn packing(&self) -> Packing {
        self.packing
    }
}

impl fmt::Debug for Decompressed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Decompressed")
            .field("packing", &self.packing)
            .finish_non_exhaustive()
    }
}

impl Read for Decompressed<'_> {
    /// Fails with the input's own error, or with one of kind `InvalidData` that holds a [`DecompressError::Damaged`].
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| {
            if self.meter.failed() || error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let damage = DecompressError::Damaged {
                packing: self.packing,
                offset: self.meter.consumed(),
                reason: error.to_string(),
            };
            io::Error::new(io::ErrorKind::InvalidData, damage)
        })
    }
}

/// The content of `input`: gzip, bzip2, xz or zstd by magic bytes, or as it is. Streams that follow each other are one;
/// anything else after a stream is an error when it is read, but for the zeroes that pad gzip and xz. All checksums are
/// checked. The content ends only where `input` does.
///
/// Memory is bounded: some 4 MiB for gzip and bzip2, 128 MiB for zstd, 512 MiB for xz, and what the data need of it.
///
/// # Errors
///
/// The first bytes could not be read, or there is no memory for a decoder. (Damage, a zstd window of more than 128 MiB
/// and an xz dictionary of some 512 MiB are errors when they are read.)
pub fn decompressed<'a>(input: impl Read + Send + 'a) -> Result<Decompressed<'a>, DecompressError> {
    let mut input = Window::new(input);
    let start = input
        .look_ahead(Packing::MAGIC)
        .map_err(DecompressError::Read)?;
    let packing = Packing::of(start);
    let meter = input.meter();
    let reader: Box<dyn Read + Send + 'a> = match packing {
        Packing::Gzip => Box::new(GzipMembers::new(input)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Packing::Xz => Box::new(xz(input)?),
        Packing::Zstd => Box::new(ZstdFrames::new(input)),
        Packing::None => Box::new(input),
    };
    Ok(Decompressed {
        packing,
        meter,
        reader,
    })
}

/// All streams of an xz file.
#[cfg(feature = "c")]
fn xz<R: BufRead>(input: R) -> Result<liblzma::bufread::XzDecoder<R>, DecompressError> {
    let stream =
        liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)
            .map_err(|error| DecompressError::Start {
                packing: Packing::Xz,
                reason: error.to_string(),
            })?;
    Ok(liblzma::bufread::XzDecoder::new_stream(input, stream))
}

/// The same in Rust.
#[cfg(not(feature = "c"))]
#[expect(clippy::unnecessary_wraps, reason = "the other one may fail")]
fn xz<R: BufRead>(input: R) -> Result<lzma_rust2::XzReader<R>, DecompressError> {
    let limit = u32::try_from(XZ_MEMORY >> 10).unwrap_or(u32::MAX);
    Ok(lzma_rust2::XzReader::new_mem_limit(input, true, limit))
}
