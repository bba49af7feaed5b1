//! Repositories through the system's ssh, from a real sshd.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

#[path = "../../mibe-host/tests/support/sshd.rs"]
mod sshd;
mod support;

use std::fs;
use std::time::Duration;

use mibe_home::repos::{clone, pull};
use sshd::Sshd;
use support::World;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn clones_and_pulls_through_ssh_and_is_never_asked() {
    let mut world = World::new();
    let sshd = Sshd::new();
    world.project("a");
    // The user's own command for ssh, with a configuration of the user's own.
    world.git = world.git.clone().with_variable(
        "GIT_SSH_COMMAND",
        format!("ssh -F '{}'", sshd.path("ssh_config").display()),
    );
    let projects = world.path("projects").display().to_string();
    let entries = world.entries(&format!("ssh://there{projects}/a.git@dev one\nthere:{projects}/a.git other\nthere:{projects}/none.git\n"));
    let outcomes = world.all(&entries, LONG, clone);
    assert_eq!(outcomes["one"].state, "cloned", "{outcomes:?}");
    assert_eq!(outcomes["other"].state, "cloned", "{outcomes:?}");
    let none = outcomes["none"].advice.as_deref().unwrap_or_default();
    assert!(none.contains("name it"), "{outcomes:?}");
    assert_eq!(
        fs::read_to_string(world.clone_of("one").join("file")).unwrap(),
        "a dev\n"
    );
    world.advance("a", "main", "new", "x");
    let outcomes = world.all(&entries[..2], LONG, pull);
    assert_eq!(outcomes["one"].state, "up to date", "{outcomes:?}");
    assert_eq!(outcomes["other"].state, "updated", "{outcomes:?}");
    // A server that is not known, then one that does not know us.
    let known = fs::read_to_string(sshd.path("known_hosts")).unwrap();
    fs::write(sshd.path("known_hosts"), "").unwrap();
    let outcomes = world.all(&entries[..1], LONG, pull);
    let advice = outcomes["one"].advice.as_deref().unwrap_or_default();
    assert!(advice.contains("accept the server's key"), "{outcomes:?}");
    fs::write(sshd.path("known_hosts"), known).unwrap();
    fs::write(sshd.path("authorized_keys"), "").unwrap();
    let outcomes = world.all(&entries[..1], LONG, pull);
    let advice = outcomes["one"].advice.as_deref().unwrap_or_default();
    assert!(advice.contains("ssh-agent"), "{outcomes:?}");
}
