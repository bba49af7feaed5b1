//! Debian bases of the local builder: bootstrapped once, then kept as one archive for every sandbox mode.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mibe_host::Outcome;
use mibe_image::file::hex;
use mibe_image::progress::Event;
use mibe_sandbox::{Command, JobFiles};
use sha2::{Digest as _, Sha256};

use super::machine::{HOSTNAME, LocalMachine, ended};
use super::{LocalBuilder, jobs};
use crate::bootstrap::download::{Fetcher, Wanted};
use crate::bootstrap::index::{Index, Package};
use crate::bootstrap::install::{self, BaseRecord, Unpack};
use crate::bootstrap::mirror::{self, Mirror};
use crate::bootstrap::release::{Keyring, Release};
use crate::bootstrap::resolve::{self, Chosen};
use crate::bootstrap::{DebianError, architecture};
use crate::error::BuildError;
use crate::journal::{Entry, Record};
use crate::machine::outcome_in_words;

/// Goes up when the same packages make another base.
const SCHEMA: u32 = 2;

/// Longest that dpkg may take for one of its calls.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// A base in the cache.
pub(super) struct Bootstrapped {
    /// Its archive.
    pub archive: PathBuf,
    /// For people.
    pub title: String,
    /// Sources of the mirror it came from, for builds.
    pub sources: String,
    /// Proxy to reach the mirror.
    pub proxy: Option<String>,
}

impl From<DebianError> for BuildError {
    fn from(error: DebianError) -> Self {
        match error {
            DebianError::Cancelled => Self::Cancelled,
            DebianError::Mirror { .. } => Self::Usage {
                message: error.to_string(),
                hints: error.hints(),
            },
            error => Self::Base {
                message: format!("the Debian base: {error}"),
                hints: error.hints(),
                source: None,
            },
        }
    }
}

/// Has the base of a suite in the cache.
pub(super) fn debian(
    builder: &mut LocalBuilder,
    suite: &str,
    output: &mut dyn FnMut(&[u8]),
) -> Result<Bootstrapped, BuildError> {
    let Some(architecture) = architecture() else {
        return Err(BuildError::host(
            format!(
                "mibe has no Debian base for {} machines",
                std::env::consts::ARCH
            ),
            &["take a root file system as a tar archive with --base"],
        ));
    };
    let options = &builder.options;
    let mirror = Mirror::of(suite, options.mirror.as_deref());
    let keyring = Keyring::read(options.keyring.as_deref())?;
    let fetcher = Fetcher::new(mirror.proxy.as_deref(), options.cancel.clone());
    let cache = &options.paths.cache;
    let (index, releases) = match releases(&fetcher, &mirror, &keyring, cache, architecture) {
        Ok(found) => found,
        Err(error @ DebianError::Fetch { .. }) => {
            let Some(bootstrapped) = newest(cache, suite, architecture, &mirror) else {
                return Err(error.into());
            };
            builder.progress.event(Event::Warning {
                text: format!("the mirror can't be asked for news: {error}"),
                advice: Some(format!(
                    "the base made last, {}, will do for now",
                    bootstrapped.title
                )),
            });
            return Ok(bootstrapped);
        }
        Err(error) => return Err(error.into()),
    };
    let chosen = resolve::resolve(&index, resolve::BASE)?;
    // Every source is checked above; the suite itself is never optional.
    let title = match releases
        .first()
        .and_then(|release| release.version.as_ref())
    {
        Some(version) => format!("Debian {suite} {version}"),
        None => format!("Debian {suite}"),
    };
    let key = key(suite, architecture, &chosen);
    let bases = cache.join("bases");
    let archive = bases.join(format!("{key}.tar"));
    let record = bases.join(format!("{key}.json"));
    let found = releases
        .iter()
        .map(|release| release.source.clone())
        .collect::<Vec<_>>();
    let bootstrapped = Bootstrapped {
        archive,
        title,
        sources: mirror::render(&found),
        proxy: mirror.proxy.clone(),
    };
    if intact(&record, &bootstrapped.archive) {
        touch(&bootstrapped.archive);
        touch(&record);
        return Ok(bootstrapped);
    }
    builder.progress.event(Event::Message {
        text: format!(
            "bootstrapping {} from {} ({}), {} packages",
            bootstrapped.title,
            mirror.sources[0].url,
            mirror.origin,
            chosen.all().count()
        ),
    });
    let wanted = fetch(builder, &fetcher, &chosen)?;
    let date = releases
        .iter()
        .map(|release| release.date)
        .max()
        .unwrap_or(0);
    let entry = Entry::new(
        "local",
        &builder.options.paths.machines(),
        &format!("the base debian:{suite}"),
    );
    let mut journal = builder.journal.begin(entry)?;
    let order = Unpack {
        essential: wanted[..chosen.essential.len()]
            .iter()
            .map(|wanted| wanted.path.clone())
            .collect(),
        debs: wanted
            .iter()
            .zip(chosen.all())
            .map(|(wanted, package)| (wanted.path.clone(), install::file_name(package)))
            .collect(),
        sources: mirror::image_sources(suite),
        architecture: architecture.to_owned(),
        merged_usr: install::merged_usr(suite),
    };
    let record_of = BaseRecord {
        suite: suite.to_owned(),
        title: bootstrapped.title.clone(),
        size: 0,
        sha256: String::new(),
        packages: chosen.all().map(identity).collect(),
    };
    let work = Bootstrap {
        builder,
        order: &order,
        chosen: &chosen,
        archive: &bootstrapped.archive,
        date,
    };
    let made = work
        .make(&mut journal, output)
        .and_then(|()| write_record(&record, &bootstrapped.archive, record_of));
    // What could not be taken away is left to a clean-up.
    if !journal.entry.directory.exists() {
        let _ = journal.strike();
    }
    made.map(|()| bootstrapped)
}

/// What the mirror has now, of every source of the suite.
fn releases(
    fetcher: &Fetcher,
    mirror: &Mirror,
    keyring: &Keyring,
    cache: &Path,
    architecture: &str,
) -> Result<(Index, Vec<Release>), DebianError> {
    let mut index = Index::default();
    let mut releases = Vec::new();
    for source in &mirror.sources {
        match Release::fetch(fetcher, source, keyring)? {
            Some(release) => {
                index.add(fetcher, &release, architecture, cache)?;
                releases.push(release);
            }
            None if source.optional => {}
            None => {
                return Err(DebianError::Release {
                    url: source.url.clone(),
                    reason: format!("the mirror has no suite {}", source.suite),
                });
            }
        }
    }
    Ok((index, releases))
}

/// The base of a suite that was used last, for when the mirror is out of reach.
fn newest(cache: &Path, suite: &str, architecture: &str, mirror: &Mirror) -> Option<Bootstrapped> {
    let prefix = format!("debian-{suite}-{architecture}-");
    let mut records: Vec<_> = fs::read_dir(cache.join("bases"))
        .ok()?
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(&prefix) && name.ends_with(".json")
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    records.sort();
    let sources: Vec<_> = mirror
        .sources
        .iter()
        .filter(|source| !source.optional)
        .cloned()
        .collect();
    records.into_iter().rev().find_map(|(_, path)| {
        let archive = path.with_extension("tar");
        let record = BaseRecord::read(&path, &archive).filter(|_| intact(&path, &archive))?;
        Some(Bootstrapped {
            archive,
            title: record.title,
            sources: mirror::render(&sources),
            proxy: mirror.proxy.clone(),
        })
    })
}

fn identity(package: &Package) -> (String, String, String) {
    (
        package.name.clone(),
        package.version.clone(),
        package.sha256.clone(),
    )
}

/// Equal keys make equal bases.
fn key(suite: &str, architecture: &str, chosen: &Chosen) -> String {
    let mut packages: Vec<_> = chosen.all().map(identity).collect();
    packages.sort();
    let mut hash = Sha256::new();
    hash.update(format!("{SCHEMA}\n{architecture}\n{suite}\n"));
    for (name, version, sha256) in packages {
        hash.update(format!("{name} {version} {sha256}\n"));
    }
    format!(
        "debian-{suite}-{architecture}-{}",
        &hex(&hash.finalize())[..20]
    )
}

fn fetch(
    builder: &LocalBuilder,
    fetcher: &Fetcher,
    chosen: &Chosen,
) -> Result<Vec<Wanted>, BuildError> {
    let debs = builder.options.paths.cache.join("debs");
    let wanted: Vec<Wanted> = chosen
        .all()
        .map(|package| Wanted {
            url: package.url.clone(),
            path: debs.join(format!("{}.deb", package.sha256)),
            size: package.size,
            sha256: package.sha256.clone(),
        })
        .collect();
    let total = wanted.iter().map(|wanted| wanted.size).sum();
    fetcher.fetch_all(&wanted, &|done| {
        builder.progress.event(Event::Bytes {
            step: "resolve".to_owned(),
            done,
            total: Some(total),
        });
    })?;
    Ok(wanted)
}

/// A base that is about to be made.
struct Bootstrap<'a> {
    builder: &'a LocalBuilder,
    order: &'a Unpack,
    chosen: &'a Chosen,
    archive: &'a Path,
    /// Seconds since 1970: of the mirror's state, so that the base is the same for every build.
    date: i64,
}

impl Bootstrap<'_> {
    /// Makes the tree in a machine of its own and packs it.
    fn make(&self, journal: &mut Record, output: &mut dyn FnMut(&[u8])) -> Result<(), BuildError> {
        let options = &self.builder.options;
        let machine = LocalMachine::create(options, self.builder.mode, &journal.entry.directory)?;
        let made = self
            .fill(&machine, output)
            .and_then(|()| pack(&machine, journal, self.archive, self.date));
        let destroyed = machine.into_sandbox().destroy();
        made?;
        Ok(destroyed?)
    }

    fn fill(
        &self,
        machine: &LocalMachine,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<(), BuildError> {
        machine.job::<_, ()>(
            jobs::BOOTSTRAP,
            "unpack the packages of the base",
            self.order,
            JobFiles::default(),
        )?;
        let env = machine
            .environment()
            .into_iter()
            .filter(|(name, _)| name != "SOURCE_DATE_EPOCH")
            .chain([
                ("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned()),
                ("DEBCONF_NONINTERACTIVE_SEEN".to_owned(), "true".to_owned()),
                ("SOURCE_DATE_EPOCH".to_owned(), self.date.to_string()),
            ])
            .map(|(name, value)| (name.into(), value.into()))
            .collect::<Vec<_>>();
        let cancel = &self.builder.options.cancel;
        for argv in install::commands(&self.chosen.essential, &self.chosen.others) {
            let what = format!("dpkg {}", argv.get(4).map_or("", String::as_str));
            let command = Command {
                env: env.clone(),
                hostname: HOSTNAME.to_owned(),
                timeout: Some(TIMEOUT),
                ..Command::new(argv)
            };
            let how = match ended(machine.sandbox().run(&command, cancel, output)?) {
                Outcome::Exited(0) => continue,
                Outcome::Cancelled => return Err(BuildError::Cancelled),
                outcome => outcome_in_words(outcome, TIMEOUT),
            };
            return Err(BuildError::Script {
                what: format!("{what}, for the Debian base,"),
                how,
                tail: Vec::new(),
                log: None,
                hints: Vec::new(),
            });
        }
        Ok(())
    }
}

fn pack(
    machine: &LocalMachine,
    journal: &mut Record,
    archive: &Path,
    date: i64,
) -> Result<(), BuildError> {
    let folder = archive.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(BuildError::io("make", folder))?;
    let partial = folder.join(format!(".{}.partial", journal.entry.id));
    journal.add_partial(&partial)?;
    let packed = || -> Result<(), BuildError> {
        let file = File::create(&partial).map_err(BuildError::io("write", &partial))?;
        let output = file
            .try_clone()
            .map_err(BuildError::io("write", &partial))?;
        let files = JobFiles {
            output: Some(output),
            ..JobFiles::default()
        };
        machine.job::<_, u64>(jobs::PACK, "pack the base", &date, files)?;
        file.sync_all().map_err(BuildError::io("write", &partial))?;
        fs::rename(&partial, archive).map_err(BuildError::io("rename", &partial))
    };
    packed().inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })
}

fn write_record(path: &Path, archive: &Path, mut record: BaseRecord) -> Result<(), BuildError> {
    (record.size, record.sha256) = digest(archive).map_err(BuildError::io("read", archive))?;
    let text = serde_json::to_vec_pretty(&record)
        .map_err(|error| BuildError::io("write", path)(error.into()))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file =
        tempfile::NamedTempFile::new_in(folder).map_err(BuildError::io("write", path))?;
    io::Write::write_all(&mut file, &text).map_err(BuildError::io("write", path))?;
    file.persist(path)
        .map_err(|error| BuildError::io("write", path)(error.error))?;
    Ok(())
}

/// Whether a base is in the cache as it was written; a damaged one is as good as none.
fn intact(record: &Path, archive: &Path) -> bool {
    BaseRecord::read(record, archive).is_some_and(|record| {
        digest(archive).is_ok_and(|found| found == (record.size, record.sha256))
    })
}

fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((size, hex(&hash.finalize())));
        }
        size += count as u64;
        hash.update(&buffer[..count]);
    }
}

/// Use keeps a file young for `mibe clean`.
fn touch(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = file.set_modified(std::time::SystemTime::now());
    }
}
