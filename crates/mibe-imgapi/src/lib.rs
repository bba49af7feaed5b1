//! Image servers: what they offer is asked for, pulled into a library, and published to; and a library is served as one.
//!
//! Servers speak IMGAPI, which `imgadm` and Triton speak, or are a dsapid (datasets.at), which speaks it for reading and has
//! an own way of taking images. [`client::Client`] reads from either; [`pull`] brings images into a library with their
//! origins; [`publish`] brings them out; [`server`] serves a library.

pub mod client;
pub mod credentials;
mod error;
pub mod filter;
pub mod http;
pub mod publish;
pub mod pull;
mod roots;
pub mod server;
pub mod servers;
pub mod signature;
mod whole;

pub use error::{Error, Reply};
