//! Where Debian is: what the user says, what this machine's apt uses, or the public mirror.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::control::{Paragraph, paragraphs};

/// The mirror that Debian's own documentation names.
pub const PUBLIC: &str = "http://deb.debian.org/debian";
/// Its archive of security updates.
pub const PUBLIC_SECURITY: &str = "http://deb.debian.org/debian-security";

/// A part of Debian: an archive and a suite in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// URL of the archive, without a slash at its end.
    pub url: String,
    /// Suite in it ("bookworm-security").
    pub suite: String,
    /// Whether the base can do without it: a mirror may not have updates or security.
    pub optional: bool,
}

/// Where a suite comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The suite itself first, then its updates and security updates.
    pub sources: Vec<Source>,
    /// Proxy for http that this machine's apt uses.
    pub proxy: Option<String>,
    /// Who named it, for people.
    pub origin: String,
}

impl Mirror {
    /// The mirror for `suite`: `url` if given, else what this machine's apt uses for Debian, else the public one.
    pub fn of(suite: &str, url: Option<&str>) -> Self {
        if let Some(url) = url {
            let url = url.trim_end_matches('/').to_owned();
            let sources = sources(suite, &url, None);
            return Self {
                sources,
                proxy: None,
                origin: "--mirror".to_owned(),
            };
        }
        let configured = apt_sources(Path::new("/etc/apt"));
        match debian(&configured) {
            Some((archive, security)) => Self {
                sources: sources(suite, &archive, security.as_deref()),
                proxy: apt_proxy(),
                origin: "this machine's apt".to_owned(),
            },
            None => Self {
                sources: sources(suite, PUBLIC, Some(PUBLIC_SECURITY)),
                proxy: None,
                origin: "the public mirror".to_owned(),
            },
        }
    }
}

/// Suites without updates of their own.
fn rolling(suite: &str) -> bool {
    matches!(suite, "sid" | "unstable" | "experimental")
}

fn sources(suite: &str, archive: &str, security: Option<&str>) -> Vec<Source> {
    let mut sources = vec![Source {
        url: archive.to_owned(),
        suite: suite.to_owned(),
        optional: false,
    }];
    if rolling(suite) {
        return sources;
    }
    sources.push(Source {
        url: archive.to_owned(),
        suite: format!("{suite}-updates"),
        optional: true,
    });
    // A mirror that the user names has security beside it, if at all, as the public one has.
    let beside = archive
        .strip_suffix("/debian")
        .map(|parent| format!("{parent}/debian-security"));
    if let Some(url) = security.map(ToOwned::to_owned).or(beside) {
        sources.push(Source {
            url,
            suite: format!("{suite}-security"),
            optional: true,
        });
    }
    sources
}

/// The list of sources that an image gets: the public mirror, whatever it was built from.
pub fn image_sources(suite: &str) -> String {
    render(&sources(suite, PUBLIC, Some(PUBLIC_SECURITY)))
}

/// Sources as one-line entries of sources.list(5).
pub fn render(sources: &[Source]) -> String {
    let mut text = String::new();
    for source in sources {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "deb {} {} main", source.url, source.suite);
    }
    text
}

/// An enabled entry of this machine's apt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Configured {
    url: String,
    suite: String,
}

/// All enabled binary entries with the component main, of both formats (sources.list(5)).
fn apt_sources(folder: &Path) -> Vec<Configured> {
    let mut files = vec![folder.join("sources.list")];
    let mut parts: Vec<_> = fs::read_dir(folder.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    parts.sort();
    files.extend(parts);
    let mut configured = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => configured.extend(text.lines().filter_map(one_line)),
            Some("sources") => configured.extend(paragraphs(&text).iter().flat_map(deb822)),
            _ => {}
        }
    }
    configured
}

/// `deb [options] url suite component...`
fn one_line(line: &str) -> Option<Configured> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace();
    let (url, suite) = (words.next()?, words.next()?);
    words
        .any(|component| component == "main")
        .then(|| Configured {
            url: url.trim_end_matches('/').to_owned(),
            suite: suite.to_owned(),
        })
}

fn deb822(paragraph: &Paragraph) -> Vec<Configured> {
    let words = |key: &str| {
        paragraph
            .get(key)
            .unwrap_or_default()
            .split_whitespace()
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>()
    };
    let off = matches!(paragraph.get("enabled"), Some("no" | "false" | "0"));
    let binary = words("types").iter().any(|kind| kind == "deb");
    let main = words("components")
        .iter()
        .any(|component| component == "main");
    if off || !binary || !main {
        return Vec::new();
    }
    let mut configured = Vec::new();
    for url in words("uris") {
        for suite in words("suites") {
            configured.push(Configured {
                url: url.trim_end_matches('/').to_owned(),
                suite,
            });
        }
    }
    configured
}

/// The archive and the security archive of Debian among the entries, whichever suite they are for: mirrors have all.
fn debian(configured: &[Configured]) -> Option<(String, Option<String>)> {
    const SUITES: [&str; 12] = [
        "buster",
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "sid",
        "unstable",
        "testing",
        "stable",
        "oldstable",
        "oldoldstable",
        "experimental",
    ];
    // Other archives (a vendor's own packages) may use the same names of suites; Debian's has them below this path.
    let of_debian = |entry: &&Configured| {
        (entry.url.starts_with("http://") || entry.url.starts_with("https://"))
            && SUITES.contains(&entry.suite.split(['-', '/']).next().unwrap_or_default())
            && entry
                .url
                .rsplit('/')
                .next()
                .is_some_and(|last| matches!(last, "debian" | "debian-security"))
    };
    let security =
        |entry: &Configured| entry.suite.contains("-security") || entry.suite.contains("/updates");
    let archive = configured
        .iter()
        .filter(of_debian)
        .find(|entry| !security(entry))?;
    let security = configured
        .iter()
        .filter(of_debian)
        .find(|entry| security(entry))
        .map(|entry| entry.url.clone());
    Some((archive.url.clone(), security))
}

/// `Acquire::http::Proxy` of this machine's apt.
fn apt_proxy() -> Option<String> {
    let output = Command::new("apt-config")
        .arg("dump")
        .arg("--format=%f=%v%n")
        .arg("Acquire::http::Proxy")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let proxy = text
        .lines()
        .find_map(|line| line.strip_prefix("Acquire::http::Proxy="))?;
    let plain = |character: char| character.is_ascii_graphic() && character != '"';
    (proxy.starts_with("http") && proxy.chars().all(plain)).then(|| proxy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_both_formats_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("sources.list.d");
        fs::create_dir(&parts).unwrap();
        fs::write(
            folder.path().join("sources.list"),
            "# deb http://no.example/debian bookworm main\ndeb-src http://no.example/debian bookworm main\n\
             deb [arch=amd64 signed-by=/x] http://one.example/debian/ bookworm main contrib # why\n",
        )
        .unwrap();
        fs::write(
            parts.join("vendor.sources"),
            "Types: deb\nURIs: https://vendor.example/apt\nSuites: stable\nComponents: main\n\n\
             Types: deb deb-src\nURIs: http://two.example/debian-security\nSuites: bookworm-security\n\
             Components: main\n contrib\n\nTypes: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n",
        )
        .unwrap();
        let configured = apt_sources(folder.path());
        assert_eq!(
            debian(&configured),
            Some((
                "http://one.example/debian".to_owned(),
                Some("http://two.example/debian-security".to_owned())
            ))
        );
        assert!(
            configured
                .iter()
                .all(|entry| !entry.url.contains("off.example"))
        );
    }

    #[test]
    fn a_machine_of_another_distribution_takes_the_public_mirror() {
        let ubuntu = [Configured {
            url: "http://archive.ubuntu.com/ubuntu".to_owned(),
            suite: "noble".to_owned(),
        }];
        assert_eq!(debian(&ubuntu), None);
    }

    #[test]
    fn a_rolling_suite_has_no_updates() {
        assert_eq!(sources("sid", PUBLIC, None).len(), 1);
        assert_eq!(
            image_sources("bookworm"),
            "deb http://deb.debian.org/debian bookworm main\ndeb http://deb.debian.org/debian bookworm-updates main\n\
             deb http://deb.debian.org/debian-security bookworm-security main\n"
        );
    }
}
