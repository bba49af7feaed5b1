//! Who may do what.
//!
//! Users stand in a file, one a line: `name:HASH` with a bcrypt hash, as `htpasswd -B` writes it, for HTTP Basic; `name ssh-rsa KEY`
//! for HTTP Signature. Without such a file, a server on the loopback takes changes from programs of its machine, and from no
//! browser that a page elsewhere sends.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::{Utf8Path, Utf8PathBuf};
use rsa::RsaPublicKey;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::sha2::{Digest as _, Sha256};
use rsa::signature::Verifier as _;
use rsa::traits::PublicKeyParts as _;
use sha1_for_rsa::Sha1;
use tokio::sync::Semaphore;

use super::refusal::Refusal;
use super::store::lock;
use crate::error::Error;

/// How far clocks may differ (sdc-imgapi: http-signature's `clockSkew`).
const SKEW: Duration = Duration::from_secs(300);
/// How long a password that was right is not hashed again.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Passwords that are remembered at most.
const MOST_REMEMBERED: usize = 1000;
/// Largest file of users, in bytes.
const SIZE: u64 = 16 << 20;
/// Cost of the hash that an unknown name is held against, which is what htpasswd's users often have.
const NOBODY: u32 = 8;
/// Passwords that wait to be looked at, at most.
const WAITING: usize = 64;
/// Smallest RSA key that is taken, in bits.
const BITS: usize = 1024;

/// Who may change images.
pub enum Access {
    /// Nobody.
    Nobody,
    /// Programs on this machine.
    Local,
    /// Those in a file.
    Users(Box<Users>),
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody that is known.
    Stranger,
    /// Someone on this machine.
    Local,
    /// A user.
    User(String),
}

impl Who {
    /// Whether all images are shown, and may be changed.
    pub fn is_trusted(&self) -> bool {
        *self != Self::Stranger
    }
}

/// The users of a file, which is read again when it changes.
pub struct Users {
    path: Utf8PathBuf,
    /// With the time of the file that it was read from.
    read: Mutex<(Option<SystemTime>, ByName)>,
    hashing: Semaphore,
    waiting: Semaphore,
    /// Digests of names and passwords that were right.
    right: Mutex<HashMap<[u8; 32], Instant>>,
    salt: [u8; 16],
    /// A hash of nobody's.
    nobody: String,
}

type ByName = Arc<HashMap<String, Known>>;

/// How one user is known.
#[derive(Clone, Default)]
struct Known {
    hashes: Vec<String>,
    keys: Vec<RsaPublicKey>,
}

impl Users {
    /// Reads a file of users.
    ///
    /// # Errors
    ///
    /// It can't be read, a line is none of a user, or there is no user.
    pub fn read(path: &Utf8Path) -> Result<Self, Error> {
        let modified = fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok();
        let known = parse(path)?;
        let nobody = bcrypt::hash("nobody", NOBODY)
            .map_err(|error| Error::Credentials(error.to_string()))?;
        Ok(Self {
            nobody,
            path: path.to_owned(),
            read: Mutex::new((modified, Arc::new(known))),
            // A hash takes a core for a while, by design.
            hashing: Semaphore::new(2),
            waiting: Semaphore::new(WAITING),
            right: Mutex::default(),
            salt: *uuid::Uuid::new_v4().as_bytes(),
        })
    }

    fn known(&self) -> ByName {
        let modified = fs::metadata(&self.path)
            .and_then(|metadata| metadata.modified())
            .ok();
        let mut read = lock(&self.read);
        // A file that is wrong for a moment changes nothing.
        if modified.is_some()
            && modified != read.0
            && let Ok(known) = parse(&self.path)
        {
            *read = (modified, Arc::new(known));
            lock(&self.right).clear();
        }
        Arc::clone(&read.1)
    }

    async fn basic(&self, value: &str) -> Result<Who, Refusal> {
        let no = || Refusal::unauthorized("Unauthorized");
        let text = STANDARD.decode(value.trim()).map_err(|_| no())?;
        let text = String::from_utf8(text).map_err(|_| no())?;
        let (name, password) = text.split_once(':').ok_or_else(no)?;
        let known = self.known();
        let hashes = known.get(name).map(|known| known.hashes.clone());
        let mut digest = Sha256::new();
        digest.update(self.salt);
        digest.update(&text);
        let digest: [u8; 32] = digest.finalize().into();
        if lock(&self.right)
            .get(&digest)
            .is_some_and(|when| when.elapsed() < REMEMBERED)
        {
            return Ok(Who::User(name.to_owned()));
        }
        // Those who guess must not keep those who know waiting for ever.
        let _place = self.waiting.try_acquire().map_err(|_| {
            Refusal::new(
                503,
                "ServiceUnavailable",
                "too many passwords are being looked at",
            )
        })?;
        let _turn = self.hashing.acquire().await.map_err(|_| no())?;
        let password = password.to_owned();
        // Who is not known takes about as long as who is.
        let nobody = [self.nobody.clone()];
        let right = tokio::task::spawn_blocking(move || {
            let known = hashes.as_ref().is_some_and(|hashes| !hashes.is_empty());
            let hashes = hashes.filter(|hashes| !hashes.is_empty());
            let mut right = false;
            for hash in hashes.as_deref().unwrap_or(&nobody) {
                right |= bcrypt::verify(&password, hash).unwrap_or(false);
            }
            right && known
        })
        .await
        .map_err(|_| no())?;
        if !right {
            return Err(no());
        }
        let mut remembered = lock(&self.right);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(digest, Instant::now());
        Ok(Who::User(name.to_owned()))
    }

    /// As http-signature's `parseRequest` and `verifySignature` of the servers do it.
    fn signature(&self, value: &str, request: &Signed<'_>) -> Result<Who, Refusal> {
        let no = |why: &str| Refusal::unauthorized(format!("Unauthorized ({why})"));
        let fields = fields(value).ok_or_else(|| no("the header is not understood"))?;
        let field = |name: &str| fields.get(name).map(String::as_str);
        let name = field("keyId").ok_or_else(|| no("keyId was not specified"))?;
        let algorithm = field("algorithm").unwrap_or_default().to_ascii_lowercase();
        let signature = field("signature").ok_or_else(|| no("signature was not specified"))?;
        let signature = STANDARD
            .decode(signature)
            .ok()
            .and_then(|bytes| Signature::try_from(bytes.as_slice()).ok())
            .ok_or_else(|| no("the signature is none"))?;
        let names = field("headers").unwrap_or("date").to_ascii_lowercase();
        let mut text = Vec::new();
        let mut dated = false;
        for name in names.split(' ').filter(|name| !name.is_empty()) {
            let line = match name {
                "(request-target)" | "request-line" => {
                    if name == "request-line" {
                        format!("{} {} HTTP/1.1", request.method, request.target)
                    } else {
                        let method = request.method.to_ascii_lowercase();
                        format!("(request-target): {method} {}", request.target)
                    }
                }
                _ => {
                    let value = request
                        .headers
                        .get(name)
                        .and_then(|value| value.to_str().ok());
                    let value = value.ok_or_else(|| no("a header that is signed is not there"))?;
                    if matches!(name, "date" | "x-date") {
                        dated = dated || is_now(value);
                    }
                    format!("{name}: {value}")
                }
            };
            text.push(line);
        }
        if !dated {
            return Err(no(
                "no date is signed, or the clocks are more than 300 s apart",
            ));
        }
        let text = text.join("\n");
        let known = self.known();
        let keys = known.get(name).map_or(&[][..], |known| &known.keys);
        let right = keys.iter().any(|key| match &*algorithm {
            "rsa-sha256" => VerifyingKey::<Sha256>::new(key.clone())
                .verify(text.as_bytes(), &signature)
                .is_ok(),
            "rsa-sha1" => VerifyingKey::<Sha1>::new(key.clone())
                .verify(text.as_bytes(), &signature)
                .is_ok(),
            _ => false,
        });
        if !right {
            return Err(if matches!(&*algorithm, "rsa-sha256" | "rsa-sha1") {
                Refusal::unauthorized("Unauthorized")
            } else {
                no("the algorithm is none of rsa-sha256 and rsa-sha1")
            });
        }
        Ok(Who::User(name.to_owned()))
    }
}

/// What of a request a signature may be of.
pub struct Signed<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub headers: &'a HeaderMap,
}

impl Access {
    /// Who asks. Credentials that are wrong are refused also where none are needed.
    pub async fn who(&self, request: &Signed<'_>) -> Result<Who, Refusal> {
        match self {
            Self::Nobody => Ok(Who::Stranger),
            Self::Local => Ok(if is_of_this_machine(request.headers) {
                Who::Local
            } else {
                Who::Stranger
            }),
            Self::Users(users) => {
                let Some(value) = request.headers.get(header::AUTHORIZATION) else {
                    return Ok(Who::Stranger);
                };
                let value = value
                    .to_str()
                    .map_err(|_| Refusal::unauthorized("Unauthorized"))?;
                let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
                match scheme.to_ascii_lowercase().as_str() {
                    "basic" => users.basic(rest).await,
                    "signature" => users.signature(rest, request),
                    _ => Err(Refusal::unauthorized(
                        "Unauthorized (neither Basic nor Signature)",
                    )),
                }
            }
        }
    }

    /// Why a stranger may not.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Nobody => Refusal::forbidden("this server gives images and takes none"),
            Self::Local => Refusal::forbidden(
                "this server takes images from programs on its own machine alone, and not from browsers",
            ),
            Self::Users(_) => Refusal::unauthorized("Unauthorized"),
        }
    }
}

/// Whether no page from elsewhere is behind a request: one that a browser sends for a page has an `Origin` or `Sec-Fetch-Site`
/// header where it changes something, and a name that leads here by others' will is not that of the loopback.
fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let local = host.is_some_and(|host| {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    let site = headers
        .get("sec-fetch-site")
        .and_then(|site| site.to_str().ok());
    local
        && !headers.contains_key(header::ORIGIN)
        && site.is_none_or(|site| matches!(site, "none" | "same-origin"))
}

fn is_now(value: &str) -> bool {
    let Ok(time) = jiff::fmt::rfc2822::parse(value) else {
        return false;
    };
    let apart = time.timestamp().duration_since(jiff::Timestamp::now());
    apart.unsigned_abs() <= SKEW
}

/// `name="value"` and `name=value`, with commas between.
fn fields(text: &str) -> Option<HashMap<String, String>> {
    let mut fields = HashMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(after) => after.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        // One that comes twice could mean one thing here and another there.
        if fields
            .insert(name.trim().to_owned(), value.to_owned())
            .is_some()
        {
            return None;
        }
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(fields)
}

fn parse(path: &Utf8Path) -> Result<HashMap<String, Known>, Error> {
    let failed = Error::io("read", path);
    let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size > SIZE {
        return Err(Error::usage(format!("{path} is too large"), &[]));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let mut known: HashMap<String, Known> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line itself may hold what must not be shown.
        let wrong = |why: &str| {
            Error::usage(
                format!("{path}, line {}: {why}", number + 1),
                &[
                    "a line is NAME:HASH with a bcrypt hash (`htpasswd -nB NAME` prints one), or NAME ssh-rsa KEY, for a signature",
                ],
            )
        };
        let at = line
            .find([':', ' ', '\t'])
            .ok_or_else(|| wrong("neither a password's hash nor a key"))?;
        let (name, rest) = line.split_at(at);
        let entry = known.entry(name.to_owned()).or_default();
        if let Some(hash) = rest.strip_prefix(':') {
            // What htpasswd calls 2y is what others call 2b.
            let hash = hash.trim().replacen("$2y$", "$2b$", 1);
            if hash.parse::<bcrypt::HashParts>().is_err() {
                return Err(wrong("the hash is not of bcrypt"));
            }
            entry.hashes.push(hash);
        } else {
            let key = ssh_key::PublicKey::from_openssh(rest.trim())
                .map_err(|_| wrong("the key is none of ssh"))?;
            let key = key
                .key_data()
                .rsa()
                .and_then(|key| RsaPublicKey::try_from(key).ok())
                .ok_or_else(|| wrong("the key is none of RSA, and signatures take RSA alone"))?;
            if key.n().bits() < BITS {
                return Err(wrong("the key is too short"));
            }
            entry.keys.push(key);
        }
    }
    if known.is_empty() {
        return Err(Error::usage(
            format!("there are no users in {path}"),
            &[
                "`htpasswd -nB NAME` prints a line for it, or NAME and the line of an ssh-rsa .pub file",
            ],
        ));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_signatures() {
        let of = |text: &str| fields(text);
        let good = of("keyId=\"a b\",algorithm=\"rsa-sha256\", signature=\"x==\"").unwrap();
        assert_eq!(good["keyId"], "a b");
        assert_eq!(good["signature"], "x==");
        for wrong in [
            "a",
            "a=\"b",
            "a=\"b\"x",
            "a=\"b\",a=\"c\"",
            "=\"",
            "a=\"b\" c=\"d\"",
        ] {
            assert!(of(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn browsers_of_other_pages_are_strangers() {
        let of = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            is_of_this_machine(&headers)
        };
        assert!(of(&[("host", "127.0.0.1:8080")]));
        assert!(of(&[("host", "localhost")]));
        assert!(of(&[("host", "[::1]:8080")]));
        assert!(!of(&[("host", "evil.example:8080")]));
        assert!(!of(&[("host", "127.0.0.1.evil.example")]));
        assert!(!of(&[]));
        assert!(!of(&[
            ("host", "localhost"),
            ("origin", "https://evil.example")
        ]));
        assert!(!of(&[("host", "localhost"), ("origin", "null")]));
        assert!(!of(&[
            ("host", "localhost"),
            ("sec-fetch-site", "cross-site")
        ]));
        assert!(of(&[("host", "localhost"), ("sec-fetch-site", "none")]));
    }

    #[test]
    fn files_of_users() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("users");
        let hash = bcrypt::hash("secret", 4)
            .unwrap()
            .replacen("$2b$", "$2y$", 1);
        let of = |text: &str| {
            fs::write(&path, text).unwrap();
            parse(&path)
        };
        assert_eq!(
            of(&format!("# users\nann:{hash}\n")).unwrap()["ann"]
                .hashes
                .len(),
            1
        );
        for wrong in [
            "",
            "ann",
            "ann:secret",
            "ann:{SHA}x",
            "ann ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ",
            "ann ssh-rsa x",
        ] {
            let error = of(wrong).err().expect(wrong).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
