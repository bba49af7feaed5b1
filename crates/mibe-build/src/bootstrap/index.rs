//! The packages of a suite.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use mibe_image::file::{Packing, decompressed};

use super::DebianError;
use super::control::Paragraph;
use super::download::{Fetcher, Wanted};
use super::release::Release;
use super::version;

/// Longest line of an index that is read; the longest of Debian's are dependency lists of some 20 KB.
const LINE_LIMIT: u64 = 1 << 20;
/// Longest index, uncompressed; Debian's main has 50 MB.
const INDEX_LIMIT: u64 = 1 << 30;
/// Longest description of one package.
const PARAGRAPH_LIMIT: usize = 4 << 20;

/// A package as an index has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether every Debian has it.
    pub essential: bool,
    /// `required`, `important`, `standard`, `optional`.
    pub priority: String,
    /// `Pre-Depends`, as written.
    pub pre_depends: String,
    /// `Depends`, as written.
    pub depends: String,
    /// `Conflicts` and `Breaks`, as written.
    pub conflicts: String,
    /// `Provides`, as written.
    pub provides: String,
    /// URL of its file.
    pub url: String,
    /// Length of its file in bytes.
    pub size: u64,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// All packages of some suites, the newest version of each.
#[derive(Clone, Debug, Default)]
pub struct Index {
    packages: BTreeMap<String, Package>,
    /// Who provides a name, with the version provided.
    provides: BTreeMap<String, Vec<(String, Option<String>)>>,
}

impl Index {
    /// Adds the packages of a verified suite, fetched into `cache/lists` unless they are there.
    ///
    /// # Errors
    ///
    /// The index can't be fetched or read.
    pub fn add(
        &mut self,
        fetcher: &Fetcher,
        release: &Release,
        architecture: &str,
        cache: &Path,
    ) -> Result<(), DebianError> {
        let suite = &release.source.suite;
        let damaged = |reason: String| DebianError::Index {
            suite: suite.clone(),
            reason,
        };
        let path = format!("main/binary-{architecture}/Packages.xz");
        let Some((size, sha256)) = release.files.get(&path) else {
            return Err(damaged(format!("there is none for {architecture}")));
        };
        if *size > INDEX_LIMIT {
            return Err(damaged(format!("it has {size} bytes")));
        }
        let base = format!("{}/dists/{suite}", release.source.url);
        let url = if release.by_hash {
            format!("{base}/main/binary-{architecture}/by-hash/SHA256/{sha256}")
        } else {
            format!("{base}/{path}")
        };
        let wanted = Wanted {
            url,
            path: cache.join("lists").join(format!("{sha256}.xz")),
            size: *size,
            sha256: sha256.clone(),
        };
        fetcher.fetch(&wanted, &|_| {})?;
        let file = File::open(&wanted.path).map_err(DebianError::io("read", &wanted.path))?;
        let result = decompressed(file)
            .map_err(|error| error.to_string())
            .and_then(|input| match input.packing() {
                Packing::Xz => self.read(input, &release.source.url),
                _ => Err("it is no xz file".to_owned()),
            });
        result.map_err(|reason| {
            // Damaged on this disk, since the digest was right when it came.
            let _ = fs::remove_file(&wanted.path);
            damaged(reason)
        })
    }

    /// Reads an uncompressed index.
    pub(crate) fn read(&mut self, input: impl Read, archive: &str) -> Result<(), String> {
        let mut input = BufReader::new(input.take(INDEX_LIMIT + 1));
        let mut total = 0;
        let mut length = 0;
        let mut paragraph = Paragraph::default();
        let mut last = String::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let count = input
                .by_ref()
                .take(LINE_LIMIT)
                .read_until(b'\n', &mut line)
                .map_err(|error| error.to_string())?;
            total += count as u64;
            length += count;
            if count as u64 == LINE_LIMIT || length > PARAGRAPH_LIMIT || total > INDEX_LIMIT {
                return Err("it has a line or a package without an end".to_owned());
            }
            let text = String::from_utf8_lossy(&line);
            if text.trim().is_empty() {
                length = 0;
                if !paragraph.is_empty() {
                    self.insert(package(&std::mem::take(&mut paragraph), archive)?);
                }
                if count == 0 {
                    return Ok(());
                }
            } else {
                paragraph.line(text.trim_end_matches(['\n', '\r']), &mut last);
            }
        }
    }

    fn insert(&mut self, package: Package) {
        for provided in package.provides.split(',').map(str::trim) {
            if provided.is_empty() {
                continue;
            }
            let (name, of) = match provided.split_once('(') {
                Some((name, rest)) => (
                    name.trim(),
                    Some(rest.trim_matches([' ', '=', ')']).to_owned()),
                ),
                None => (provided, None),
            };
            let providers = self.provides.entry(name.to_owned()).or_default();
            if !providers
                .iter()
                .any(|(provider, _)| *provider == package.name)
            {
                providers.push((package.name.clone(), of));
            }
        }
        match self.packages.get(&package.name) {
            Some(there) if version::compare(&there.version, &package.version).is_ge() => {}
            _ => {
                self.packages.insert(package.name.clone(), package);
            }
        }
    }

    /// A package by name.
    pub fn get(&self, name: &str) -> Option<&Package> {
        self.packages.get(name)
    }

    /// Packages that provide a name, with the version that they provide it in.
    pub fn providers(&self, name: &str) -> &[(String, Option<String>)] {
        self.provides.get(name).map_or(&[], Vec::as_slice)
    }

    /// All packages, by name.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }
}

fn package(paragraph: &Paragraph, archive: &str) -> Result<Package, String> {
    let field = |key: &str| paragraph.get(key).unwrap_or_default().to_owned();
    let name = field("package");
    // Names become those of files, so that neither may be long.
    let valid = |text: &str, others: &[u8]| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.len() <= 100
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
    };
    let version = field("version");
    // Debian policy 5.6.1 and 5.6.12.
    if !valid(&name, b"+-.") || !valid(&version, b"+-.:~") {
        let short = |text: &str| text.chars().take(100).collect::<String>();
        return Err(format!(
            "a package {:?} of version {:?}",
            short(&name),
            short(&version)
        ));
    }
    let path = field("filename");
    let sha256 = field("sha256").to_ascii_lowercase();
    let size = field("size").parse();
    let (Ok(size), true) = (size, is_sha256(&sha256) && !path.is_empty()) else {
        return Err(format!("{name} has no file, size or SHA-256"));
    };
    // A plain path below the archive, which needs no escape in a URL.
    let plain = path.len() <= 1000
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-._~%:=@,/".contains(&byte))
        && path.split('/').all(|part| !matches!(part, "" | ".."));
    if !plain {
        let path: String = path.chars().take(200).collect();
        return Err(format!("{name} has a file of the odd name {path:?}"));
    }
    Ok(Package {
        essential: paragraph.get("essential") == Some("yes"),
        priority: field("priority"),
        pre_depends: field("pre-depends"),
        depends: field("depends"),
        conflicts: format!("{},{}", field("conflicts"), field("breaks")),
        provides: field("provides"),
        url: format!("{archive}/{path}"),
        size,
        sha256,
        name,
        version,
    })
}

/// Whether a text is a SHA-256 in hexadecimal.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
