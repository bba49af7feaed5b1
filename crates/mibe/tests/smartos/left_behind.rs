//! What builds that fail leave, and what they may not touch.

use std::fs;
use std::os::unix::fs::symlink;

use crate::host::{FakeHost, LX, NATIVE, script};
use crate::support::{Who, World, customize, minimal, names, succeed};
use crate::{BUILD, tree, with};

#[test]
fn a_failing_customize_leaves_nothing_and_the_next_build_works() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let before = host.everything();
    for body in ["echo last words >&2\nfalse\n", "kill -9 -1\n", "exit 7\n"] {
        world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize(body)]);
        let ran = host.mibe(&world, BUILD).expect(1);
        ran.says("error: ");
        assert_eq!(host.everything(), before, "{body}: {}", ran.stderr);
        assert_eq!(names(&world.home().join("images")), Vec::<String>::new());
    }
    world.write_repository("mi-x", &[customize("/usr/sbin/halt\n")]);
    host.mibe(&world, BUILD)
        .expect(1)
        .says("ended without a word: it was killed, or the zone went down (it is stopped now)");
    world.write_repository("mi-x", &[customize("exit 0\n")]);
    host.mibe(&world, BUILD)
        .expect(0)
        .says("customize does not call sm-prepare-image");
    assert_eq!(host.everything(), before);
}

#[test]
fn a_machine_is_kept_when_that_is_asked_for() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let before = host.everything();
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("false\n")]);
    let keep = with(&["--keep-on-failure"]);
    let ran = host.mibe(&world, &keep).expect(1);
    let vms = host.state()["vms"].as_object().unwrap().clone();
    let uuid = vms.keys().next().unwrap();
    ran.says(&format!("log in with `zlogin {uuid}`"))
        .says("`mibe clean` destroys it");
    // The next build has a machine of its own, and leaves this one.
    world.write_repository("mi-x", &[customize("sm-prepare-image\n")]);
    host.mibe(&world, BUILD).expect(0);
    assert_eq!(host.state()["vms"].as_object().unwrap().len(), 1);
    let cleaned = host.mibe(&world, &["clean", "--dry-run"]).expect(0);
    assert!(
        cleaned.stdout.contains("would destroy the build machine"),
        "{}",
        cleaned.stdout
    );
    host.mibe(&world, &["clean"]).expect(0);
    assert_eq!(host.everything(), before);

    // One that does not come up may be looked into as well.
    let root = host.path("mnt/zones").join(NATIVE).join("root");
    fs::write(host.path("boot-time"), "60000").unwrap();
    let keep = with(&["--keep-on-failure", "--timeout-boot", "1", "--force"]);
    host.mibe(&world, &keep).expect(1).says("log in with");
    host.mibe(&world, &["clean"]).expect(0);
    fs::write(root.join("etc/fails-to-provision"), "").unwrap();
    host.mibe(&world, &with(&["--force"]))
        .expect(1)
        .says("timed out waiting for /var/svc/provisioning");
    fs::remove_file(root.join("etc/fails-to-provision")).unwrap();
    assert_eq!(host.everything(), before);
}

#[test]
fn nothing_is_destroyed_that_is_not_of_the_build() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("false\n")]);
    host.mibe(&world, &with(&["--keep-on-failure"])).expect(1);
    let mut state = host.state();
    let uuid = state["vms"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let metadata = host
        .path("mnt/zones")
        .join(&uuid)
        .join("config/metadata.json");
    fs::write(
        &metadata,
        "{\"internal_metadata\": {\"mibe:build\": \"another\"}}",
    )
    .unwrap();
    host.mibe(&world, &["clean"])
        .expect(1)
        .says("is not of this build")
        .says("left alone");
    // A running one without any word is as foreign.
    fs::write(&metadata, "{}").unwrap();
    host.mibe(&world, &["clean"])
        .expect(1)
        .says("is not of this build");
    assert!(host.state()["vms"].get(&uuid).is_some());
    // The dataset's own word counts, once the metadata is gone.
    let journal = world.home().join(".local/state/mibe/journal");
    let entry = names(&journal).pop().unwrap();
    let id = entry.strip_suffix(".jsonl").unwrap();
    state["datasets"][format!("zones/{uuid}")]["properties"]["mibe:build"] = id.into();
    host.write_state(&state);
    host.mibe(&world, &["clean"]).expect(0);
    assert!(host.state()["vms"].get(&uuid).is_none());
}

#[test]
fn a_repository_is_built_once_at_a_time_and_two_do_not_meet() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let before = host.everything();
    for name in ["mi-x", "mi-y"] {
        world.write_repository(
            name,
            &[
                minimal(name, NATIVE),
                customize("sleep 2\nsm-prepare-image\n"),
            ],
        );
    }
    let started: Vec<_> = ["mi-x", "mi-y"]
        .map(|name| {
            let arguments = ["build", name, "--builder", "smartos"];
            host.command(&world, &arguments)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .into();
    // Once both have machines, a third build of one of the two has none.
    while host.state()["vms"].as_object().unwrap().len() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let ran = host.mibe(
        &world,
        &["build", "./mi-x", "--builder", "smartos", "--force"],
    );
    ran.expect(1)
        .says("mi-x is being built already, by process");
    assert_eq!(host.state()["vms"].as_object().unwrap().len(), 2);
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(names(&world.home().join("images")).len(), 4);
    assert_eq!(host.everything(), before);
}

#[test]
fn a_stream_that_is_cut_short_is_none_whatever_zfs_says() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let before = host.everything();
    let real = host.path("bin2");
    fs::create_dir(&real).unwrap();
    // The real one finds its host above its folder.
    fs::hard_link(host.bin().join("vmadm"), real.join("zfs")).unwrap();
    world.write_repository(
        "mi-x",
        &[minimal("mi-x", NATIVE), customize("sm-prepare-image\n")],
    );
    for (wrong, says) in [
        // Whole, and its sender is not content.
        ("cat; status=1", "zfs send"),
        ("head -c 300000", "read the stream that zfs sends"),
        ("cat - /etc/passwd", "follows the end of the stream"),
        ("tr a b", "read the stream that zfs sends"),
        ("cat > /dev/null; true", "read the stream that zfs sends"),
    ] {
        fs::remove_file(host.bin().join("zfs")).unwrap();
        script(
            &host.bin().join("zfs"),
            &format!(
                "#!/bin/sh\n[ \"$1\" = send ] || exec {0}/zfs \"$@\"\n{0}/zfs \"$@\" > {0}/stream\nstatus=0\n{{ {wrong}; }} < {0}/stream\nexit $status\n",
                real.display()
            ),
        );
        host.mibe(&world, BUILD).expect(1).says(says);
        assert_eq!(
            names(&world.home().join("images")),
            Vec::<String>::new(),
            "{wrong}"
        );
        assert_eq!(host.everything(), before, "{wrong}");
    }
}

#[test]
fn links_in_a_zone_lead_nowhere_in_the_global_zone() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    // A global zone that has what a cleaning looks for.
    let canary = host.path("canary");
    for file in [
        "resolv.conf",
        "hosts",
        "ssh/ssh_host_rsa_key",
        "log/x.1",
        "log/live",
        "lists/x",
        "customize",
        "repositories.conf",
        "evil",
    ] {
        fs::create_dir_all(canary.join(file).parent().unwrap()).unwrap();
        fs::write(
            canary.join(file),
            "nameserver 1.2.3.4\n127.0.0.1 mibe-build\n",
        )
        .unwrap();
    }
    let listing = || {
        succeed(
            std::process::Command::new("find")
                .arg(&canary)
                .args(["-ls"]),
        )
    };
    let before = listing();
    let out = canary.display();
    let body = format!(
        "rm -rf /etc/hosts /etc/hostname /etc/ssh /etc/network /etc/machine-id; ln -s {out}/hosts /etc/hosts; ln -s {out}/ssh /etc/ssh\n\
         ln -s {out} /etc/network; ln -s {out}/evil /etc/machine-id; ln -s {out}/evil /etc/hostname\n\
         rm -rf /var/log /var/tmp /root/.ssh; ln -s {out}/log /var/log; ln -s {out} /var/tmp; ln -s {out} /root/.ssh\n\
         rm -rf /.mibe /home /var/lib; ln -s {out} /.mibe; ln -s {out} /home; mkdir -p /var/lib; ln -s {out} /var/lib/apt\n\
         ln -s {out}/customize /root/customize.link; rm /root/customize; ln -s {out}/customize /root/customize\nexit 0\n"
    );
    // Directories that are emptied, and links in them.
    let inside = format!(
        "mkdir -p /var/cache/apt /var/log /var/tmp; for place in /var/cache/apt /var/log /var/tmp /etc; do ln -s {out}/log $place/inner; done\n\
         ln -s {out}/log/live /var/log/live; mkfifo /var/log/fifo 2>/dev/null || true\n"
    );
    world.write_repository("mi-x", &[minimal("mi-x", LX), customize(&inside)]);
    host.mibe(&world, BUILD).expect(0);
    assert_eq!(listing(), before);
    let nested = host.path("mnt/zones").join(LX).join("root/opt");
    fs::create_dir_all(&nested).unwrap();
    symlink(&canary, nested.join("evil")).unwrap();
    world.write_repository("mi-x", &[minimal("mi-x", LX), customize(&body)]);
    host.mibe(&world, &with(&["--force"])).expect(0);
    assert_eq!(listing(), before);
    let tree = tree(&world, "mi-x");
    assert!(!tree.has("/root/root/customize") && tree.has("/root/root/customize.link"));

    // copy/ through a link that is absolute: to the zone's own root, as the zone sees it.
    let body = format!("[ \"$(cat {out}/x)\" = laid ]\n");
    world.write_repository(
        "mi-x",
        &[("copy/opt/evil/x", 0o644, "laid"), customize(&body)],
    );
    host.mibe(&world, &with(&["--force"]))
        .expect(1)
        .says("copy/opt/evil: the image has a dangling link at /opt/evil");
    assert_eq!(listing(), before);
    let inside = host.path("mnt/zones").join(LX).join("root");
    fs::create_dir_all(inside.join(canary.strip_prefix("/").unwrap())).unwrap();
    host.mibe(&world, &with(&["--force"])).expect(0);
    assert_eq!(listing(), before);
}

#[test]
fn a_base_without_a_snapshot_of_its_own_keeps_none_of_the_build() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let mut state = host.state();
    let image = format!("zones/{NATIVE}");
    state["datasets"][&image]["snapshots"] = serde_json::json!({});
    host.write_state(&state);
    let before = host.everything();
    world.write_repository(
        "mi-x",
        &[minimal("mi-x", NATIVE), customize("sm-prepare-image\n")],
    );
    host.mibe(&world, BUILD).expect(0);
    assert_eq!(host.everything(), before);
    host.mibe(&world, &with(&["--force", "--incremental"]))
        .expect(1)
        .says("`imgadm update` there may mend that");
    assert_eq!(host.everything(), before);
    // A host that went down while it deleted: the VM is gone, its dataset and that snapshot are not.
    world.write_repository("mi-x", &[customize("false\n")]);
    host.mibe(&world, &with(&["--force", "--keep-on-failure"]))
        .expect(1);
    let mut state = host.state();
    state["vms"] = serde_json::json!({});
    host.write_state(&state);
    assert!(
        !host.state()["datasets"][&image]["snapshots"]
            .as_object()
            .unwrap()
            .is_empty()
    );
    host.mibe(&world, &["clean"]).expect(0);
    assert_eq!(host.everything(), before);
}

#[test]
fn a_zone_that_starts_itself_anew_is_halted_before_it_is_cleaned() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let before = host.everything();
    world.write_repository(
        "mi-x",
        &[
            minimal("mi-x", NATIVE),
            customize(": sm-prepare-image\n: > /var/run-reboot\n"),
        ],
    );
    host.mibe(&world, BUILD).expect(0);
    let calls = fs::read_to_string(host.path("calls")).unwrap();
    let place = |word: &str| {
        calls
            .find(word)
            .unwrap_or_else(|| panic!("{word}: {calls}"))
    };
    assert!(place("halt") < place("snapshot"), "{calls}");
    assert_eq!(host.everything(), before);
}

#[test]
fn a_zone_that_prints_without_end_has_one() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let before = host.everything();
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("yes\n")]);
    host.mibe(&world, &with(&["--timeout-customize", "2"]))
        .expect(1)
        .says("2 s");
    assert_eq!(host.everything(), before);
    for wrong in [
        &["--timeout-customize", "18446744073709551615"],
        &["--timeout-boot", "0"],
    ] {
        host.mibe(&world, &with(wrong)).expect(2);
    }
}

#[test]
fn a_name_that_leads_to_another_machine_strikes_nothing_out() {
    let (host, other, world) = (FakeHost::new(), FakeHost::new(), World::new(Who::Root));
    let before = host.everything();
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("false\n")]);
    host.mibe(&world, &with(&["--keep-on-failure"])).expect(1);
    let kept = host.everything();
    fs::write(other.path("uuid"), "00000000-93a2-4b0b-9c2d-0a1b2c3d4e5f").unwrap();
    other
        .mibe(&world, &["clean"])
        .expect(1)
        .says("is another machine now");
    assert_eq!(host.everything(), kept);
    host.mibe(&world, &["clean"]).expect(0);
    assert_eq!(host.everything(), before);
}

#[test]
fn a_dataset_that_is_no_clone_of_the_base_is_left_alone() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("false\n")]);
    host.mibe(&world, &with(&["--keep-on-failure"])).expect(1);
    let mut state = host.state();
    let uuid = state["vms"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    state["vms"].as_object_mut().unwrap().remove(&uuid);
    let dataset = format!("zones/{uuid}");
    let origin = state["datasets"][&dataset]["properties"]["origin"].take();
    state["datasets"][&dataset]["properties"]
        .as_object_mut()
        .unwrap()
        .remove("origin");
    // As every dataset of a zone has one beside it, which goes with it.
    let cores = format!("zones/cores/{uuid}");
    state["datasets"][&cores] = serde_json::json!({"properties": {}, "snapshots": {}});
    host.write_state(&state);
    host.mibe(&world, &["clean"])
        .expect(1)
        .says("it is no clone of its base");
    assert!(host.state()["datasets"].get(&dataset).is_some());
    state["datasets"][&dataset]["properties"]["origin"] = origin;
    host.write_state(&state);
    host.mibe(&world, &["clean"]).expect(0);
    for gone in [&dataset, &cores] {
        assert!(host.state()["datasets"].get(gone).is_none(), "{gone}");
    }
}
