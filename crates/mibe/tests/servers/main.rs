//! Image servers: `mibe serve` asked by what asks real ones, `mibe publish` and `mibe image pull` before servers that are right, that
//! lie, and that break off.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

mod broken;
mod clients;
mod hostile;
#[path = "../support/images.rs"]
mod images;
mod pages;
mod published;
mod pulled;
mod scripted;
mod security;
mod served;
mod serving;
#[path = "../support/mod.rs"]
mod support;
