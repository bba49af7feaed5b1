//! What a suite is: its InRelease file, believed only as far as its signature goes.

use std::collections::BTreeMap;

use super::DebianError;
use super::control::paragraphs;
use super::download::Fetcher;
pub use super::keyring::Keyring;
use super::mirror::Source;

/// Longest InRelease file that is read; Debian's have 150 KB.
const RELEASE_LIMIT: u64 = 16 << 20;
/// How far a mirror's clock may be ahead of this host's, in seconds: as apt has it (Acquire::Max-FutureTime).
const FUTURE: i64 = 10;

/// A verified suite.
#[derive(Clone, Debug)]
pub struct Release {
    /// Where it came from.
    pub source: Source,
    /// When it was made, seconds since 1970.
    pub date: i64,
    /// `Version` ("12.11"), where the suite has one.
    pub version: Option<String>,
    /// Size and SHA-256 of its files, by path below the suite.
    pub files: BTreeMap<String, (u64, String)>,
    /// Whether files can be had by their digest, so that a mirror in the middle of an update serves both.
    pub by_hash: bool,
}

impl Release {
    /// Fetches and verifies a suite; `None` where the mirror does not have it.
    ///
    /// # Errors
    ///
    /// It can't be fetched, is not signed by a key of `keyring`, is of another suite or out of date.
    pub fn fetch(
        fetcher: &Fetcher,
        source: &Source,
        keyring: &Keyring,
    ) -> Result<Option<Self>, DebianError> {
        source.check()?;
        let url = format!("{}/dists/{}/InRelease", source.url, source.suite);
        let Some(bytes) = fetcher.get(&url, RELEASE_LIMIT)? else {
            return Ok(None);
        };
        let text = keyring.verified(&url, &bytes)?;
        Self::parse(source, &url, &text).map(Some)
    }

    fn parse(source: &Source, url: &str, text: &str) -> Result<Self, DebianError> {
        let wrong = |reason: String| DebianError::Release {
            url: url.to_owned(),
            reason,
        };
        let paragraph = paragraphs(text)
            .into_iter()
            .next()
            .ok_or_else(|| wrong("it is empty".to_owned()))?;
        let names = [paragraph.get("suite"), paragraph.get("codename")];
        if !names.contains(&Some(source.suite.as_str())) {
            return Err(wrong(format!(
                "it describes the suite {:?}, not {:?}",
                names.into_iter().flatten().collect::<Vec<_>>().join(" or "),
                source.suite
            )));
        }
        let date = paragraph
            .get("date")
            .and_then(date)
            .ok_or_else(|| wrong("it has no date".to_owned()))?;
        let now = jiff::Timestamp::now().as_second();
        if date > now + FUTURE {
            return Err(wrong(format!(
                "it is of {}, which is in the future",
                paragraph.get("date").unwrap_or_default()
            )));
        }
        if let Some(text) = paragraph.get("valid-until") {
            let until = self::date(text)
                .ok_or_else(|| wrong(format!("it is valid until {text:?}, which is no date")))?;
            if until < now {
                return Err(wrong(format!(
                    "it was valid until {text} only, so the mirror is out of date or replays an old state"
                )));
            }
        }
        let mut files = BTreeMap::new();
        for line in paragraph.get("sha256").unwrap_or_default().lines() {
            let mut words = line.split_whitespace();
            if let (Some(sha256), Some(size), Some(path)) =
                (words.next(), words.next(), words.next())
                && let Ok(size) = size.parse()
                && super::index::is_sha256(sha256)
            {
                files.insert(path.to_owned(), (size, sha256.to_ascii_lowercase()));
            }
        }
        if files.is_empty() {
            return Err(wrong("it has no SHA-256 of any file".to_owned()));
        }
        Ok(Self {
            source: source.clone(),
            date,
            version: paragraph.get("version").map(ToOwned::to_owned),
            files,
            by_hash: paragraph.get("acquire-by-hash") == Some("yes"),
        })
    }
}

/// "Sat, 17 May 2025 08:53:44 UTC" (RFC 5322 with a name for the zone).
fn date(text: &str) -> Option<i64> {
    let text = text.replace("UTC", "+0000").replace("GMT", "+0000");
    jiff::fmt::rfc2822::parse(&text)
        .ok()
        .map(|time| time.timestamp().as_second())
}
