//! The image servers of this user, and who asks them.

use std::env;
use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use mibe_build::BuildError;
#[cfg(feature = "local")]
use mibe_build::base::FetchBase;
#[cfg(feature = "local")]
use mibe_image::open::Libraries;
use mibe_image::progress::Event;
#[cfg(feature = "local")]
use mibe_image::progress::Progress;
use mibe_imgapi::Error;
use mibe_imgapi::client::Client;
use mibe_imgapi::credentials::{Credentials, Secret};
use mibe_imgapi::http::{Cancel, Patience};
use mibe_imgapi::pull::{Pulled, Puller, STEP};
use mibe_imgapi::servers::{CredentialSource, Server, ServerType, Servers};
use mibe_imgapi::signature::{Agent, Key, Signer, SigningKey};

use crate::cli;
use crate::error::CommandError;

/// Largest file of a secret, in bytes.
const SECRET: u64 = 64 << 10;

/// What a server is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// What most servers tell everyone. Nothing is asked of the user for it.
    Reading,
    /// What no server lets everyone do.
    Writing,
}

/// The servers that the user has names for.
pub fn servers() -> Result<Servers, CommandError> {
    let folder = |variable: &str| {
        let folder = env::var(variable).ok().map(Utf8PathBuf::from);
        folder.filter(|folder| folder.is_absolute())
    };
    let config =
        folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
    let path = config.map(|config| config.join("mibe/servers.json"));
    Ok(Servers::read(path.as_deref())?)
}

/// Clients of the servers that are named, or of all.
pub fn clients(
    names: &[String],
    channel: Option<&str>,
    cancel: &Cancel,
) -> Result<Vec<Client>, CommandError> {
    let servers = servers()?;
    let named = if names.is_empty() {
        servers.list()
    } else {
        let found: Result<_, Error> = names.iter().map(|name| servers.find(name)).collect();
        found?
    };
    let clients: Result<_, Error> = named
        .into_iter()
        .map(|(name, server)| client(&name, &server, For::Reading, channel, cancel))
        .collect();
    Ok(clients?)
}

/// Whether a secret goes to another machine as it is.
fn can_be_read(url: &str, credentials: &Credentials) -> bool {
    let is_secret = matches!(
        credentials,
        Credentials::Basic { .. } | Credentials::Token(_)
    );
    let host = url
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let host = host.and_then(|_| url.get(7..)?.split('/').next());
    is_secret
        && host.is_some_and(|host| {
            let name = match host.strip_prefix('[') {
                Some(rest) => rest.split(']').next().unwrap_or_default(),
                None => host.split(':').next().unwrap_or_default(),
            };
            let ip: Option<std::net::IpAddr> = name.parse().ok();
            !name.eq_ignore_ascii_case("localhost") && !ip.is_some_and(|ip| ip.is_loopback())
        })
}

/// A client of a server.
#[expect(clippy::print_stderr, reason = "a warning beside whatever is done")]
pub fn client(
    name: &str,
    server: &Server,
    what: For,
    channel: Option<&str>,
    cancel: &Cancel,
) -> Result<Client, Error> {
    let credentials = credentials(name, server, what)?;
    if can_be_read(&server.url, &credentials) {
        eprintln!(
            "warning: {name} is asked over plain http: {} can be read on the way",
            match credentials {
                Credentials::Token(_) => "the token",
                _ => "the password",
            }
        );
    }
    let client = Client::new(
        name,
        server,
        credentials,
        Patience::default(),
        cancel.clone(),
    )?;
    Ok(client.in_channel(channel.map(ToOwned::to_owned)))
}

/// What the command line says of credentials, with paths that hold wherever mibe is called from.
pub fn source(arguments: &cli::Credentials) -> Result<CredentialSource, CommandError> {
    let absolute = |path: &Utf8Path| -> Result<Utf8PathBuf, CommandError> {
        let path =
            camino::absolute_utf8(path).map_err(BuildError::io("find", path.as_std_path()))?;
        Ok(path)
    };
    let file = |path: &Option<Utf8PathBuf>| path.as_deref().map(absolute).transpose();
    let key = match arguments.key.as_deref() {
        Some(key) if key != "agent" && !key.starts_with("agent:") => {
            Some(absolute(Utf8Path::new(key))?.into_string())
        }
        other => other.map(ToOwned::to_owned),
    };
    Ok(CredentialSource {
        user: arguments.user.clone(),
        password_file: file(&arguments.password_file)?,
        key,
        token_file: file(&arguments.token_file)?,
    })
}

fn credentials(name: &str, server: &Server, what: For) -> Result<Credentials, Error> {
    let source = &server.credentials;
    let asks = what == For::Writing;
    if let Some(path) = &source.token_file {
        return Ok(Credentials::Token(secret_of(path)?));
    }
    let Some(user) = &source.user else {
        if server.kind == ServerType::Dsapi {
            if let Some(token) = variable("MIBE_TOKEN") {
                return Ok(Credentials::Token(token));
            }
            if asks {
                let token = ask(&format!("token for {name}"))?;
                return Ok(token.map_or(Credentials::None, Credentials::Token));
            }
        }
        return Ok(Credentials::None);
    };
    if let Some(key) = &source.key {
        if !asks {
            return Ok(Credentials::None);
        }
        let key = match key.strip_prefix("agent") {
            Some("") => SigningKey::Agent(agent(None)?),
            Some(which) if which.starts_with(':') => {
                SigningKey::Agent(agent(which.strip_prefix(':'))?)
            }
            _ => {
                let path = Utf8Path::new(key);
                let passphrase = || passphrase(path);
                SigningKey::File(Box::new(Key::read(path, passphrase)?))
            }
        };
        return Ok(Credentials::Signature(Arc::new(Signer::new(user, key)?)));
    }
    let password = match &source.password_file {
        Some(path) => Some(secret_of(path)?),
        None => match variable("MIBE_PASSWORD") {
            None if asks => ask(&format!("password of {user} for {name}"))?,
            found => found,
        },
    };
    match password {
        Some(password) => Ok(Credentials::Basic {
            user: user.clone(),
            password,
        }),
        None if asks => Err(Error::Credentials(format!(
            "there is no password for {user}"
        ))),
        None => Ok(Credentials::None),
    }
}

/// Pulls images, as a step that is told of.
pub fn pull(puller: &Puller<'_>, images: &[String]) -> Result<Vec<Pulled>, Error> {
    let begun = Instant::now();
    let step = || STEP.to_owned();
    puller.progress.event(Event::StepStarted { step: step() });
    let pulled = puller.pull(images);
    let milliseconds = begun.elapsed().as_millis() as u64;
    puller.progress.event(match &pulled {
        Ok(_) => Event::StepFinished {
            step: step(),
            milliseconds,
        },
        Err(error) => Event::StepFailed {
            step: step(),
            message: error.to_string(),
            milliseconds,
        },
    });
    pulled
}

/// Bases from the servers, into the cache.
#[cfg(feature = "local")]
pub struct Bases<'a> {
    cancel: Cancel,
    progress: &'a dyn Progress,
}

#[cfg(feature = "local")]
impl<'a> Bases<'a> {
    pub fn new(flag: &Arc<std::sync::atomic::AtomicBool>, progress: &'a dyn Progress) -> Self {
        Self {
            cancel: Cancel::new(Arc::clone(flag)),
            progress,
        }
    }

    fn bring(&self, name: &str) -> Result<Option<String>, CommandError> {
        let clients = clients(&[], None, &self.cancel)?;
        if clients.is_empty() {
            return Ok(None);
        }
        let folder = mibe_build::paths::Paths::of_user()?.images();
        let folder = crate::commands::utf8(&folder)?.to_owned();
        self.progress.event(Event::Message {
            text: format!("no library here has {name}: it is looked for on the image servers"),
        });
        let puller = Puller {
            servers: &clients,
            libraries: &Libraries::new([folder.clone()]),
            folder: &folder,
            progress: self.progress,
        };
        match pull(&puller, &[name.to_owned()]) {
            Ok(pulled) => Ok(pulled.last().map(|pulled| pulled.manifest.uuid.clone())),
            Err(Error::NoImage { failed, .. }) if failed.is_empty() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(feature = "local")]
impl FetchBase for Bases<'_> {
    fn fetch(&self, name: &str) -> Result<Option<String>, BuildError> {
        let brought = self.bring(name);
        brought.map_err(|error| {
            if self.cancel.is_set() {
                return BuildError::Cancelled;
            }
            let mut hints = error.hints().to_vec();
            hints.push("--no-pull leaves the servers alone".to_owned());
            BuildError::Base {
                message: format!(
                    "the image {name} is in no library here, and can't be fetched: {}",
                    error.message()
                ),
                hints,
                source: None,
            }
        })
    }
}

fn agent(which: Option<&str>) -> Result<Agent, Error> {
    Agent::new(env::var_os("SSH_AUTH_SOCK").map(PathBuf::from), which)
}

fn passphrase(path: &Utf8Path) -> Result<Secret, Error> {
    let found = match variable("MIBE_KEY_PASSPHRASE") {
        None => ask(&format!("passphrase of {path}"))?,
        found => found,
    };
    found.ok_or_else(|| Error::Credentials(format!("the key {path} has a passphrase")))
}

fn variable(name: &str) -> Option<Secret> {
    let value = env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(Secret::first_line(&value))
}

fn secret_of(path: &Utf8Path) -> Result<Secret, Error> {
    let bad = |error: &dyn std::fmt::Display| {
        Error::Credentials(format!("can't read the secret in {path}: {error}"))
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| bad(&error))?;
    file.take(SECRET)
        .read_to_string(&mut text)
        .map_err(|error| bad(&error))?;
    let secret = Secret::first_line(&text);
    if secret.reveal().is_empty() {
        return Err(bad(&"its first line is empty"));
    }
    Ok(secret)
}

/// Asks for a secret on the terminal, if there is one.
fn ask(what: &str) -> Result<Option<Secret>, Error> {
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    rpassword::prompt_password(format!("{what}: "))
        .map(|text| Some(Secret::first_line(&text)))
        .map_err(|error| Error::Credentials(format!("can't ask for the {what}: {error}")))
}
