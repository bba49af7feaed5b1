//! Input that is kept in a file without a name, so that it can be read again.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use camino::Utf8PathBuf;

use crate::error::Error;

/// Bytes that are copied at a time.
const PIECE: usize = 256 << 10;

pub(super) struct Kept {
    name: String,
    file: File,
}

impl Kept {
    /// Copies all of `input`; `name` stands for it in errors.
    pub fn of(name: &str, mut input: impl Read) -> Result<Self, Error> {
        let folder = std::env::temp_dir();
        let full = |source| Error::Io {
            action: "keep a copy of the image in",
            path: Utf8PathBuf::from_path_buf(folder.clone())
                .unwrap_or_else(|folder| folder.to_string_lossy().into_owned().into()),
            source,
        };
        let mut file = tempfile::tempfile_in(&folder).map_err(full)?;
        let mut piece = vec![0; PIECE];
        loop {
            match input.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => file
                    .write_all(piece.get(..count).unwrap_or_default())
                    .map_err(full)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", name.into(), error)),
            }
        }
        Ok(Self {
            name: name.to_owned(),
            file,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads from the start, whatever others read meanwhile.
    pub fn reader(kept: &Arc<Self>) -> Reader {
        Reader {
            kept: Arc::clone(kept),
            position: 0,
        }
    }
}

pub(super) struct Reader {
    kept: Arc<Kept>,
    position: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.kept.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
