//! RSA keys of files.

use std::fmt;
use std::fs;
use std::io::Read as _;

use camino::Utf8Path;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::sha2::Sha256;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPrivateKey};

use crate::credentials::Secret;
use crate::error::Error;

/// Largest file of a key, in bytes.
const SIZE: u64 = 64 << 10;

/// A private RSA key.
pub struct Key(SigningKey<Sha256>, usize);

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key(RSA, {} bit)", self.1)
    }
}

impl Key {
    /// Reads a key as ssh-keygen or openssl wrote it: OpenSSH's own form, PKCS #1 or PKCS #8. `passphrase` is asked for one
    /// only where the key wants it.
    ///
    /// # Errors
    ///
    /// The file can't be read, is no private RSA key, or its passphrase is another one.
    pub fn read(
        path: &Utf8Path,
        passphrase: impl FnOnce() -> Result<Secret, Error>,
    ) -> Result<Self, Error> {
        let mut text = String::new();
        let file = fs::File::open(path).map_err(Error::io("read", path))?;
        file.take(SIZE)
            .read_to_string(&mut text)
            .map_err(Error::io("read", path))?;
        let bad = |why: &dyn fmt::Display| {
            Error::Credentials(format!("{path} is no private RSA key: {why}"))
        };
        let key = if text.contains("BEGIN OPENSSH PRIVATE KEY") {
            let mut key = ssh_key::PrivateKey::from_openssh(&text).map_err(|error| bad(&error))?;
            if key.is_encrypted() {
                let passphrase = passphrase()?;
                key = key.decrypt(passphrase.reveal()).map_err(|_| {
                    Error::Credentials(format!("the passphrase does not open {path}"))
                })?;
            }
            let pair = key.key_data().rsa().ok_or_else(|| {
                bad(&format!(
                    "it is of kind {}, and image servers take RSA alone",
                    key.algorithm()
                ))
            })?;
            of_parts(pair).ok_or_else(|| bad(&"its numbers do not fit together"))?
        } else if text.contains("BEGIN RSA PRIVATE KEY") {
            if text.contains("ENCRYPTED") {
                return Err(bad(
                    &"it is encrypted in an old form; `ssh-keygen -p -f FILE` writes it anew",
                ));
            }
            RsaPrivateKey::from_pkcs1_pem(&text).map_err(|error| bad(&error))?
        } else if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            return Err(bad(
                &"it is an encrypted PKCS #8 file; `ssh-keygen -p -f FILE` writes it as OpenSSH has keys",
            ));
        } else {
            RsaPrivateKey::from_pkcs8_pem(&text).map_err(|error| bad(&error))?
        };
        let bits = key.n().bits();
        Ok(Self(SigningKey::new(key), bits))
    }

    /// The signature (RSASSA-PKCS1-v1_5 with SHA-256) of `text`.
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.try_sign(text);
        signature
            .map(|signature| signature.to_vec())
            .map_err(|error| Error::Credentials(format!("the key can't sign: {error}")))
    }
}

/// The key of OpenSSH's numbers. (What ssh-key 0.6 offers for it takes one prime twice, and fails.)
fn of_parts(pair: &ssh_key::private::RsaKeypair) -> Option<RsaPrivateKey> {
    let number = |number: &ssh_key::Mpint| number.as_positive_bytes().map(BigUint::from_bytes_be);
    let primes = vec![number(&pair.private.p)?, number(&pair.private.q)?];
    let (n, e) = (number(&pair.public.n)?, number(&pair.public.e)?);
    let key = RsaPrivateKey::from_components(n, e, number(&pair.private.d)?, primes).ok()?;
    key.validate().ok()?;
    Some(key)
}
