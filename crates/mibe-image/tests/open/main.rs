//! Opening images: every compression as the real programs write it, damaged files, libraries, origins.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy lets tests unwrap, but not the helpers beside them"
)]

mod chain;
mod decompress;
mod hostile;
mod image;
mod libraries;
mod support;
