//! The whole way: a vendor's cloud disk is made an image, OpenZFS receives it, and it boots as a machine of SmartOS does.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::metadata::Metadata;
use crate::shape::{MIB, assert_valid, manifest, received, restore, run, sha256};
use crate::support::{Who, World};

/// What one boot may take, where nothing but software emulates the processor.
const LIMIT: Duration = Duration::from_secs(8 * 60);

/// First byte of the root file system of the cloud disk.
const ROOT: u64 = 128 * MIB;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJvb3RlZC1ieS1taWJlLXRlc3RzLTAwMDAwMDAx operator@example.org";

const NICS: &str = r#"[{"interface": "net0", "mac": "90:b8:d0:c1:0d:01", "ip": "10.0.2.33", "ips": ["10.0.2.33/24"],
    "netmask": "255.255.255.0", "gateway": "10.0.2.2", "gateways": ["10.0.2.2"], "primary": true, "nic_tag": "external", "mtu": 1500}]"#;

/// Tells on the console what became of the guest, a line for each, in base64 because a console changes line ends.
const SCRIPT: &str = r#"#!/bin/sh
exec < /dev/null
# The kernel would write in the middle of a line.
dmesg -n 1
tell() { printf '\nproof %s %s\n' "$1" "$(base64 -w 0)" > /dev/ttyS0; }
hostname | tell hostname
cat /root/.ssh/authorized_keys | tell root-keys
cat /home/debian/.ssh/authorized_keys | tell user-keys
cat /var/lib/cloud/instance/datasource | tell datasource
ls /var/lib/cloud/instances | tell instances
cat /etc/machine-id | tell machine-id
cat /etc/ssh/ssh_host_ed25519_key.pub | tell host-key
df -B1 --output=size / | tail -n 1 | tell root-size
ip -o -4 address show dev net0 | tell address
cat /sys/class/dmi/id/product_name | tell product
if [ -d /sys/firmware/efi ]; then echo UEFI; else echo BIOS; fi | tell firmware
echo "$0" | tell script
systemctl --failed --plain --no-legend | tell failed
if [ -e /etc/ours ]; then echo '{"of": "the build"}' | jq -r .of | tell built; fi
echo | tell end
systemctl poweroff --no-block
"#;

/// A machine, which ends with the test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a disk until the guest switches the machine off; returns what its user-script told.
fn boot(
    disk: &Path,
    firmware: &str,
    metadata: &Metadata,
    folder: &Path,
) -> BTreeMap<String, String> {
    let console = folder.join(format!("console-{firmware}"));
    let port = folder.join(format!("metadata-{firmware}"));
    let listener = UnixListener::bind(&port).unwrap();
    listener.set_nonblocking(true).unwrap();
    // It ends with this thread even when nothing is left to drop the machine.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
        .args(["-accel", "tcg", "-machine", "q35", "-m", "768"])
        .args(["-display", "none", "-monitor", "none", "-no-reboot"])
        .args(["-smbios", "type=1,manufacturer=Joyent,product=SmartDC HVM"])
        .arg("-drive")
        .arg(format!(
            "file={},if=virtio,format=qcow2,cache=unsafe",
            disk.display()
        ))
        // A card of virtio, and nobody behind it.
        .args(["-netdev", "user,id=net0,restrict=on"])
        .args([
            "-device",
            "virtio-net-pci,netdev=net0,mac=90:b8:d0:c1:0d:01,romfile=",
        ])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-chardev")
        .arg(format!("socket,id=metadata,path={}", port.display()))
        .args(["-serial", "chardev:metadata"])
        .stdin(Stdio::null());
    if firmware == "UEFI" {
        command.args(["-bios", "/usr/share/ovmf/OVMF.fd"]);
    }
    let started = Instant::now();
    let mut machine = Machine(command.spawn().unwrap());
    let console = || String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
    let status = loop {
        // QEMU connects once, before the machine runs.
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            let metadata = metadata.clone();
            std::thread::spawn(move || metadata.answer(&stream));
        }
        if let Some(status) = machine.0.try_wait().unwrap() {
            break status;
        }
        assert!(
            started.elapsed() < LIMIT,
            "{firmware}: the machine is still on after {LIMIT:?}; it asked for {:?}; its console:\n{}",
            metadata.asked(),
            console()
        );
        std::thread::sleep(Duration::from_millis(100));
    };
    let console = console();
    assert!(status.success(), "{status}; {console}");
    let told: BTreeMap<String, String> = console
        .lines()
        .filter_map(|line| {
            let (name, value) = line.trim().strip_prefix("proof ")?.split_once(' ')?;
            let value = BASE64.decode(value).ok()?;
            Some((
                name.to_owned(),
                String::from_utf8(value).ok()?.trim().to_owned(),
            ))
        })
        .collect();
    assert!(
        told.contains_key("end"),
        "{firmware}: the user-script did not come to its end; asked for were {:?}; the console:\n{console}",
        metadata.asked()
    );
    told
}

#[test]
fn an_image_boots_as_a_machine_of_smartos() {
    if std::env::var_os("MIBE_SLOW_TESTS").is_none() {
        return;
    }
    let disks =
        PathBuf::from(std::env::var_os("MIBE_CLOUD_DISK").expect("run `cargo xtask test --slow`"));
    let world = World::new(Who::Root);
    let vendor = format!("{}?offset={ROOT}", disks.join("disk.raw").display());
    let before = |path: &str| {
        let text = run("debugfs", &["-R", &format!("cat {path}"), &vendor]);
        assert!(!text.is_empty(), "{path}: the vendor's disk has no past");
        text.trim().to_owned()
    };
    let (old_id, old_key) = (
        before("/etc/machine-id"),
        before("/etc/ssh/ssh_host_ed25519_key.pub"),
    );

    let disk = disks.join("disk.qcow2");
    let ran = world.mibe(&[
        "disk",
        "import",
        disk.to_str().unwrap(),
        "--name",
        "cloud",
        "--version",
        "1",
        "--size",
        "3",
    ]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_valid(&world, "cloud-1");
    let manifest = manifest(&world, "cloud-1");
    assert_eq!(manifest["image_size"], 3072);
    assert!(
        manifest["requirements"].get("brand").is_none(),
        "{manifest}"
    );
    // Built upon the same disk, with a package of Debian's.
    world.write_repository(
        "mi-built",
        &[
            (
                "manifest",
                0o644,
                &format!(
                    "name=built\nversion=1\ntype=zvol\nos=linux\nbase={}\ndisk_size=3\n",
                    disk.display()
                ),
            ),
            ("packages", 0o644, "jq\n"),
            ("copy/etc/ours", 0o644, "ours\n"),
            ("customize", 0o755, "#!/bin/sh\nset -e\njq --version\n"),
        ],
    );
    let ran = world.mibe(&["build", "mi-built"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_valid(&world, "built-1");
    // Their disks are what OpenZFS makes of the images.
    let received = |name: &str| {
        let raw = world.home().join(name);
        restore(&world, name, &raw);
        assert_eq!(received(&world, name), (3 << 30, sha256(&raw)));
        raw
    };
    let (imported, built) = (received("cloud-1"), received("built-1"));
    world.assert_nothing_left();

    // Side by side: one processor emulated takes no more than one of this machine's.
    std::thread::scope(|scope| {
        for (firmware, raw) in [("BIOS", &imported), ("UEFI", &built)] {
            let (world, old_id, old_key) = (&world, &old_id, &old_key);
            scope.spawn(move || {
                let (name, told) = boot_copy(raw, firmware, world);
                check(firmware, &name, &told, old_id, old_key);
                let built = told.get("built").map(String::as_str);
                assert_eq!(built, (firmware == "UEFI").then_some("the build"));
            });
        }
    });
}

/// Boots a copy of a disk; returns the name that the machine was given, and what its user-script told.
fn boot_copy(raw: &Path, firmware: &str, world: &World) -> (String, BTreeMap<String, String>) {
    let overlay = world.home().join(format!("{firmware}.qcow2"));
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            raw.to_str().unwrap(),
            overlay.to_str().unwrap(),
        ],
    );
    let name = format!("booted-by-{}", firmware.to_lowercase());
    let metadata = Metadata::new(&[
        ("sdc:uuid", "b0075c10-d000-4000-8000-000000000001"),
        ("sdc:hostname", &name),
        ("sdc:dns_domain", "example.org"),
        ("sdc:datacenter_name", "test"),
        ("sdc:nics", NICS),
        ("sdc:resolvers", r#"["192.0.2.53"]"#),
        ("sdc:routes", "[]"),
        ("root_authorized_keys", KEY),
        ("user-script", SCRIPT),
    ]);
    let told = boot(&overlay, firmware, &metadata, world.folder.path());
    (name, told)
}

/// What the user-script told must be so; `old_id` and `old_key` are the vendor's machine-id and host key.
fn check(firmware: &str, name: &str, told: &BTreeMap<String, String>, old_id: &str, old_key: &str) {
    let is = |key: &str| told.get(key).map_or("", String::as_str);
    assert_eq!(is("hostname"), name, "{told:?}");
    // Nothing before the key: cloud-init would write there what ends a session, were root disabled.
    assert_eq!(is("root-keys"), KEY, "root can't log in");
    assert_eq!(is("user-keys"), KEY);
    assert!(is("datasource").contains("DataSourceSmartOS"), "{told:?}");
    assert!(is("datasource").contains("/dev/ttyS1"), "{told:?}");
    assert_eq!(is("instances"), "b0075c10-d000-4000-8000-000000000001");
    assert_eq!(is("product"), "SmartDC HVM");
    assert_eq!(is("firmware"), firmware);
    assert!(is("address").contains("10.0.2.33/24"), "{told:?}");
    assert!(is("script").ends_with("/data/user-script"), "{told:?}");
    let new_id = is("machine-id");
    assert!(
        new_id.len() == 32 && new_id != old_id,
        "{new_id} after {old_id}"
    );
    let new_key = is("host-key");
    assert!(
        new_key.starts_with("ssh-ed25519 ") && new_key != old_key,
        "{new_key}"
    );
    assert_eq!(is("failed"), "", "units failed");
    // The vendor's has 1.9 GiB.
    let size: u64 = is("root-size").parse().unwrap();
    assert!(size > 2600 * MIB, "the root has {size} bytes");
}
