//! Clones that are ended, by a signal or a power cut: nothing half is left where repositories are.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod support;

use std::fs::{self, File, FileTimes};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use mibe_home::repos::{Limits, clean, clone};
use support::World;
use support::http::Http;

fn names(world: &World) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(world.repos())
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_clone_that_is_ended_leaves_nothing() {
    let world = World::new();
    let http = Http::new(&world.path("projects"), Duration::ZERO);
    let entry = &world.entries(&format!("{} x\n", http.url("hang/x.git")))[0];
    fs::create_dir(world.repos()).unwrap();
    let cancel = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let limits = Limits {
                timeout: Duration::from_secs(60),
                cancel: &cancel,
            };
            clone(&world.git, entry, &world.repos(), limits)
        });
        while !world.repos().join(".mibe-clone").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // What a living clone works on stays, whatever its age seems.
        clean(&world.repos()).unwrap();
        assert_eq!(names(&world), [".mibe-clone"]);
        cancel.store(true, Ordering::SeqCst);
        let outcome = running.join().unwrap();
        assert!(outcome.failed && outcome.detail == "ended", "{outcome:?}");
    });
    assert_eq!(names(&world), [""; 0]);
}

/// Run by the test below in a process of its own, which is killed.
#[test]
fn clones_until_it_is_killed() {
    let (Ok(url), Ok(repos)) = (
        std::env::var("MIBE_TEST_URL"),
        std::env::var("MIBE_TEST_REPOS"),
    ) else {
        return;
    };
    let world = World::new();
    let cancel = AtomicBool::new(false);
    let limits = Limits {
        timeout: Duration::from_secs(60),
        cancel: &cancel,
    };
    clone(
        &world.git,
        &world.entries(&format!("{url} x\n"))[0],
        repos.as_str().into(),
        limits,
    );
}

#[test]
fn what_a_killed_clone_leaves_is_cleaned_by_the_next() {
    let world = World::new();
    let http = Http::new(&world.path("projects"), Duration::ZERO);
    world.project("good");
    fs::create_dir(world.repos()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "clones_until_it_is_killed"])
        .env("MIBE_TEST_URL", http.url("hang/x.git"))
        .env("MIBE_TEST_REPOS", world.repos())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let growing = world.repos().join(".mibe-clone");
    let lock = loop {
        let found = fs::read_dir(&growing)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .find(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "lock")
            });
        match found {
            Some(lock) if lock.with_extension("").exists() => break lock,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lock.with_extension("").exists());
    // One this young might be about to be locked.
    clean(&world.repos()).unwrap();
    assert!(lock.exists());
    let old = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(120));
    File::options()
        .write(true)
        .open(&lock)
        .unwrap()
        .set_times(old)
        .unwrap();
    // The git that was not killed with it may still be writing.
    for _ in 0..100 {
        clean(&world.repos()).unwrap();
        if names(&world).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(names(&world), [""; 0]);
    let cancel = AtomicBool::new(false);
    let limits = Limits {
        timeout: Duration::from_secs(60),
        cancel: &cancel,
    };
    let outcome = clone(
        &world.git,
        &world.entries(&format!("{} x\n", http.url("ok/good.git")))[0],
        &world.repos(),
        limits,
    );
    assert!(!outcome.failed, "{outcome:?}");
    assert_eq!(names(&world), ["x"]);
}
