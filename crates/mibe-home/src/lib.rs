//! The *home*: the folder with `etc/`, `repos/`, `images/` and `logs/` that the shell mibe worked in, its settings, and the git
//! repositories named in its list.

mod error;
mod home;
pub mod init;
pub mod repos;
pub mod settings;

pub use error::HomeError;
pub use home::Home;
pub use settings::Settings;
