//! The writer: the caller cuts the input into chunks, workers compress them, one sink digests and writes in order.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use camino::{Utf8Path, Utf8PathBuf};
use sha1::{Digest as _, Sha1};
use tempfile::{NamedTempFile, TempPath};

use crate::error::Error;
use crate::file::gzip::Gzip;
use crate::file::{CHUNK, Compression};
use crate::library::ImagePaths;

/// Workers that are of use: beyond that the sink is the bottleneck, and memory grows with each.
const MOST_WORKERS: usize = 16;

/// Room in each buffer: a chunk, or the member of one that does not get smaller.
const BUFFER: usize = CHUNK + 4096;

/// Chunks that wait for a worker or for the sink, beside those in work.
const WAITING: usize = 4;

/// A chunk for a worker, and where the member made of it goes.
struct Job {
    input: Vec<u8>,
    output: SyncSender<Vec<u8>>,
}

/// What the sink writes next.
enum Next {
    Ready(Vec<u8>),
    /// A worker will send it; a channel that ends without it means that the worker failed.
    Coming(Receiver<Vec<u8>>),
}

/// Buffers to be used again: fresh ones cost a page fault every 4 KiB.
#[derive(Clone, Default)]
struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    fn take(&self) -> Vec<u8> {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER))
    }

    fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffer);
    }
}

/// Writes an image's file: what is written to it is compressed, digested and counted on its way to a hidden file beside
/// the final name. Dropped before [`publish`](crate::library::publish), nothing of it stays.
///
/// At most 22 chunks are in memory at a time, and a buffer for each of their members.
pub struct ImageWriter {
    path: Utf8PathBuf,
    compression: Compression,
    /// Input that is no whole chunk yet.
    chunk: Vec<u8>,
    raw_size: u64,
    /// Whether anything went to the sink.
    begun: bool,
    pool: Pool,
    /// Gone once the writer ends.
    pipe: Option<Pipe>,
    /// Deleted when dropped.
    file: Option<TempPath>,
    manifest_draft: Utf8PathBuf,
    /// The first error of the sink.
    failure: Option<Failure>,
}

struct Pipe {
    jobs: SyncSender<Job>,
    order: SyncSender<Next>,
    workers: Vec<JoinHandle<()>>,
    sink: JoinHandle<io::Result<Sunk>>,
}

/// What the sink did.
struct Sunk {
    file: File,
    sha1: [u8; 20],
    size: u64,
}

/// An error of the system that can be told several times.
#[derive(Clone)]
struct Failure {
    kind: io::ErrorKind,
    number: Option<i32>,
    text: String,
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        Self {
            kind: error.kind(),
            number: error.raw_os_error(),
            text: error.to_string(),
        }
    }

    fn error(&self) -> io::Error {
        self.number.map_or_else(
            || io::Error::new(self.kind, self.text.clone()),
            io::Error::from_raw_os_error,
        )
    }
}

impl ImageWriter {
    /// Begins the file of the image whose paths are `paths`, in their folder, with one worker for each core. `tag` tells
    /// this attempt from others: the file's hidden name is the first of [`ImagePaths::drafts`].
    ///
    /// # Errors
    ///
    /// The folder is not there or can't be written to, a file of the hidden name is there, or the system has no
    /// thread left.
    pub fn create(paths: &ImagePaths, tag: &str) -> Result<Self, Error> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let cores = NonZeroUsize::new(cores).unwrap_or(NonZeroUsize::MIN);
        Self::with_workers(paths, tag, cores)
    }

    /// The same with a number of workers (at most 16 are made), which has no influence on the bytes.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn with_workers(
        paths: &ImagePaths,
        tag: &str,
        workers: NonZeroUsize,
    ) -> Result<Self, Error> {
        let path = paths.file().to_owned();
        let failed = |error| Error::io("write", &path, error);
        let [draft, manifest_draft] = paths.drafts(tag);
        let temporary = create_draft(&draft).map_err(failed)?;
        let (file, temporary) = temporary.into_parts();
        let pool = Pool::default();
        let workers = match paths.compression() {
            Compression::Gzip => workers.get().min(MOST_WORKERS),
            Compression::None => 0,
        };
        let pipe = Pipe::start(file, workers, &pool).map_err(failed)?;
        Ok(Self {
            compression: paths.compression(),
            path,
            chunk: pool.take(),
            raw_size: 0,
            begun: false,
            pool,
            pipe: Some(pipe),
            file: Some(temporary),
            manifest_draft,
            failure: None,
        })
    }

    /// Writes what is left, waits until all of it is on the disk, and says what was written.
    ///
    /// # Errors
    ///
    /// The file could not be written, now or earlier; nothing is left of it.
    pub fn finish(mut self) -> Result<FinishedFile, Error> {
        // An empty file is no gzip file: the empty member is.
        if !self.chunk.is_empty() || !self.begun {
            self.send().map_err(|failure| self.error(&failure))?;
        }
        let sunk = self.join().map_err(|failure| self.error(&failure))?;
        let result = sunk.file.sync_all();
        result.map_err(|error| Error::io("write", &self.path, error))?;
        let Some(temporary) = self.file.take() else {
            return Err(Error::io(
                "write",
                &self.path,
                io::ErrorKind::NotFound.into(),
            ));
        };
        Ok(FinishedFile {
            temporary,
            manifest_draft: std::mem::take(&mut self.manifest_draft),
            sha1: hex(&sunk.sha1),
            size: sunk.size,
            raw_size: self.raw_size,
            compression: self.compression,
        })
    }

    fn error(&self, failure: &Failure) -> Error {
        Error::io("write", &self.path, failure.error())
    }

    /// Sends the chunk on its way.
    fn send(&mut self) -> Result<(), Failure> {
        self.begun = true;
        let chunk = std::mem::replace(&mut self.chunk, self.pool.take());
        let sent = self
            .pipe
            .as_ref()
            .is_some_and(|pipe| pipe.send(self.compression, chunk));
        if sent {
            return Ok(());
        }
        // The sink is gone, which it only is with an error.
        match self.join() {
            Err(failure) => Err(failure),
            Ok(_) => Err(self.fail(&io::Error::other("the writing thread ended early"))),
        }
    }

    /// Ends all threads and takes what the sink has to say.
    fn join(&mut self) -> Result<Sunk, Failure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let result = match self.pipe.take() {
            Some(pipe) => pipe.join(),
            None => Err(io::Error::other("the file is written already")),
        };
        result.map_err(|error| self.fail(&error))
    }

    fn fail(&mut self, error: &io::Error) -> Failure {
        let failure = Failure::of(error);
        self.failure = Some(failure.clone());
        failure
    }
}

impl Write for ImageWriter {
    /// Fails with an [`io::Error`] that holds an [`Error`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        self.raw_size += count as u64;
        if self.chunk.len() == CHUNK {
            self.send().map_err(|failure| {
                let error = self.error(&failure);
                io::Error::new(error.io_kind(), error)
            })?;
        }
        Ok(count)
    }

    /// Does nothing: chunks are cut by size alone, or flushing would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ImageWriter {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            // The file is thrown away: what its writing ends with is of no interest.
            drop(pipe.join());
        }
    }
}

impl Pipe {
    fn start(file: File, workers: usize, pool: &Pool) -> io::Result<Self> {
        // Every chunk under way has its place in `order`, so its bound is that of memory.
        let bound = workers + WAITING;
        let (jobs, waiting) = sync_channel::<Job>(bound);
        let (order, ordered) = sync_channel::<Next>(bound);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut threads = Vec::new();
        for _ in 0..workers {
            let (waiting, pool) = (Arc::clone(&waiting), pool.clone());
            let body = move || work(&waiting, &pool);
            threads.push(
                thread::Builder::new()
                    .name("compress".to_owned())
                    .spawn(body)?,
            );
        }
        let pool = pool.clone();
        let body = move || sink(file, &ordered, &pool);
        let sink = thread::Builder::new()
            .name("write".to_owned())
            .spawn(body)?;
        Ok(Self {
            jobs,
            order,
            workers: threads,
            sink,
        })
    }

    /// Whether there is still someone to take the chunk.
    fn send(&self, compression: Compression, chunk: Vec<u8>) -> bool {
        match compression {
            Compression::None => self.order.send(Next::Ready(chunk)).is_ok(),
            Compression::Gzip => {
                let (output, coming) = sync_channel(1);
                self.order.send(Next::Coming(coming)).is_ok()
                    && self
                        .jobs
                        .send(Job {
                            input: chunk,
                            output,
                        })
                        .is_ok()
            }
        }
    }

    fn join(self) -> io::Result<Sunk> {
        drop(self.jobs);
        drop(self.order);
        for worker in self.workers {
            // A worker that fails leaves its chunk unsent, which the sink reports.
            drop(worker.join());
        }
        self.sink
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the writing thread failed")))
    }
}

/// Compresses chunks until there are no more.
fn work(waiting: &Mutex<Receiver<Job>>, pool: &Pool) {
    let mut compressor = Gzip::new();
    loop {
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(Job { input, output }) = job else {
            return;
        };
        let mut member = pool.take();
        if compressor.member(&input, &mut member).is_none() {
            return;
        }
        pool.give(input);
        // The sink ended with an error, which the caller will see.
        if output.send(member).is_err() {
            return;
        }
    }
}

/// Digests and writes what comes, in order.
fn sink(mut file: File, ordered: &Receiver<Next>, pool: &Pool) -> io::Result<Sunk> {
    let mut sha1 = Sha1::new();
    let mut size = 0;
    for next in ordered {
        let bytes = match next {
            Next::Ready(bytes) => bytes,
            Next::Coming(coming) => coming
                .recv()
                .map_err(|_| io::Error::other("a compressing thread failed"))?,
        };
        file.write_all(&bytes)?;
        sha1.update(&bytes);
        size += bytes.len() as u64;
        pool.give(bytes);
    }
    Ok(Sunk {
        file,
        sha1: sha1.finalize().into(),
        size,
    })
}

/// Makes a new file of this path, readable for all that the umask lets.
pub(crate) fn create_draft(path: &Utf8Path) -> io::Result<NamedTempFile> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_str().is_empty())
        .unwrap_or(Utf8Path::new("."));
    tempfile::Builder::new()
        .prefix(path.file_name().unwrap_or_default())
        .rand_bytes(0)
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder)
}

/// Lower-case hexadecimal, two digits a byte, as manifests and indexes have digests.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// A file that is whole and on the disk, under a hidden name; it goes when dropped unless it is published.
#[derive(Debug)]
pub struct FinishedFile {
    pub(crate) temporary: TempPath,
    /// Where its manifest is to be written first.
    pub(crate) manifest_draft: Utf8PathBuf,
    pub(crate) sha1: String,
    pub(crate) size: u64,
    raw_size: u64,
    pub(crate) compression: Compression,
}

impl FinishedFile {
    /// SHA-1 of the file, 40 hexadecimal digits.
    pub fn sha1(&self) -> &str {
        &self.sha1
    }

    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes in the stream that it holds.
    pub fn raw_size(&self) -> u64 {
        self.raw_size
    }

    /// How it is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Its hidden name.
    pub fn temporary_path(&self) -> Option<&Utf8Path> {
        Utf8Path::from_path(&self.temporary)
    }
}
