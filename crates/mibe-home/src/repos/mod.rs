//! The build repositories named in `etc/repos.list`: cloned, pulled and told of, side by side, with the system's git.

mod clone;
mod git;
pub mod list;
mod outcome;
pub mod pool;
mod pull;
mod status;

use std::fs;
use std::io::{self, Read as _};

use camino::Utf8Path;
use mibe_recipe::assignments;

use crate::error::HomeError;
use crate::home::Home;
use crate::settings::Settings;

pub use clone::{clean, clone};
pub use git::{Failure as GitFailure, Git, Kind, Limits};
pub use list::{Entry, Server, Wrong};
pub use outcome::Outcome;
pub use pull::pull;
pub use status::{Repository, look, names};

/// Largest list, in bytes.
const SIZE: u64 = 1 << 20;

/// The list of a home, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct List {
    /// Its entries, in its order.
    pub entries: Vec<Entry>,
    /// Lines that are none.
    pub wrong: Vec<Wrong>,
}

/// Reads `etc/repos.conf` and `etc/repos.list`.
///
/// # Errors
///
/// There is no list, it can't be read, or the server can't be understood.
pub fn read(home: &Home, settings: &Settings) -> Result<List, HomeError> {
    let path = home.path("etc/repos.list");
    let Some(text) = text(&path)? else {
        return Err(HomeError::NoList(path));
    };
    let server = server(home, settings)?;
    let (mut entries, wrong) = list::parse(&text, server.as_ref());
    // The home is the same from wherever mibe is called.
    for entry in &mut entries {
        if entry.url.starts_with("./") || entry.url.starts_with("../") {
            entry.url = absolute(home, &entry.url);
        }
    }
    Ok(List { entries, wrong })
}

/// GITSERVER of `etc/repos.conf`, or else the setting `repos.server`.
///
/// # Errors
///
/// It can't be read or understood.
pub fn server(home: &Home, settings: &Settings) -> Result<Option<Server>, HomeError> {
    let path = home.path("etc/repos.conf");
    let mut of_conf = None;
    if let Some(text) = text(&path)? {
        let (assigned, problems) = assignments(&path, text.as_bytes());
        of_conf = assigned
            .into_iter()
            .rfind(|assigned| assigned.key.value == "GITSERVER")
            .map(|assigned| assigned.value.value)
            .filter(|server| !server.trim().is_empty());
        // What else may stand there is for a shell; but where nothing names the server, this is why.
        if of_conf.is_none() && !problems.is_empty() {
            return Err(HomeError::Settings {
                file: path,
                problems,
            });
        }
    }
    let Some(server) = of_conf.or_else(|| settings.text("repos.server").map(ToOwned::to_owned))
    else {
        return Ok(None);
    };
    let relative = server.starts_with("./") || server.starts_with("../");
    let place = if relative {
        absolute(home, &server)
    } else {
        server.clone()
    };
    Server::parse(&place)
        .map(Some)
        .map_err(|message| HomeError::Server { server, message })
}

fn absolute(home: &Home, path: &str) -> String {
    let path = home.path(path);
    std::path::absolute(&path)
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| path.into_string())
}

fn text(path: &Utf8Path) -> Result<Option<String>, HomeError> {
    let mut bytes = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(SIZE + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > SIZE => Err(HomeError::io("read", path)(io::Error::other(
            format!("it is larger than {SIZE} bytes"),
        ))),
        Ok(_) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(HomeError::io("read", path)(error)),
    }
}
