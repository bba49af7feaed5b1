//! Fetches files over http and https: bounded, checked while they come, whole under their final name or not at all.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mibe_image::file::hex;
use mibe_sandbox::Cancel;
use sha2::{Digest as _, Sha256};

use super::DebianError;

/// How often a fetch is tried before it fails.
const TRIES: u32 = 3;
/// Fetches at one time.
const PARALLEL: usize = 6;

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until an answer begins, and between two pieces of it.
    pub silence: Duration,
    /// Bytes per second that an answer must have on average once it took longer than `silence`.
    pub slowest: u64,
    /// Before the second try; twice that before the third.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            slowest: 1024,
            pause: Duration::from_secs(1),
        }
    }
}

/// Fetches from one mirror.
pub struct Fetcher {
    agent: ureq::Agent,
    cancel: Cancel,
    patience: Patience,
}

/// A file that is to be in the cache.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where it comes from.
    pub url: String,
    /// Where it goes.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// How one try failed.
enum Failure {
    /// Another try may go better.
    Passing(String),
    /// The answer is final.
    Final(DebianError),
}

impl Fetcher {
    /// A fetcher that goes through `proxy` where given, else through what http_proxy and https_proxy say.
    pub fn new(proxy: Option<&str>, cancel: Cancel) -> Self {
        Self::with_patience(proxy, cancel, Patience::default())
    }

    /// The same, for servers that are faster or slower than usual.
    pub fn with_patience(proxy: Option<&str>, cancel: Cancel, patience: Patience) -> Self {
        let mut config = ureq::Agent::config_builder()
            .user_agent(concat!("mibe/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .max_redirects(5);
        if let Some(proxy) = proxy.and_then(|proxy| ureq::Proxy::new(proxy).ok()) {
            config = config.proxy(Some(proxy));
        }
        Self {
            agent: config.build().new_agent(),
            cancel,
            patience,
        }
    }

    /// The bytes behind `url`, at most `limit`; `None` where the server has nothing there.
    ///
    /// # Errors
    ///
    /// The server can't be reached, or sends more.
    pub fn get(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>, DebianError> {
        let mut bytes = Vec::new();
        let found = self.retry(url, |fetcher| {
            bytes.clear();
            let Some(body) = fetcher.open(url)? else {
                return Ok(false);
            };
            fetcher.copy(body, &mut |piece| {
                if (bytes.len() + piece.len()) as u64 > limit {
                    return Err(Failure::Final(DebianError::Fetch {
                        url: url.to_owned(),
                        reason: format!("it is longer than {limit} bytes"),
                    }));
                }
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            Ok(true)
        })?;
        Ok(found.then_some(bytes))
    }

    /// Has `wanted` in its place: there already, or fetched and checked; `progress` is called with bytes as they come.
    ///
    /// # Errors
    ///
    /// It could not be fetched, is not what was wanted, or could not be written.
    pub fn fetch(&self, wanted: &Wanted, progress: &dyn Fn(u64)) -> Result<(), DebianError> {
        if is_there(wanted) {
            progress(wanted.size);
            // Use keeps it young for `mibe clean`.
            if let Ok(file) = fs::File::open(&wanted.path) {
                let _ = file.set_modified(std::time::SystemTime::now());
            }
            return Ok(());
        }
        let folder = wanted.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(DebianError::io("make", folder))?;
        // What came twice is told once.
        let told = Cell::new(0);
        let found = self.retry(&wanted.url, |fetcher| {
            let came = Cell::new(0);
            fetcher.once(wanted, folder, &|count| {
                came.set(came.get() + count);
                if came.get() > told.get() {
                    progress(came.get() - told.replace(came.get()));
                }
            })
        })?;
        if found {
            Ok(())
        } else {
            Err(DebianError::Fetch {
                url: wanted.url.clone(),
                reason: "the mirror does not have it".to_owned(),
            })
        }
    }

    /// Has what is behind `url`, at most `limit` bytes, in the new file `path`; `progress` is called with all bytes that came.
    ///
    /// # Errors
    ///
    /// As [`Fetcher::fetch`].
    pub fn fetch_to(
        &self,
        url: &str,
        path: &Path,
        limit: u64,
        progress: &dyn Fn(u64),
    ) -> Result<(), DebianError> {
        let io = |error| Failure::Final(DebianError::io("write", path)(error));
        let found = self.retry(url, |fetcher| {
            let Some(body) = fetcher.open(url)? else {
                return Ok(false);
            };
            let mut file = fs::File::create(path).map_err(io)?;
            let mut size = 0;
            fetcher.copy(body, &mut |piece| {
                size += piece.len() as u64;
                if size > limit {
                    return Err(Failure::Final(DebianError::Fetch {
                        url: url.to_owned(),
                        reason: format!("it is longer than {limit} bytes"),
                    }));
                }
                file.write_all(piece).map_err(io)?;
                progress(size);
                Ok(())
            })?;
            Ok(true)
        })?;
        if found {
            return Ok(());
        }
        Err(DebianError::Fetch {
            url: url.to_owned(),
            reason: "there is nothing of that name on the server".to_owned(),
        })
    }

    fn once(
        &self,
        wanted: &Wanted,
        folder: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<bool, Failure> {
        let io = |error| Failure::Final(DebianError::io("write", &wanted.path)(error));
        let Some(body) = self.open(&wanted.url)? else {
            return Ok(false);
        };
        // Removed again unless it is whole.
        let mut file = tempfile::Builder::new()
            .prefix(".partial-")
            .tempfile_in(folder)
            .map_err(io)?;
        let mut hash = Sha256::new();
        let mut size = 0;
        let wrong = |reason: String| {
            Failure::Final(DebianError::Checksum {
                url: wanted.url.clone(),
                reason,
            })
        };
        self.copy(body, &mut |piece| {
            size += piece.len() as u64;
            if size > wanted.size {
                return Err(wrong(format!("it is longer than {} bytes", wanted.size)));
            }
            hash.update(piece);
            file.write_all(piece).map_err(io)?;
            progress(piece.len() as u64);
            Ok(())
        })?;
        if size < wanted.size {
            return Err(Failure::Passing(format!(
                "it ended after {size} of {} bytes",
                wanted.size
            )));
        }
        let sha256 = hex(&hash.finalize());
        if sha256 != wanted.sha256 {
            return Err(wrong(format!(
                "its SHA-256 is {sha256}, and the signed index says {}",
                wanted.sha256
            )));
        }
        file.persist(&wanted.path)
            .map_err(|error| io(error.error))?;
        Ok(true)
    }

    /// Has all of them, several at a time; the first error ends the rest.
    ///
    /// # Errors
    ///
    /// As [`Fetcher::fetch`].
    pub fn fetch_all(
        &self,
        wanted: &[Wanted],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), DebianError> {
        let next = AtomicUsize::new(0);
        let done = AtomicU64::new(0);
        let failed: Mutex<Option<DebianError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(wanted.len()) {
                let work = || {
                    loop {
                        let failed_before = failed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .is_some();
                        let Some(wanted) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) else {
                            return;
                        };
                        if failed_before {
                            return;
                        }
                        let count = |bytes| {
                            progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
                        };
                        if let Err(error) = self.fetch(wanted, &count) {
                            failed
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .get_or_insert(error);
                            return;
                        }
                    }
                };
                // Where there can be no more threads this one does it.
                if std::thread::Builder::new()
                    .spawn_scoped(scope, work)
                    .is_err()
                {
                    work();
                }
            }
        });
        failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }

    /// Hands over an answer piece by piece; ends it when it is cancelled or too slow.
    fn copy(
        &self,
        mut body: impl Read,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let mut buffer = vec![0; 1 << 16];
        let mut size = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Failure::Final(DebianError::Cancelled));
            }
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Passing(error.to_string())),
            };
            take(&buffer[..count])?;
            size += count as u64;
            let taken = start.elapsed();
            let fair = Duration::from_secs(size / self.patience.slowest.max(1));
            if taken > self.patience.silence + fair {
                return Err(Failure::Passing(format!(
                    "it came too slowly ({size} bytes in {} s)",
                    taken.as_secs()
                )));
            }
        }
    }

    fn retry(
        &self,
        url: &str,
        mut attempt: impl FnMut(&Self) -> Result<bool, Failure>,
    ) -> Result<bool, DebianError> {
        let mut reason = String::new();
        for number in 0..TRIES {
            if self.cancel.is_cancelled() {
                return Err(DebianError::Cancelled);
            }
            if number > 0 {
                std::thread::sleep(self.patience.pause * number);
            }
            match attempt(self) {
                Ok(found) => return Ok(found),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => reason = why,
            }
        }
        Err(DebianError::Fetch {
            url: url.to_owned(),
            reason: format!("{reason} (tried {TRIES} times)"),
        })
    }

    /// The body behind `url`; `None` where the server has nothing there.
    fn open(&self, url: &str) -> Result<Option<impl Read + use<>>, Failure> {
        match self.agent.get(url).call() {
            Ok(response) => Ok(Some(response.into_body().into_reader())),
            Err(ureq::Error::StatusCode(404 | 410)) => Ok(None),
            Err(ureq::Error::StatusCode(status @ 400..=499)) => {
                Err(Failure::Final(DebianError::Fetch {
                    url: url.to_owned(),
                    reason: format!("the mirror answers with status {status}"),
                }))
            }
            Err(error @ (ureq::Error::TooManyRedirects | ureq::Error::BadUri(_))) => {
                Err(Failure::Final(DebianError::Fetch {
                    url: url.to_owned(),
                    reason: error.to_string(),
                }))
            }
            Err(error) => Err(Failure::Passing(error.to_string())),
        }
    }
}

/// Whether a file is in the cache, and still what it was when it came.
fn is_there(wanted: &Wanted) -> bool {
    let right = || -> io::Result<bool> {
        let mut file = fs::File::open(&wanted.path)?;
        if file.metadata()?.len() != wanted.size {
            return Ok(false);
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex(&hash.finalize()) == wanted.sha256),
                count => hash.update(&buffer[..count]),
            }
        }
    };
    right().unwrap_or(false)
}
