//! Where this user works: the home and the settings, which stand behind what the command line says.

use std::path::Path;

use camino::Utf8PathBuf;
use mibe_home::{Home, Settings};

use crate::commands::utf8;
use crate::error::CommandError;
use crate::problems;

/// The home and the settings.
pub struct Site {
    pub home: Home,
    pub settings: Settings,
}

impl Site {
    /// Finds the home and reads the settings; what is odd about them is told.
    ///
    /// # Errors
    ///
    /// `MIBE_HOME` names no folder, or a file of settings is wrong.
    #[expect(clippy::print_stderr, reason = "warnings about settings")]
    pub fn find() -> Result<Self, CommandError> {
        let home = Home::find()?;
        let settings = Settings::read(&home)?;
        eprint!("{}", problems::render(&settings.warnings));
        Ok(Self { home, settings })
    }

    /// The folder of images: what was said, what is set, the home's, or `images` in the current folder.
    pub fn images(&self, said: Option<&Path>) -> Result<Utf8PathBuf, CommandError> {
        self.folder(said, "build.output", self.home.images())
    }

    /// The folder of logs, likewise.
    pub fn logs(&self, said: Option<&Path>) -> Result<Utf8PathBuf, CommandError> {
        self.folder(said, "build.logs", self.home.logs())
    }

    fn folder(
        &self,
        said: Option<&Path>,
        setting: &str,
        otherwise: Utf8PathBuf,
    ) -> Result<Utf8PathBuf, CommandError> {
        if let Some(said) = said {
            return Ok(utf8(said)?.to_owned());
        }
        Ok(self
            .settings
            .text(setting)
            .map_or(otherwise, Utf8PathBuf::from))
    }
}
