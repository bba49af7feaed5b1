//! Keys that an ssh-agent holds (draft-ietf-sshm-ssh-agent: requests 11 and 13, answers 12 and 14).

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use ssh_key::{HashAlg, PublicKey};

use crate::error::Error;

/// Largest answer, in bytes, as OpenSSH's agent has it.
const ANSWER: u32 = 256 << 10;
/// An agent may ask its user.
const PATIENCE: Duration = Duration::from_secs(120);

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// SSH_AGENT_RSA_SHA2_256
const RSA_SHA256: u32 = 2;

/// A key of an ssh-agent.
#[derive(Debug)]
pub struct Agent {
    socket: PathBuf,
    /// The public key as the agent names it.
    blob: Vec<u8>,
}

impl Agent {
    /// The RSA key of the agent behind `socket` that has this fingerprint (`SHA256:…`) or comment; the only one, if none is
    /// named.
    ///
    /// # Errors
    ///
    /// There is no agent, or not exactly one such key.
    pub fn new(socket: Option<PathBuf>, which: Option<&str>) -> Result<Self, Error> {
        let socket = socket.ok_or_else(|| {
            Error::Credentials("there is no ssh-agent: SSH_AUTH_SOCK is not set".to_owned())
        })?;
        let failed = |error: io::Error| {
            Error::Credentials(format!("the ssh-agent at {}: {error}", socket.display()))
        };
        let answer = ask(&socket, REQUEST_IDENTITIES, &[], IDENTITIES_ANSWER).map_err(failed)?;
        let mut reader = Fields(&answer);
        let count = reader.number().map_err(failed)?;
        let mut found = Vec::new();
        for _ in 0..count {
            let blob = reader.bytes().map_err(failed)?;
            let comment = String::from_utf8_lossy(reader.bytes().map_err(failed)?).into_owned();
            let Ok(key) = PublicKey::from_bytes(blob) else {
                continue;
            };
            if !key.algorithm().is_rsa() {
                continue;
            }
            let print = key.fingerprint(HashAlg::Sha256).to_string();
            if which.is_none_or(|which| which == print || which == comment) {
                found.push((blob.to_vec(), print));
            }
        }
        match (found.pop(), found.is_empty()) {
            (Some((blob, _)), true) => Ok(Self { socket, blob }),
            (Some((_, print)), false) => Err(Error::Credentials(format!(
                "the ssh-agent has several such RSA keys: name one by its fingerprint, as in --key agent:{print}"
            ))),
            (None, _) => Err(Error::Credentials(match which {
                Some(which) => format!("the ssh-agent has no RSA key {which}"),
                None => "the ssh-agent has no RSA key, and image servers take no other".to_owned(),
            })),
        }
    }

    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Error> {
        let mut request = Vec::new();
        put(&mut request, &self.blob);
        put(&mut request, text);
        request.extend(RSA_SHA256.to_be_bytes());
        let sign = || -> io::Result<Vec<u8>> {
            let answer = ask(&self.socket, SIGN_REQUEST, &request, SIGN_RESPONSE)?;
            let signature = Fields(&answer).bytes()?;
            let mut fields = Fields(signature);
            let kind = fields.bytes()?;
            if kind != b"rsa-sha2-256" {
                return Err(io::Error::other("it signs with SHA-1 alone"));
            }
            Ok(fields.bytes()?.to_vec())
        };
        sign().map_err(|error| Error::Credentials(format!("the ssh-agent does not sign: {error}")))
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

fn ask(socket: &PathBuf, kind: u8, request: &[u8], wanted: u8) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut message = Vec::new();
    message.extend((request.len() as u32 + 1).to_be_bytes());
    message.push(kind);
    message.extend(request);
    stream.write_all(&message)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length == 0 || length > ANSWER {
        return Err(io::Error::other("its answer has no possible length"));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer)?;
    match answer.split_first() {
        Some((kind, rest)) if *kind == wanted => Ok(rest.to_vec()),
        _ => Err(io::Error::other("it refuses")),
    }
}

/// Fields of ssh's wire format (RFC 4251, section 5).
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| io::Error::other("its answer is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?.try_into().map_err(io::Error::other)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }
}
