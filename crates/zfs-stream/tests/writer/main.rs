//! The writer against real OpenZFS: what is put in must come out.
//!
//! `MIBE_ORACLE` must name the directory of the receive oracle; `cargo xtask test` builds it and
//! sets it.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dir_tree;
mod directories;
mod faults;
mod foreign;
mod incremental;
mod kinds;
mod properties;
mod support;
mod threaded;
mod volumes;
