//! Real gpg with keys for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub struct Gpg {
    home: tempfile::TempDir,
}

impl Gpg {
    pub fn new() -> Self {
        // gpg-agent's socket needs a short path.
        let home = tempfile::Builder::new()
            .prefix("mibe-gpg-")
            .tempdir()
            .unwrap();
        Self { home }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn call(&self, program: &str, arguments: &[&str], input: &[u8]) -> Output {
        let path = self.path("input");
        fs::write(&path, input).unwrap();
        Command::new(program)
            .args(arguments)
            .env("GNUPGHOME", self.home.path())
            .env("LC_ALL", "C")
            .stdin(Stdio::from(fs::File::open(path).unwrap()))
            .output()
            .unwrap_or_else(|error| {
                let package = if program == "gpgv" { "gpgv" } else { "gnupg" };
                panic!("{program}: {error} (apt-get install {package})")
            })
    }

    /// gpg without questions, at a time of its own ("20200101T000000") or now.
    #[track_caller]
    pub fn gpg(&self, time: Option<&str>, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut all = vec![
            "--batch",
            "--quiet",
            "--yes",
            "--pinentry-mode=loopback",
            "--passphrase=",
        ];
        if let Some(time) = time {
            all.extend(["--faked-system-time", time]);
        }
        all.extend(arguments);
        let output = self.call("gpg", &all, input);
        assert!(
            output.status.success(),
            "gpg {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// A key that signs; its fingerprint.
    pub fn key(&self, name: &str, time: Option<&str>, algorithm: &str, expires: &str) -> String {
        let user = format!("{name} <{name}@example.org>");
        self.gpg(
            time,
            &["--quick-gen-key", &user, algorithm, "cert,sign", expires],
            b"",
        );
        let text = self.gpg(None, &["--with-colons", "--list-keys", &user], b"");
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    /// A keyring of some keys.
    pub fn keyring(&self, name: &str, keys: &[&str]) -> PathBuf {
        let path = self.path(name);
        let exported = self.gpg(None, &[&["--export"], keys].concat(), b"");
        fs::write(&path, exported).unwrap();
        path
    }

    /// Clear-signed by some keys.
    pub fn sign(&self, time: Option<&str>, keys: &[&str], more: &[&str], text: &str) -> String {
        let mut arguments: Vec<&str> = more.to_vec();
        for key in keys {
            arguments.extend(["--local-user", key]);
        }
        arguments.push("--clearsign");
        String::from_utf8(self.gpg(time, &arguments, text.as_bytes())).unwrap()
    }

    /// What apt would make of it: gpgv finds a good signature, of a key that is valid now.
    pub fn gpgv(&self, keyring: &Path, text: &[u8]) -> bool {
        let signed = self.path("signed");
        fs::write(&signed, text).unwrap();
        let arguments = [
            "--status-fd=1",
            "--keyring",
            keyring.to_str().unwrap(),
            signed.to_str().unwrap(),
        ];
        let output = self.call("gpgv", &arguments, b"");
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        ["GOODSIG", "VALIDSIG"]
            .iter()
            .all(|word| status.contains(&format!("[GNUPG:] {word} ")))
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .args(["--kill", "gpg-agent"])
            .env("GNUPGHOME", self.home.path())
            .status();
    }
}
