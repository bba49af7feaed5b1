//! What is wrong with a stream, and where.

use std::fmt;
use std::io;

use thiserror::Error;

/// Where in a stream something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Which of the streams of a chain, the base being 0.
    pub stream: usize,
    /// Offset of the record, in bytes from the start of the stream (uncompressed).
    pub offset: u64,
    /// Number of the record, the first being 0.
    pub record: u64,
    /// The object that it is about, if it is about one.
    pub object: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "offset {}, record {}", self.offset, self.record)?;
        if let Some(object) = self.object {
            write!(out, ", object {object}")?;
        }
        if self.stream > 0 {
            write!(out, " of stream {} of the chain", self.stream + 1)?;
        }
        Ok(())
    }
}

/// Why a stream could not be read.
#[derive(Debug, Error)]
#[error("{place}: {problem}")]
pub struct ReadError {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

/// What is wrong with a stream.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The bytes could not be had; for compressed files that may be damage.
    #[error("can't read on: {0}")]
    Input(#[source] io::Error),
    /// What the content was given to could not take it.
    #[error("{0}")]
    Output(#[source] io::Error),
    /// There is no stream at all.
    #[error("not a zfs stream: it does not begin as one")]
    NotAStream,
    /// The stream ends before its END record.
    #[error("the stream ends here, in the middle: it is truncated")]
    Truncated,
    /// A checksum is wrong: bytes were changed on their way.
    #[error("the checksum is wrong: the stream is damaged here or before")]
    Checksum,
    /// A kind of stream that can't be read, though ZFS might.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The stream breaks the rules of the format.
    #[error("{0}")]
    Invalid(&'static str),
    /// The same, with details.
    #[error("{0}")]
    Broken(String),
    /// The streams of a chain don't belong together.
    #[error(
        "the stream is a change to the snapshot with guid {wanted}, and the stream before it is of guid {found}"
    )]
    WrongOrigin {
        /// `fromguid` of this stream.
        wanted: u64,
        /// `toguid` of the stream before.
        found: u64,
    },
    /// An incremental stream without what it is a change to.
    #[error("the stream is a change to the snapshot with guid {0}, which is needed as well")]
    NoOrigin(u64),
}

impl Problem {
    /// The error of this problem at a place.
    pub(crate) fn at(self, place: Place) -> ReadError {
        ReadError {
            place,
            problem: self,
        }
    }
}

impl From<&'static str> for Problem {
    fn from(what: &'static str) -> Self {
        Problem::Invalid(what)
    }
}
