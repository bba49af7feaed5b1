//! A zone to run the guest tools in.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use mibe_build::guest::{self, Init};
use tempfile::TempDir;

/// The shells that /bin/sh is in the images we care for.
pub const SHELLS: &[&[&str]] = &[&["dash"], &["busybox", "sh"]];

/// Answers from the files of a folder, as mdata-get does: 0 with the value and a line end, 1 for no such key.
const MDATA_GET: &str = r#"#!/bin/sh
here=${0%/*}/../../..
echo "$1" >>"$here/asked"
if [ -e "$here/hang" ]; then exec sleep 600; fi
if [ -e "$here/broken" ]; then echo partial; exit 2; fi
value=$here/metadata/$1
if [ ! -e "$value" ]; then echo "No metadata for '$1'" >&2; exit 1; fi
cat "$value"
if [ -n "$(tail -c 1 "$value")" ]; then echo; fi
exit 0
"#;

const HOSTNAME: &str = "#!/bin/sh\nprintf '%s\\n' \"$1\" >\"${0%/*}/../kernel-hostname\"\n";

const SSH_KEYGEN: &str = r#"#!/bin/sh
[ "$1 $2" = "-A -f" ] || exit 1
for kind in rsa ed25519; do
    echo secret >"$3/etc/ssh/ssh_host_${kind}_key"
    echo public >"$3/etc/ssh/ssh_host_${kind}_key.pub"
done
"#;

/// Anything of this name that runs has touched the network.
const NETWORK: &[&str] = &[
    "ip", "ifconfig", "route", "ifup", "ifdown", "dhclient", "udhcpc",
];

/// A zone: the root of an image with the guest tools laid in, and its metadata.
pub struct Zone {
    pub root: TempDir,
    pub shell: &'static [&'static str],
}

impl Zone {
    pub fn new(shell: &'static [&'static str]) -> Self {
        let zone = Self {
            root: tempfile::tempdir().unwrap(),
            shell,
        };
        for folder in [
            "bin", "etc/ssh", "metadata", "root", "run", "usr/bin", "var/db", "var/log", "var/svc",
        ] {
            fs::create_dir_all(zone.path(folder)).unwrap();
        }
        let (files, links) = guest::files(Init::Systemd);
        for file in files {
            zone.file(&file.path[1..], file.mode, file.content);
        }
        for link in links {
            let path = zone.path(&link.path[1..]);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(link.target, path).unwrap();
        }
        zone.file("native/usr/sbin/mdata-get", 0o755, MDATA_GET.as_bytes());
        zone.file("bin/hostname", 0o755, HOSTNAME.as_bytes());
        zone.file("usr/bin/ssh-keygen", 0o755, SSH_KEYGEN.as_bytes());
        let touched = format!(
            "#!/bin/sh\necho \"$0\" >>'{}'\n",
            zone.path("touched").display()
        );
        for name in NETWORK {
            zone.file(&format!("fakes/{name}"), 0o755, touched.as_bytes());
        }
        // As finalisation leaves them.
        zone.file("etc/hostname", 0o644, b"localhost\n");
        zone.file("etc/hosts", 0o644, b"127.0.0.1\tlocalhost\n");
        zone.file("etc/resolv.conf", 0o644, b"");
        zone.file("etc/machine-id", 0o444, b"");
        // As the platform leaves it in a new zone.
        zone.file("var/svc/provisioning", 0o640, b"");
        zone
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub fn file(&self, path: &str, mode: u32, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn metadata(&self, key: &str, value: &str) {
        self.file(&format!("metadata/{key}"), 0o644, value.as_bytes());
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    pub fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    /// One of the tools under this zone's shell.
    pub fn command(&self, tool: &str) -> Command {
        let mut command = self.clean(self.shell[0]);
        command
            .args(&self.shell[1..])
            .arg(self.path("usr/lib/mibe-guest").join(tool));
        command
    }

    /// A line for a shell, with the environment of a tool.
    pub fn sh(&self, line: &str) -> Command {
        let mut command = self.clean("sh");
        command.args(["-c", line]);
        command
    }

    fn clean(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.path("fakes").display()
        );
        command
            .env_clear()
            .env("PATH", path)
            .env("MIBE_GUEST_ROOT", self.root.path())
            .env("MIBE_GUEST_LIMIT", "2")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, tool: &str) -> Output {
        self.command(tool).output().unwrap_or_else(|error| {
            panic!(
                "{}: {error} (apt-get install dash busybox-static)",
                self.shell[0]
            )
        })
    }

    /// Boots, and checks what holds of every boot.
    pub fn boot(&self) -> Output {
        let output = self.run("boot");
        assert!(
            !self.exists("var/svc/provisioning") && self.exists("var/svc/provision_success"),
            "not reported: {}",
            self.read("var/log/triton.log")
        );
        assert!(!self.exists("touched"), "touched: {}", self.read("touched"));
        assert!(!self.exists("var/lib/mibe-guest/work"));
        output
    }
}

/// Runs a test in a new zone under each shell.
pub fn everywhere(test: impl Fn(&Zone)) {
    for shell in SHELLS {
        test(&Zone::new(shell));
    }
}
