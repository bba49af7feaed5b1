//! HTTP Signature as IMGAPI has it: the `Date` header signed with an RSA key (draft-cavage-http-signatures-01, sdc-imgapi
//! lib/app.js).

mod agent;
mod key;

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::Error;

pub use agent::Agent;
pub use key::Key;

/// What signs.
#[derive(Debug)]
pub enum SigningKey {
    /// A key of a file.
    File(Box<Key>),
    /// A key that an ssh-agent holds.
    Agent(Agent),
}

/// Signs as a user.
#[derive(Debug)]
pub struct Signer {
    user: String,
    key: SigningKey,
}

impl Signer {
    /// Signs as `user`, the plain name, which is the `keyId` that IMGAPI looks for.
    ///
    /// # Errors
    ///
    /// A header can't hold the name.
    pub fn new(user: &str, key: SigningKey) -> Result<Self, Error> {
        let fits = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        if user.is_empty() || !user.chars().all(fits) {
            return Err(Error::Credentials(format!(
                "{user:?} can't be the name of a user of signatures"
            )));
        }
        Ok(Self {
            user: user.to_owned(),
            key,
        })
    }

    /// The value of the `Authorization` header beside a `Date` header of this value.
    ///
    /// # Errors
    ///
    /// The agent does not sign.
    pub fn authorization(&self, date: &str) -> Result<String, Error> {
        let text = format!("date: {date}");
        let signature = match &self.key {
            SigningKey::File(key) => key.sign(text.as_bytes())?,
            SigningKey::Agent(agent) => agent.sign(text.as_bytes())?,
        };
        Ok(format!(
            "Signature keyId=\"{}\",algorithm=\"rsa-sha256\",signature=\"{}\"",
            self.user,
            STANDARD.encode(signature)
        ))
    }
}

/// A time as HTTP has it (RFC 9110, section 5.6.7): `Mon, 23 Nov 2026 17:00:00 GMT`.
pub fn http_date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}
