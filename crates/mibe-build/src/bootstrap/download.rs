//! Fetches files over http and https: bounded, checked while they come, whole under their final name or not at all.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mibe_sandbox::Cancel;
use sha2::{Digest as _, Sha256};

use super::DebianError;

/// How often a fetch is tried before it fails.
const TRIES: u32 = 3;
/// Fetches at one time.
const PARALLEL: usize = 6;

/// Fetches from one mirror.
pub struct Fetcher {
    agent: ureq::Agent,
    cancel: Cancel,
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
        let mut config = ureq::Agent::config_builder()
            .user_agent(concat!("mibe/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .max_redirects(5);
        if let Some(proxy) = proxy.and_then(|proxy| ureq::Proxy::new(proxy).ok()) {
            config = config.proxy(Some(proxy));
        }
        Self {
            agent: config.build().new_agent(),
            cancel,
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
            body.take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(|error| Failure::Passing(error.to_string()))?;
            if bytes.len() as u64 > limit {
                return Err(Failure::Final(DebianError::Fetch {
                    url: url.to_owned(),
                    reason: format!("it is longer than {limit} bytes"),
                }));
            }
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
        if fs::metadata(&wanted.path).is_ok_and(|metadata| metadata.len() == wanted.size) {
            progress(wanted.size);
            // Use keeps it young for `mibe clean`.
            if let Ok(file) = fs::File::open(&wanted.path) {
                let _ = file.set_modified(std::time::SystemTime::now());
            }
            return Ok(());
        }
        let folder = wanted.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(DebianError::io("make", folder))?;
        let found = self.retry(&wanted.url, |fetcher| {
            fetcher.once(wanted, folder, progress)
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

    fn once(
        &self,
        wanted: &Wanted,
        folder: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<bool, Failure> {
        let io = |error| Failure::Final(DebianError::io("write", &wanted.path)(error));
        let Some(mut body) = self.open(&wanted.url)? else {
            return Ok(false);
        };
        // Without a name where the file system can, so that not even a SIGKILL leaves it.
        let mut file = tempfile::Builder::new()
            .prefix(".partial-")
            .tempfile_in(folder)
            .map_err(io)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        let mut size = 0;
        let wrong = |reason: String| {
            Failure::Final(DebianError::Checksum {
                url: wanted.url.clone(),
                reason,
            })
        };
        loop {
            if self.cancel.is_cancelled() {
                return Err(Failure::Final(DebianError::Cancelled));
            }
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Passing(error.to_string())),
            };
            size += count as u64;
            if size > wanted.size {
                return Err(wrong(format!("it is longer than {} bytes", wanted.size)));
            }
            hash.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(io)?;
            progress(count as u64);
        }
        if size < wanted.size {
            return Err(Failure::Passing(format!(
                "it ended after {size} of {} bytes",
                wanted.size
            )));
        }
        let sha256 = crate::capture::hex(&hash.finalize());
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
                scope.spawn(|| {
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
                });
            }
        });
        failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
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
                std::thread::sleep(Duration::from_millis(500 << number));
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
