//! Whose signature makes an InRelease file believed.

use std::fs;
use std::path::{Path, PathBuf};

use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails as _, Tag, Timestamp};

use super::DebianError;

/// Longest keyring that is read.
const KEYRING_LIMIT: u64 = 16 << 20;
/// Most signatures of one text; Debian's have up to four.
const SIGNATURES: usize = 32;

/// Where distributions keep Debian's keys.
const KEYRINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/etc/apt/trusted.gpg.d",
];

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
    pub(super) fn verified(&self, url: &str, text: &[u8]) -> Result<String, DebianError> {
        let wrong = |reason: String| DebianError::Signature {
            url: url.to_owned(),
            reason,
        };
        let text = std::str::from_utf8(text)
            .map_err(|_| wrong("it is no text, so no signed one".to_owned()))?;
        let (signed, armor) =
            split(text).map_err(|reason| wrong(format!("it is no clear-signed text: {reason}")))?;
        let signatures = DetachedSignature::from_armor_many(armor.as_bytes())
            .and_then(|(signatures, _)| {
                signatures
                    .take(SIGNATURES + 1)
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(|error| wrong(format!("its signature is damaged: {error}")))?;
        if signatures.len() > SIGNATURES {
            return Err(wrong(format!("it has more than {SIGNATURES} signatures")));
        }
        let mut reasons = Vec::new();
        for DetachedSignature { signature } in &signatures {
            let issuers: Vec<_> = signature
                .issuer_key_id()
                .iter()
                .map(ToString::to_string)
                .collect();
            let mut reason = "by no key of the keyring, or the text was changed";
            for key in &self.keys {
                match judge(key, signature, signed.as_bytes()) {
                    Ok(()) => return Ok(signed),
                    Err(Some(why)) => reason = why,
                    Err(None) => {}
                }
            }
            reasons.push(format!(
                "that of the key {} is {reason}",
                issuers.join(" or ")
            ));
        }
        Err(wrong(if signatures.is_empty() {
            "it has no signature".to_owned()
        } else {
            format!(
                "it has no good signature by a key of {}: {}",
                self.origin,
                reasons.join("; ")
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

/// The signed text in the form that is signed (lines without blanks at their ends, CR LF between them), and the signatures, of a
/// file that has nothing else in it (RFC 9580, 7): text around them would be unsigned.
fn split(text: &str) -> Result<(String, &str), &'static str> {
    const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
    let mut place = 0;
    let mut lines = text.split_inclusive('\n').map(|line| {
        let start = place;
        place += line.len();
        (start, line.trim_end_matches(['\n', '\r', ' ', '\t']))
    });
    if lines.next().map(|line| line.1) != Some("-----BEGIN PGP SIGNED MESSAGE-----") {
        return Err("it does not begin as one");
    }
    loop {
        match lines.next() {
            Some((_, "")) => break,
            Some((_, line)) if line.starts_with("Hash: ") => {}
            _ => return Err("it has a header that is not about digests"),
        }
    }
    let mut signed = String::with_capacity(text.len());
    let mut first = true;
    let armor = loop {
        let (start, line) = lines.next().ok_or("its text has no end")?;
        if line == SIGNATURE {
            break &text[start..];
        }
        let line = match line.strip_prefix("- ") {
            Some(escaped) => escaped,
            None if line.starts_with('-') => return Err("a line in it begins with a dash"),
            None => line,
        };
        if line.contains('\r') {
            return Err("a line in it has a carriage return in the middle");
        }
        if !first {
            signed.push_str("\r\n");
        }
        first = false;
        signed.push_str(line);
    };
    let end = armor
        .find("\n-----END PGP SIGNATURE-----")
        .ok_or("its signature has no end")?;
    let rest = &armor[end + "\n-----END PGP SIGNATURE-----".len()..];
    if !rest.trim().is_empty() || armor[SIGNATURE.len()..end].contains("-----") {
        return Err("there is something after its signature");
    }
    Ok((signed, armor))
}

/// Whether `key`, or a subkey that it vouches for as a signing one, made the signature, and both are valid; an error says why a
/// signature that it did make is worth nothing.
fn judge(
    key: &SignedPublicKey,
    signature: &Signature,
    text: &[u8],
) -> Result<(), Option<&'static str>> {
    // The kind that clear-signed texts have; others don't cover all of the text.
    if signature.typ() != Some(SignatureType::Text) {
        return Err(Some("of a kind that is not for texts"));
    }
    let primary = &key.primary_key;
    let subkey = if signature.verify(primary, text).is_ok() {
        None
    } else {
        let by = |subkey: &&SignedPublicSubKey| signature.verify(&subkey.key, text).is_ok();
        Some(key.public_subkeys.iter().find(by).ok_or(None)?)
    };
    let broken = matches!(
        signature.hash_alg(),
        None | Some(HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160)
    );
    if broken {
        return Err(Some("made with a digest that is broken"));
    }
    let when = signature.created().ok_or(Some("without a date"))?;
    let now = Timestamp::now();
    if seconds(when) > seconds(now) + 86_400 {
        return Err(Some("made in the future"));
    }
    let lifetime = signature
        .signature_expiration_time()
        .map_or(0, |lifetime| u64::from(lifetime.as_secs()));
    if lifetime > 0 && seconds(when) + lifetime < seconds(now) {
        return Err(Some("expired"));
    }
    if key
        .details
        .revocation_signatures
        .iter()
        .any(|revocation| revocation.verify_key(primary).is_ok())
    {
        return Err(Some("by a key that was revoked"));
    }
    let certifications = certifications(key);
    let over = "by a key that has expired, or was not valid yet";
    // As apt has it, a key must be valid now too: else who steals an old one just sets back the clock.
    if [when, now]
        .iter()
        .any(|time| expired(&certifications, primary.created_at(), *time))
    {
        return Err(Some(over));
    }
    match subkey {
        None => Ok(()),
        Some(subkey) => judge_subkey(primary, subkey, &[when, now], over),
    }
}

/// The self-signatures of a key: a certificate is only as good as these, and they hold its expiry.
fn certifications(key: &SignedPublicKey) -> Vec<&Signature> {
    let primary = &key.primary_key;
    key.details
        .users
        .iter()
        .flat_map(|user| {
            user.signatures.iter().filter(|certification| {
                certification.typ() != Some(SignatureType::CertRevocation)
                    && certification
                        .verify_certification(primary, Tag::UserId, &user.id)
                        .is_ok()
            })
        })
        .chain(
            key.details
                .direct_signatures
                .iter()
                .filter(|direct| direct.verify_key(primary).is_ok()),
        )
        .collect()
}

fn judge_subkey(
    primary: &pgp::packet::PublicKey,
    subkey: &SignedPublicSubKey,
    times: &[Timestamp],
    over: &'static str,
) -> Result<(), Option<&'static str>> {
    let (revocations, bindings): (Vec<&Signature>, Vec<&Signature>) = subkey
        .signatures
        .iter()
        .filter(|binding| binding.verify_subkey_binding(primary, &subkey.key).is_ok())
        .partition(|binding| binding.typ() == Some(SignatureType::SubkeyRevocation));
    if !revocations.is_empty() {
        return Err(Some("by a subkey that was revoked"));
    }
    // A subkey that signs must itself vouch for the primary key (RFC 9580, 10.1.5).
    let may_sign = bindings.iter().any(|binding| {
        binding.typ() == Some(SignatureType::SubkeyBinding)
            && binding.key_flags().sign()
            && binding.embedded_signature().is_some_and(|back| {
                back.verify_primary_key_binding(&subkey.key, primary)
                    .is_ok()
            })
    });
    if !may_sign {
        return Err(Some("by a subkey that is not for signing"));
    }
    if times
        .iter()
        .any(|time| expired(&bindings, subkey.key.created_at(), *time))
    {
        return Err(Some(over));
    }
    Ok(())
}

/// Whether the newest self-signature says that the key was not valid (yet, or any more) at a time.
fn expired(signatures: &[&Signature], created: Timestamp, when: Timestamp) -> bool {
    let Some(newest) = signatures
        .iter()
        .filter(|signature| signature.created().is_some())
        .max_by_key(|signature| signature.created().map(seconds))
    else {
        return true;
    };
    let lifetime = newest
        .key_expiration_time()
        .map_or(0, |lifetime| u64::from(lifetime.as_secs()));
    let (created, when) = (seconds(created), seconds(when));
    when < created || (lifetime > 0 && when - created > lifetime)
}

fn seconds(time: Timestamp) -> u64 {
    u64::from(time.as_secs())
}
