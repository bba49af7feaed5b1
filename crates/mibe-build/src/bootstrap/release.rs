//! What a suite is: its InRelease file, believed only as far as its signature goes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pgp::composed::{CleartextSignedMessage, Deserializable as _, SignedPublicKey};
use pgp::packet::Signature;
use pgp::types::{KeyDetails as _, Timestamp, VerifyingKey};

use super::DebianError;
use super::control::paragraphs;
use super::download::Fetcher;
use super::mirror::Source;

/// Longest InRelease file that is read; Debian's have 150 KB.
const RELEASE_LIMIT: u64 = 16 << 20;
/// Longest keyring that is read.
const KEYRING_LIMIT: u64 = 16 << 20;

/// Where distributions keep Debian's keys.
const KEYRINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/etc/apt/trusted.gpg.d",
];

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

/// Keys that a release may be signed with.
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
    /// Where they came from, for people.
    origin: String,
}

impl Keyring {
    /// Reads `file`, or the first of the places where distributions keep Debian's keys.
    ///
    /// # Errors
    ///
    /// There is none, or it holds no keys.
    pub fn read(file: Option<&Path>) -> Result<Self, DebianError> {
        let places: Vec<PathBuf> = match file {
            Some(file) => vec![file.to_owned()],
            None => KEYRINGS.iter().map(PathBuf::from).collect(),
        };
        for place in &places {
            let files = if place.is_dir() {
                let mut files: Vec<_> = fs::read_dir(place)
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                    .collect();
                files.sort();
                files
            } else {
                vec![place.clone()]
            };
            let keys: Vec<_> = files.iter().flat_map(|file| keys(file)).collect();
            if !keys.is_empty() {
                return Ok(Self {
                    keys,
                    origin: place.display().to_string(),
                });
            }
        }
        let places: Vec<_> = places
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        Err(DebianError::Keyring(format!(
            "no OpenPGP keys in {}",
            places.join(", ")
        )))
    }

    /// Where the keys came from, for people.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The text that one of the keys signed.
    fn verified(&self, url: &str, text: &[u8]) -> Result<String, DebianError> {
        let wrong = |reason: String| DebianError::Signature {
            url: url.to_owned(),
            reason,
        };
        let text = std::str::from_utf8(text)
            .map_err(|_| wrong("it is no text, so no signed one".to_owned()))?;
        let (message, _) = CleartextSignedMessage::from_string(text)
            .map_err(|error| wrong(format!("it is no clear-signed text: {error}")))?;
        let signed = message.signed_text();
        let mut issuers = Vec::new();
        for signature in message.signatures() {
            issuers.extend(signature.issuer_key_id().iter().map(ToString::to_string));
            if self
                .keys
                .iter()
                .any(|key| signed_by(key, signature, signed.as_bytes()))
            {
                return Ok(signed);
            }
        }
        Err(wrong(if message.signatures().is_empty() {
            "it has no signature".to_owned()
        } else {
            format!(
                "it has no good signature by a key of {} (it names the keys {})",
                self.origin,
                issuers.join(", ")
            )
        }))
    }
}

fn keys(file: &Path) -> Vec<SignedPublicKey> {
    let small = fs::metadata(file)
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= KEYRING_LIMIT);
    let Some(bytes) = small.then(|| fs::read(file).ok()).flatten() else {
        return Vec::new();
    };
    if bytes.starts_with(b"-----BEGIN") {
        SignedPublicKey::from_armor_many(&bytes[..])
            .map(|(keys, _)| keys.filter_map(Result::ok).collect())
            .unwrap_or_default()
    } else {
        SignedPublicKey::from_bytes_many(&bytes[..])
            .map(|keys| keys.filter_map(Result::ok).collect())
            .unwrap_or_default()
    }
}

/// Whether `key`, or a subkey that it vouches for as a signing one, made the signature while it was valid.
fn signed_by(key: &SignedPublicKey, signature: &Signature, text: &[u8]) -> bool {
    let Some(when) = signature.created() else {
        return false;
    };
    let primary = &key.primary_key;
    if key
        .details
        .revocation_signatures
        .iter()
        .any(|revocation| revocation.verify_key(primary).is_ok())
    {
        return false;
    }
    // A certificate is only as good as a self-signature of it; that also holds its expiry.
    let certifications: Vec<&Signature> = key
        .details
        .users
        .iter()
        .flat_map(|user| {
            user.signatures.iter().filter(|certification| {
                certification
                    .verify_certification(primary, pgp::types::Tag::UserId, &user.id)
                    .is_ok()
            })
        })
        .chain(
            key.details
                .direct_signatures
                .iter()
                .filter(|direct| direct.verify_key(primary).is_ok()),
        )
        .collect();
    if certifications.is_empty() || expired(&certifications, primary.created_at(), when) {
        return false;
    }
    if made(signature, primary, text) {
        return true;
    }
    key.public_subkeys.iter().any(|subkey| {
        let bindings: Vec<&Signature> = subkey
            .signatures
            .iter()
            .filter(|binding| binding.verify_subkey_binding(primary, &subkey.key).is_ok())
            .collect();
        let revoked = subkey.signatures.iter().any(|one| {
            one.typ() == Some(pgp::packet::SignatureType::SubkeyRevocation)
                && one.verify_subkey_binding(primary, &subkey.key).is_ok()
        });
        // A subkey that signs must itself vouch for the primary key (RFC 9580, 10.1.5).
        let may_sign = bindings.iter().any(|binding| {
            binding.typ() == Some(pgp::packet::SignatureType::SubkeyBinding)
                && binding.key_flags().sign()
                && binding.embedded_signature().is_some_and(|back| {
                    back.verify_primary_key_binding(&subkey.key, primary)
                        .is_ok()
                })
        });
        may_sign
            && !revoked
            && !expired(&bindings, subkey.key.created_at(), when)
            && made(signature, &subkey.key, text)
    })
}

/// Whether the newest self-signature says that the key was not valid (yet, or any more) at a time.
fn expired(signatures: &[&Signature], created: Timestamp, when: Timestamp) -> bool {
    let newest = signatures
        .iter()
        .filter(|signature| signature.created().is_some())
        .max_by_key(|signature| signature.created().map(seconds));
    let lifetime = newest
        .and_then(|signature| signature.key_expiration_time())
        .map_or(0, |lifetime| u64::from(lifetime.as_secs()));
    let (created, when) = (seconds(created), seconds(when));
    when < created || (lifetime > 0 && when - created > lifetime)
}

fn seconds(time: Timestamp) -> u64 {
    u64::from(time.as_secs())
}

fn made(signature: &Signature, key: &impl VerifyingKey, text: &[u8]) -> bool {
    // Broken digests sign nothing any more.
    let broken = matches!(
        signature.hash_alg(),
        None | Some(
            pgp::crypto::hash::HashAlgorithm::Md5
                | pgp::crypto::hash::HashAlgorithm::Sha1
                | pgp::crypto::hash::HashAlgorithm::Ripemd160
        )
    );
    !broken && signature.verify(key, text).is_ok()
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
                "it describes the suite {}, not {}",
                names.into_iter().flatten().collect::<Vec<_>>().join(" or "),
                source.suite
            )));
        }
        let date = paragraph
            .get("date")
            .and_then(date)
            .ok_or_else(|| wrong("it has no date".to_owned()))?;
        if let Some(until) = paragraph.get("valid-until").and_then(self::date)
            && until < jiff::Timestamp::now().as_second()
        {
            return Err(wrong(format!(
                "it was valid until {} only, so the mirror is out of date or replays an old state",
                paragraph.get("valid-until").unwrap_or_default()
            )));
        }
        let mut files = BTreeMap::new();
        for line in paragraph.get("sha256").unwrap_or_default().lines() {
            let mut words = line.split_whitespace();
            if let (Some(sha256), Some(size), Some(path)) =
                (words.next(), words.next(), words.next())
                && let Ok(size) = size.parse()
                && sha256.len() == 64
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
