//! Build repositories of type zvol: a disk's files changed in a sandbox, and what real programs find on the disk then.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::shape::{
    MIB, ROOT, Shape, assert_valid, failed, manifest, received, restore, run, sha256, world,
};
use crate::support::{Who, World};

const PROGRAMS: [&str; 16] = [
    "sh", "cat", "chmod", "chown", "cp", "dd", "echo", "ln", "ls", "mkdir", "mkfifo", "mknod",
    "mv", "rm", "test", "touch",
];

/// A guest that has a shell, and files of every kind to be changed.
fn guest(tree: &Path) {
    fs::create_dir_all(tree.join("bin")).unwrap();
    run(
        "cp",
        &[
            "/usr/bin/busybox",
            tree.join("bin/busybox").to_str().unwrap(),
        ],
    );
    for name in PROGRAMS {
        symlink("busybox", tree.join("bin").join(name)).unwrap();
    }
    for name in [
        "tmp",
        "root",
        "var/dir/deeper",
        "opt/folder/inner",
        "proc",
        "dev",
    ] {
        fs::create_dir_all(tree.join(name)).unwrap();
    }
    for name in [
        "etc/kept",
        "etc/changed",
        "etc/gone",
        "etc/modes",
        "etc/owned",
        "etc/dated",
        "etc/one",
        "etc/three-a",
        "etc/pair-a",
        "opt/thing",
        "opt/folder/inner/file",
        "var/dir/deeper/file",
        "bin/capped",
        "bin/capped-too",
    ] {
        fs::write(tree.join(name), format!("this was {name}\n")).unwrap();
    }
    fs::hard_link(tree.join("etc/three-a"), tree.join("etc/three-b")).unwrap();
    fs::hard_link(tree.join("etc/pair-a"), tree.join("etc/pair-b")).unwrap();
    symlink("old-target", tree.join("etc/link")).unwrap();
    for name in ["bin/capped", "bin/capped-too"] {
        run(
            "setcap",
            &["cap_net_raw+ep", tree.join(name).to_str().unwrap()],
        );
    }
    // Labels, which no program of this machine minds.
    for name in ["etc", "etc/changed", "etc/cloud/cloud.cfg.d"] {
        let label = "system_u:object_r:etc_t:s0";
        let path = tree.join(name);
        run(
            "setfattr",
            &[
                "-n",
                "security.selinux",
                "-v",
                label,
                path.to_str().unwrap(),
            ],
        );
    }
    // Attributes that have a block of their own: of what is removed, of what is replaced, of what stays.
    fs::create_dir_all(tree.join("var/log/journal/0123")).unwrap();
    for name in [
        "var/log/journal/0123",
        "etc/gone",
        "etc/one",
        "bin/capped-too",
    ] {
        let path = tree.join(name);
        run(
            "setfattr",
            &[
                "-n",
                "user.long",
                "-v",
                &"v".repeat(700),
                path.to_str().unwrap(),
            ],
        );
    }
    fs::create_dir_all(tree.join("etc/selinux")).unwrap();
    let config = "# SELINUX= can be enforcing\nSELINUX=enforcing\n";
    fs::write(tree.join("etc/selinux/config"), config).unwrap();
    run(
        "setfattr",
        &[
            "-n",
            "user.old",
            "-v",
            "x",
            tree.join("etc/modes").to_str().unwrap(),
        ],
    );
}

const CUSTOMIZE: &str = "#!/bin/sh
set -e
test \"$(cat /etc/kept)\" = 'this was etc/kept'
echo changed > /etc/changed
echo again >> /bin/capped-too
rm /etc/gone
rm -r /var/dir
chmod 4711 /etc/modes
chown 1000:1001 /etc/owned
rm /opt/thing; mkdir -m 750 /opt/thing; echo inside > /opt/thing/inside
rm -r /opt/folder; echo file > /opt/folder
ln /etc/one /etc/two
rm /etc/three-b
echo both > /etc/pair-a
rm /etc/link; ln -s new-target /etc/link
mkfifo /etc/pipe
mknod /etc/device c 1 3
dd if=/dev/zero of=/etc/large bs=1M count=0 seek=20 2>/dev/null; echo end >> /etc/large
touch -d @1000000000 /etc/dated
mkdir '/opt/a \"quoted\" folder'; echo x > '/opt/a \"quoted\" folder/f'
mkdir /links; echo x > /links/0; i=1; while test $i -lt 200; do ln /links/0 /links/$i; i=$((i+1)); done
echo secret > /root/.ash_history
echo tmp > /tmp/left
";

const MANIFEST: &str = "name=\"disk\"\nversion=\"1.0\"\ndescription=\"a disk\"\ntype=\"zvol\"\nos=\"linux\"\nbase=\"../disk.raw\"\nrole=\"test\"\nminram=256\n";

fn vendor() -> Shape {
    Shape {
        more: guest,
        ..Shape::vendor()
    }
}

#[test]
fn a_repository_changes_a_disk() {
    let mut guids = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let one = vendor().make(folder.path());
    for who in [Who::Root, Who::Subuid, Who::Single] {
        let world = World::new(who);
        let disk = world.home().join("disk.raw");
        fs::copy(&one, &disk).unwrap();
        world.give(&disk);
        let before = sha256(&disk);
        world.write_repository(
            "mi-disk",
            &[
                ("manifest", 0o644, MANIFEST),
                ("packages", 0o644, ""),
                ("motd", 0o644, "Welcome to %name%\n"),
                ("customize", 0o755, CUSTOMIZE),
                ("copy/etc/ours", 0o640, "of the repository\n"),
            ],
        );
        let ran = world.mibe(&["build", "mi-disk"]);
        assert_eq!(ran.status, Some(0), "{who:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("/bin/capped-too had file capabilities"),
            "{}",
            ran.stderr
        );
        assert_eq!(sha256(&disk), before, "the disk was changed");
        world.assert_nothing_left();
        let image = manifest(&world, "disk-1.0");
        guids.push((
            image["files"][0]["dataset_guid"].clone(),
            image["uuid"].clone(),
        ));
        if who != Who::Root {
            continue;
        }
        assert_valid(&world, "disk-1.0");
        let expected = serde_json::json!({
            "type": "zvol", "os": "linux", "image_size": 81, "description": "a disk", "nic_driver": "virtio",
            "requirements": {"networks": [{"name": "net0", "description": "public"}], "ssh_key": true, "min_ram": 256},
            "tags": {"role": "test", "default_user": "debian"},
            "users": [{"name": "root"}, {"name": "debian"}],
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&image[key], value, "{key}");
        }
        let restored = world.home().join("restored");
        restore(&world, "disk-1.0", &restored);
        assert_eq!(received(&world, "disk-1.0"), (81 * MIB, sha256(&restored)));
        as_the_script_left_it(&restored);
    }
    // The ways into the sandbox make one image.
    guids.dedup();
    assert_eq!(guids.len(), 1, "{guids:?}");
}

/// Asks debugfs and e2fsck.
fn as_the_script_left_it(disk: &Path) {
    let device = format!("{}?offset={ROOT}", disk.display());
    run("e2fsck", &["-fn", &device]);
    let ask = |request: &str| run("debugfs", &["-R", request, &device]);
    let cat = |path: &str| ask(&format!("cat \"{}\"", path.replace('"', "\"\"")));
    for (path, content) in [
        ("/etc/kept", "this was etc/kept\n"),
        ("/etc/changed", "changed\n"),
        ("/etc/gone", ""),
        ("/etc/ours", "of the repository\n"),
        ("/etc/motd", "Welcome to disk\n"),
        ("/opt/thing/inside", "inside\n"),
        ("/opt/folder", "file\n"),
        ("/etc/two", "this was etc/one\n"),
        ("/etc/three-a", "this was etc/three-a\n"),
        ("/etc/three-b", ""),
        ("/etc/pair-b", "both\n"),
        ("/opt/a \"quoted\" folder/f", "x\n"),
        ("/root/.ash_history", ""),
        ("/root/customize", ""),
        ("/tmp/left", ""),
        ("/usr/sbin/policy-rc.d", ""),
        ("/.mibe/apt.conf", ""),
        ("/etc/machine-id", ""),
    ] {
        assert_eq!(cat(path), content, "{path}");
    }
    assert!(cat("/etc/cloud/cloud.cfg.d/90_smartos.cfg").contains("SmartOS"));
    assert!(
        cat("/etc/product").contains("Base Image: disk.raw")
            || cat("/etc/product").contains("disk.raw")
    );
    for (path, words) in [
        ("/etc/modes", vec!["Mode:  04711", "Links: 1", "user.old"]),
        ("/etc/owned", vec!["User:  1000", "Group:  1001"]),
        ("/opt/thing", vec!["Type: directory", "Mode:  0750"]),
        ("/etc/one", vec!["Links: 2"]),
        ("/etc/three-a", vec!["Links: 1"]),
        ("/etc/pair-a", vec!["Links: 2"]),
        ("/etc/link", vec!["Fast link dest: \"new-target\""]),
        ("/etc/pipe", vec!["Type: FIFO"]),
        ("/etc/device", vec!["Type: character special", "01:03"]),
        ("/etc/large", vec!["Size: 20971524"]),
        ("/etc/dated", vec!["mtime: 0x3b9aca00"]),
        ("/etc/ours", vec!["Mode:  0640", "User:     0"]),
        ("/bin/capped", vec!["security.capability"]),
        ("/etc/changed", vec!["security.selinux"]),
        (
            "/etc/cloud/cloud.cfg.d/90_smartos.cfg",
            vec!["security.selinux"],
        ),
        ("/.autorelabel", vec!["Type: regular"]),
        ("/links/199", vec!["Links: 200"]),
    ] {
        let told = ask(&format!("stat {path}"));
        for word in words {
            assert!(told.contains(word), "{path}: {word:?} is not in {told}");
        }
    }
    assert!(!ask("stat /bin/capped-too").contains("security.capability"));
    let etc = ask("ls /etc");
    assert!(!etc.contains("gone"), "{etc}");
    assert!(!ask("ls /var").contains("dir "), "{}", ask("ls /var"));
}

/// What was built is built upon, and a disk is made larger with its file system.
#[test]
fn a_built_disk_is_a_base() {
    let (world, _) = world(Who::Single, &vendor());
    world.write_repository(
        "mi-one",
        &[
            ("manifest", 0o644, "name=one\nversion=1\ntype=zvol\nbase=../disk.raw\nrequirements='{\"brand\": \"bhyve\", \"bootrom\": \"uefi\"}'\n"),
            ("customize", 0o755, "#!/bin/sh\necho one > /etc/made\n"),
        ],
    );
    world.write_repository(
        "mi-two",
        &[
            ("manifest", 0o644, "name=two\nversion=1\ntype=zvol\nbase=one-1\ndisk_size=2\n"),
            ("customize", 0o755, "#!/bin/sh\nset -e\ntest \"$(cat /etc/made)\" = one\ndd if=/dev/urandom of=/opt/large bs=1M count=200 2>/dev/null\n"),
        ],
    );
    for name in ["mi-one", "mi-two"] {
        let ran = world.mibe(&["build", name]);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        world.assert_nothing_left();
    }
    let image = manifest(&world, "two-1");
    assert_eq!(image["image_size"], 2048);
    assert_eq!(image["requirements"]["brand"], "bhyve");
    assert_eq!(image["requirements"]["bootrom"], "uefi");
    assert_valid(&world, "two-1");
    let disk = world.home().join("restored");
    restore(&world, "two-1", &disk);
    let words = run("sgdisk", &["--verify", disk.to_str().unwrap()]);
    assert!(words.contains("No problems found"), "{words}");
    let device = format!("{}?offset={ROOT}", disk.display());
    run("e2fsck", &["-fn", &device]);
    let stats = run("debugfs", &["-R", "stat /opt/large", &device]);
    assert!(stats.contains("Size: 209715200"), "{stats}");
}

#[test]
fn what_no_disk_can_be() {
    let mut shape = vendor();
    shape.files.push((
        "etc/fstab",
        "LABEL=root / ext4 rw 0 1\nLABEL=B /boot ext4 rw 0 2\n".into(),
    ));
    let (world, disk) = world(Who::Root, &shape);
    run(
        "qemu-img",
        &[
            "convert",
            "-O",
            "qcow2",
            disk.to_str().unwrap(),
            world.home().join("disk.qcow2").to_str().unwrap(),
        ],
    );
    let build = |lines: &str, customize: &str, more: &[&str]| {
        let _ = fs::remove_dir_all(world.home().join("mi-x"));
        let text = format!("name=x\nversion=1\n{lines}\n");
        world.write_repository(
            "mi-x",
            &[("manifest", 0o644, &text), ("customize", 0o755, customize)],
        );
        let mut all = vec!["build", "mi-x"];
        all.extend(more);
        let ran = world.mibe(&all);
        world.assert_nothing_left();
        assert_eq!(
            world.home().join("images/x-1.json").exists(),
            ran.status == Some(0) && !more.contains(&"--dry-run")
        );
        ran
    };
    let idle = "#!/bin/sh\ntrue\n";
    let zvol = "type=zvol\nbase=../disk.raw";
    failed(
        &build(
            zvol,
            "#!/bin/sh\nmkdir -p /boot; echo x > /boot/vmlinuz-2\n",
            &[],
        ),
        1,
        &["another partition", "/boot/vmlinuz-2"],
    );
    // Marked by the script itself, as is usual.
    assert_eq!(
        build(zvol, "#!/bin/sh\ntouch /.autorelabel\n", &["--force"]).status,
        Some(0)
    );
    fs::remove_file(world.home().join("images/x-1.json")).unwrap();
    fs::remove_file(world.home().join("images/x-1.zfs.gz")).unwrap();
    for (lines, words) in [
        ("type=zvol\nbase=absent.qcow2", "there is no"),
        ("type=zvol\nbase=ftp://x/y.qcow2", "only http and https"),
        (
            "type=zvol\nbase=../disk.raw\nbrand=kvm\ndatasource=nocloud",
            "only bhyve attaches",
        ),
    ] {
        failed(&build(lines, idle, &[]), 2, &[words]);
    }
    failed(
        &build(zvol, "#!/bin/sh\nexit 7\n", &[]),
        1,
        &["exited with status 7"],
    );
    failed(
        &build(
            zvol,
            "#!/bin/sh\ndd if=/dev/urandom of=/opt/x bs=1M count=90 2>/dev/null\n",
            &[],
        ),
        1,
        &["disk_size"],
    );
    failed(
        &build(zvol, idle, &["--incremental"]),
        2,
        &["--incremental"],
    );
    failed(
        &build("type=zvol\nbase=debian:bookworm", idle, &[]),
        2,
        &["cloud disk"],
    );
    failed(
        &build("os=linux\nbase=../disk.qcow2", idle, &[]),
        2,
        &["type=\"zvol\""],
    );
    failed(
        &build(
            &format!("{zvol}\nbase_checksum={}", "0".repeat(64)),
            idle,
            &[],
        ),
        1,
        &["is not what it should be"],
    );
    failed(
        &build(
            &format!("{zvol}\nrequirements='{{\"brand\": \"lx\"}}'"),
            idle,
            &[],
        ),
        2,
        &["no virtual machine is of the brand"],
    );
    let planned = build(zvol, idle, &["--dry-run"]);
    assert!(
        planned.stdout.contains("HVM (type zvol"),
        "{}",
        planned.stdout
    );
    assert_eq!(build(zvol, idle, &[]).status, Some(0));
}

/// Killed or ended in the middle, nothing of it stays for long; kept where that was asked for.
#[test]
fn an_interrupted_build_is_cleaned_up() {
    let (world, _) = world(Who::Single, &vendor());
    let manifest = (
        "manifest",
        0o644,
        "name=x\nversion=1\ntype=zvol\nbase=../disk.raw\n",
    );
    world.write_repository(
        "mi-x",
        &[
            manifest,
            (
                "customize",
                0o755,
                "#!/bin/sh\necho begun\nwhile :; do :; done\n",
            ),
        ],
    );
    for signal in ["-KILL", "-TERM", "-INT"] {
        let mut child = world
            .command(&["build", "mi-x", "--logs", "logs"])
            .spawn()
            .unwrap();
        let begun = || {
            let Ok(entries) = fs::read_dir(world.home().join("logs")) else {
                return false;
            };
            let has =
                |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains("begun"));
            entries.flatten().any(|entry| has(&entry.path()))
        };
        while !begun() {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended before it began"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        run("kill", &[signal, &child.id().to_string()]);
        assert!(!child.wait().unwrap().success());
        if signal == "-KILL" {
            // What dies with it does so a moment later.
            for _ in 0..500 {
                if world.processes().is_empty() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let ran = world.mibe(&["clean"]);
            assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        }
        world.assert_nothing_left();
        fs::remove_dir_all(world.home().join("logs")).unwrap();
    }
    world.write_repository(
        "mi-x",
        &[manifest, ("customize", 0o755, "#!/bin/sh\nexit 1\n")],
    );
    let ran = world.mibe(&["build", "mi-x", "--keep-on-failure"]);
    failed(&ran, 1, &["is kept"]);
    let ran = world.mibe(&["clean"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    world.assert_nothing_left();
}

/// A root file system that can't follow its disk is not left behind in silence.
#[test]
fn a_root_that_is_not_the_last() {
    let (world, disk) = world(Who::Root, &vendor());
    let text = disk.to_str().unwrap();
    // Swap behind the root.
    run("truncate", &["-s", "90M", text]);
    run("sgdisk", &["--move-second-header", "-n", "2:0:0", text]);
    for (name, more, status) in [("mi-larger", "disk_size=2\n", 1), ("mi-same", "", 0)] {
        let manifest = format!("name={name}\nversion=1\ntype=zvol\nbase=../disk.raw\n{more}");
        world.write_repository(
            name,
            &[
                ("manifest", 0o644, &manifest),
                ("customize", 0o755, "#!/bin/sh\ntrue\n"),
            ],
        );
        let ran = world.mibe(&["build", name]);
        let words: &[&str] = if status == 1 { &["not the last"] } else { &[] };
        failed(&ran, status, words);
        world.assert_nothing_left();
    }
}
