//! `mibe image`: looks into images. One file a command.

#[cfg(feature = "servers")]
mod avail;
mod cat;
mod diff;
#[cfg(feature = "local")]
mod extract;
mod files;
mod flatten;
mod list;
#[cfg(feature = "servers")]
mod pull;
mod show;
mod verify;

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use mibe_build::BuildError;
use mibe_build::paths::Paths;
use mibe_image::chain::Chain;
use mibe_image::listing;
use mibe_image::open::{Image, Libraries};
use zfs_stream::read::{Filesystem, Node};

use crate::cli::{ImageCommand, Libraries as LibraryArguments, OneImage};
use crate::error::{CommandError, Kind};
use crate::output;
use crate::site::Site;

pub fn run(command: &ImageCommand) -> Result<(), CommandError> {
    match command {
        ImageCommand::List(arguments) => list::run(arguments),
        ImageCommand::Show(arguments) => show::run(arguments),
        #[cfg(feature = "servers")]
        ImageCommand::Avail(arguments) => avail::run(arguments),
        #[cfg(feature = "servers")]
        ImageCommand::Pull(arguments) => pull::run(arguments),
        ImageCommand::Files(arguments) => files::run(arguments),
        ImageCommand::Cat(arguments) => cat::run(arguments),
        #[cfg(feature = "local")]
        ImageCommand::Extract(arguments) => extract::run(arguments),
        ImageCommand::Diff(arguments) => diff::run(arguments),
        ImageCommand::Verify(arguments) => verify::run(arguments),
        ImageCommand::Flatten(arguments) => flatten::run(arguments),
    }
}

/// How often an image is read: what can be read once only is kept where that is not enough.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readings {
    Once,
    Several,
}

pub fn libraries(arguments: &LibraryArguments) -> Result<Libraries, CommandError> {
    let mut folders = vec![Site::find()?.images(arguments.images.as_deref())?];
    // Who has no home has no cache.
    if let Ok(paths) = Paths::of_user() {
        folders.push(utf8(&paths.images())?.to_owned());
    }
    Ok(Libraries::new(folders))
}

/// The libraries, and the folder that the image itself is in, where it is named by its path: its origins may be beside it.
pub fn with_neighbours(name: &str, libraries: Libraries) -> Libraries {
    let path = Utf8Path::new(name);
    let Some(folder) = path.is_file().then(|| path.parent()).flatten() else {
        return libraries;
    };
    let folder = if folder.as_str().is_empty() {
        Utf8Path::new(".")
    } else {
        folder
    };
    let own = libraries.folders().iter().cloned();
    Libraries::new(own.chain([folder.to_owned()]))
}

fn open(arguments: &OneImage, readings: Readings) -> Result<Chain, CommandError> {
    open_named(&arguments.image, &arguments.libraries, readings)
}

fn open_named(
    name: &str,
    arguments: &LibraryArguments,
    readings: Readings,
) -> Result<Chain, CommandError> {
    let libraries = with_neighbours(name, libraries(arguments)?);
    let origins = arguments
        .origin
        .iter()
        .map(|path| utf8(path).map(ToOwned::to_owned))
        .collect::<Result<Vec<Utf8PathBuf>, _>>()?;
    let image = Image::open(name, &libraries).map_err(failed)?;
    let chain = Chain::of(&image, &libraries, &origins).map_err(failed)?;
    match readings {
        Readings::Once => Ok(chain),
        Readings::Several => chain.kept().map_err(failed),
    }
}

fn failed(error: mibe_image::Error) -> CommandError {
    BuildError::from(error).into()
}

fn utf8(path: &Path) -> Result<&Utf8Path, CommandError> {
    Utf8Path::from_path(path).ok_or_else(|| {
        CommandError::new(
            Kind::Usage,
            format!(
                "{} is not UTF-8, as the paths of images must be",
                path.display()
            ),
        )
    })
}

/// The path of a file in an image as the command line has it: as it is, or as listings show it.
fn path_in_image(files: &Filesystem, argument: &OsStr) -> Vec<u8> {
    let plain = trimmed(argument.as_bytes());
    if files.find(plain).is_none()
        && let Some(text) = argument.to_str()
        && let Some(bytes) = listing::unescape(text)
        && files.find(trimmed(&bytes)).is_some()
    {
        return trimmed(&bytes).to_vec();
    }
    plain.to_vec()
}

fn trimmed(path: &[u8]) -> &[u8] {
    let start = path.iter().take_while(|byte| **byte == b'/').count();
    let path = path.get(start..).unwrap_or_default();
    let end = path.iter().rev().take_while(|byte| **byte == b'/').count();
    path.get(..path.len() - end).unwrap_or_default()
}

/// The file at a path.
fn find<'a>(files: &'a Filesystem, path: &[u8]) -> Result<&'a Node, CommandError> {
    files.find(path).ok_or_else(|| {
        let path = listing::escape(path);
        let error = CommandError::new(Kind::Failed, format!("there is no /{path} in the image"));
        // What runs sees of a zone's dataset only what is in root/.
        if files.find(&[b"root/", path.as_bytes()].concat()).is_some() {
            return error.hint(format!(
                "there is /root/{path}: a zone's files are in /root"
            ));
        }
        error
    })
}

/// Standard output for a lot of text. That nobody wants to read on is no error; that it can't be written is.
struct Output {
    out: io::BufWriter<io::StdoutLock<'static>>,
    failed: Option<io::Error>,
}

impl Output {
    fn new() -> Self {
        Self {
            out: io::BufWriter::with_capacity(1 << 16, io::stdout().lock()),
            failed: None,
        }
    }

    /// Writes a line with its control characters as `\xNN`; false when there is no use in going on.
    fn line(&mut self, text: &str) -> bool {
        let mut line = output::visible(text).into_owned();
        line.push('\n');
        self.bytes(line.as_bytes())
    }

    /// Writes a value as a line of JSON.
    fn json(&mut self, value: &impl serde::Serialize) -> bool {
        let written = serde_json::to_writer(&mut self.out, value).map_err(io::Error::from);
        self.note(written) && self.bytes(b"\n")
    }

    /// Writes bytes as they are.
    fn bytes(&mut self, bytes: &[u8]) -> bool {
        let written = self.out.write_all(bytes);
        self.note(written)
    }

    fn note(&mut self, written: io::Result<()>) -> bool {
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
        self.failed.is_none()
    }

    /// All is written.
    fn finish(mut self) -> Result<(), CommandError> {
        let written = self.out.flush();
        self.note(written);
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::new(
                Kind::Failed,
                format!("can't write to standard output: {error}"),
            )),
            _ => Ok(()),
        }
    }
}
