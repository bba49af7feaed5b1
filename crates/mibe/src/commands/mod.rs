//! One file a command.

pub mod build;
pub mod clean;
pub mod completions;
pub mod doctor;
pub mod image;
pub mod man;
