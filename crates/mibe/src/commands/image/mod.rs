//! `mibe image`: looks into images. One file a command.

mod cat;
mod diff;
mod extract;
mod files;
mod flatten;
mod list;
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
use tempfile::NamedTempFile;
use zfs_stream::read::{Filesystem, Node};

use crate::cli::{ImageCommand, Libraries as LibraryArguments, OneImage};
use crate::error::{CommandError, Kind};

pub fn run(command: &ImageCommand) -> Result<(), CommandError> {
    match command {
        ImageCommand::List(arguments) => list::run(arguments),
        ImageCommand::Show(arguments) => show::run(arguments),
        ImageCommand::Files(arguments) => files::run(arguments),
        ImageCommand::Cat(arguments) => cat::run(arguments),
        ImageCommand::Extract(arguments) => extract::run(arguments),
        ImageCommand::Diff(arguments) => diff::run(arguments),
        ImageCommand::Verify(arguments) => verify::run(arguments),
        ImageCommand::Flatten(arguments) => flatten::run(arguments),
    }
}

/// An image, with what keeps its files there.
struct Opened {
    chain: Chain,
    _spool: Option<NamedTempFile>,
}

/// How often an image is read: what can be read once only is written to a file first, as it is, where that is not enough.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readings {
    Once,
    Several,
}

fn libraries(arguments: &LibraryArguments) -> Result<Libraries, CommandError> {
    let mut folders = vec![utf8(&arguments.images)?.to_owned()];
    // Who has no home has no cache.
    if let Ok(paths) = Paths::of_user() {
        folders.push(utf8(&paths.images())?.to_owned());
    }
    Ok(Libraries::new(folders))
}

fn open(arguments: &OneImage, readings: Readings) -> Result<Opened, CommandError> {
    open_named(&arguments.image, &arguments.libraries, readings)
}

fn open_named(
    name: &str,
    arguments: &LibraryArguments,
    readings: Readings,
) -> Result<Opened, CommandError> {
    let libraries = libraries(arguments)?;
    let origins = arguments
        .origin
        .iter()
        .map(|path| utf8(path).map(ToOwned::to_owned))
        .collect::<Result<Vec<Utf8PathBuf>, _>>()?;
    let mut image = Image::open(name, &libraries).map_err(failed)?;
    let mut spool = None;
    if readings == Readings::Several && image.path().is_none() {
        let file = spooled(name).map_err(|error| {
            CommandError::new(Kind::Failed, format!("can't keep {name}: {error}"))
        })?;
        image = Image::at(utf8(file.path())?).map_err(failed)?;
        spool = Some(file);
    }
    let chain = Chain::of(&image, &libraries, &origins).map_err(failed)?;
    Ok(Opened {
        chain,
        _spool: spool,
    })
}

/// Standard input or a pipe in a file, compressed as it comes.
fn spooled(name: &str) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("mibe-image-").tempfile()?;
    if name == "-" {
        io::copy(&mut io::stdin().lock(), file.as_file_mut())?;
    } else {
        io::copy(&mut std::fs::File::open(name)?, file.as_file_mut())?;
    }
    Ok(file)
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

/// Standard output for a lot of text. That nobody wants to read on is no error.
struct Output(io::BufWriter<io::StdoutLock<'static>>);

impl Output {
    fn new() -> Self {
        Self(io::BufWriter::with_capacity(1 << 16, io::stdout().lock()))
    }

    /// Writes a line; false when nobody reads it.
    fn line(&mut self, text: &str) -> bool {
        writeln!(self.0, "{text}").is_ok()
    }

    /// Writes bytes as they are.
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
