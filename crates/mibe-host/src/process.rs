//! One process of this machine: its output as it comes, its time, its end.
//!
//! It leads a process group of its own, so that it ends with all that it started.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::command::{Input, Outcome, Stream};

/// How often the time and the flag are looked at.
const TICK: Duration = Duration::from_millis(20);
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(3);
/// How long a silence of the output is borne after the process ended: what it left in the background may keep the streams open.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the rest of its output may take to be handed on: whoever takes it may be slow, and what it left may never be silent.
const REST: Duration = Duration::from_secs(60);
/// Bytes read at once, and chunks on their way to who takes them: so much memory a process takes here.
const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 16;

type Chunk = (Stream, Vec<u8>);

/// Runs a process to its end. Its standard streams and its process group are set here, all else by the caller.
///
/// # Errors
///
/// It could not be started or waited for.
pub fn run(
    command: &mut Command,
    input: Input,
    timeout: Option<Duration>,
    cancel: &AtomicBool,
    output: &mut dyn FnMut(Stream, &[u8]),
) -> io::Result<Outcome> {
    let nothing = matches!(input, Input::Nothing);
    let mut child = command
        .stdin(if nothing {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let (sender, chunks) = sync_channel(CHUNKS);
    read(child.stdout.take(), Stream::Out, &sender);
    read(child.stderr.take(), Stream::Err, &sender);
    drop(sender);
    feed(&mut child, input);
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let status = loop {
        forward(&chunks, TICK, output);
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => {
                end(&mut child);
                return Err(error);
            }
        }
        if cancel.load(Ordering::SeqCst) {
            end(&mut child);
            drain(&chunks, output);
            return Ok(Outcome::Cancelled);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            end(&mut child);
            drain(&chunks, output);
            return Ok(Outcome::TimedOut);
        }
    };
    drain(&chunks, output);
    Ok(outcome(status))
}

fn outcome(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exited(code),
        (None, signal) => Outcome::Signaled(signal.unwrap_or_default()),
    }
}

/// Reads a stream to its end in a thread of its own.
fn read(stream: Option<impl Read + Send + 'static>, which: Stream, sender: &SyncSender<Chunk>) {
    let Some(mut stream) = stream else { return };
    let sender = sender.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    // Nobody waits for it any more.
                    if sender.send((which, buffer[..count].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
}

/// Writes the input in a thread of its own; a process that reads no more is no error.
fn feed(child: &mut Child, input: Input) {
    let Some(mut pipe) = child.stdin.take() else {
        return;
    };
    std::thread::spawn(move || {
        let _ = match input {
            Input::Nothing => Ok(()),
            Input::Bytes(bytes) => pipe.write_all(&bytes),
            Input::Reader(mut reader) => io::copy(&mut reader, &mut pipe).map(drop),
        };
    });
}

/// Hands on what comes within `time`; returns early when all is read.
fn forward(
    chunks: &Receiver<Chunk>,
    time: Duration,
    output: &mut dyn FnMut(Stream, &[u8]),
) -> bool {
    let until = Instant::now() + time;
    loop {
        match chunks.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((stream, bytes)) => {
                output(stream, &bytes);
                // One that is never silent has an end, too.
                if Instant::now() >= until {
                    return true;
                }
            }
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => {
                // Its streams are closed, and it still runs.
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                return false;
            }
        }
    }
}

/// Hands on what is left.
fn drain(chunks: &Receiver<Chunk>, output: &mut dyn FnMut(Stream, &[u8])) {
    let until = Instant::now() + REST;
    while let Ok((stream, bytes)) = chunks.recv_timeout(DRAIN) {
        output(stream, &bytes);
        if Instant::now() >= until {
            return;
        }
    }
}

/// Ends a process and what it started.
fn end(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let send = |signal: Signal| {
        if let Some(group) = group {
            // Whoever is gone already needs no signal.
            let _ = kill_process_group(group, signal);
        }
    };
    send(Signal::TERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            break;
        }
        std::thread::sleep(TICK);
    }
    send(Signal::KILL);
    let _ = child.wait();
}
