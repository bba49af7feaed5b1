//! A real sshd, for the tests of every crate that goes through ssh.

#![allow(dead_code, reason = "every test file takes what it needs")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

/// An sshd of the test's own, on loopback, that lets its key in and nobody else.
pub struct Sshd {
    folder: tempfile::TempDir,
    child: Child,
}

impl Sshd {
    /// Starts one.
    pub fn new() -> Self {
        Self::with_path("/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    }

    /// Starts one that sets PATH. To a bash of a second level it hands its commands, which reads no start-up file: that of whoever runs
    /// the tests may be slow, and set PATH anew.
    pub fn with_path(search: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for key in ["host", "user"] {
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path(key))
                .status()
                .unwrap();
            assert!(made.success());
        }
        fs::copy(path("user.pub"), path("authorized_keys")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        fs::write(
            path("sshd_config"),
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxSessions 40\n                 SetEnv PATH={search} SHLVL=2\n",
                folder.path().display()
            ),
        )
        .unwrap();
        let host_key = fs::read_to_string(path("host.pub")).unwrap();
        let words: Vec<&str> = host_key.split(' ').collect();
        fs::write(
            path("known_hosts"),
            format!("[127.0.0.1]:{port} {} {}\n", words[0], words[1]),
        )
        .unwrap();
        fs::write(
            path("ssh_config"),
            format!(
                "Host there\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  IdentityFile {0}/user\n  IdentitiesOnly yes\n  \
                 UserKnownHostsFile {0}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  BatchMode yes\n",
                folder.path().display()
            ),
        )
        .unwrap();
        // sshd wants this folder to be there and nobody else's.
        fs::create_dir_all("/run/sshd").unwrap();
        fs::set_permissions("/run/sshd", fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(path("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Self { folder, child };
            }
            assert!(child.try_wait().unwrap().is_none(), "sshd ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        panic!("sshd does not answer");
    }

    /// A file of the server: `ssh_config` (whose host is called `there`), `authorized_keys`, `known_hosts`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Ends the sessions, as a cut line does.
    pub fn cut(&self) {
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
            // After the name, which is in brackets: state, then parent (proc_pid_stat).
            let parent = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1));
            if parent == Some(&self.child.id().to_string()) {
                let id = process.file_name().into_string().unwrap();
                // It may end by itself meanwhile.
                let _ = std::process::Command::new("kill")
                    .args(["-KILL", &id])
                    .output();
            }
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Sessions outlive the one that listens.
        self.cut();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
