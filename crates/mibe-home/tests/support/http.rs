//! Smart HTTP: git's own `http-backend` behind a server of a few lines, which can also misbehave.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// User and password of what lies below `/private/`, in base64.
const CREDENTIALS: &str = "dXNlcjpzZWNyZXQ=";

/// A server on a port of its own. The first part of a path says how it behaves, the rest is below the folder:
/// `ok`, `private` (401 without credentials), `missing` (404), `broken` (500), `hang` (no answer), `cut` (half of a pack), `slow`.
pub struct Http {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Server {
    projects: PathBuf,
    backend: PathBuf,
    delay: Duration,
    stop: Arc<AtomicBool>,
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Http {
    /// Serves `projects`; `delay` before each answer of what is `slow`.
    pub fn new(projects: &Path, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let path = super::run(Command::new("git").arg("--exec-path"));
        let server = Server {
            projects: projects.to_owned(),
            backend: Path::new(path.trim()).join("git-http-backend"),
            delay,
            stop: Arc::clone(&stop),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if server.stop.load(Ordering::SeqCst) {
                    return;
                }
                let server = server.clone();
                // A client that is gone is no failure of the server.
                std::thread::spawn(move || stream.map(|stream| server.serve(stream)));
            }
        });
        Self { address, stop }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut request = Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            request
                .headers
                .push((name.to_lowercase(), value.trim().to_owned()));
        }
        if request.header("expect").is_some() {
            let mut stream = stream;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        if request.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).ok()?;
                let length = usize::from_str_radix(line.trim(), 16).ok()?;
                let mut chunk = vec![0; length + 2];
                reader.read_exact(&mut chunk).ok()?;
                if length == 0 {
                    break;
                }
                request.body.extend_from_slice(&chunk[..length]);
            }
        } else if let Some(length) = request.header("content-length") {
            request.body = vec![0; length.parse().ok()?];
            reader.read_exact(&mut request.body).ok()?;
        }
        Some(request)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Server {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let request = Request::read(&stream)?;
        let (manner, path) = request.path.trim_start_matches('/').split_once('/')?;
        let answer = match manner {
            "missing" => status("404 Not Found", ""),
            "broken" => status("500 Internal Server Error", ""),
            "hang" => {
                while !self.stop.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return None;
            }
            "private"
                if request.header("authorization") != Some(&format!("Basic {CREDENTIALS}")) =>
            {
                status(
                    "401 Unauthorized",
                    "WWW-Authenticate: Basic realm=\"git\"\r\n",
                )
            }
            _ => {
                if manner == "slow" {
                    std::thread::sleep(self.delay);
                }
                self.backend(&request, path)?
            }
        };
        let mut stream = stream;
        let pack = request.method == "POST" && request.path.ends_with("git-upload-pack");
        if manner == "cut" && pack && answer.len() > 600 {
            return stream.write_all(&answer[..answer.len() / 2]).ok();
        }
        stream.write_all(&answer).ok()
    }

    /// The Common Gateway Interface (RFC 3875), as far as git needs it.
    fn backend(&self, request: &Request, path: &str) -> Option<Vec<u8>> {
        let mut command = Command::new(&self.backend);
        command
            .env("GIT_PROJECT_ROOT", &self.projects)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("PATH_INFO", format!("/{path}"))
            .env("QUERY_STRING", &request.query)
            .env("REQUEST_METHOD", &request.method)
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        for (variable, header) in [
            ("CONTENT_TYPE", "content-type"),
            ("HTTP_CONTENT_ENCODING", "content-encoding"),
            ("GIT_PROTOCOL", "git-protocol"),
        ] {
            if let Some(value) = request.header(header) {
                command.env(variable, value);
            }
        }
        let mut child = command.spawn().ok()?;
        let mut input = child.stdin.take()?;
        let body = request.body.clone();
        let writer = std::thread::spawn(move || input.write_all(&body));
        let output = child.wait_with_output().ok()?.stdout;
        let _ = writer.join();
        let end = output.windows(4).position(|window| window == b"\r\n\r\n")?;
        let headers = std::str::from_utf8(&output[..end]).ok()?;
        let mut line = "200 OK";
        let mut rest = String::new();
        for header in headers.split("\r\n") {
            if let Some(status) = header.strip_prefix("Status: ") {
                line = status;
            } else {
                rest.push_str(header);
                rest.push_str("\r\n");
            }
        }
        let body = &output[end + 4..];
        let head = format!(
            "HTTP/1.1 {line}\r\n{rest}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Some([head.as_bytes(), body].concat())
    }
}

fn status(line: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n")
        .into_bytes()
}
