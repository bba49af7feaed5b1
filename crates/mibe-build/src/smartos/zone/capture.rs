//! `zfs send`, read as it comes: what is captured is a whole stream with the right sums, or nothing.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mibe_host::{Command, Input, Outcome, Stream};
use sha2::{Digest as _, Sha256};
use zfs_stream::read::{Counts, Header, whole};

use super::Zone;
use crate::capture::Captured;
use crate::error::BuildError;
use crate::log::last_words;
use crate::machine::outcome_in_words;

/// The name that image tools want of the snapshot (imgadm.js, `@final`).
const SNAPSHOT: &str = "final";

/// How often a silence is looked at.
const TICK: Duration = Duration::from_millis(200);

impl Zone {
    /// Takes the snapshot and sends it to `out`.
    pub(super) fn send(&mut self, out: &mut dyn Write) -> Result<Captured, BuildError> {
        let snapshot = format!("{}@{SNAPSHOT}", self.entry.dataset);
        let origin = self.origin()?;
        let state = self.state()?;
        if state != "stopped" {
            return Err(BuildError::Work {
                what: "take the zone's snapshot",
                why: format!("it was stopped and cleaned, and is {state} now"),
                hints: Vec::new(),
            });
        }
        let argv = ["zfs", "snapshot", &snapshot];
        self.tools
            .call(&argv, Input::Nothing, self.tools.timeout())?;
        let mut argv = vec!["zfs", "send"];
        if let Some((origin, _)) = &origin {
            argv.extend(["-i", origin]);
        }
        argv.push(&snapshot);
        let (header, digest) = self.checked(&argv, out)?;
        let problem = if header.compound
            || header.objset_type != zfs_stream::format::record::OBJSET_FILESYSTEM
        {
            Some("it is not the stream of one file system".to_owned())
        } else if header.features & !zfs_stream::format::record::feature::SA_SPILL != 0 {
            Some(format!(
                "it needs features of ZFS that not every platform has (0x{:x})",
                header.features
            ))
        } else if origin
            .as_ref()
            .is_some_and(|(_, guid)| *guid != header.from_guid)
        {
            Some("it is a change to another snapshot than the base's".to_owned())
        } else if origin.is_none() && header.from_guid != 0 {
            Some("it is a change to another snapshot, and not whole".to_owned())
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(BuildError::Work {
                what: "read the stream that zfs sends",
                why: problem,
                hints: Vec::new(),
            });
        }
        Ok(Captured {
            guid: header.to_guid,
            digest,
            entries: None,
            sockets: Vec::new(),
            difference: None,
            disk: None,
        })
    }

    /// The snapshot that an incremental stream is a change to, and its guid.
    fn origin(&self) -> Result<Option<(String, u64)>, BuildError> {
        if !self.incremental {
            return Ok(None);
        }
        let failed = |why: String| BuildError::Work {
            what: "find the origin of the incremental image",
            why,
            hints: vec!["leave --incremental out".to_owned()],
        };
        let of_zone = self.tools.property(&self.entry.dataset, "origin")?;
        let wanted = format!(
            "{}/{}@{SNAPSHOT}",
            self.options.pool, self.base.manifest.uuid
        );
        match of_zone {
            Some(origin) if origin == wanted => {
                let guid = self.tools.property(&origin, "guid")?;
                let guid = guid.and_then(|guid| guid.parse().ok());
                guid.map(|guid| Some((origin, guid)))
                    .ok_or_else(|| failed(format!("{wanted} has no guid")))
            }
            Some(origin) => Err(failed(format!(
                "the zone was made from {origin}, and not from {wanted}: `imgadm update` there may mend that"
            ))),
            None => Err(failed(format!("{} is gone", self.entry.dataset))),
        }
    }

    /// Sends, and reads along: a stream that ends early, or whose sums are wrong, is none, whatever zfs says.
    fn checked(&self, argv: &[&str], out: &mut dyn Write) -> Result<(Header, String), BuildError> {
        let pipe = io::pipe().map_err(BuildError::io("make a pipe", "/"))?;
        let (reader, mut writer) = pipe;
        let reading = std::thread::spawn(move || read_along(reader));
        let silence = self.tools.timeout();
        let stalled = Arc::new(AtomicBool::new(false));
        let watch = Watch::begin(self.tools.cancel_flag(), Arc::clone(&stalled), silence);
        let mut failure: Option<BuildError> = None;
        let mut hash = Sha256::new();
        let mut said = Vec::new();
        let outcome = self.tools.host().run(
            Command::new(argv.iter().copied()),
            &watch.end,
            &mut |stream, bytes| {
                watch.sign_of_life();
                if stream == Stream::Err {
                    if said.len() < 1 << 16 {
                        said.extend_from_slice(bytes);
                    }
                    return;
                }
                if failure.is_some() {
                    return;
                }
                hash.update(bytes);
                let written = out
                    .write_all(bytes)
                    .map_err(BuildError::io("write", "the image"))
                    // A reader that has given up says why itself.
                    .map(|()| drop(writer.write_all(bytes)));
                if let Err(error) = written {
                    failure = Some(error);
                    watch.end.store(true, Ordering::SeqCst);
                }
            },
        );
        drop(watch);
        drop(writer);
        let read = reading
            .join()
            .unwrap_or_else(|_| Err("the thread that reads it panicked".to_owned()));
        if let Some(failure) = failure {
            return Err(failure);
        }
        let what = || format!("{} on {}", argv.join(" "), self.tools.title());
        match outcome? {
            Outcome::Exited(0) => {}
            Outcome::Cancelled if stalled.load(Ordering::SeqCst) => {
                return Err(BuildError::Command {
                    what: what(),
                    how: format!("sent nothing for {} s", silence.as_secs()),
                    said: last_words(&said),
                    hints: Vec::new(),
                });
            }
            Outcome::Cancelled => return Err(BuildError::Cancelled),
            outcome => {
                return Err(BuildError::Command {
                    what: what(),
                    how: outcome_in_words(outcome, Duration::ZERO),
                    said: last_words(&said),
                    hints: Vec::new(),
                });
            }
        }
        match read {
            Ok((header, _)) => {
                let digest: [u8; 32] = hash.finalize().into();
                Ok((header, mibe_image::file::hex(&digest)))
            }
            Err(why) => Err(BuildError::Work {
                what: "read the stream that zfs sends",
                why,
                hints: Vec::new(),
            }),
        }
    }
}

/// Reads a stream to its end, and what may come after it.
fn read_along(mut reader: io::PipeReader) -> Result<(Header, Counts), String> {
    let read = whole(&mut reader).map_err(|error| error.to_string());
    let mut rest = [0; 4096];
    let mut beyond = 0;
    while let Ok(count @ 1..) = reader.read(&mut rest) {
        beyond += count;
    }
    match read {
        Ok(_) if beyond > 0 => Err(format!("{beyond} bytes follow its end")),
        read => read,
    }
}

/// Raises a flag when the build is cancelled, or when nothing came for too long.
struct Watch {
    /// What ends the command.
    end: Arc<AtomicBool>,
    last: Arc<std::sync::Mutex<Instant>>,
    done: Arc<AtomicBool>,
}

impl Watch {
    fn begin(cancel: Arc<AtomicBool>, stalled: Arc<AtomicBool>, silence: Duration) -> Self {
        let watch = Self {
            end: Arc::new(AtomicBool::new(false)),
            last: Arc::new(std::sync::Mutex::new(Instant::now())),
            done: Arc::new(AtomicBool::new(false)),
        };
        let (end, last, done) = (
            Arc::clone(&watch.end),
            Arc::clone(&watch.last),
            Arc::clone(&watch.done),
        );
        std::thread::spawn(move || {
            while !done.load(Ordering::SeqCst) {
                let quiet = last
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .elapsed();
                if quiet >= silence {
                    stalled.store(true, Ordering::SeqCst);
                }
                if quiet >= silence || cancel.load(Ordering::SeqCst) {
                    end.store(true, Ordering::SeqCst);
                    return;
                }
                std::thread::sleep(TICK);
            }
        });
        watch
    }

    fn sign_of_life(&self) {
        *self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
    }
}
