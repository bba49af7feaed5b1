//! One file a command.

pub mod build;
pub mod check;
pub mod clean;
pub mod completions;
pub mod convert;
pub mod disk;
#[cfg(feature = "local")]
pub mod doctor;
pub mod image;
pub mod init;
pub mod init_home;
pub mod man;
#[cfg(feature = "servers")]
pub mod publish;
pub mod repos;
#[cfg(feature = "servers")]
pub mod serve;
#[cfg(feature = "servers")]
pub mod server;

use std::path::Path;

use camino::Utf8Path;

use crate::error::{CommandError, Kind};

/// A path of the command line, for libraries that want UTF-8.
pub fn utf8(path: &Path) -> Result<&Utf8Path, CommandError> {
    Utf8Path::from_path(path).ok_or_else(|| {
        CommandError::new(
            Kind::Usage,
            format!(
                "{} is not UTF-8, as paths on the command line must be",
                path.display()
            ),
        )
    })
}
