//! A SmartOS host that is played by `tests/fake_smartos`, with bases made of one static program and a few scripts.

#![allow(dead_code, reason = "every test file takes what it needs")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use zfs_stream::{DirTree, StreamOptions, write_filesystem};

use crate::support::{self, World, succeed};

/// The programs that it plays.
const PROGRAMS: &[&str] = &[
    "vmadm",
    "imgadm",
    "zfs",
    "zpool",
    "zlogin",
    "zoneadm",
    "sysinfo",
    "nictagadm",
    "ps",
];

/// A native base that the host has.
pub const NATIVE: &str = "11111111-2222-4333-8444-000000000001";
/// An LX base that it has.
pub const LX: &str = "11111111-2222-4333-8444-000000000002";
/// A native base that it must import.
pub const ELSEWHERE: &str = "11111111-2222-4333-8444-000000000003";

/// The host.
pub struct FakeHost {
    folder: tempfile::TempDir,
}

impl FakeHost {
    /// One with small bases.
    pub fn new() -> Self {
        let host = Self::empty();
        let native = native_tree();
        host.add_image(NATIVE, "base-fake", "24.4.1", "zone-dataset", native.path());
        host.add_image(
            ELSEWHERE,
            "base-far",
            "24.4.1",
            "zone-dataset",
            native.path(),
        );
        host.add_image(LX, "lx-fake", "20260101", "lx-dataset", lx_tree().path());
        host.import(NATIVE);
        host.import(LX);
        host
    }

    /// One without images.
    pub fn empty() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mibe-smartos-")
            .tempdir_in("/var/tmp")
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let host = Self { folder };
        fs::create_dir(host.bin()).unwrap();
        let fake = Path::new(env!("CARGO_BIN_EXE_mibe"))
            .parent()
            .unwrap()
            .join("examples/fake-smartos");
        assert!(
            fake.exists(),
            "{} is not there: `cargo test` without --test builds it, or `cargo build --example fake-smartos`",
            fake.display()
        );
        let first = host.bin().join(PROGRAMS[0]);
        // By another process: see World::new.
        succeed(Command::new("cp").arg(fake).arg(&first));
        for name in &PROGRAMS[1..] {
            fs::hard_link(&first, host.bin().join(name)).unwrap();
        }
        host.write_state(&json!({
            "datasets": {"zones": {"properties": {}, "snapshots": {}}},
            "vms": {}, "images": {}, "sources": {},
        }));
        host
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn bin(&self) -> PathBuf {
        self.path("bin")
    }

    /// What PATH must be for its programs to be found.
    pub fn search_path(&self) -> String {
        format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.bin().display()
        )
    }

    /// `mibe` of a world in this global zone.
    pub fn command(&self, world: &World, arguments: &[&str]) -> Command {
        let mut command = world.command(arguments);
        command.env("PATH", self.search_path());
        command
    }

    pub fn mibe(&self, world: &World, arguments: &[&str]) -> support::Ran {
        support::Ran::of(&self.command(world, arguments).output().unwrap())
    }

    pub fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("state.json")).unwrap()).unwrap()
    }

    pub fn write_state(&self, state: &Value) {
        fs::write(self.path("state.json"), state.to_string()).unwrap();
    }

    /// All that a build could leave: the state, and the folders of datasets and snapshots.
    pub fn everything(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        all.insert("state".to_owned(), self.state().to_string());
        for folder in ["mnt/zones", "snapshots", "running"] {
            all.insert(
                folder.to_owned(),
                support::names(&self.path(folder)).join(" "),
            );
        }
        all
    }

    /// Adds an image to the host's sources.
    pub fn add_image(&self, uuid: &str, name: &str, version: &str, kind: &str, tree: &Path) {
        let source = self.path("source").join(uuid);
        fs::create_dir_all(&source).unwrap();
        succeed(
            Command::new("cp")
                .arg("-a")
                .arg(tree)
                .arg(source.join("tree")),
        );
        let guid = u64::from_str_radix(&uuid[uuid.len() - 12..], 16).unwrap() + 0x7000;
        let options = StreamOptions {
            to_name: format!("zones/{uuid}@final"),
            to_guid: guid,
            creation_time: 1_600_000_000,
        };
        let mut stream = std::io::BufWriter::new(fs::File::create(source.join("stream")).unwrap());
        let mut dir = DirTree::new(&source.join("tree")).unwrap();
        write_filesystem(&mut dir, &mut stream, &options, &mut |_| {}).unwrap();
        let lx = kind == "lx-dataset";
        let mut manifest = json!({
            "v": 2, "uuid": uuid, "owner": "930896af-bf8c-48d4-885c-6573a94b1853", "name": name,
            "version": version, "state": "active", "disabled": false, "public": true,
            "published_at": "2026-01-02T03:04:05Z", "type": kind,
            "os": if lx { "linux" } else { "smartos" },
            "files": [{"sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709", "size": 4096, "compression": "gzip",
                       "dataset_guid": guid.to_string()}],
            "requirements": {"networks": [{"name": "net0", "description": "public"}],
                             "min_platform": {"7.0": "20220407T001427Z"}},
            "tags": {"role": "os", "group": "base-64-lts"},
            "users": [{"name": "root"}, {"name": "admin"}],
            "billing_tags": ["small"],
        });
        if lx {
            manifest["requirements"]["brand"] = "lx".into();
            manifest["tags"]["kernel_version"] = "4.10".into();
        }
        let mut state = self.state();
        state["sources"][uuid] = manifest;
        self.write_state(&state);
    }

    /// Has the host import an image.
    pub fn import(&self, uuid: &str) {
        succeed(
            Command::new(self.bin().join("imgadm")).args(["import", "-q", "-P", "zones", uuid]),
        );
        let _ = fs::remove_file(self.path("calls"));
    }

    /// Takes an image away.
    pub fn forget(&self, uuid: &str) {
        let mut state = self.state();
        state["images"].as_object_mut().unwrap().remove(uuid);
        let dataset = format!("zones/{uuid}");
        state["datasets"].as_object_mut().unwrap().remove(&dataset);
        self.write_state(&state);
        for left in [
            self.path("mnt").join(&dataset),
            self.path("streams").join(uuid),
        ] {
            let _ = fs::remove_dir_all(&left).or_else(|_| fs::remove_file(&left));
        }
    }

    /// The stream of an image, compressed for what reads images.
    pub fn stream(&self, uuid: &str) -> PathBuf {
        let to = self.path(&format!("{uuid}.gz"));
        let from = self.path("source").join(uuid).join("stream");
        succeed(Command::new("sh").arg("-c").arg(format!(
            "gzip -c <'{}' >'{}'",
            from.display(),
            to.display()
        )));
        to
    }

    /// The calls since the last time.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        text.lines().map(ToOwned::to_owned).collect()
    }
}

/// Writes an executable.
pub fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What both bases have: busybox, under the names of what a zone's scripts call.
fn common(root: &Path) {
    for folder in [
        "bin", "sbin", "usr/bin", "usr/sbin", "etc", "root", "var/svc", "var/log", "dev", "proc",
        "run", "var/tmp", "system",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::create_dir(root.join("tmp")).unwrap();
    for folder in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(folder), fs::Permissions::from_mode(0o1777)).unwrap();
    }
    fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700)).unwrap();
    succeed(
        Command::new("cp")
            .args(["/usr/bin/busybox"])
            .arg(root.join("bin/busybox")),
    );
    for name in [
        "sh", "su", "cat", "tar", "sed", "find", "grep", "rm", "chmod", "chown", "mkdir", "ls",
        "printf", "sleep", "cp", "mv", "touch", "kill", "id", "pwd", "env", "ln", "stat", "dd",
        "echo", "test", "head", "true", "false",
    ] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(root.join("etc/shadow"), "root:*:1::::::\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
    fs::write(root.join("etc/hosts"), "127.0.0.1\tlocalhost\n").unwrap();
    // The program that sm-prepare-image ends with: all of the zone ends at once.
    script(
        &root.join("usr/sbin/halt"),
        "#!/bin/sh\n: > /var/run-halt\nkill -9 -1\n",
    );
}

/// The tree of a native base.
pub fn native_tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let root = folder.path().join("root");
    common(&root);
    fs::create_dir(folder.path().join("cores")).unwrap();
    // As on illumos, links that copy/ must go through.
    fs::create_dir_all(root.join("opt/local/etc/pkgin")).unwrap();
    symlink("etc/inet/hosts", root.join("etc/link-out")).unwrap();
    fs::create_dir_all(root.join("usr/share/real")).unwrap();
    symlink("../usr/share/real", root.join("var/linked")).unwrap();
    script(
        &root.join("usr/bin/svcs"),
        "#!/bin/sh\ncase $* in\n*zoneinit) exit 1 ;;\nesac\nif [ -e /var/svc/.booted ]; then echo online; else echo offline; fi\n",
    );
    script(
        &root.join("opt/local/bin/pkgin"),
        "#!/bin/sh\necho \"pkgin $*\" >> /var/pkgin.log\n[ \"$1\" = -y ] || exit 1\nshift\nverb=$1\nshift\n\
         [ ! -e /etc/pkgin-fails-once ] || { rm /etc/pkgin-fails-once; echo 'pkgin: network unreachable'; exit 1; }\n\
         cat /opt/local/etc/pkgin/repositories.conf >> /var/pkgin.mirrors\n\
         for name; do\n\
         case $verb:$name in\ninstall:no-such*) echo \"pkgin: empty local package list, $name is not available\"; exit 1 ;;\n\
         install:*) echo $name >> /var/packages ;;\nremove:*) echo \"-$name\" >> /var/packages ;;\nesac\ndone\nexit 0\n",
    );
    script(
        &root.join("opt/local/sbin/pkg_add"),
        "#!/bin/sh\nfor name; do case $name in -*) ;; *) echo \"url:$name\" >> /var/packages ;; esac; done\n",
    );
    fs::write(
        root.join("opt/local/etc/pkgin/repositories.conf"),
        "# set by the image\nhttps://pkgsrc.smartos.org/packages/SmartOS/2024Q4/x86_64/All\n",
    )
    .unwrap();
    script(
        &root.join("opt/local/bin/sm-prepare-image"),
        "#!/bin/sh\necho '* Performing cleanup'\nrm -f /root/customize /etc/ssh/ssh_host_*\necho prepared > /var/prepared\nexec /usr/sbin/halt\n",
    );
    fs::create_dir_all(root.join("etc/ssh")).unwrap();
    fs::write(root.join("etc/ssh/ssh_host_rsa_key"), "secret").unwrap();
    fs::write(
        root.join("etc/product"),
        "Name: Joyent Instance\nImage: base-fake 24.4.1\n",
    )
    .unwrap();
    folder
}

/// The tree of an LX base without packages.
pub fn lx_tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let root = folder.path().join("root");
    common(&root);
    fs::write(
        root.join("etc/os-release"),
        "PRETTY_NAME=\"Fake Linux 1\"\nID=fake\n",
    )
    .unwrap();
    fs::write(root.join("etc/machine-id"), "0123\n").unwrap();
    fs::create_dir_all(root.join("etc/network")).unwrap();
    fs::write(root.join("etc/network/interfaces"), "auto eth0\n").unwrap();
    fs::write(root.join("var/log/messages"), "of the base\n").unwrap();
    folder
}
