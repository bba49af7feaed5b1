//! Disks that become images.

use std::fs;

use crate::shape::{
    MIB, ROOT, Shape, assert_valid, failed, manifest, received, restore, run, sha256, world,
};
use crate::support::Who;

#[test]
fn a_vendors_disk_becomes_an_image() {
    for who in [Who::Root, Who::Single] {
        let (world, disk) = world(who, &Shape::vendor());
        let before = sha256(&disk);
        let told = world.mibe(&["disk", "inspect", "disk.raw"]);
        assert_eq!(told.status, Some(0), "{}", told.stderr);
        for word in [
            "GPT",
            "BIOS and UEFI",
            "Debian GNU/Linux 12",
            "22.4.2",
            "Ec2",
            "[traces]",
            "the user debian",
        ] {
            assert!(told.stdout.contains(word), "{word}: {}", told.stdout);
        }
        let ran = world.mibe(&[
            "disk",
            "import",
            "disk.raw",
            "--name",
            "deb",
            "--version",
            "1.0",
        ]);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        assert_eq!(sha256(&disk), before, "the disk was changed");
        let manifest = manifest(&world, "deb-1.0");
        let expected = serde_json::json!({
            "type": "zvol", "os": "linux", "nic_driver": "virtio", "disk_driver": "virtio", "cpu_type": "host", "image_size": 81,
            "requirements": {"networks": [{"name": "net0", "description": "public"}], "ssh_key": true},
            "tags": {"role": "os", "default_user": "debian"},
            "users": [{"name": "root"}, {"name": "debian"}],
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&manifest[key], value, "{key}");
        }
        assert_valid(&world, "deb-1.0");
        let verified = world.mibe(&["image", "verify", "images/deb-1.0.json"]);
        assert_eq!(verified.status, Some(0), "{}", verified.stderr);
        assert_eq!(received(&world, "deb-1.0").0, 81 * MIB);
        world.assert_nothing_left();
    }
}

/// A disk of whole mebibytes whose table is at its end is sent as it is: its stream hashes to what qemu-img makes of it.
#[test]
fn a_whole_disk_is_the_volume() {
    let (world, disk) = world(Who::Root, &Shape::vendor());
    let text = disk.to_str().unwrap();
    run("truncate", &["-s", "96M", text]);
    run("sgdisk", &["--move-second-header", text]);
    let (packed, raw) = (world.home().join("packed"), world.home().join("raw"));
    run(
        "qemu-img",
        &[
            "convert",
            "-c",
            "-O",
            "qcow2",
            text,
            packed.to_str().unwrap(),
        ],
    );
    run(
        "qemu-img",
        &[
            "convert",
            "-O",
            "raw",
            packed.to_str().unwrap(),
            raw.to_str().unwrap(),
        ],
    );
    for block_size in ["8192", "512", "131072"] {
        let mut all = vec![
            "disk",
            "import",
            "packed",
            "--name",
            "whole",
            "--version",
            block_size,
        ];
        all.extend([
            "--datasource",
            "keep",
            "--no-clean",
            "--volblocksize",
            block_size,
        ]);
        let ran = world.mibe(&all);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        let name = format!("whole-{block_size}");
        assert_eq!(received(&world, &name), (96 * MIB, sha256(&raw)));
    }
}

/// Not a byte is changed where nothing is to be, whatever the format that it comes in.
#[test]
fn what_openzfs_receives_is_the_disk() {
    let (world, disk) = world(Who::Root, &Shape::vendor());
    // As it will be: rounded up, its table at the end.
    let expected = world.home().join("expected");
    fs::copy(&disk, &expected).unwrap();
    run("truncate", &["-s", "81M", expected.to_str().unwrap()]);
    for (name, arguments) in [
        ("raw", vec![]),
        ("qcow2", vec!["-O", "qcow2", "-c"]),
        (
            "zstd",
            vec!["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
        ),
        (
            "vmdk",
            vec!["-O", "vmdk", "-o", "subformat=streamOptimized"],
        ),
    ] {
        let file = world.home().join(name);
        if arguments.is_empty() {
            fs::copy(&disk, &file).unwrap();
        } else {
            let mut all = vec!["convert", "-f", "raw"];
            all.extend(arguments);
            all.extend([disk.to_str().unwrap(), file.to_str().unwrap()]);
            run("qemu-img", &all);
        }
        let ran = world.mibe(&[
            "disk",
            "import",
            name,
            "--name",
            name,
            "--version",
            "1",
            "--datasource",
            "keep",
            "--no-clean",
        ]);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        let (size, digest) = received(&world, &format!("{name}-1"));
        assert_eq!(size, 81 * MIB);
        // The second table moved, by sgdisk's own hand, there.
        let moved = world.home().join("moved");
        fs::copy(&expected, &moved).unwrap();
        let restored = world.home().join("restored");
        restore(&world, &format!("{name}-1"), &restored);
        assert_eq!(sha256(&restored), digest);
        let verified = run("sgdisk", &["--verify", restored.to_str().unwrap()]);
        assert!(verified.contains("No problems found"), "{verified}");
        // All but the tables and the record that protects them is as it was.
        let (one, other) = (fs::read(&restored).unwrap(), fs::read(&moved).unwrap());
        let end = one.len() - MIB as usize * 2;
        assert!(one[34 * 512..end] == other[34 * 512..end] && one[..440] == other[..440]);
    }
    // The same disk, the same image, whatever the format was.
    let guid = |name: &str| manifest(&world, name)["files"][0]["dataset_guid"].clone();
    assert_eq!(guid("raw-1"), guid("qcow2-1"));
    assert_eq!(guid("zstd-1"), guid("vmdk-1"));
    world.assert_nothing_left();
}

#[test]
fn the_guest_is_as_it_should_be() {
    let shape = Shape::vendor()
        .with("etc/cloud/ds-identify.cfg", "datasource: Ec2\n")
        .with("etc/cloud/cloud-init.disabled", "")
        .with(
            "etc/cloud/cloud.cfg.d/99_ec2.cfg",
            "datasource_list: [ Ec2 ]\n",
        );
    let (world, _) = world(Who::Single, &shape);
    let ran = world.mibe(&[
        "disk",
        "import",
        "disk.raw",
        "--name",
        "deb",
        "--version",
        "1",
        "--size",
        "1G",
    ]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    for word in [
        "99_ec2_smartos.cfg",
        "cloud-init.disabled was removed",
        "ds-identify.cfg was written",
        "machine-id was emptied",
    ] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    let disk = world.home().join("restored");
    restore(&world, "deb-1", &disk);
    assert_eq!(fs::metadata(&disk).unwrap().len(), 1 << 30);
    let words = run("sgdisk", &["--verify", disk.to_str().unwrap()]);
    assert!(words.contains("No problems found"), "{words}");
    let device = format!("{}?offset={ROOT}", disk.display());
    run("e2fsck", &["-fn", &device]);
    let cat = |path: &str| run("debugfs", &["-R", &format!("cat {path}"), &device]);
    assert!(
        cat("/etc/cloud/cloud.cfg.d/99_ec2_smartos.cfg").contains("datasource_list: [ SmartOS ]")
    );
    assert_eq!(cat("/etc/machine-id"), "");
    assert_eq!(cat("/etc/ssh/sshd_config"), "Port 22\n");
    for gone in [
        "/etc/ssh/ssh_host_rsa_key",
        "/var/log/cloud-init.log",
        "/var/lib/cloud/instances/i-1",
        "/etc/cloud/cloud-init.disabled",
    ] {
        assert_eq!(cat(gone), "", "{gone}");
    }
    world.assert_nothing_left();
}

#[test]
fn firmware_and_brands() {
    let uefi = Shape {
        bios: false,
        ..Shape::vendor()
    };
    let (world, _) = world(Who::Root, &uefi);
    let import = |more: &[&str]| {
        let mut all = vec![
            "disk",
            "import",
            "disk.raw",
            "--name",
            "x",
            "--version",
            "1",
            "--force",
        ];
        all.extend(more);
        world.mibe(&all)
    };
    let needs = |more: &[&str]| {
        let ran = import(more);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        assert_valid(&world, "x-1");
        let requirements = manifest(&world, "x-1")["requirements"].clone();
        (
            requirements["brand"].clone(),
            requirements["bootrom"].clone(),
        )
    };
    assert_eq!(needs(&[]), ("bhyve".into(), "uefi".into()));
    assert_eq!(
        needs(&["--brand", "bhyve"]),
        ("bhyve".into(), "uefi".into())
    );
    failed(&import(&["--brand", "kvm"]), 2, &["UEFI alone"]);
    failed(&import(&["--bootrom", "bios"]), 2, &["BIOS finds nothing"]);
    assert_eq!(needs(&["--datasource", "nocloud"]).0, "bhyve");
    assert_eq!(
        manifest(&world, "x-1")["tags"]["org.smartos:cloudinit_datasource"],
        "nocloud"
    );
    assert!(
        manifest(&world, "x-1")["requirements"]
            .get("ssh_key")
            .is_none()
    );
    failed(
        &import(&["--datasource", "nocloud", "--brand", "kvm"]),
        2,
        &["NoCloud"],
    );

    Shape {
        uefi: false,
        ..Shape::vendor()
    }
    .make(&world.home());
    assert_eq!(
        needs(&[]),
        (serde_json::Value::Null, serde_json::Value::Null)
    );
    assert_eq!(
        needs(&["--brand", "kvm"]),
        ("kvm".into(), serde_json::Value::Null)
    );
    assert_eq!(
        needs(&["--brand", "kvm", "--bootrom", "bios"]),
        ("kvm".into(), serde_json::Value::Null)
    );
    failed(&import(&["--bootrom", "uefi"]), 2, &["UEFI finds nothing"]);

    Shape {
        bios: false,
        uefi: false,
        ..Shape::vendor()
    }
    .make(&world.home());
    failed(&import(&[]), 1, &["neither a BIOS nor UEFI"]);
    world.assert_nothing_left();
}
