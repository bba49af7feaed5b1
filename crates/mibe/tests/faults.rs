//! Builds that fail, that are interrupted or killed: what they say and what they leave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Who, World, customize, minimal, names, succeed};

#[test]
fn a_failing_customize_leaves_nothing_but_its_log() {
    for who in [Who::Root, Who::Subuid, Who::Single] {
        let world = World::with_base(who);
        let body =
            "echo one; touch /root/here /etc/there\necho the last words >&2\nfalse\necho never\n";
        world.write_repository(
            "broken",
            &[minimal("broken", "debian:bookworm"), customize(body)],
        );
        let ran = world.mibe(&["build", "broken"]).expect(1);
        ran.says("customize exited with status 1")
            .says("the last words")
            .says("logs/broken-1.0.0-");
        assert!(!ran.stderr.contains("never"));
        assert_eq!(names(&world.home().join("images")), Vec::<String>::new());
        let logs = names(&world.home().join("logs"));
        assert_eq!(logs.len(), 1);
        let log = fs::read_to_string(world.home().join("logs").join(&logs[0])).unwrap();
        assert!(log.contains("one\n"), "{log}");
        world.assert_nothing_left();
    }
}

#[test]
fn a_package_that_does_not_exist_is_named() {
    let world = World::with_base(Who::Single);
    world.write_repository(
        "absent",
        &[
            minimal("absent", "debian:bookworm"),
            ("packages", 0o644, "curl\nno-such-package\n"),
            customize("exit 0\n"),
        ],
    );
    world
        .mibe(&["build", "absent"])
        .expect(1)
        .says("apt-get install exited with status 100")
        .says("Unable to locate package no-such-package");
    assert_eq!(names(&world.home().join("images")), Vec::<String>::new());
    world.assert_nothing_left();
}

#[test]
fn a_build_killed_in_the_middle_of_apt_is_cleaned_up() {
    for who in [Who::Root, Who::Subuid, Who::Single] {
        let world = World::with_base(who);
        world.write_repository(
            "slow",
            &[
                minimal("slow", "debian:bookworm"),
                ("packages", 0o644, "nginx-light\ncron\n"),
                customize("exit 0\n"),
            ],
        );
        let mut child = world
            .command(&["build", "--progress", "json", "-v", "slow"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        for line in std::io::BufRead::lines(stdout) {
            if line.unwrap().contains("Unpacking ") {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The kernel takes the processes away; it is not asked to do so within a moment.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !world.processes().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(world.processes(), Vec::<String>::new());
        assert_eq!(names(&world.home().join(".cache/mibe/machines")).len(), 1);
        let ran = world.mibe(&["clean"]).expect(0);
        assert!(
            ran.stdout.contains("destroyed the build machine"),
            "{}",
            ran.stdout
        );
        world.assert_nothing_left();
        assert_eq!(names(&world.home().join("images")), Vec::<String>::new());
    }
}

#[test]
fn interrupted_by_ctrl_c_it_destroys_its_machine() {
    let world = World::with_base(Who::Single);
    world.write_repository(
        "sleepy",
        &[
            minimal("sleepy", "debian:bookworm"),
            customize("sleep 600\n"),
        ],
    );
    let mut child = world
        .command(&["build", "--progress", "json", "sleepy"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    for line in std::io::BufRead::lines(stdout) {
        let line = line.unwrap();
        if line.contains("step_started") && line.contains("customize") {
            break;
        }
    }
    succeed(Command::new("kill").args(["-INT", &child.id().to_string()]));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    world.assert_nothing_left();
}

#[test]
fn one_that_fails_keeps_no_other_from_being_built_and_its_machine_if_asked() {
    let world = World::with_base(Who::Single);
    for (name, body) in [("one", "touch /root/trace\nexit 7\n"), ("two", "exit 0\n")] {
        world.write_repository(name, &[minimal(name, "debian:bookworm"), customize(body)]);
    }
    let ran = world
        .mibe(&[
            "build",
            "--progress",
            "json",
            "--keep-on-failure",
            "one",
            "two",
        ])
        .expect(1);
    ran.says("customize exited with status 7")
        .says("not built: one");
    let events: Vec<serde_json::Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let built: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "built")
        .collect();
    assert_eq!(built.len(), 1);
    assert_eq!(built[0]["manifest"], "images/two-1.0.0.json");
    let error = events
        .iter()
        .find(|event| event["event"] == "error")
        .unwrap();
    assert_eq!(error["message"], "customize exited with status 7");
    assert_eq!(
        names(&world.home().join("images")),
        ["two-1.0.0.json", "two-1.0.0.zfs.gz"]
    );

    let machines = world.home().join(".cache/mibe/machines");
    let kept = names(&machines);
    assert_eq!(kept.len(), 1);
    let message = format!(
        "{}; `mibe clean` destroys it",
        machines.join(&kept[0]).display()
    );
    assert!(
        events.iter().any(|event| event["text"]
            .as_str()
            .is_some_and(|text| text.ends_with(&message))),
        "{events:?}"
    );
    assert!(machines.join(&kept[0]).join("root/root/trace").exists());
    // The next build is no reason to take it away.
    world.mibe(&["build", "one"]).expect(1);
    assert_eq!(names(&machines), kept);
    world.mibe(&["clean"]).expect(0);
    world.assert_nothing_left();
}

#[test]
fn a_customize_that_takes_too_long_is_ended() {
    let world = World::with_base(Who::Root);
    world.write_repository(
        "endless",
        &[
            minimal("endless", "debian:bookworm"),
            customize("sleep 600\n"),
        ],
    );
    world
        .mibe(&["build", "--timeout-customize", "2", "endless"])
        .expect(1)
        .says("customize took longer than 2 s");
    world.assert_nothing_left();
}

#[test]
fn an_existing_image_stays_unless_forced() {
    let world = World::with_base(Who::Root);
    world.write_repository(
        "again",
        &[minimal("again", "debian:bookworm"), customize("exit 0\n")],
    );
    world
        .mibe(&["build", "--compression", "none", "again"])
        .expect(0);
    let file = world.home().join("images/again-1.0.0.zfs");
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    world
        .mibe(&["build", "--compression", "none", "again"])
        .expect(1)
        .says("--force");
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
    world
        .mibe(&["build", "--compression", "none", "--force", "again"])
        .expect(0);
    assert!(fs::metadata(&file).unwrap().modified().unwrap() > before);
    world.assert_nothing_left();
}

#[test]
fn what_is_no_root_file_system_is_refused() {
    for who in [Who::Root, Who::Single] {
        let world = World::new(who);
        let folder = world.home().join("nothing");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("readme"), "x").unwrap();
        fs::write(world.home().join("broken.tar.gz"), b"\x1f\x8bnonsense").unwrap();
        world.give(&world.home());
        world.write_repository(
            "odd",
            &[minimal("odd", "../nothing"), customize("exit 0\n")],
        );
        world
            .mibe(&["build", "odd"])
            .expect(1)
            .says("can't be a base");
        world
            .mibe(&["build", "--base", "broken.tar.gz", "odd"])
            .expect(1)
            .says("can't be a base");
        world
            .mibe(&["build", "--base", "absent.tar", "odd"])
            .expect(2)
            .says("No such file");
        assert_eq!(names(&world.home().join("images")), Vec::<String>::new());
        world.assert_nothing_left();
    }
}

#[test]
fn a_full_disk_is_an_error_that_says_so() {
    let world = World::with_base(Who::Root);
    world.write_repository(
        "big",
        &[minimal("big", "debian:bookworm"), customize("exit 0\n")],
    );
    let small = world.home().join("small");
    fs::create_dir(&small).unwrap();
    succeed(
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(&small),
    );
    let ran = world.mibe(&["build", "--output", "small", "big"]);
    let left = names(&small);
    succeed(Command::new("umount").arg(&small));
    ran.expect(1).says("space");
    assert_eq!(left, Vec::<String>::new());
    world.assert_nothing_left();
}
