//! Writes streams.

mod file;
mod filesystem;
mod flatten;
mod incremental;
mod links;
mod listing;
mod output;
mod records;
mod survey;
mod system;
mod volume;
mod zap;
mod znode;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use thiserror::Error;

use self::filesystem::Filesystem;
pub use self::flatten::{FlattenError, Flattened, flatten};
pub use self::incremental::{BaseSnapshot, IncrementalSummary, write_incremental};
use self::output::{Records, Remote, Sealer};
use self::survey::Survey;
pub use self::volume::{Disk, VolumeSummary, write_volume};
use crate::format::record::MAX_TO_NAME;
use crate::tree::{LeftOut, Tree};

/// Bytes of records after which they are written out: few enough to be in the processor's cache still.
const BATCH: usize = 64 << 10;

/// The same where another thread does that, so that the two seldom wait for each other.
const THREAD_BATCH: usize = 1 << 20;

/// Batches on their way between the threads or waiting.
const SPARE_BATCHES: usize = 3;

/// What a stream says of itself.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// `pool/dataset@snapshot`, at most 255 bytes. Receivers look at the part after `@` only.
    pub to_name: String,
    /// Guid of the snapshot; not 0. Derive it from what the stream is made from to have the same stream
    /// every time.
    pub to_guid: u64,
    /// When the snapshot was made, seconds since 1970.
    pub creation_time: u64,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of files written so far, holes included.
    pub done: u64,
    /// Bytes of files in all.
    pub total: u64,
}

/// What a stream holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Length of the stream in bytes.
    pub stream_bytes: u64,
    /// Bytes of regular files, holes included, each file counted once however many links it has.
    pub file_bytes: u64,
    /// Files of every kind with the root, each counted once however many links it has.
    pub files: u64,
    /// Directories among them, with the root.
    pub directories: u64,
    /// Sockets, which are left out since they mean nothing without their process.
    pub sockets: LeftOut,
}

/// Why a stream could not be written. What was written until then is of no use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The tree could not be read.
    #[error("can't {action} {}: {source}", show(path))]
    Read {
        /// What was tried: `read`, `list`, …
        action: &'static str,
        /// Of what, relative to the tree's root.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The tree changed while it was read, so that the stream would be of no moment.
    #[error(
        "{} {what} while it was being read; stop what writes to it and try again",
        show(path)
    )]
    Changed {
        /// Of what, relative to the tree's root.
        path: PathBuf,
        /// What happened to it.
        what: &'static str,
    },
    /// ZFS has no room for it.
    #[error("{} can't be stored in ZFS: {reason}", show(path))]
    Unstorable {
        /// What, relative to the tree's root.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// The stream could not be written out.
    #[error("can't write the stream: {0}")]
    Output(#[source] io::Error),
    /// The thread that writes the stream could not be started.
    #[error("can't start a thread to write the stream: {0}")]
    Thread(#[source] io::Error),
    /// The base of an incremental stream could not be read.
    #[error("can't read the base: {0}")]
    Base(#[from] crate::read::ReadError),
    /// No incremental stream can be made against this base.
    #[error("there can be no incremental stream against this base: {0}")]
    Unsuitable(String),
    /// The options make no stream.
    #[error("can't start a stream: {0}")]
    Options(&'static str),
}

/// A path as people write it: from the tree's root.
fn show(path: &Path) -> String {
    format!("/{}", path.display())
}

/// Errors of the tree's methods get their place by `.at("open", path)`.
trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, WriteError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, WriteError> {
        self.map_err(|source| WriteError::Read {
            action,
            path: path.to_owned(),
            source,
        })
    }
}

/// Writes `tree` to `out` as a full stream of a ZPL version 5 file system.
///
/// The tree is read twice: once for hard links and totals (metadata only), once for what is
/// written. `out` gets few and large writes, and is flushed. `progress` is called after every
/// block and file of the second reading.
///
/// The same tree and options give the same bytes, in whatever order directories are read. Times of
/// access, change and creation are those of modification.
///
/// # Memory
///
/// Besides a buffer of 192 KiB: for every file whose directory has been written and which has not been
/// written itself, its name and 2 to 6 bytes; for every such directory and every directory
/// with such files, about 150 bytes; for every file that has several links, about 70 bytes; for the
/// directory being written, about 20 bytes and the name for every entry. A million files in one
/// directory or a hundred thousand directories stay under 64 MiB, if the tree implements
/// [`Tree::for_each_entry`] without a list of its own. Sizes of files do not matter.
pub fn write_filesystem<T: Tree, W: io::Write>(
    tree: &mut T,
    out: W,
    options: &StreamOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, WriteError> {
    check(options)?;
    let survey = Survey::of(tree)?;
    let (output, records) = (Sealer::new(out), Records::new(BATCH));
    Filesystem::start(tree, output, records, options, survey, progress)?.write()
}

/// The same as [`write_filesystem`], with the same stream for an outcome, but checksums and writes it from another
/// thread while the tree is read on in this one. That takes less time where there is more than one processor,
/// most of all if `out` keeps its writers waiting.
///
/// `progress` and the tree stay in this thread; what was counted as done may be up to 4 MiB ahead of what was
/// written. If `out` panics, so does this.
///
/// # Memory
///
/// 4.5 MiB more.
pub fn write_filesystem_threaded<T: Tree, W: io::Write + Send>(
    tree: &mut T,
    out: W,
    options: &StreamOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, WriteError> {
    check(options)?;
    let survey = Survey::of(tree)?;
    let (full_to, full) = mpsc::channel();
    let (empty_to, empty) = mpsc::channel();
    for _ in 0..SPARE_BATCHES {
        // Its receiver is right here.
        let _ = empty_to.send(Records::new(THREAD_BATCH));
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("zfs-stream".to_owned())
            .spawn_scoped(scope, move || {
                output::serve(Sealer::new(out), &full, &empty_to)
            })
            .map_err(WriteError::Thread)?;
        let output = Remote {
            full: full_to,
            empty,
        };
        let records = Records::new(THREAD_BATCH);
        let written = Filesystem::start(tree, output, records, options, survey, progress)
            .and_then(Filesystem::write);
        // Nothing more can come by now, so the thread ends.
        match thread.join() {
            Ok(Ok(())) => written,
            // If it wasn't this that had the writing stop, it happened earlier in the stream.
            Ok(Err(error)) => Err(error),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn check(options: &StreamOptions) -> Result<(), WriteError> {
    if options.to_name.len() > MAX_TO_NAME {
        return Err(WriteError::Options(
            "the snapshot's name has more than 255 bytes",
        ));
    }
    if options.to_name.contains('\0')
        || !matches!(options.to_name.split_once('@'), Some((dataset, snapshot)) if !dataset.is_empty() && !snapshot.is_empty())
    {
        return Err(WriteError::Options(
            "the snapshot's name must be like pool/dataset@snapshot",
        ));
    }
    if options.to_guid == 0 {
        return Err(WriteError::Options("a snapshot's guid can't be 0"));
    }
    Ok(())
}
