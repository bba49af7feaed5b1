//! The SmartOS builder: build machines are zones of a SmartOS global zone or a Triton compute node, this machine or one behind ssh.
//!
//! All that happens there goes through [`mibe_host::Host`]: [`tools`] has the programs of a global zone, [`zlogin`] runs scripts in
//! a zone, [`zone`] is the build machine, [`destroy`] takes one away, for the builder and for `mibe clean`.

mod builder;
mod copy;
pub mod destroy;
mod images;
mod properties;
pub mod spec;
mod tools;
mod zlogin;
mod zone;

pub use builder::{SmartosBuilder, SmartosOptions, Timeouts};
