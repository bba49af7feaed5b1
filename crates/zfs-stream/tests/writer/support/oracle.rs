//! Runs the receive oracle and reads its listings.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// A tool of the oracle. There is no way to run these tests without it.
pub fn tool(name: &str) -> PathBuf {
    let Some(directory) = std::env::var_os("MIBE_ORACLE") else {
        panic!(
            "MIBE_ORACLE is not set: these tests need the receiver made of real OpenZFS; \
             run `cargo xtask test`, which builds it"
        );
    };
    PathBuf::from(directory).join(name)
}

/// A received file system: lines of its listing, by path, with raw columns apart.
pub struct Filesystem {
    lines: BTreeMap<String, (String, BTreeMap<String, String>)>,
}

impl Filesystem {
    /// Raw column (`blksz`, `nblk512`, `acl`, …) of an entry.
    pub fn raw(&self, path: &str, column: &str) -> &str {
        let (_, raw) = self
            .lines
            .get(path)
            .unwrap_or_else(|| panic!("{path} was not received"));
        &raw[column]
    }

    pub fn raw_number(&self, path: &str, column: &str) -> u64 {
        self.raw(path, column).parse().unwrap()
    }

    /// The same without device numbers.
    pub fn without_devices(&self) -> Self {
        let strip = |line: &String| line.split(" rdev=").next().unwrap_or_default().to_owned();
        let lines = self.lines.iter();
        Self {
            lines: lines
                .map(|(path, (line, raw))| (path.clone(), (strip(line), raw.clone())))
                .collect(),
        }
    }

    /// Compares all columns of all entries, but owners and times of hidden files: they keep those that they were made with.
    pub fn expect_but_hidden(&self, expected: &BTreeMap<String, String>) {
        let strip = |line: &String| {
            let mut columns: Vec<&str> = line.split(' ').collect();
            if columns.first() == Some(&"Xf") {
                columns.retain(|column| {
                    !["uid=", "gid=", "mtime="]
                        .iter()
                        .any(|start| column.starts_with(start))
                });
            }
            columns.join(" ")
        };
        for (path, line) in expected {
            match self.lines.get(path) {
                Some((received, _)) => assert_eq!(strip(received), strip(line)),
                None => panic!("{path} was not received"),
            }
        }
        for path in self.lines.keys() {
            assert!(
                expected.contains_key(path),
                "{path} was received but should be gone"
            );
        }
    }

    /// Compares all columns of all entries.
    pub fn expect(&self, expected: &BTreeMap<String, String>) {
        for (path, line) in expected {
            match self.lines.get(path) {
                Some((received, _)) => assert_eq!(received, line),
                None => panic!("{path} was not received"),
            }
        }
        for path in self.lines.keys() {
            assert!(
                expected.contains_key(path),
                "{path} was received but never sent"
            );
        }
    }
}

/// Receives streams, full ones each into a file system of its own, incremental ones as a clone of the one before.
pub fn receive(streams: &[Vec<u8>]) -> Vec<Filesystem> {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(tool("zrecv"));
    command.arg("-r");
    for (number, stream) in streams.iter().enumerate() {
        let path = directory.path().join(number.to_string());
        std::fs::File::create(&path)
            .unwrap()
            .write_all(stream)
            .unwrap();
        command.arg(path);
    }
    let output = command.output().expect("the oracle can't be run");
    let text = String::from_utf8_lossy(&output.stdout);
    let problems: Vec<_> = text
        .lines()
        .filter(|line| {
            line.contains("ERR ") || line.contains("FAIL") || line.contains("missing attr")
        })
        .collect();
    assert!(
        output.status.success() && problems.is_empty(),
        "not received: {}\n{}\n{}",
        output.status,
        problems.join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
    let mut filesystems = Vec::new();
    for line in text.lines() {
        if line.starts_with("filesystem ") {
            assert!(line.ends_with(" zplversion=5"), "{line}");
            filesystems.push(Filesystem {
                lines: BTreeMap::new(),
            });
        } else if let (false, Some(filesystem)) = (line.starts_with('#'), filesystems.last_mut()) {
            let (seen, raw) = line.split_once(" obj=").expect("no raw columns");
            let path = seen.split(' ').nth(1).expect("no path").to_owned();
            let raw = format!("obj={raw}")
                .split(' ')
                .filter_map(|column| column.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let twice = filesystem.lines.insert(path, (seen.to_owned(), raw));
            assert!(twice.is_none(), "listed twice: {line}");
        }
    }
    filesystems
}

/// Has `zstream dump` check the records of a stream; returns what it prints.
pub fn dump(stream: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(stream).unwrap();
    let output = Command::new(tool("zstream"))
        .args(["dump", "-v"])
        .arg(file.path())
        .output();
    let output = output.expect("zstream can't be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{}: {errors}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
