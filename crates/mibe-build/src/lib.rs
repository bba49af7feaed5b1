//! The steps of a build and the builders that carry them out.
//!
//! A [`plan::Plan`] is made of a build repository; [`build::build`] carries it out on a
//! [`machine::Builder`]; the [`local::LocalBuilder`] provides sandboxes on this Linux host.

pub mod archive;
pub mod base;
pub mod base_image;
pub mod bootstrap;
pub mod build;
pub mod capture;
pub mod clean;
pub mod doctor;
mod error;
pub mod extract;
pub mod finalise;
pub mod guest;
pub mod journal;
pub mod lay;
pub mod local;
mod log;
pub mod machine;
pub mod manifest;
pub mod packages;
pub mod paths;
pub mod plan;
mod report;
pub mod smartos;
pub mod unpack_image;
pub mod work;

pub use error::{Blame, BuildError};
pub use local::JOBS;
