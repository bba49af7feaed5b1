//! Builds in a SmartOS global zone, here and over ssh, played by `fake/`: what is made, and what becomes of the host.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that can't go on ends"
)]

mod debian;
mod faults;
mod host;
mod left_behind;
mod made;
mod refused;
#[path = "../../../mibe-host/tests/support/sshd.rs"]
mod sshd;
#[path = "../support/mod.rs"]
mod support;

use std::fs;

use serde_json::Value;
use support::{Received, World, names, receive};

fn manifest(world: &World, name: &str) -> Value {
    let path = world
        .home()
        .join("images")
        .join(format!("{name}-1.0.0.json"));
    support::assert_takes_imgmanifest(&path);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn tree(world: &World, name: &str) -> Received {
    receive(
        &world
            .home()
            .join("images")
            .join(format!("{name}-1.0.0.zfs.gz")),
    )
}

/// What a file of an image holds.
fn content(world: &World, name: &str, path: &str) -> String {
    world
        .mibe(&["image", "cat", &format!("{name}@1.0.0"), path])
        .expect(0)
        .stdout
}

fn log(world: &World) -> String {
    let folder = world.home().join("logs");
    let last = names(&folder).pop().unwrap();
    fs::read_to_string(folder.join(last)).unwrap()
}

const BUILD: &[&str] = &["build", "mi-x", "--builder", "smartos"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [BUILD, more].concat()
}
