//! Who asks a server. Secrets are never shown, neither in logs nor in errors.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::Error;
use crate::signature::Signer;

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the first line of `text`, which is how files and prompts have secrets.
    pub fn first_line(text: &str) -> Self {
        Self(text.lines().next().unwrap_or_default().to_owned())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// How a server knows who asks.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// It does not.
    #[default]
    None,
    /// HTTP Basic (RFC 7617).
    Basic {
        /// Who.
        user: String,
        /// The password.
        password: Secret,
    },
    /// HTTP Signature, as Triton has it.
    Signature(Arc<Signer>),
    /// A token of dsapid, which is a Basic user's name without a password.
    Token(Secret),
}

impl Credentials {
    /// The headers that say it, for a request of now.
    ///
    /// # Errors
    ///
    /// Nothing could be signed.
    pub(crate) fn headers(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let basic =
            |text: String| vec![("authorization", format!("Basic {}", STANDARD.encode(text)))];
        Ok(match self {
            Self::None => Vec::new(),
            Self::Basic { user, password } => basic(format!("{user}:{}", password.reveal())),
            Self::Token(token) => basic(format!("{}:", token.reveal())),
            Self::Signature(signer) => {
                let date = crate::signature::http_date(std::time::SystemTime::now());
                let authorization = signer.authorization(&date)?;
                vec![("date", date), ("authorization", authorization)]
            }
        })
    }

    /// Whether there are some.
    pub fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}
