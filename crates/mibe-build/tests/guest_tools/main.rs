//! The guest tools, run as they are under dash and busybox in a root of their own, with a metadata service of the
//! tests' own making.
//!
//! Needs the Debian packages dash, busybox-static (or busybox) and shellcheck.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod boot;
mod files;
mod scripts;
mod zone;
