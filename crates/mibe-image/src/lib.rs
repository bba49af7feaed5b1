//! Machine images: the manifest and its rules, the compressed file, and the folder both are kept in.
//!
//! An image is two files: a manifest (JSON, [`manifest::Manifest`]) and a `zfs send` stream, most often compressed.
//! [`file::ImageWriter`] takes the stream and compresses, measures and digests it in one pass;
//! [`library::publish`] puts both in place, the manifest last, so that a manifest never stands without its file.
//! [`open::Image`] finds an image again and reads it, whoever made it.

pub mod arrival;
pub mod chain;
pub mod diff;
pub mod digest;
mod error;
pub mod file;
pub mod flatten;
pub mod inventory;
pub mod library;
pub mod listing;
pub mod manifest;
pub mod open;
pub mod progress;
pub mod verify;

pub use error::Error;
