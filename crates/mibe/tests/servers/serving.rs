//! A `mibe serve` of the test's own, and requests to it that are written out.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{World, succeed};

/// A server that runs until this is dropped.
pub struct Serving {
    pub child: Child,
    pub url: String,
    /// `127.0.0.1:PORT`.
    pub address: String,
    log: PathBuf,
}

impl Serving {
    /// Serves a folder, which is made, at a free port of the loopback.
    pub fn start(world: &World, folder: &str, arguments: &[&str]) -> Self {
        let at = world.home().join(folder);
        fs::create_dir_all(&at).unwrap();
        let log = world.folder.path().join(format!("{folder}.log"));
        let mut all = vec!["serve", folder, "--listen", "127.0.0.1:0"];
        all.extend(arguments);
        let mut child = world
            .command(&all)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().and_then(Result::ok).unwrap_or_else(|| {
            panic!("it serves nothing: {}", fs::read_to_string(&log).unwrap());
        });
        let url = line.split(" at ").nth(1).unwrap().trim_end_matches('/');
        Self {
            child,
            address: url.split("://").nth(1).unwrap().to_owned(),
            url: url.to_owned(),
            log,
        }
    }

    /// What it said on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Ends it as an operator does, and waits for that.
    pub fn end(&mut self) -> Option<i32> {
        succeed(Command::new("kill").arg(self.child.id().to_string()));
        self.child.wait().unwrap().code()
    }

    /// The answer to a request without a body.
    pub fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(method, target, headers, b"")
    }

    /// The answer to a request.
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            write!(head, "Host: {}\r\n", self.address).unwrap();
        }
        if !body.is_empty() {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes)
    }

    /// What comes back for these bytes, until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // It may answer and close before it has all.
        let _ = stream.write_all(bytes);
        Answer::read(&mut stream)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        stream
    }

    /// The JSON behind a path.
    pub fn json(&self, target: &str) -> Value {
        self.ask("GET", target, &[]).expect(200).json()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer, read to the end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// All that came.
    pub all: Vec<u8>,
}

impl Answer {
    pub fn read(stream: &mut impl Read) -> Self {
        let mut all = Vec::new();
        // A connection that is broken off has said what it said.
        let _ = stream.read_to_end(&mut all);
        let end = all.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.map_or(all.len(), |end| end + 4);
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        });
        Self {
            status: status.unwrap_or(0),
            headers: headers.collect(),
            body: all[end..].to_vec(),
            all,
        }
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.all)
        );
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a refusal.
    #[track_caller]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

/// Waits until something holds.
#[track_caller]
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "not in time: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a script with the packages of `xtask/parts/servers`; what it prints is JSON.
pub fn node(script: &str, arguments: &[&str]) -> Value {
    let mut command = node_command(script, arguments);
    let output = command
        .output()
        .expect("node, which `cargo xtask test` installs");
    assert!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub fn node_command(script: &str, arguments: &[&str]) -> Command {
    let parts = std::env::var_os("MIBE_SERVER_PARTS")
        .expect("MIBE_SERVER_PARTS is not set: this test needs what `cargo xtask test` installs");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/servers")
        .join(script);
    let mut command = Command::new("node");
    command
        .arg(path)
        .args(arguments)
        .env("NODE_PATH", Path::new(&parts).join("node_modules"))
        .env("NODE_NO_WARNINGS", "1")
        .stdin(Stdio::null());
    command
}

/// Text of digits that compresses badly.
pub fn noise(numbers: u32) -> String {
    let mut text = String::new();
    for number in 0..numbers {
        write!(text, "{:x}", number.wrapping_mul(2_654_435_761)).unwrap();
    }
    text
}
