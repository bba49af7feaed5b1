//! Bootstrapping from mirrors that are good, broken, slow and hostile: served by a small HTTP server of this program, signed by
//! real gpg; gpgv and dpkg are asked for a second opinion.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod downloads;
mod index;
mod keys;
mod server;
mod signatures;
mod versions;
