//! The files of an image, laid out in a folder of the user's or as a tar archive.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mibe_image::chain::Chain;
use mibe_sandbox::{Agent, Cancel, JobFiles, Mode, Sandbox};

use crate::base_image::ChainFiles;
use crate::error::BuildError;
use crate::local::jobs;

pub use crate::unpack_image::Unpacked;

/// What to take of an image, and how.
#[derive(Clone, Debug)]
pub struct ExtractOptions {
    /// What serves as agent of sandboxes.
    pub agent: Agent,
    /// Paths in the image, without `/` at their start; all of it if there are none.
    pub paths: Vec<Vec<u8>>,
    /// Ends what is running.
    pub cancel: Cancel,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Extracted {
    /// What was laid.
    pub unpacked: Unpacked,
    /// Whether owners and devices are not those of the files themselves but written beside them.
    pub has_ledger: bool,
    /// The file that holds the owners of symbolic links and the like, if any has another than root.
    pub ledger: Option<PathBuf>,
}

/// Lays the files of an image into `folder`, which is not there or empty: all of them or, if that fails, none.
///
/// Root gives them their owners. For others they are kept in the attribute `user.mibe.owner` of files and directories and, for
/// what can't have one, in a file beside the folder, which they alone may enter.
///
/// # Errors
///
/// The folder is in use, the image is damaged or has no such path, or a file can't be made.
pub fn extract(
    chain: &Chain,
    folder: &Path,
    options: &ExtractOptions,
) -> Result<Extracted, BuildError> {
    let folder = std::path::absolute(folder).map_err(BuildError::io("find", folder))?;
    match fs::read_dir(&folder).map(|mut entries| entries.next().is_some()) {
        Ok(false) => {}
        Ok(true) => {
            return Err(BuildError::usage(
                format!("{} is not empty", folder.display()),
                &["name a folder that is not there yet"],
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(BuildError::io("read", &folder)(error)),
    }
    let parent = folder.parent().unwrap_or(Path::new("/"));
    let (sandbox, extracted) = unpack(chain, parent, options)?;
    let finish = || -> Result<Option<PathBuf>, BuildError> {
        let tree = sandbox.dir().join("root");
        if extracted.has_ledger {
            // Set-uid files of root are set-uid files of this user here, which nobody else must get at.
            fs::set_permissions(&tree, fs::Permissions::from_mode(0o700))
                .map_err(BuildError::io("change the mode of", &tree))?;
        }
        fs::rename(&tree, &folder).map_err(BuildError::io("make", &folder))?;
        let side = sandbox.dir().join("ledger");
        if !fs::metadata(&side).is_ok_and(|metadata| metadata.len() > 0) {
            return Ok(None);
        }
        let mut name = folder.clone().into_os_string();
        name.push(".ledger");
        let name = PathBuf::from(name);
        fs::rename(&side, &name).map_err(BuildError::io("write", &name))?;
        Ok(Some(name))
    };
    let finished = finish();
    sandbox.destroy()?;
    Ok(Extracted {
        ledger: finished?,
        ..extracted
    })
}

/// Writes the files of an image as a tar archive: pax, in the order of names. They are laid into the folder `scratch`
/// on the way.
///
/// # Errors
///
/// As [`extract`], or the archive can't be written.
pub fn extract_tar(
    chain: &Chain,
    scratch: &Path,
    out: File,
    options: &ExtractOptions,
) -> Result<Extracted, BuildError> {
    fs::create_dir_all(scratch).map_err(BuildError::io("make", scratch))?;
    let (sandbox, extracted) = unpack(chain, scratch, options)?;
    let files = JobFiles {
        output: Some(out),
        ..JobFiles::default()
    };
    let packed = job::<_, u64>(
        &sandbox,
        jobs::TAR,
        "write the archive",
        &(),
        files,
        options,
    );
    sandbox.destroy()?;
    packed.map(|_| extracted)
}

/// Unpacks into a new sandbox in a folder. What was made of one that failed is destroyed.
fn unpack(
    chain: &Chain,
    folder: &Path,
    options: &ExtractOptions,
) -> Result<(Sandbox, Extracted), BuildError> {
    let args = jobs::UnpackImage {
        files: ChainFiles::of(chain.images())?,
        top: Vec::new(),
        paths: options.paths.clone(),
        is_linux: false,
    };
    let mode = if rustix::process::geteuid().is_root() {
        Mode::Root
    } else {
        Mode::Single
    };
    Sandbox::probe(&options.agent, mode, folder).map_err(|unavailable| BuildError::Host {
        message: format!(
            "files can't be laid into {}: {}",
            folder.display(),
            unavailable.reason
        ),
        hints: vec![
            unavailable.remedy.clone(),
            "write a tar archive instead, with --tar FILE".to_owned(),
        ],
    })?;
    let temporary = tempfile::Builder::new()
        .prefix(".mibe-extract-")
        .tempdir_in(folder)
        .map_err(BuildError::io("write to the folder", folder))?
        .keep();
    let sandbox = Sandbox::create(&options.agent, &temporary, mode)?;
    let unpacked = job(
        &sandbox,
        jobs::UNPACK_IMAGE,
        "unpack the image",
        &args,
        JobFiles::default(),
        options,
    );
    match unpacked {
        Ok(unpacked) => Ok((
            sandbox,
            Extracted {
                unpacked,
                has_ledger: mode == Mode::Single,
                ledger: None,
            },
        )),
        Err(error) => {
            // What went wrong first matters more.
            let _ = sandbox.destroy();
            Err(error)
        }
    }
}

fn job<A: serde::Serialize, R: serde::de::DeserializeOwned>(
    sandbox: &Sandbox,
    name: &str,
    what: &'static str,
    args: &A,
    files: JobFiles,
    options: &ExtractOptions,
) -> Result<R, BuildError> {
    match sandbox.job(name, args, files, &options.cancel) {
        Ok(result) => Ok(result),
        Err(_) if options.cancel.is_cancelled() => Err(BuildError::Cancelled),
        Err(mibe_sandbox::Error::Job { message, .. }) => Err(BuildError::Work {
            what,
            why: message,
            hints: Vec::new(),
        }),
        Err(error) => Err(error.into()),
    }
}
