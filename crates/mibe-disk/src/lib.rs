//! Disks of virtual machines, without mounting them, without root, without ZFS.

mod changes;
mod decide;
mod error;
pub mod ext4;
pub mod fat;
pub mod filesystem;
pub mod guest;
pub mod inspect;
pub mod prepare;
pub mod scratch;
pub mod source;
pub mod table;
mod tool;
pub mod volume;

pub use error::DiskError;
pub use tool::{Program, programs};
