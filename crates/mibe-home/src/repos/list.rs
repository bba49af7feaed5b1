//! `etc/repos.list` and the GITSERVER of `etc/repos.conf`.
//!
//! A line names a repository: `mi-example` on GITSERVER, `owner/name` there, or a URL or path of its own; then, if wanted, `@` and a
//! branch, tag or commit right behind it; then, after a blank, the folder below `repos/`.

use std::collections::HashMap;

use camino::{Utf8Path, Utf8PathBuf};

/// Most entries of a list.
const ENTRIES: usize = 10_000;
/// Longest line of a list, in bytes.
const LINE: usize = 4096;

/// A repository of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Folder below `repos/`: one component, not hidden.
    pub name: String,
    /// What git clones from.
    pub url: String,
    /// Branch, tag or commit.
    pub reference: Option<String>,
    /// Line of the list, counted from 1.
    pub line: u32,
    /// Whether `.git` at the end of `url` is our addition.
    pub(crate) suffixed: bool,
}

/// A line that is no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Line of the list, counted from 1.
    pub line: u32,
    /// Column, in characters from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

/// Where repositories come from that are named by their name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Up to where the path begins, with what parts the two: `https://host/`, `git@host:`.
    root: String,
    /// The path, without slashes around it.
    path: String,
    /// A folder of this machine.
    local: bool,
}

impl Server {
    /// Understands a GITSERVER.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        check_url(text)?;
        let text = text.strip_suffix('/').unwrap_or(text);
        let server = |root: String, path: &str, local| Self {
            root,
            path: path.trim_matches('/').to_owned(),
            local,
        };
        if let Some((scheme, rest)) = text.split_once("://") {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            if scheme == "file" {
                return Ok(server(format!("file://{host}/"), path, true));
            }
            return Ok(server(format!("{scheme}://{host}/"), path, false));
        }
        if text.starts_with(['/', '.', '~']) {
            return Ok(Self {
                root: String::new(),
                path: at_home(text),
                local: true,
            });
        }
        let slash = text.find('/').unwrap_or(text.len());
        if let Some(colon) = text[..slash].find(':') {
            return Ok(server(
                format!("{}:", &text[..colon]),
                &text[colon + 1..],
                false,
            ));
        }
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        if host.contains('@') {
            // The shell mibe's own default, git@git.joyent.com, is of this form.
            return Ok(server(format!("{host}:"), path, false));
        }
        Ok(server(format!("https://{host}/"), path, false))
    }

    /// The URL of a repository of this server, without `.git`.
    fn url(&self, owner: Option<&str>, name: &str) -> String {
        let path = match (owner, self.path.rsplit_once('/')) {
            _ if self.local => {
                let owner = owner.map_or_else(String::new, |owner| format!("/{owner}"));
                format!("{}{owner}", self.path)
            }
            (None, _) => self.path.clone(),
            // The owner that GITSERVER names makes place for the other.
            (Some(owner), Some((before, _))) => format!("{before}/{owner}"),
            (Some(owner), None) => owner.to_owned(),
        };
        if path.is_empty() {
            format!("{}{name}", self.root)
        } else {
            format!("{}{path}/{name}", self.root)
        }
    }
}

/// Reads a list. Entries stay in the order of the file.
pub fn parse(list: &str, server: Option<&Server>) -> (Vec<Entry>, Vec<Wrong>) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut wrongs = Vec::new();
    let mut lines: HashMap<String, u32> = HashMap::new();
    for (line, number) in list.trim_start_matches('\u{feff}').lines().zip(1..) {
        let column = 1 + line.chars().take_while(|c| c.is_whitespace()).count() as u32;
        let mut tell = |message: String, advice: &str| {
            wrongs.push(Wrong {
                line: number,
                column,
                message,
                advice: advice.to_owned(),
            });
        };
        if line.len() > LINE || entries.len() >= ENTRIES {
            tell(
                "this is more than a list of repositories holds".to_owned(),
                "is it the right file?",
            );
            break;
        }
        let mut words = line
            .split_whitespace()
            .take_while(|word| !word.starts_with('#'));
        let Some(named) = words.next() else { continue };
        let folder = words.next();
        if let Some(more) = words.next() {
            tell(
                format!("`{}` belongs to nothing", more.escape_debug()),
                "a line is a repository and, if it is to have another name here, the folder's name",
            );
            continue;
        }
        match entry(named, folder, server, number) {
            Ok(entry) => {
                if let Some(other) = lines.insert(entry.name.to_lowercase(), number) {
                    tell(
                        format!("the folder {} is that of line {other} already", entry.name),
                        "give one of them another folder: a name after a blank",
                    );
                } else {
                    entries.push(entry);
                }
            }
            Err((message, advice)) => tell(message, advice),
        }
    }
    (entries, wrongs)
}

type Bad = (String, &'static str);

fn entry(
    named: &str,
    folder: Option<&str>,
    server: Option<&Server>,
    line: u32,
) -> Result<Entry, Bad> {
    check_url(named).map_err(|message| (message, "write a name, owner/name, a URL or a path"))?;
    let (place, reference) = split_reference(named);
    if reference.is_some_and(|reference| {
        reference.is_empty()
            || reference.starts_with('-')
            || reference.contains("..")
            || reference.contains(['~', '^', ':', '?', '*', '[', '\\'])
    }) {
        return Err((
            format!(
                "what follows the @ of `{}` is no branch, tag or commit",
                named.escape_debug()
            ),
            "write NAME@BRANCH, NAME@TAG or NAME@COMMIT",
        ));
    }
    let own = own_url(place);
    let (url, suffixed) = if let Some(url) = own {
        (url, false)
    } else {
        let place = place.strip_suffix(".git").unwrap_or(place);
        let (owner, name) = match place.rsplit_once('/') {
            Some((owner, name)) => (Some(owner), name),
            None => (None, place),
        };
        let Some(server) = server else {
            return Err((
                format!("nothing says which server `{}` is on", place.escape_debug()),
                "set GITSERVER in etc/repos.conf, or write a URL",
            ));
        };
        let good = |part: &str| {
            part.split('/')
                .all(|part| is_name(part) || part.starts_with('~'))
        };
        if !good(name) || !owner.is_none_or(good) {
            return Err((
                format!("`{}` is no name of a repository", place.escape_debug()),
                "write a name, owner/name, a URL or a path",
            ));
        }
        let url = server.url(owner, name);
        if server.local
            && !Utf8Path::new(&format!("{url}.git")).exists()
            && Utf8Path::new(&url).exists()
        {
            (url, false)
        } else {
            (format!("{url}.git"), true)
        }
    };
    let name = if let Some(folder) = folder {
        folder.to_owned()
    } else {
        let place = place.trim_end_matches('/');
        let last = place.rsplit(['/', ':']).next().unwrap_or(place);
        last.strip_suffix(".git").unwrap_or(last).to_owned()
    };
    if name.starts_with('@') {
        return Err((
            format!("a blank before `{name}`"),
            "write it right behind the repository: NAME@REF",
        ));
    }
    if !is_name(&name) {
        return Err((
            format!(
                "`{}` can't be a folder's name in repos/",
                name.escape_debug()
            ),
            "give one after a blank: letters, digits and . _ - +",
        ));
    }
    Ok(Entry {
        name,
        url,
        reference: reference.map(ToOwned::to_owned),
        line,
        suffixed,
    })
}

/// One component of a path, visible, no option.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with(['-', '.', '@'])
        && !name.contains(|c: char| c == '/' || c == '\\' || c.is_control() || c.is_whitespace())
}

/// The URL or path that stands for itself, or nothing for what is on the server.
fn own_url(place: &str) -> Option<String> {
    if place.contains("://") {
        return Some(place.to_owned());
    }
    if place.starts_with(['/', '.', '~']) {
        return Some(at_home(place));
    }
    let slash = place.find('/').unwrap_or(place.len());
    place[..slash].contains(':').then(|| place.to_owned())
}

fn at_home(path: &str) -> String {
    match (path.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => Utf8PathBuf::from(home).join(rest).into_string(),
        _ => path.to_owned(),
    }
}

/// Takes the `@ref` off.
fn split_reference(named: &str) -> (&str, Option<&str>) {
    let split = |at: usize| (&named[..at], Some(&named[at + 1..]));
    // Where the path begins: an @ before it names a user.
    let path = if let Some(scheme) = named.find("://") {
        let authority = scheme + 3;
        named[authority..]
            .find('/')
            .map_or(named.len(), |slash| authority + slash)
    } else if named.starts_with(['/', '.', '~']) {
        if Utf8Path::new(&at_home(named)).exists() {
            return (named, None);
        }
        return named.rfind('@').map_or((named, None), split);
    } else {
        let slash = named.find('/').unwrap_or(named.len());
        named[..slash].find(':').unwrap_or(0)
    };
    named[path..]
        .find('@')
        .map_or((named, None), |at| split(path + at))
}

/// What must never reach git as a URL.
fn check_url(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("there is nothing".to_owned());
    }
    if text.starts_with('-') {
        return Err(format!(
            "`{}` would be an option of git",
            text.escape_debug()
        ));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("there is a blank or a control character in it".to_owned());
    }
    // `ext::sh -c …` runs a command.
    let helper = text.find("::").is_some_and(|at| {
        text[..at]
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    if helper {
        return Err(format!(
            "`{}` would have git run a program",
            text.escape_debug()
        ));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        if !["https", "http", "ssh", "git", "file", "git+ssh", "ssh+git"].contains(&scheme) {
            return Err(format!(
                "git can't clone from `{}://`",
                scheme.escape_debug()
            ));
        }
        let host = rest.split('/').next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        if host.starts_with('-') || (host.is_empty() && scheme != "file") {
            return Err(format!("`{}` names no server", text.escape_debug()));
        }
    } else if let Some((host, _)) = text.split_once(':') {
        let host = host.rsplit('@').next().unwrap_or_default();
        if host.starts_with('-') {
            return Err(format!("`{}` names no server", text.escape_debug()));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
