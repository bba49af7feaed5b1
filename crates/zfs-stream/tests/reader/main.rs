//! The reader against what others wrote and saw.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod openzfs;
mod samples;
mod support;
