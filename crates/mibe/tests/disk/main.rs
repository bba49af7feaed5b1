//! `mibe disk` as its users call it: small disks of every shape, made images, and real OpenZFS, sgdisk, e2fsck and Triton's rules asked what came of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

mod boot;
mod built;
mod ended;
mod made;
mod metadata;
mod refused;
mod shape;
#[path = "../support/mod.rs"]
mod support;
