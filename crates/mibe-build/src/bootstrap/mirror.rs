//! Where Debian is: what the user says, what this machine's apt uses, or the public mirror.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::DebianError;
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

impl Source {
    /// Checks that the source can be asked for, and be named in a line of sources.list(5) that says nothing else.
    ///
    /// # Errors
    ///
    /// [`DebianError::Mirror`]: its URL is none of http or https, or has what needs an escape; its suite is no name.
    pub fn check(&self) -> Result<(), DebianError> {
        let wrong = |reason: &str| DebianError::Mirror {
            url: self.url.chars().take(200).collect(),
            reason: reason.to_owned(),
        };
        let rest = ["http://", "https://"]
            .iter()
            .find_map(|scheme| self.url.strip_prefix(scheme))
            .ok_or_else(|| wrong("it does not start with http:// or https://"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // Brackets are for IPv6 addresses only: elsewhere apt takes them for more.
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (literal, port) = match host.strip_prefix('[') {
            Some(host) => host
                .split_once(']')
                .ok_or_else(|| wrong("it has an IPv6 address without an end"))?,
            None => host.split_once(':').unwrap_or((host, "")),
        };
        if literal.is_empty() {
            return Err(wrong("it names no host"));
        }
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/".contains(&byte);
        if ![user, literal, port, path]
            .iter()
            .all(|part| part.bytes().all(allowed))
        {
            return Err(wrong(
                "it has a character that a URL of a mirror can't have (write others as %20 and the like)",
            ));
        }
        let suite = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        if self.suite.is_empty()
            || !self.suite.bytes().all(suite)
            || self.suite.starts_with(['/', '-', '.'])
            || self.suite.ends_with('/')
            || self.suite.split('/').any(|part| part == "..")
        {
            return Err(wrong(&format!("{:?} is no name of a suite", self.suite)));
        }
        Ok(())
    }
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

/// Sources as one-line entries of sources.list(5); such as [`Source::check`] refuses are left out.
pub fn render(sources: &[Source]) -> String {
    let mut text = String::new();
    for source in sources.iter().filter(|source| source.check().is_ok()) {
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
    // What apt takes for a no.
    let off = paragraph.get("enabled").is_some_and(|value| {
        ["no", "false", "without", "off", "disable", "0"]
            .iter()
            .any(|no| value.eq_ignore_ascii_case(no))
    });
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
    fn nothing_but_a_deb_line_comes_out() {
        let evil = [
            "http://one.example/debian bookworm main\ndeb [trusted=yes] http://two.example/debian",
            "[trusted=yes] http://one.example/debian",
            "http://one.example/debian [trusted=yes]",
            "http://one.example/[trusted=yes]/debian",
            "http://one.example/debian\"",
            "http://one.example/\"a b\"/debian",
            "http://one.example/debian#",
            "http://one.example/debian?x",
            "http://one.example/debian\r",
            "http://one.example/debian\t",
            "http://one.example/\u{2028}debian",
            "http://one.example\\debian",
            "http://",
            "http:///debian",
            "http://[::1/debian",
            "http://[::1][trusted=yes]/debian",
            "file:///srv/debian",
            "cdrom:[Debian]/",
            "copy:/srv",
            "",
            " http://one.example/debian",
            "-o Dir=/",
        ];
        for url in evil {
            let mirror = Mirror::of("bookworm", Some(url));
            for source in &mirror.sources {
                assert!(
                    matches!(source.check(), Err(DebianError::Mirror { .. })),
                    "{source:?}"
                );
            }
            assert_eq!(render(&mirror.sources), "", "{url:?}");
        }
        for suite in [
            "",
            "book worm",
            "x\ndeb",
            "[trusted=yes]",
            "../..",
            "/",
            "-x",
            "x/../y",
            "a\"b",
        ] {
            let source = Source {
                url: PUBLIC.to_owned(),
                suite: suite.to_owned(),
                optional: false,
            };
            assert_eq!(render(&[source]), "", "{suite:?}");
        }
        for url in [
            "http://one.example/debian",
            "https://user:pass%20word@one.example:8443/a/b~c/debian",
            "http://[2001:db8::1]:3142/debian",
            "http://127.0.0.1:80",
        ] {
            let text = render(&sources("bookworm", url, None));
            assert!(
                text.starts_with(&format!("deb {url} bookworm main\n")),
                "{text}"
            );
        }
    }

    #[test]
    fn odd_lines_of_apt_give_no_mirror() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        fs::write(
            folder.path().join("sources.list"),
            "deb [trusted=yes http://a.example/debian bookworm main\n\
             deb [ arch=amd64 ] [trusted=yes] http://b.example/debian bookworm main\n\
             deb \"http://c.example/ /debian\" bookworm main\n\
             deb cdrom:[Debian GNU/Linux 12 _Bookworm_]/debian bookworm main\n\
             deb\ndeb \ndebhttp://d.example/debian bookworm main\ndeb [\n",
        )
        .unwrap();
        fs::write(
            folder.path().join("sources.list.d/off.sources"),
            "Enabled: No\nTypes: deb\nURIs: http://e.example/debian\nSuites: bookworm\nComponents: main\n",
        )
        .unwrap();
        fs::write(folder.path().join("sources.list.d/bytes.list"), b"\xff\xfe").unwrap();
        assert_eq!(debian(&apt_sources(folder.path())), None);
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
