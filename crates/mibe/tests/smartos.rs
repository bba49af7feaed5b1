//! Builds in a SmartOS global zone, played by `fake_smartos`: what is made, and what becomes of the host.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

#[path = "support/smartos.rs"]
mod host;
#[path = "../../mibe-host/tests/support/sshd.rs"]
mod sshd;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use host::{ELSEWHERE, FakeHost, LX, NATIVE, script};
use serde_json::{Value, json};
use sshd::Sshd;
use support::{Received, Who, World, customize, minimal, names, receive, receive_chain, succeed};

fn manifest(world: &World, name: &str) -> Value {
    let path = world
        .home()
        .join("images")
        .join(format!("{name}-1.0.0.json"));
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

#[test]
fn a_native_image_that_prepares_itself() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let before = host.everything();
    world.write_repository(
        "mi-x",
        &[
            (
                "manifest",
                0o644,
                "name=\"mi-x\"\nversion=\"1.0.0\"\nbase=\"11111111-2222-4333-8444-000000000001\"\n\
                 description=\"With 'quotes' and signs\"\nhomepage=\"https://example.org/?a=1&b=2\"\n\
                 owneruuid=\"9dce1460-0c4c-4417-ab8b-25ca478c5a78\"\n",
            ),
            ("packages", 0o644, "nginx\nredis-7.2\nhttps://example.org/extra-1.0.tgz\nlast\n"),
            ("delete_packages", 0o644, "exim\n"),
            ("motd", 0o644, "%name% %homepage% %OTHER%\n"),
            ("copy/etc/mine", 0o644, "mine\n"),
            ("copy/tmp/keep/this", 0o644, "x"),
            ("copy/var/linked/through", 0o644, "x"),
            ("copy/opt/local/bin/a tool's", 0o755, "#!/bin/sh\n"),
            ("copy/etc/link-out", 0o644, "not through\n"),
            customize(
                "pwd > /var/where\n[ -f /etc/mine ]\ncat /etc/resolv.conf > /var/resolvers\nid > /var/id\n\
                 echo \"$PATH\" > /var/path\necho dot > /root/.kept\nrm /root/customize\nrm -rf /root/*\nsm-prepare-image -y\necho never\n",
            ),
        ],
    );
    host.mibe(&world, &with(&["--resolver", "192.0.2.53"]))
        .expect(0);
    assert_eq!(host.everything(), before, "something is left on the host");
    world.assert_nothing_left();
    let manifest = manifest(&world, "mi-x");
    assert_eq!(manifest["v"], 2);
    assert_eq!(manifest["type"], "zone-dataset");
    assert_eq!(manifest["os"], "smartos");
    assert_eq!(manifest["owner"], "9dce1460-0c4c-4417-ab8b-25ca478c5a78");
    assert_eq!(manifest["description"], "With 'quotes' and signs");
    // As imgadm does: of the platform that it was made on, and the rest of the base.
    assert_eq!(
        manifest["requirements"]["min_platform"]["7.0"],
        "20240321T000000Z"
    );
    assert_eq!(manifest["billing_tags"], json!(["small"]));
    assert_eq!(
        manifest["users"],
        json!([{"name": "root"}, {"name": "admin"}])
    );
    assert!(manifest.get("origin").is_none());

    let tree = tree(&world, "mi-x");
    assert_eq!(tree.what("/root/tmp"), "d 1777 0:0");
    assert_eq!(tree.what("/root/etc/mine"), "f 0644 0:0");
    assert_eq!(tree.get("/root/var/linked", "kind"), "l");
    assert!(tree.has("/root/usr/share/real/through"));
    assert_eq!(tree.get("/root/etc/link-out", "kind"), "f");
    assert!(
        tree.has("/root/root/.kept"),
        "dot files survive rm -rf /root/*"
    );
    for gone in [
        "/root/root/customize",
        "/root/.mibe",
        "/root/etc/ssh/ssh_host_rsa_key",
        "/root/etc/hostname.net0",
        "/root/etc/dhcp.net0",
        "/root/var/svc/provision_success",
        "/config/metadata.json",
        "/sandbox.json",
        "/root/tmp/keep",
    ] {
        assert!(!tree.has(gone), "{gone}");
    }
    let of_image = |path: &str| content(&world, "mi-x", path);
    assert_eq!(
        of_image("/root/var/packages"),
        "-exim\nnginx\nredis-7.2\nurl:https://example.org/extra-1.0.tgz\nlast\n"
    );
    assert_eq!(of_image("/root/var/where"), "/root\n");
    assert_eq!(of_image("/root/var/resolvers"), "nameserver 192.0.2.53\n");
    assert_eq!(of_image("/root/etc/resolv.conf"), "");
    assert_eq!(
        of_image("/root/var/id"),
        "uid=0(root) gid=0(root) groups=0(root)\n"
    );
    assert!(of_image("/root/var/path").starts_with("/opt/local/sbin:/opt/local/bin:"));
    assert_eq!(
        of_image("/root/etc/motd"),
        "mi-x https://example.org/?a=1&b=2 %OTHER%\n"
    );
    assert!(of_image("/root/etc/product").contains("Base Image: base-fake 24.4.1"));
    assert!(!of_image("/root/etc/hosts").contains("mibe-build"));
    assert!(of_image("/root/etc/hosts").contains("127.0.0.1\tlocalhost"));
    let log = log(&world);
    assert!(
        log.contains("* Performing cleanup") && !log.contains("never"),
        "{log}"
    );
    assert!(log.contains("removed /etc/hostname.net0"), "{log}");
    assert!(!log.contains("mibe-end-"), "{log}");
}

#[test]
fn an_lx_image_by_name_and_version() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let before = host.everything();
    world.write_repository(
        "mi-x",
        &[
            minimal("mi-x", "lx-fake-20260101"),
            ("copy/etc/network/interfaces", 0o644, "of the repository\n"),
            customize("echo hello; echo key > /etc/ssh_host; mkdir -p /root/.ssh /etc/ssh; echo k > /root/.ssh/authorized_keys; echo h > /etc/ssh/ssh_host_rsa_key; echo line > /var/log/app.log; date > /var/log/x.1 || true\n"),
        ],
    );
    host.mibe(&world, &with(&["-v"]))
        .expect(0)
        .says("hello")
        .says("removed /root/.ssh/authorized_keys");
    assert_eq!(host.everything(), before);
    let manifest = manifest(&world, "mi-x");
    assert_eq!(manifest["type"], "lx-dataset");
    assert_eq!(manifest["requirements"]["brand"], "lx");
    assert_eq!(
        manifest["requirements"]["min_platform"]["7.0"],
        "20220407T001427Z"
    );
    assert_eq!(manifest["tags"]["kernel_version"], "4.10");
    let of_image = |path: &str| content(&world, "mi-x", path);
    assert_eq!(
        of_image("/root/etc/network/interfaces"),
        "of the repository\n"
    );
    for empty in [
        "/root/etc/machine-id",
        "/root/etc/hostname",
        "/root/etc/resolv.conf",
        "/root/var/log/app.log",
        "/root/var/log/messages",
    ] {
        assert_eq!(of_image(empty), "", "{empty}");
    }
    let tree = tree(&world, "mi-x");
    assert!(!tree.has("/root/etc/ssh/ssh_host_rsa_key") && !tree.has("/root/var/log/x.1"));
    assert!(tree.has("/root/etc/ssh_host"));
}

#[test]
fn an_incremental_image_stands_on_its_base() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository(
        "mi-x",
        &[
            minimal("mi-x", LX),
            ("copy/etc/mine", 0o644, "mine\n"),
            customize("rm /bin/true\n"),
        ],
    );
    host.mibe(&world, &with(&["--incremental"])).expect(0);
    assert_eq!(manifest(&world, "mi-x")["origin"], LX);
    let image = world.home().join("images/mi-x-1.0.0.zfs.gz");
    assert!(fs::metadata(&image).unwrap().len() < 100_000);
    let tree = receive_chain(&[&host.stream(LX), &image]);
    assert!(
        tree.has("/root/etc/mine") && tree.has("/root/bin/busybox") && !tree.has("/root/bin/true")
    );
}

#[test]
fn a_base_is_imported_and_another_pool_serves() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let mut state = host.state();
    state["datasets"]["data"] = json!({"properties": {}, "snapshots": {}});
    host.write_state(&state);
    world.write_repository(
        "mi-x",
        &[
            minimal("mi-x", ELSEWHERE),
            customize("sm-prepare-image -y\n"),
        ],
    );
    host.mibe(&world, &with(&["--pool", "data"])).expect(0);
    assert!(
        host.calls()
            .contains(&format!("imgadm import -q -P data {ELSEWHERE}"))
    );
    let state = host.state();
    assert!(state["vms"].as_object().unwrap().is_empty());
    assert!(
        state["images"].get(ELSEWHERE).is_some(),
        "what was imported stays"
    );
    host.mibe(&world, &with(&["--pool", "nowhere"]))
        .expect(3)
        .says("this machine has no pool nowhere");
}

#[test]
fn what_comes_by_copy_does_not_run_at_the_machines_own_first_boot() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    fs::write(host.path("boot-time"), "700").unwrap();
    world.write_repository(
        "mi-x",
        &[
            minimal("mi-x", NATIVE),
            (
                "copy/var/zoneinit/includes/99-mine.sh",
                0o644,
                "touch /var/zoneinit-ran\n",
            ),
            customize("[ ! -e /var/zoneinit-ran ]\nsm-prepare-image -y\n"),
        ],
    );
    host.mibe(&world, BUILD).expect(0);
    assert!(log(&world).contains("the zone: multi-user-server is offline"));
    assert!(tree(&world, "mi-x").has("/root/var/zoneinit/includes/99-mine.sh"));
    host.mibe(&world, &with(&["--force", "--timeout-boot", "1"]))
        .expect(0);
    fs::write(host.path("boot-time"), "60000").unwrap();
    host.mibe(&world, &with(&["--force", "--timeout-boot", "1"]))
        .expect(1)
        .says("it was not up within 1 s: multi-user-server is offline")
        .says("--timeout-boot");
    assert!(host.state()["vms"].as_object().unwrap().is_empty());
}

#[test]
fn a_mirror_holds_for_the_build_and_a_network_gets_a_second_try() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let root = host.path("mnt/zones").join(NATIVE).join("root");
    fs::write(root.join("etc/pkgin-fails-once"), "").unwrap();
    world.write_repository(
        "mi-x",
        &[
            minimal("mi-x", NATIVE),
            ("packages", 0o644, "nginx\n"),
            customize("sm-prepare-image -y\n"),
        ],
    );
    host.mibe(
        &world,
        &with(&["--pkgsrc-mirror", "http://192.0.2.1:8080/mirror/"]),
    )
    .expect(0);
    let of_image = |path: &str| content(&world, "mi-x", path);
    assert!(
        of_image("/root/var/pkgin.mirrors")
            .contains("http://192.0.2.1:8080/mirror/packages/SmartOS/2024Q4/x86_64/All")
    );
    assert_eq!(
        of_image("/root/opt/local/etc/pkgin/repositories.conf"),
        "# set by the image\nhttps://pkgsrc.smartos.org/packages/SmartOS/2024Q4/x86_64/All\n"
    );
    assert_eq!(of_image("/root/var/packages"), "nginx\n");
    world.write_repository("mi-x", &[("packages", 0o644, "no-such-thing\n")]);
    let ran = host.mibe(&world, &with(&["--force"])).expect(1);
    ran.says("pkgin -y exited with status 1")
        .says("no-such-thing is not available");
    assert!(host.state()["vms"].as_object().unwrap().is_empty());
}

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
fn an_image_in_the_way_and_an_unknown_repository_touch_nothing_of_the_host() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository(
        "mi-x",
        &[minimal("mi-x", NATIVE), customize("sm-prepare-image\n")],
    );
    host.mibe(&world, BUILD).expect(0);
    let image = fs::read(world.home().join("images/mi-x-1.0.0.json")).unwrap();
    let before = host.everything();
    host.calls();
    host.mibe(&world, BUILD).expect(1).says("--force");
    host.mibe(&world, &["build", "mi-none", "--builder", "smartos"])
        .expect(2);
    for call in host.calls() {
        let reads = [
            "sysinfo",
            "zpool list",
            "zfs get",
            "nictagadm list",
            "imgadm get",
        ];
        assert!(reads.iter().any(|read| call.starts_with(read)), "{call}");
    }
    assert_eq!(host.everything(), before);
    assert_eq!(
        fs::read(world.home().join("images/mi-x-1.0.0.json")).unwrap(),
        image
    );
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
fn a_spec_of_a_running_machine_serves_and_a_wrong_one_is_refused() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("false\n")]);
    // What vmadm says of a machine, its own metadata among it.
    host.mibe(
        &world,
        &with(&[
            "--keep-on-failure",
            "--set",
            "customer_metadata={\"secret\":\"s3cr3t\"}",
        ]),
    )
    .expect(1);
    let uuid = host.state()["vms"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let spec = succeed(std::process::Command::new(host.bin().join("vmadm")).args(["get", &uuid]));
    fs::write(world.home().join("vm.json"), spec).unwrap();
    world.write_repository(
        "mi-x",
        &[customize("cat /etc/hosts > /var/hosts\nsm-prepare-image\n")],
    );
    host.mibe(
        &world,
        &with(&["--vm-spec", "vm.json", "--set", "hostname=other"]),
    )
    .expect(0);
    assert!(content(&world, "mi-x", "/root/var/hosts").contains("other"));
    assert!(!content(&world, "mi-x", "/root/etc/hosts").contains("other"));
    let log = log(&world);
    assert!(log.contains("zonepath of the spec is left out"), "{log}");
    assert!(!log.contains("s3cr3t"), "{log}");
    assert!(!tree(&world, "mi-x").has("/config/metadata.json"));

    host.calls();
    for (set, says) in [
        ("quotta=3", "did you mean quota?"),
        (
            "nics.0.nic_tag=nowhere",
            "the host has no nic tag \"nowhere\" (nics.0): it has admin, external, stub0",
        ),
        ("quota=lots", "quota must be a whole number"),
        ("brand=bhyve", "brand joyent, joyent-minimal or lx"),
    ] {
        host.mibe(&world, &with(&["--force", "--set", set]))
            .expect(2)
            .says(says);
    }
    host.mibe(&world, &with(&["--set", "quota"]))
        .expect(2)
        .says("KEY=VALUE");
    host.mibe(&world, &with(&["--vm-spec", "none.json"]))
        .expect(2)
        .says("none.json");
    assert!(
        !host
            .calls()
            .iter()
            .any(|call| call.starts_with("vmadm create"))
    );
}

#[test]
fn vmadms_own_refusal_comes_before_the_machine() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    // One that knows less than ours.
    let real = host.path("real-vmadm");
    fs::rename(host.bin().join("vmadm"), &real).unwrap();
    script(
        &host.bin().join("vmadm"),
        "#!/bin/sh\n[ \"$1\" = validate ] || exit 9\necho '{\"bad_values\": [\"nics.0.ips\"], \"bad_properties\": []}' >&2\nexit 1\n",
    );
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("exit 0\n")]);
    host.mibe(&world, BUILD)
        .expect(2)
        .says("vmadm says bad_values [\"nics.0.ips\"]");
    world.assert_nothing_left();
}

#[test]
fn a_plan_says_all_and_touches_nothing() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository("mi-x", &[minimal("mi-x", ELSEWHERE), customize("exit 0\n")]);
    let before = host.everything();
    let ran = host.mibe(&world, &with(&["--dry-run"])).expect(0);
    for text in [
        "base-far 24.4.1",
        "to be imported by the host",
        "native (type zone-dataset",
        "\"nic_tag\": \"admin\"",
        "finalise",
    ] {
        assert!(ran.stdout.contains(text), "{text} in {}", ran.stdout);
    }
    let json = host
        .mibe(&world, &with(&["--dry-run", "--progress", "json"]))
        .expect(0);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["spec"]["image_uuid"], ELSEWHERE);
    assert_eq!(host.everything(), before);
}

#[test]
fn bases_that_no_zone_is_made_from_are_refused() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("exit 0\n")]);
    for (base, status, says) in [
        ("debian:bookworm", 2, "is none of this machine"),
        ("base-fake-24.4.2", 1, "did you mean base-fake-24.4.1"),
        ("11111111-2222-4333-8444-00000000ffff", 1, "has no image"),
    ] {
        host.mibe(&world, &with(&["--base", base]))
            .expect(status)
            .says(says);
    }
    world.write_repository(
        "mi-x",
        &[(
            "manifest",
            0o644,
            "name=\"mi-x\"\nversion=\"1\"\nos=\"linux\"\n",
        )],
    );
    host.mibe(&world, &with(&["--base", NATIVE]))
        .expect(2)
        .says("builds an LX image, and its base base-fake 24.4.1 is a native (illumos) one");
}

#[test]
fn a_machine_that_is_no_global_zone_says_so() {
    let world = World::new(Who::Root);
    world.write_repository("mi-x", &[minimal("mi-x", NATIVE), customize("exit 0\n")]);
    world
        .mibe(BUILD)
        .expect(3)
        .says("this machine is no SmartOS global zone: it has no sysinfo")
        .says("--host root@HOST");
    world
        .mibe(&["build", "mi-x", "--host", "there"])
        .expect(2)
        .says("--builder smartos");
    world
        .mibe(&with(&["--sandbox", "root"]))
        .expect(2)
        .says("--builder local");
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
        ("head -c 300000", "read the stream that zfs sends"),
        ("cat - /etc/passwd", "follows the end of the stream"),
        ("tr a b", "read the stream that zfs sends"),
        ("cat > /dev/null; true", "read the stream that zfs sends"),
    ] {
        fs::remove_file(host.bin().join("zfs")).unwrap();
        script(
            &host.bin().join("zfs"),
            &format!(
                "#!/bin/sh\n[ \"$1\" = send ] || exec {0}/zfs \"$@\"\n{0}/zfs \"$@\" | {{ {wrong}; }}\nexit 0\n",
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
    let nested = host.path("mnt/zones").join(LX).join("root/opt");
    fs::create_dir_all(&nested).unwrap();
    symlink(&canary, nested.join("evil")).unwrap();
    world.write_repository("mi-x", &[minimal("mi-x", LX), customize(&body)]);
    host.mibe(&world, BUILD).expect(0);
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
fn copy_never_changes_the_kind_of_what_is_there() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    for (path, says) in [
        (
            "copy/usr/bin",
            "copy/usr/bin: the image has a directory at /usr/bin, which a file can't replace",
        ),
        (
            "copy/etc/passwd/x",
            "copy/etc/passwd: the image has a file at /etc/passwd, which a directory can't replace",
        ),
    ] {
        let folder = world.write_repository(
            "mi-x",
            &[
                minimal("mi-x", LX),
                (path, 0o644, "x"),
                customize("exit 0\n"),
            ],
        );
        host.mibe(&world, BUILD).expect(1).says(says);
        fs::remove_dir_all(folder).unwrap();
    }
    assert!(host.state()["vms"].as_object().unwrap().is_empty());
}

#[test]
fn names_and_sizes_of_every_kind_come_through() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let long = format!("copy/{}/{}", "d".repeat(90), "n".repeat(90));
    let longer = format!(
        "copy/{}/{}/{}",
        "d".repeat(120),
        "e".repeat(120),
        "n".repeat(120)
    );
    let big = "0123456789abcdef".repeat(1 << 16);
    let folder = world.write_repository(
        "mi-x",
        &[
            minimal("mi-x", LX),
            (&long, 0o644, "long"),
            ("copy/a b/$HOME/`x`/'\"\\/-rf", 0o600, "odd"),
            ("copy/-n", 0o644, "dash"),
            ("copy/new\nline", 0o644, "line"),
            ("copy/big", 0o4755, &big),
            ("copy/empty", 0o644, ""),
            customize("exit 0\n"),
        ],
    );
    symlink("../a b/-> x", folder.join("copy/a b/link")).unwrap();
    symlink("t".repeat(100), folder.join("copy/link100")).unwrap();
    host.mibe(&world, BUILD).expect(0);
    let tree = tree(&world, "mi-x");
    assert!(tree.has(&format!("/root/{}", long.strip_prefix("copy/").unwrap())));
    assert_eq!(tree.what("/root/big"), "f 4755 0:0");
    assert_eq!(content(&world, "mi-x", "/root/big"), big);
    assert_eq!(
        content(&world, "mi-x", "/root/a b/$HOME/`x`/'\"\\/-rf"),
        "odd"
    );
    assert_eq!(content(&world, "mi-x", "/root/new\nline"), "line");
    assert_eq!(content(&world, "mi-x", "/root/-n"), "dash");
    assert_eq!(tree.get("/root/link100", "target").len(), 100);
    assert!(tree.has("/root/empty"));
    let _ = longer;
}

#[test]
fn build_smartos_by_its_old_name() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    world.mibe(&["init-home", "home2"]).expect(0);
    let home = world.home().join("home2");
    world.write_repository(
        "home2/repos/mi-x",
        &[minimal("mi-x", NATIVE), customize("sm-prepare-image\n")],
    );
    fs::write(home.join("etc/vm.json"), "{\"brand\": \"joyent\", \"alias\": \"from-@alias@\", \"image_uuid\": \"@image_uuid@\", \"nics\": [{\"nic_tag\": \"external\", \"ips\": [\"dhcp\"]}], \"quota\": 7}").unwrap();
    let old = home.join("bin/build_smartos");
    let run = |arguments: &[&str]| {
        let output = world
            .command(&[])
            .env("PATH", host.search_path())
            .env_remove("MIBE_HOME")
            .get_envs()
            .fold(
                &mut std::process::Command::new(&old),
                |command, (key, value)| match value {
                    Some(value) => command.env(key, value),
                    None => command.env_remove(key),
                },
            )
            .args(arguments)
            .current_dir("/")
            .output()
            .unwrap();
        support::Ran::of(&output)
    };
    run(&["mi-x"]).expect(0);
    assert_eq!(
        names(&home.join("images")),
        ["mi-x-1.0.0.json", "mi-x-1.0.0.zfs.gz"]
    );
    run(&[]).expect(2).says("usage: build_smartos BUILD_REPO");
    run(&["mi-x"]).expect(1).says("--force");
    run(&[LX, "old-zone", "mi-none"]).expect(2);
    let log = names(&home.join("logs"));
    let log = fs::read_to_string(home.join("logs").join(&log[0])).unwrap();
    assert!(
        log.contains("\"quota\":7") && log.contains("\"nic_tag\":\"external\""),
        "{log}"
    );
    assert!(Path::new(&old).exists());
}

#[test]
fn over_ssh_from_a_machine_that_has_nothing_else() {
    let (host, world) = (FakeHost::new(), World::new(Who::Root));
    let before = host.everything();
    world.write_repository(
        "mi-x",
        &[
            minimal("mi-x", "base-fake@24.4.1"),
            ("packages", 0o644, "nginx\n"),
            ("copy/etc/mine", 0o644, "mine\n"),
            customize("sm-prepare-image -y\n"),
        ],
    );
    let sshd = Sshd::with_path(&host.search_path());
    let settings = world.home().join(".config/mibe");
    fs::create_dir_all(&settings).unwrap();
    let config = sshd.path("ssh_config");
    let text = format!(
        "[smartos]\nssh_arguments = [\"-F\", \"{}\"]\n",
        config.display()
    );
    fs::write(settings.join("mibe.toml"), text).unwrap();
    let there = with(&["--host", "there"]);
    world.mibe(&there).expect(0);
    assert_eq!(host.everything(), before);
    assert_eq!(tree(&world, "mi-x").what("/root/etc/mine"), "f 0644 0:0");

    world
        .mibe(&with(&["--host", "nobody@127.0.0.1", "--force"]))
        .expect(3)
        .says("can't connect to nobody@127.0.0.1");
    world
        .mibe(&with(&["--host", "-oProxyCommand=true", "--force"]))
        .expect(2);
    // What is kept there says how to get to it; a build elsewhere leaves it alone and says so; `mibe clean` goes there.
    world.write_repository("mi-x", &[customize("false\n")]);
    world
        .mibe(&with(&["--host", "there", "--force", "--keep-on-failure"]))
        .expect(1)
        .says("log in with `ssh -t there zlogin ");
    assert_eq!(host.state()["vms"].as_object().unwrap().len(), 1);
    let cleaned = world.mibe(&["clean"]).expect(0);
    assert!(cleaned.stdout.contains("destroyed the build machine"));
    assert_eq!(host.everything(), before);
    world.assert_nothing_left();
}
