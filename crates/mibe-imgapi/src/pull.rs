//! Images from servers into a folder of images.
//!
//! A file grows under a hidden name (`.UUID.part`), is checked while it comes, and gets its name when it is whole; what was
//! cut off goes on where it ended. Origins come first, so that no image is there without what it stands on.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use mibe_image::arrival::{Arrival, Placed, place};
use mibe_image::manifest::{Manifest, State};
use mibe_image::open::{Image, Libraries};
use mibe_image::progress::{Event, Progress};

use crate::client::Client;
use crate::error::Error;
use crate::filter::{self, Filter, Text};
use crate::http::{Failure, succeeded};

/// Images that come at the same time.
const PARALLEL: usize = 4;
/// Longest chain of origins that is followed.
const LONGEST_CHAIN: usize = 64;
/// Bytes that must have come between two errors for the tries to count anew.
const PROGRESS: u64 = 1 << 20;
/// How often someone else who fetches the same image is looked after.
const OTHERS: Duration = Duration::from_millis(200);

/// The name of the step that is told of.
pub const STEP: &str = "pull";

/// Where images come from and go to.
pub struct Puller<'a> {
    /// The servers, in the order in which they are asked.
    pub servers: &'a [Client],
    /// Where images that are here already are found.
    pub libraries: &'a Libraries,
    /// Where they go.
    pub folder: &'a Utf8Path,
    /// Who is told how far it is.
    pub progress: &'a dyn Progress,
}

/// An image that a server offers.
#[derive(Clone)]
pub struct Offered<'a> {
    /// The server.
    pub server: &'a Client,
    /// The image.
    pub manifest: Manifest,
}

/// An image that is here now.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image.
    pub manifest: Manifest,
    /// The server that it came from; `None` if it was here already.
    pub from: Option<String>,
    /// Where its manifest stands.
    pub path: Utf8PathBuf,
}

/// Whether a text is a UUID, in small or capital letters.
pub fn uuid(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let groups: Vec<_> = lower.split('-').collect();
    let hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    (lengths == [8, 4, 4, 4, 12] && groups.iter().all(hex)).then_some(lower)
}

impl<'a> Puller<'a> {
    /// The image that `argument` names, a UUID, `name@version`, `name-version` or a name, which means the newest of that name
    /// that can be used. The first server that has one counts.
    ///
    /// # Errors
    ///
    /// No server has one, or none could be asked.
    pub fn find(&self, argument: &str) -> Result<Offered<'a>, Error> {
        let mut failed = Vec::new();
        let mut first = None;
        for server in self.servers {
            let found = match uuid(argument) {
                Some(uuid) => server.get(&uuid),
                None => newest(server, argument),
            };
            match found {
                Ok(Some(manifest)) => return Ok(Offered { server, manifest }),
                Ok(None) => {}
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    failed.push(format!("{}: {error}", server.name()));
                    first.get_or_insert(error);
                }
            }
        }
        match first {
            Some(error) if failed.len() == self.servers.len() => Err(error),
            _ => Err(Error::NoImage {
                argument: argument.to_owned(),
                servers: self
                    .servers
                    .iter()
                    .map(|server| server.name().to_owned())
                    .collect(),
                failed,
            }),
        }
    }

    /// Brings images, and what they stand on, into the folder. What is in the libraries is left there.
    ///
    /// # Errors
    ///
    /// An image is nowhere, can't be used, came wrong, or could not be written. Whatever is in the folder then is whole.
    pub fn pull(&self, arguments: &[String]) -> Result<Vec<Pulled>, Error> {
        fs::create_dir_all(self.folder).map_err(Error::io("make", self.folder))?;
        let mut chains = Vec::new();
        for argument in arguments {
            chains.push(self.chain(argument)?);
        }
        let total: BTreeMap<_, _> = chains
            .iter()
            .flatten()
            .filter_map(|image| match image {
                Link::There(..) => None,
                Link::Offered(offered) => Some((
                    offered.manifest.uuid.clone(),
                    entry(offered).map_or(0, |file| file.1),
                )),
            })
            .collect();
        let meter = Meter {
            progress: self.progress,
            done: AtomicU64::new(0),
            total: total.values().sum(),
        };
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<Result<Pulled, Error>>>> =
            Mutex::new(chains.iter().map(|_| None).collect());
        let work = || {
            while let Some((number, chain)) = {
                let number = next.fetch_add(1, Ordering::Relaxed);
                chains.get(number).map(|chain| (number, chain))
            } {
                let result = self.pull_chain(chain, &meter);
                let mut results = results
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(slot) = results.get_mut(number) {
                    *slot = Some(result);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..PARALLEL.min(chains.len()) {
                // Where there can be no more threads this one does it all.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        let results = results
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        results.into_iter().flatten().collect()
    }

    /// An image and what it stands on, itself first.
    fn chain(&self, argument: &str) -> Result<Vec<Link<'a>>, Error> {
        if let Some(uuid) = uuid(argument)
            && let Some(image) = self.here(&uuid)
        {
            return Ok(vec![image]);
        }
        let offered = self.find(argument)?;
        if let Some(image) = self.here(&offered.manifest.uuid) {
            return Ok(vec![image]);
        }
        let state = filter::state(&offered.manifest);
        if state != State::Active {
            return Err(Error::usage(
                format!(
                    "the image {} ({}) is {state} on {}",
                    title(&offered.manifest),
                    offered.manifest.uuid,
                    offered.server.name()
                ),
                &["an image can be had from a server when it is active"],
            ));
        }
        let server = offered.server;
        let mut chain = vec![Link::Offered(Box::new(offered))];
        while let Some(Link::Offered(last)) = chain.last()
            && let Some(origin) = last.manifest.origin.clone()
        {
            let known = chain.iter().any(|link| link.uuid() == origin);
            if known || chain.len() >= LONGEST_CHAIN {
                return Err(Error::Wrong {
                    url: server.http().url(&format!("/images/{origin}")),
                    what: format!("the origins of {argument} go on without end"),
                });
            }
            if let Some(image) = self.here(&origin) {
                chain.push(image);
                break;
            }
            // Another server may have it, too: a UUID is the same image everywhere.
            let manifest = match server.get(&origin)? {
                Some(manifest) => Offered { server, manifest },
                None => self.find(&origin)?,
            };
            chain.push(Link::Offered(Box::new(manifest)));
        }
        Ok(chain)
    }

    fn here(&self, uuid: &str) -> Option<Link<'a>> {
        let image = self.libraries.find(uuid).ok()?;
        let manifest = Box::new(image.manifest()?.clone());
        Some(Link::There(manifest, image.manifest_path()?.to_owned()))
    }

    fn pull_chain(&self, chain: &[Link<'a>], meter: &Meter<'_>) -> Result<Pulled, Error> {
        let mut last = None;
        for link in chain.iter().rev() {
            last = Some(match link {
                Link::There(manifest, path) => Pulled {
                    manifest: (**manifest).clone(),
                    from: None,
                    path: path.clone(),
                },
                Link::Offered(offered) => self.fetch(offered, meter)?,
            });
        }
        last.ok_or(Error::Cancelled)
    }

    /// Fetches one image.
    fn fetch(&self, offered: &Offered<'a>, meter: &Meter<'_>) -> Result<Pulled, Error> {
        let manifest = &offered.manifest;
        let url = offered
            .server
            .http()
            .url(&format!("/images/{}", manifest.uuid));
        let violations = manifest.validate();
        if !violations.is_empty() {
            let texts: Vec<_> = violations.iter().map(ToString::to_string).collect();
            return Err(Error::Wrong {
                url,
                what: format!("its manifest is not valid: {}", texts.join("; ")),
            });
        }
        let (sha1, size) = entry(offered)?;
        let hidden = self.folder.join(format!(".{}.part", manifest.uuid));
        let arrival = loop {
            if let Some(Link::There(manifest, path)) = self.here(&manifest.uuid) {
                return Ok(Pulled {
                    manifest: *manifest,
                    from: None,
                    path,
                });
            }
            if let Some(arrival) = Arrival::begin(&hidden)? {
                // Whoever had it before may have brought it all.
                if self.here(&manifest.uuid).is_some() {
                    arrival.discard()?;
                    continue;
                }
                break arrival;
            }
            // Another process, or another part of this one, fetches it.
            offered.server.http().cancel().check()?;
            std::thread::sleep(OTHERS);
        };
        let mut arrival = arrival;
        meter.add(arrival.size().min(size));
        let fetched = receive(offered, &mut arrival, &sha1, size, meter);
        if let Err(error) = fetched {
            // What is wrong is of no use; what was cut off is.
            if matches!(error, Error::Wrong { .. }) || arrival.size() == 0 {
                arrival.discard()?;
            }
            return Err(error);
        }
        let label = manifest
            .files
            .iter()
            .flatten()
            .next()
            .map(|file| file.compression);
        let arrived = arrival.finish()?;
        if arrived.packing.label() != label {
            self.progress.event(Event::Warning {
                text: format!(
                    "the file of {} is compressed with {}, and its manifest says {}",
                    title(manifest),
                    arrived.packing,
                    label.map_or("nothing".to_owned(), |label| label.to_string())
                ),
                advice: Some("mibe reads it; imgadm would not import it from there".to_owned()),
            });
        }
        if let Err(error) = fits(&arrived.path, manifest) {
            let _ = fs::remove_file(&arrived.path);
            return Err(Error::Wrong { url, what: error });
        }
        let Placed { manifest: path, .. } = place(self.folder, &arrived.path, manifest)?;
        Ok(Pulled {
            manifest: manifest.clone(),
            from: Some(offered.server.name().to_owned()),
            path,
        })
    }
}

/// An image of a chain.
enum Link<'a> {
    /// It is in a library.
    There(Box<Manifest>, Utf8PathBuf),
    Offered(Box<Offered<'a>>),
}

impl Link<'_> {
    fn uuid(&self) -> &str {
        match self {
            Self::There(manifest, _) => &manifest.uuid,
            Self::Offered(offered) => &offered.manifest.uuid,
        }
    }
}

/// Bytes that have come, of all images at once.
struct Meter<'a> {
    progress: &'a dyn Progress,
    done: AtomicU64,
    total: u64,
}

impl Meter<'_> {
    fn add(&self, bytes: u64) {
        self.tell(self.done.fetch_add(bytes, Ordering::Relaxed) + bytes);
    }

    /// Bytes that come again.
    fn take_back(&self, bytes: u64) {
        self.tell(
            self.done
                .fetch_sub(bytes, Ordering::Relaxed)
                .saturating_sub(bytes),
        );
    }

    fn tell(&self, done: u64) {
        self.progress.event(Event::Bytes {
            step: STEP.to_owned(),
            done,
            total: Some(self.total),
        });
    }
}

/// Name and version for people.
pub fn title(manifest: &Manifest) -> String {
    format!(
        "{}@{}",
        manifest.name.escape_debug(),
        manifest.version.escape_debug()
    )
}

/// The digest and the size that the file must have.
fn entry(offered: &Offered<'_>) -> Result<(String, u64), Error> {
    let file = offered.manifest.files.iter().flatten().next();
    file.map(|file| (file.sha1.clone(), file.size))
        .ok_or_else(|| Error::Wrong {
            url: offered
                .server
                .http()
                .url(&format!("/images/{}", offered.manifest.uuid)),
            what: "its manifest has no file".to_owned(),
        })
}

/// The newest image of a name that can be used.
fn newest(server: &Client, argument: &str) -> Result<Option<Manifest>, Error> {
    let name = Some(match argument.split_once('@') {
        Some((name, _)) => Text::Is(name.to_owned()),
        // The version may have any number of dashes in it.
        None => Text::Has(argument.split('-').next().unwrap_or_default().to_owned()),
    });
    let filter = Filter {
        name,
        ..Filter::default()
    };
    let images = server.list(&filter)?.images;
    let called = |image: &&Manifest| {
        image.name == argument
            || format!("{}@{}", image.name, image.version) == argument
            || format!("{}-{}", image.name, image.version) == argument
    };
    // Times of one form are in the order of their texts.
    let when = |image: &&Manifest| image.published_at.clone().unwrap_or_default();
    Ok(images.iter().filter(called).max_by_key(when).cloned())
}

/// Has all of a file in its arrival.
fn receive(
    offered: &Offered<'_>,
    arrival: &mut Arrival,
    sha1: &str,
    size: u64,
    meter: &Meter<'_>,
) -> Result<(), Error> {
    let server = offered.server;
    let http = server.http();
    let path = server.path(&format!("/images/{}/file", offered.manifest.uuid), &[]);
    let url = http.url(&path);
    let mut resumed = arrival.size() > 0;
    let restart = |arrival: &mut Arrival| {
        meter.take_back(arrival.size().min(size));
        arrival.restart()
    };
    if arrival.size() > size {
        restart(arrival)?;
    }
    loop {
        while arrival.size() < size {
            let before = arrival.size();
            let result = http.retry(|http| {
                resumed |= arrival.size() > before;
                let mut response = http.open(&path, arrival.size())?;
                let rest = match response.status().as_u16() {
                    206 => {
                        check_range(&url, &response, arrival.size(), size)?;
                        size - arrival.size()
                    }
                    200 => {
                        if arrival.size() > 0 {
                            restart(arrival)?;
                        }
                        size
                    }
                    // What is there is longer than what the server has, which then is not what it says.
                    416 => {
                        restart(arrival)?;
                        return Err(http.unreachable(&url, "the server takes no range".to_owned()));
                    }
                    _ => {
                        succeeded(&url, &mut response)?;
                        return Err(Failure::Final(Error::Wrong {
                            url: url.clone(),
                            what: format!("an answer of status {}", response.status()),
                        }));
                    }
                };
                if let Some(length) = response.body().content_length()
                    && length != rest
                {
                    return Err(Failure::Final(Error::Wrong {
                        url: url.clone(),
                        what: format!(
                            "the server sends {length} bytes, and its manifest says {rest}{}",
                            if rest == size { "" } else { " are left" }
                        ),
                    }));
                }
                let body = response.into_body().into_reader();
                http.copy(&url, body, rest, &mut |piece| {
                    arrival.write(piece).map_err(Error::from)?;
                    meter.add(piece.len() as u64);
                    Ok(())
                })?;
                if arrival.size() < size {
                    let reason = format!("the file ended after {} of {size} bytes", arrival.size());
                    return Err(http.unreachable(&url, reason));
                }
                Ok(())
            });
            match result {
                // A line that breaks often brings a large file all the same.
                Err(Error::Unreachable { .. }) if arrival.size() >= before + PROGRESS => {
                    resumed = true;
                }
                other => other?,
            }
        }
        let found = arrival.sha1();
        if found == sha1.to_ascii_lowercase() {
            return Ok(());
        }
        if !resumed {
            return Err(Error::Wrong {
                url,
                what: format!("the file's SHA-1 is {found}, and its manifest says {sha1}"),
            });
        }
        // The part that was there may have been of something else.
        resumed = false;
        restart(arrival)?;
    }
}

/// Whether what comes is what was asked for.
fn check_range(
    url: &str,
    response: &ureq::http::Response<ureq::Body>,
    from: u64,
    size: u64,
) -> Result<(), Failure> {
    let range = response.headers().get("content-range");
    let range = range
        .and_then(|range| range.to_str().ok())
        .unwrap_or_default();
    let wanted = format!("bytes {from}-{}/", size.saturating_sub(1));
    let fits = range
        .strip_prefix(&wanted)
        .is_some_and(|total| total == "*" || total.parse() == Ok(size));
    if fits {
        return Ok(());
    }
    Err(Failure::Final(Error::Wrong {
        url: url.to_owned(),
        what: format!(
            "the server sends the range {:?}, where {wanted}{size} was asked for",
            crate::http::shown(range)
        ),
    }))
}

/// Whether a file is the stream that its manifest speaks of, by what the stream says of itself.
fn fits(file: &Utf8Path, manifest: &Manifest) -> Result<(), String> {
    let guid = manifest.files.iter().flatten().next();
    let guid = guid.and_then(|file| file.dataset_guid.as_ref()?.parse::<u64>().ok());
    let image = Image::at(file).map_err(|error| error.to_string())?;
    let header = image.header().map_err(|error| error.to_string())?;
    match guid {
        Some(guid) if guid != header.to_guid => Err(format!(
            "its stream is of the snapshot {}, and its manifest says {guid}",
            header.to_guid
        )),
        _ if (header.from_guid != 0) != manifest.origin.is_some() => {
            Err(if header.from_guid == 0 {
                "its stream is a full one, and its manifest has an origin".to_owned()
            } else {
                "its stream is an incremental one, and its manifest has no origin".to_owned()
            })
        }
        _ => Ok(()),
    }
}
