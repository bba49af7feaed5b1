//! The image servers that a user has names for.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::whole;

/// Largest file of servers, in bytes.
const SIZE: u64 = 1 << 20;

/// How a server takes images; all are read the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerType {
    /// IMGAPI.
    #[default]
    Imgapi,
    /// dsapid, which runs datasets.at.
    Dsapi,
}

impl fmt::Display for ServerType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Imgapi => "imgapi",
            Self::Dsapi => "dsapi",
        })
    }
}

/// Where credentials come from; secrets themselves are kept nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSource {
    /// The user of a password or key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// File with the password in its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<Utf8PathBuf>,
    /// File of a private RSA key, or `agent`, or `agent:FINGERPRINT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// File with the token in its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<Utf8PathBuf>,
}

impl CredentialSource {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where it is.
    pub url: String,
    /// How it takes images.
    #[serde(default, rename = "type")]
    pub kind: ServerType,
    /// The channel that is meant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// How it knows its user.
    #[serde(flatten)]
    pub credentials: CredentialSource,
}

impl Server {
    /// A server at a URL.
    pub fn new(url: impl Into<String>, kind: ServerType) -> Self {
        Self {
            // imgadm names a dsapi by the path of its list.
            url: url
                .into()
                .trim_end_matches('/')
                .trim_end_matches("/datasets")
                .to_owned(),
            kind,
            channel: None,
            credentials: CredentialSource::default(),
        }
    }
}

/// The servers by name, kept in a file (`servers.json`) of the user's.
#[derive(Clone, Debug)]
pub struct Servers {
    path: Option<Utf8PathBuf>,
    own: BTreeMap<String, Option<Server>>,
}

/// The server that is there from the start.
const FIRST: (&str, &str) = ("smartos", "https://images.smartos.org");

impl Servers {
    /// Reads the file, which may not be there. Without a path there is what is there from the start.
    ///
    /// # Errors
    ///
    /// It can't be read, or holds something else.
    pub fn read(path: Option<&Utf8Path>) -> Result<Self, Error> {
        let mut servers = Self {
            path: path.map(ToOwned::to_owned),
            own: BTreeMap::new(),
        };
        let Some(path) = path else {
            return Ok(servers);
        };
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(servers),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let mut text = String::new();
        file.take(SIZE)
            .read_to_string(&mut text)
            .map_err(Error::io("read", path))?;
        servers.own = serde_json::from_str(&text).map_err(|error| {
            Error::usage(
                format!("{path}: {error}"),
                &["it is a JSON object of servers by name, each with url and type; `mibe server add` writes it"],
            )
        })?;
        Ok(servers)
    }

    /// The servers, the one from the start first.
    pub fn list(&self) -> Vec<(String, Server)> {
        let (first, url) = FIRST;
        let mut list = Vec::new();
        if !self.own.contains_key(first) {
            list.push((first.to_owned(), Server::new(url, ServerType::Imgapi)));
        }
        let own = self.own.iter();
        list.extend(own.filter_map(|(name, server)| Some((name.clone(), server.clone()?))));
        list
    }

    /// The server of this name, or at this URL.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    pub fn find(&self, name: &str) -> Result<(String, Server), Error> {
        let list = self.list();
        if let Some(found) = list.iter().find(|(own, _)| own == name) {
            return Ok(found.clone());
        }
        if name.contains("://") {
            let plain = Server::new(name, ServerType::Imgapi);
            let known = list.into_iter().find(|(_, server)| server.url == plain.url);
            return Ok(known.unwrap_or_else(|| (plain.url.clone(), plain)));
        }
        let names: Vec<_> = list.iter().map(|(name, _)| name.as_str()).collect();
        Err(Error::usage(
            format!("there is no server {name:?}"),
            &[
                &format!("there are: {}", names.join(", ")),
                "`mibe server add NAME URL` gives one a name; a URL can stand in place of a name",
            ],
        ))
    }

    /// Adds a server.
    ///
    /// # Errors
    ///
    /// The name is taken or can't be one, the URL is none, or the file can't be written.
    pub fn add(&mut self, name: &str, server: Server) -> Result<(), Error> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty()
            || name.len() > 64
            || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !name.chars().all(fits)
        {
            return Err(Error::usage(
                format!("{name:?} can't be the name of a server"),
                &["a name is of letters, digits and . _ -, and begins with a letter or digit"],
            ));
        }
        if self.list().iter().any(|(own, _)| own == name) {
            return Err(Error::usage(
                format!("there is a server {name} already"),
                &[&format!("`mibe server remove {name}` takes it away")],
            ));
        }
        crate::http::Http::new(
            &server.url,
            crate::credentials::Credentials::None,
            crate::http::Patience::default(),
            crate::http::Cancel::default(),
        )?;
        self.own.insert(name.to_owned(), Some(server));
        self.write()
    }

    /// Takes a server away, also the one from the start.
    ///
    /// # Errors
    ///
    /// There is none of this name, or the file can't be written.
    pub fn remove(&mut self, name: &str) -> Result<(), Error> {
        if !self.list().iter().any(|(own, _)| own == name) {
            return Err(Error::usage(
                format!("there is no server {name:?}"),
                &["`mibe server list` shows them"],
            ));
        }
        if name == FIRST.0 {
            // `null` in the file: it would come back otherwise.
            self.own.insert(name.to_owned(), None);
        } else {
            self.own.remove(name);
        }
        self.write()
    }

    fn write(&self) -> Result<(), Error> {
        let path = self
            .path
            .as_ref()
            .ok_or_else(|| Error::usage("there is no folder of settings: HOME is not set", &[]))?;
        let folder = path.parent().unwrap_or(Utf8Path::new("."));
        let failed = || Error::io("write", path);
        fs::create_dir_all(folder).map_err(failed())?;
        let mut text = serde_json::to_string_pretty(&self.own)
            .map_err(|error| failed()(io::Error::other(error)))?;
        text.push('\n');
        whole::write(path, text.as_bytes(), 0o600).map_err(failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path())
            .unwrap()
            .join("mibe/servers.json");
        let mut servers = Servers::read(Some(&path)).unwrap();
        assert_eq!(
            servers.find("smartos").unwrap().1.url,
            "https://images.smartos.org"
        );
        servers
            .add("ours", Server::new("http://h/repo/", ServerType::Imgapi))
            .unwrap();
        servers
            .add(
                "at",
                Server::new("https://datasets.at/datasets/", ServerType::Dsapi),
            )
            .unwrap();
        assert!(
            servers
                .add("ours", Server::new("http://other", ServerType::Imgapi))
                .is_err()
        );
        for wrong in ["", "-x", "a b", "a/b"] {
            assert!(
                servers
                    .add(wrong, Server::new("http://h", ServerType::Imgapi))
                    .is_err()
            );
        }
        assert!(
            servers
                .add("x", Server::new("nowhere", ServerType::Imgapi))
                .is_err()
        );
        let again = Servers::read(Some(&path)).unwrap();
        assert_eq!(again.list(), servers.list());
        assert_eq!(again.find("http://h/repo").unwrap().0, "ours");
        assert_eq!(again.find("at").unwrap().1.url, "https://datasets.at");
        assert_eq!(again.find("http://else").unwrap().1.url, "http://else");
        servers.remove("smartos").unwrap();
        servers.remove("at").unwrap();
        assert!(servers.remove("at").is_err());
        let again = Servers::read(Some(&path)).unwrap();
        let names: Vec<_> = again.list().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ours"]);
        assert!(again.find("smartos").is_err());
        servers
            .add("smartos", Server::new("http://mirror", ServerType::Imgapi))
            .unwrap();
        assert_eq!(
            Servers::read(Some(&path))
                .unwrap()
                .find("smartos")
                .unwrap()
                .1
                .url,
            "http://mirror"
        );
    }
}
