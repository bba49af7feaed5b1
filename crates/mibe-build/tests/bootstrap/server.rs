//! A mirror of this machine.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mibe_build::bootstrap::download::{Fetcher, Patience};
use mibe_build::bootstrap::mirror::Source;
use mibe_sandbox::Cancel;
use sha2::{Digest as _, Sha256};

/// What is answered.
#[derive(Clone)]
pub enum Reply {
    Body(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Says it has so many bytes more than it sends, then hangs up.
    Cut(Vec<u8>, usize),
    /// Without a length: ends when it hangs up.
    Unsized(Vec<u8>),
    /// Never ends.
    Endless,
    /// Says nothing.
    Silent,
    /// Begins, then says nothing.
    Stalled(Vec<u8>),
    /// A byte now and then.
    Drip,
    /// No HTTP.
    Garbage,
}

type Routes = Arc<Mutex<HashMap<String, Vec<Reply>>>>;

pub struct Server {
    pub url: String,
    routes: Routes,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Routes::default();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            url,
            routes: Arc::clone(&routes),
            asked: Arc::clone(&asked),
        };
        // They end with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (routes, asked) = (Arc::clone(&routes), Arc::clone(&asked));
                std::thread::spawn(move || {
                    // Whoever asked may have hung up.
                    let _ = serve(stream, &routes, &asked);
                });
            }
        });
        server
    }

    /// Answers a path with each of these, the last one ever after.
    pub fn set(&self, path: &str, replies: &[Reply]) -> String {
        self.routes
            .lock()
            .unwrap()
            .insert(path.to_owned(), replies.to_vec());
        format!("{}{path}", self.url)
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|one| *one == path).count()
    }

    pub fn source(&self, suite: &str) -> Source {
        Source {
            url: self.url.clone(),
            suite: suite.to_owned(),
            optional: false,
        }
    }
}

fn serve(stream: TcpStream, routes: &Routes, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    input.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while input.read_line(&mut line)? > 2 {}
    asked.lock().unwrap().push(path.clone());
    let reply = {
        let mut routes = routes.lock().unwrap();
        match routes.get_mut(&path) {
            None => Reply::Status(404),
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies[0].clone(),
        }
    };
    answer(stream, reply)
}

fn answer(mut out: TcpStream, reply: Reply) -> std::io::Result<()> {
    let mut head = |status: &str| {
        write!(out, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
        out.try_clone()
    };
    let sized = |length: usize| format!("200 OK\r\nContent-Length: {length}");
    let long = Duration::from_secs(20);
    let piece = vec![b'e'; 1 << 16];
    match reply {
        Reply::Body(body) => {
            let mut out = head(&sized(body.len()))?;
            out.write_all(b"\r\n")?;
            out.write_all(&body)
        }
        Reply::Status(status) => {
            head(&format!("{status} Status\r\nContent-Length: 0"))?.write_all(b"\r\n")
        }
        Reply::Redirect(to) => {
            head(&format!("302 Found\r\nContent-Length: 0\r\nLocation: {to}"))?.write_all(b"\r\n")
        }
        Reply::Cut(body, more) => {
            let mut out = head(&sized(body.len() + more))?;
            out.write_all(b"\r\n")?;
            out.write_all(&body)
        }
        Reply::Unsized(body) => {
            let mut out = head("200 OK")?;
            out.write_all(b"\r\n")?;
            out.write_all(&body)
        }
        Reply::Endless => {
            let mut out = head("200 OK")?;
            out.write_all(b"\r\n")?;
            loop {
                out.write_all(&piece)?;
            }
        }
        Reply::Silent => {
            std::thread::sleep(long);
            Ok(())
        }
        Reply::Stalled(body) => {
            let mut out = head(&sized(body.len() + 1))?;
            out.write_all(b"\r\n")?;
            out.write_all(&body)?;
            std::thread::sleep(long);
            Ok(())
        }
        Reply::Drip => {
            let mut out = head(&sized(1 << 20))?;
            out.write_all(b"\r\n")?;
            loop {
                out.write_all(b"d")?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Reply::Garbage => out.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"),
    }
}

/// A fetcher that gives up soon.
pub fn fetcher() -> Fetcher {
    Fetcher::with_patience(
        None,
        Cancel::new(),
        Patience {
            connect: Duration::from_secs(5),
            silence: Duration::from_millis(400),
            slowest: 1 << 20,
            pause: Duration::from_millis(1),
        },
    )
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat()
}
