//! `mibe serve` under load, beside nginx with the same bytes; and long lists.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::trees::Scratch;
use crate::failure::{Context, Failure};
use crate::project::Project;

/// Clients at once: half fetch files, half lists.
const CLIENTS: usize = 200;
/// How long they do so.
const TIME: Duration = Duration::from_secs(30);
/// The file's size in bytes.
const FILE: usize = 16 << 20;
/// Images in the list of the load.
const FEW: usize = 50;
/// Images in the long list.
const MANY: usize = 10_000;
const LEAST_RATIO: f64 = 0.8;
const MOST_MEMORY_MIB: f64 = 100.0;
const LONGEST_LIST_MS: f64 = 50.0;

/// Loads both, and tells what was missed.
pub fn run(project: &Project, scratch: &Scratch) -> Result<Vec<String>, Failure> {
    println!(
        "Serving: {CLIENTS} clients at once for {} s, half of them fetching a file of {} MiB, half a list of {FEW} images",
        TIME.as_secs(),
        FILE >> 20
    );
    let few = library(scratch, "few", FEW)?;
    let program = project.target.join("release/mibe");
    let ours = Serving::mibe(&program, &few)?;
    let list = get(ours.port, "/images")?.1;
    fs::write(few.join("list"), &list).context(|| "can't write the list".to_owned())?;
    let theirs = Serving::nginx(&scratch.path.join("nginx"), &few)?;
    let uuid = uuid(0);
    let file = format!("/images/{uuid}/file");
    let us = load(ours.port, &file, "/images")?;
    let peak = ours.peak_mib()?;
    let them = load(theirs.port, "/web-0.zfs", "/list")?;
    let again = load(ours.port, &file, "/images")?;
    for (name, load) in [("mibe", &us), ("nginx", &them), ("mibe", &again)] {
        println!(
            "  {name:6} {:8.1} MiB/s  {:6.0} files  {:8.0} lists  {} errors",
            load.mib_per_second(),
            load.files,
            load.lists,
            load.errors
        );
    }
    let ratio = us.mib_per_second().min(again.mib_per_second()) / them.mib_per_second();
    println!(
        "  ratio {ratio:.2} (aim: at least {LEAST_RATIO}); peak memory of mibe {peak:.1} MiB (aim: under {MOST_MEMORY_MIB})"
    );
    drop(theirs);
    let errors = us.errors + again.errors;
    let mut missed = Vec::new();
    if errors > 0 {
        missed.push(format!("serve: {errors} errors"));
    }
    if ratio < LEAST_RATIO {
        missed.push(format!(
            "serve: {ratio:.2} of nginx's throughput, aim {LEAST_RATIO}"
        ));
    }
    if peak >= MOST_MEMORY_MIB {
        missed.push(format!("serve: {peak:.1} MiB, aim under {MOST_MEMORY_MIB}"));
    }
    drop(ours);
    let many = library(scratch, "many", MANY)?;
    let ours = Serving::mibe(&program, &many)?;
    for (what, target) in [("all", "/images"), ("by name", "/images?name=~web")] {
        let mut times = Vec::new();
        let mut size = 0;
        for _ in 0..21 {
            let begun = Instant::now();
            size = get(ours.port, target)?.1.len();
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        let (first, time) = (times.remove(0), median(times));
        let size = size as f64 / (1 << 20) as f64;
        println!(
            "  list of {MANY} images, {what}: {time:.1} ms, the first {first:.1} ms, {size:.1} MiB (aim: under {LONGEST_LIST_MS} ms)"
        );
        if time >= LONGEST_LIST_MS {
            missed.push(format!("serve: a list of {MANY} images took {time:.1} ms"));
        }
    }
    println!(
        "  peak memory with {MANY} images: {:.1} MiB\n",
        ours.peak_mib()?
    );
    Ok(missed)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn uuid(number: usize) -> String {
    format!("208f9314-29cf-4bec-9d8b-{number:012x}")
}

/// A folder of images; all have one file.
fn library(scratch: &Scratch, name: &str, count: usize) -> Result<PathBuf, Failure> {
    let folder = scratch.path.join(name);
    let failed = || format!("can't write into {}", folder.display());
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).context(failed)?;
    let bytes: Vec<u8> = (0..FILE as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let first = folder.join("web-0.zfs");
    fs::write(&first, bytes).context(failed)?;
    for number in 0..count {
        let manifest = format!(
            "{{\"v\": 2, \"uuid\": \"{}\", \"name\": \"web\", \"version\": \"{number}\", \"type\": \"other\", \"os\": \"linux\", \
             \"description\": \"{}\", \"published_at\": \"2026-01-02T03:04:05Z\", \"owner\": \"{}\", \
             \"requirements\": {{\"brand\": \"lx\", \"min_platform\": {{\"7.0\": \"20220407T001427Z\"}}, \"networks\": [{{\"name\": \"net0\", \"description\": \"public\"}}]}}, \
             \"tags\": {{\"role\": \"os\", \"kernel_version\": \"5.10.0\"}}, \
             \"files\": [{{\"sha1\": \"97a8c2b4d6e8f0a1b2c3d4e5f60718293a4b5c6d\", \"size\": {FILE}, \"compression\": \"none\"}}]}}",
            uuid(number),
            "a server of something ".repeat(10),
            uuid(99)
        );
        fs::write(folder.join(format!("web-{number}.json")), manifest).context(failed)?;
        if number > 0 {
            fs::hard_link(&first, folder.join(format!("web-{number}.zfs"))).context(failed)?;
        }
    }
    Ok(folder)
}

/// A server that runs until this is dropped.
struct Serving {
    child: Child,
    port: u16,
}

impl Serving {
    fn mibe(program: &Path, folder: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(program)
            .arg("serve")
            .arg(folder)
            .args(["--listen", "127.0.0.1:0", "--quiet"])
            .stdout(Stdio::piped())
            .spawn()
            .context(|| "can't start mibe serve".to_owned())?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line);
        }
        let port = line.trim_end().trim_end_matches('/').rsplit(':').next();
        let port = port.and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| Failure::new(format!("mibe serve says {line:?}")))?;
        Ok(Self { child, port })
    }

    fn nginx(work: &Path, folder: &Path) -> Result<Self, Failure> {
        let failed = || "can't start nginx".to_owned();
        fs::create_dir_all(work).context(failed)?;
        let free = std::net::TcpListener::bind("127.0.0.1:0").context(failed)?;
        let port = free.local_addr().context(failed)?.port();
        drop(free);
        let at = work.display();
        // As Debian has it: sendfile, a process for each core.
        let config = format!(
            "daemon off; user root; pid {at}/pid; error_log {at}/error.log; worker_processes auto;\nevents {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type application/octet-stream;\n\
             client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;\n\
             server {{ listen 127.0.0.1:{port}; root {}; }} }}\n",
            folder.display()
        );
        let path = work.join("nginx.conf");
        fs::write(&path, config).context(failed)?;
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&path)
            .arg("-e")
            .arg(work.join("error.log"))
            .spawn()
            .context(failed)?;
        let serving = Self { child, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(Failure::new("nginx does not listen"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(serving)
    }

    /// The most memory that it had, in MiB.
    fn peak_mib(&self) -> Result<f64, Failure> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).context(|| format!("can't read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0)
            .ok_or_else(|| Failure::new(format!("no VmHWM in {path}")))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // nginx takes its workers along when it is asked to end.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

/// What came under load.
struct Load {
    bytes: u64,
    files: u64,
    lists: u64,
    errors: u64,
    time: Duration,
}

impl Load {
    fn mib_per_second(&self) -> f64 {
        self.bytes as f64 / (1 << 20) as f64 / self.time.as_secs_f64()
    }
}

fn load(port: u16, file: &str, list: &str) -> Result<Load, Failure> {
    let (bytes, files, lists, errors) = Default::default();
    let counts: [AtomicU64; 4] = [bytes, files, lists, errors];
    let end = AtomicBool::new(false);
    let begun = Instant::now();
    let started: std::io::Result<()> = std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (counts, end) = (&counts, &end);
            let (target, done) = if number % 2 == 0 {
                (file, 1)
            } else {
                (list, 2)
            };
            std::thread::Builder::new()
                .stack_size(256 << 10)
                .spawn_scoped(scope, move || {
                    let mut buffer = vec![0; 64 << 10];
                    let mut connection = None;
                    while !end.load(Ordering::Relaxed) {
                        if fetch(port, target, &mut connection, &mut buffer, end, &counts[0])
                            .is_err()
                        {
                            connection = None;
                            counts[3].fetch_add(1, Ordering::Relaxed);
                        } else {
                            counts[done].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })?;
        }
        std::thread::sleep(TIME);
        end.store(true, Ordering::Relaxed);
        Ok(())
    });
    let time = begun.elapsed();
    started.context(|| "can't start the clients".to_owned())?;
    let [bytes, files, lists, errors] = counts.map(AtomicU64::into_inner);
    Ok(Load {
        bytes,
        files,
        lists,
        errors,
        time,
    })
}

/// One request on a connection that stays, its answer thrown away as it comes.
fn fetch(
    port: u16,
    target: &str,
    connection: &mut Option<BufReader<TcpStream>>,
    buffer: &mut [u8],
    end: &AtomicBool,
    bytes: &AtomicU64,
) -> std::io::Result<()> {
    let wrong = || std::io::Error::other("an answer that is none");
    let mut open = match connection.take() {
        Some(open) => open,
        None => BufReader::with_capacity(4 << 10, TcpStream::connect(("127.0.0.1", port))?),
    };
    open.get_ref()
        .set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        open.get_mut(),
        "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )?;
    let mut line = String::new();
    open.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(wrong());
    }
    let mut left = None;
    loop {
        line.clear();
        open.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(length) = header.strip_prefix("content-length: ") {
            left = length.parse::<usize>().ok();
        }
    }
    let mut left = left.ok_or_else(wrong)?;
    while left > 0 {
        let most = left.min(buffer.len());
        let count = open.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(wrong());
        }
        left -= count;
        bytes.fetch_add(count as u64, Ordering::Relaxed);
        // The rest is of no interest once the time is over.
        if end.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
    *connection = Some(open);
    Ok(())
}

/// One answer, whole.
fn get(port: u16, target: &str) -> Result<(String, Vec<u8>), Failure> {
    let what = || format!("can't get {target}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context(what)?;
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .context(what)?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).context(what)?;
    let end = all.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or_else(|| Failure::new(what()))? + 4;
    let body = all.split_off(end);
    let head = String::from_utf8_lossy(&all).into_owned();
    if !head.starts_with("HTTP/1.1 200") {
        return Err(Failure::new(format!("{target}: {head}")));
    }
    Ok((head, body))
}
