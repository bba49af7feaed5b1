//! The steps of a build and the builders that carry them out.
//!
//! A [`plan::Plan`] is made of a build repository; [`build::build`] carries it out on a
//! [`machine::Builder`]; the [`local::LocalBuilder`] provides sandboxes on this Linux host.

#[cfg(feature = "local")]
pub mod archive;
pub mod base;
pub mod base_image;
#[cfg(feature = "local")]
pub mod bootstrap;
pub mod build;
pub mod capture;
pub mod clean;
pub mod disk;
#[cfg(feature = "local")]
pub mod doctor;
mod error;
#[cfg(feature = "local")]
pub mod extract;
#[cfg(feature = "local")]
pub mod finalise;
#[cfg(feature = "local")]
pub mod guest;
pub mod host_base;
pub mod journal;
pub mod lay;
mod leftovers;
#[cfg(feature = "local")]
pub mod local;
mod log;
pub mod machine;
pub mod manifest;
pub mod packages;
pub mod paths;
pub mod plan;
mod report;
pub mod smartos;
#[cfg(feature = "local")]
pub mod unpack_image;
pub mod work;

pub use error::{Blame, BuildError};
#[cfg(feature = "local")]
pub use local::JOBS;
