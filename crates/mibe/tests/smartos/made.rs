//! What is made of repositories.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::host::{ELSEWHERE, FakeHost, LX, NATIVE};
use crate::sshd::Sshd;
use crate::support::{self, Who, World, customize, minimal, names, receive_chain};
use crate::{BUILD, content, log, manifest, tree, with};

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
    let settings = world.config().join("mibe");
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
