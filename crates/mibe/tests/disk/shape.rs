//! Small disks of every shape, and what became of them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{self, Ran, Who, World};

pub const MIB: u64 = 1 << 20;
/// First byte of the root file system.
pub const ROOT: u64 = 12 * MIB;

pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// What a disk is to be like.
#[derive(Clone)]
pub struct Shape {
    pub filesystem: &'static str,
    pub bios: bool,
    pub uefi: bool,
    pub files: Vec<(&'static str, String)>,
    /// What else is to be in the tree.
    pub more: fn(&Path),
}

impl Shape {
    /// Debian as vendors have it, for somebody else's cloud.
    pub fn vendor() -> Self {
        let script =
            Path::new(&std::env::var_os("MIBE_DS_IDENTIFY").expect("run `cargo xtask test`"))
                .join("bookworm/ds-identify");
        Self {
            filesystem: "ext4",
            bios: true,
            uefi: true,
            more: |_| {},
            files: vec![
                (
                    "etc/os-release",
                    "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n".into(),
                ),
                ("usr/bin/cloud-init", "#!/usr/bin/python3\n".into()),
                (
                    "usr/lib/cloud-init/ds-identify",
                    fs::read_to_string(script).unwrap(),
                ),
                (
                    "usr/lib/python3/dist-packages/cloudinit/version.py",
                    "__VERSION__ = \"22.4.2\"\n".into(),
                ),
                (
                    "etc/cloud/cloud.cfg",
                    "system_info:\n  default_user:\n    name: debian\n".into(),
                ),
                (
                    "etc/cloud/cloud.cfg.d/90_dpkg.cfg",
                    "datasource_list: [ Ec2, None ]\n".into(),
                ),
                (
                    "etc/machine-id",
                    "0123456789abcdef0123456789abcdef\n".into(),
                ),
                ("etc/ssh/ssh_host_rsa_key", "a key".into()),
                ("etc/ssh/sshd_config", "Port 22\n".into()),
                ("var/log/cloud-init.log", "a log".into()),
                ("var/lib/cloud/instances/i-1/sem/x", "done".into()),
                (
                    "boot/grub/grub.cfg",
                    "menuentry x {\n  linux /vmlinuz root=LABEL=root ro quiet\n}\n".into(),
                ),
            ],
        }
    }

    pub fn with(mut self, path: &'static str, text: &str) -> Self {
        self.files.retain(|(old, _)| *old != path);
        self.files.push((path, text.to_owned()));
        self
    }

    pub fn without(mut self, start: &str) -> Self {
        self.files.retain(|(path, _)| !path.starts_with(start));
        self
    }

    /// Makes the disk.
    pub fn make(&self, folder: &Path) -> PathBuf {
        let path = folder.join("disk.raw");
        let tree = tempfile::tempdir().unwrap();
        for (name, text) in &self.files {
            let file = tree.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        (self.more)(tree.path());
        let disk = File::create(&path).unwrap();
        disk.set_len(80 * MIB + 1000).unwrap();
        let text = path.to_str().unwrap();
        run(
            "sgdisk",
            &[
                "-n",
                "14:2048:+1M",
                "-t",
                "14:ef02",
                "-n",
                "15:4096:+8M",
                "-t",
                "15:ef00",
                "-n",
                "1:24576:0",
                text,
            ],
        );
        if self.bios {
            disk.write_all_at(&[0xEB, 0x63, 0x90], 0).unwrap();
        }
        if self.uefi {
            let esp = folder.join("esp");
            File::create(&esp).unwrap().set_len(8 * MIB).unwrap();
            let esp_text = esp.to_str().unwrap();
            let program = folder.join("program");
            fs::write(&program, b"MZ").unwrap();
            run("mkfs.fat", &[esp_text]);
            run("mmd", &["-i", esp_text, "::/EFI", "::/EFI/BOOT"]);
            run(
                "mcopy",
                &[
                    "-i",
                    esp_text,
                    program.to_str().unwrap(),
                    "::/EFI/BOOT/BOOTX64.EFI",
                ],
            );
            disk.write_all_at(&fs::read(&esp).unwrap(), 2 * MIB)
                .unwrap();
        }
        match self.filesystem {
            "ext4" => {
                let offset = format!("offset={ROOT}");
                run(
                    "mke2fs",
                    &[
                        "-q",
                        "-F",
                        "-t",
                        "ext4",
                        "-L",
                        "root",
                        "-E",
                        &offset,
                        "-d",
                        tree.path().to_str().unwrap(),
                        text,
                        "60M",
                    ],
                );
            }
            // No program of Debian's essential ones makes these; what they begin with is enough.
            "xfs" => disk.write_all_at(b"XFSB", ROOT).unwrap(),
            _ => {}
        }
        path
    }
}

/// A world with a disk in its home.
pub fn world(who: Who, shape: &Shape) -> (World, PathBuf) {
    let world = World::new(who);
    let disk = shape.make(&world.home());
    world.give(&world.home());
    (world, disk)
}

pub fn manifest(world: &World, name: &str) -> serde_json::Value {
    serde_json::from_str(
        &fs::read_to_string(world.home().join(format!("images/{name}.json"))).unwrap(),
    )
    .unwrap()
}

/// The volume that real OpenZFS receives, as size and SHA-256.
pub fn received(world: &World, name: &str) -> (u64, String) {
    let oracle = std::env::var("MIBE_ORACLE").expect("run `cargo xtask test`");
    let stream = world.home().join("stream");
    run(
        "sh",
        &[
            "-c",
            &format!(
                "gzip -dc '{}' > '{}'",
                world.home().join(format!("images/{name}.zfs.gz")).display(),
                stream.display()
            ),
        ],
    );
    let text = run(
        &format!("{oracle}/zrecv"),
        &["-r", stream.to_str().unwrap()],
    );
    let line = text.lines().find(|line| line.starts_with("zvol ")).unwrap();
    let column = |key: &str| {
        line.split(' ')
            .find_map(|column| column.strip_prefix(key))
            .unwrap()
            .to_owned()
    };
    (column("size=").parse().unwrap(), column("sha256="))
}

pub fn sha256(path: &Path) -> String {
    run("sha256sum", &[path.to_str().unwrap()])
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

pub fn assert_valid(world: &World, name: &str) {
    support::assert_takes_imgmanifest(&world.home().join(format!("images/{name}.json")));
}

pub fn failed(ran: &Ran, status: i32, words: &[&str]) {
    assert_eq!(ran.status, Some(status), "{}{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(
            ran.stderr.contains(word),
            "{word:?} is not in {}",
            ran.stderr
        );
    }
}

/// The disk of an image, by mibe's own reader, which others' truth is held against beside.
pub fn restore(world: &World, name: &str, to: &Path) {
    use zfs_stream::read::{Snapshot, Volume};
    let file = File::open(world.home().join(format!("images/{name}.zfs.gz"))).unwrap();
    let mut snapshot = Snapshot::open([mibe_image::file::decompressed(file).unwrap()]).unwrap();
    let out = File::create(to).unwrap();
    let volume = Volume::read(&mut snapshot, &mut |offset, bytes| {
        out.write_all_at(bytes, offset)
    })
    .unwrap();
    out.set_len(volume.size).unwrap();
}
