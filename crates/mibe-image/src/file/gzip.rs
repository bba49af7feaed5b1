//! One chunk as a gzip member (RFC 1952) without name and time.
//!
//! The two makers of members have the same levels, and not the same bytes.

#[cfg(feature = "c")]
pub(super) use self::deflate::Gzip;
#[cfg(not(feature = "c"))]
pub(super) use self::zlib::Gzip;

/// libdeflate, which is twice as quick.
#[cfg(feature = "c")]
mod deflate {
    use libdeflater::{CompressionLvl, Compressor};

    use crate::file::LEVEL;

    /// Makes members.
    pub struct Gzip(Compressor);

    impl Gzip {
        pub fn new() -> Self {
            let level = CompressionLvl::new(LEVEL).unwrap_or_default();
            Self(Compressor::new(level))
        }

        /// Makes `member` of `chunk`; `None` if that can't be.
        pub fn member(&mut self, chunk: &[u8], member: &mut Vec<u8>) -> Option<()> {
            member.resize(self.0.gzip_compress_bound(chunk.len()), 0);
            let length = self.0.gzip_compress(chunk, member).ok()?;
            member.truncate(length);
            Some(())
        }
    }
}

/// zlib, as zlib-rs has it.
#[cfg(not(feature = "c"))]
mod zlib {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder};

    use crate::file::LEVEL;

    /// Makes members.
    pub struct Gzip(Compression);

    /// "Unknown" (RFC 1952, 2.3.1): the bytes are the same everywhere.
    const SYSTEM: u8 = 255;

    impl Gzip {
        pub fn new() -> Self {
            Self(Compression::new(u32::try_from(LEVEL).unwrap_or(6)))
        }

        /// Makes `member` of `chunk`; `None` if that can't be.
        pub fn member(&mut self, chunk: &[u8], member: &mut Vec<u8>) -> Option<()> {
            let mut out = GzBuilder::new()
                .operating_system(SYSTEM)
                .write(member, self.0);
            out.write_all(chunk).ok()?;
            out.finish().ok()?;
            Some(())
        }
    }
}
