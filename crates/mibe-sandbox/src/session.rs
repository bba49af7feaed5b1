//! The caller's side of one agent.

use std::fs::File;
use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::order::{self, Files, Note, Order, Reply};
use crate::{Agent, Cancel, Error, agent, maps};

/// How often flags and clocks are looked at.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// How long an agent may take to end a command before it is killed itself.
const GRACE: Duration = Duration::from_secs(10);
/// How long an agent whose socket closed may take to end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How much of an agent's own output an error carries.
const TAIL: usize = 4096;

/// Why the caller wants an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Halt {
    Cancelled,
    TimedOut,
}

/// What came of an order.
pub(crate) enum End {
    Reply(Reply),
    /// The caller's wish was fulfilled.
    Halted(Halt),
}

/// One agent at work. Dropping it kills the agent.
pub(crate) struct Session {
    child: Child,
    control: UnixStream,
    output: PipeReader,
    exe: std::path::PathBuf,
    /// The end of what it wrote, for an error.
    said: Vec<u8>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // An agent that has answered is ending; any other must not outlive the call.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Session {
    /// Starts an agent in the sandbox directory and gives it its order.
    pub(crate) fn start(
        agent: &Agent,
        dir: &Path,
        order: &Order,
        files: &Files,
    ) -> Result<Self, Error> {
        let spawn = |source| Error::Spawn {
            exe: agent.exe.clone(),
            source,
        };
        let (control, theirs) = UnixStream::pair().map_err(spawn)?;
        let (output, writer) = std::io::pipe().map_err(spawn)?;
        let mut command = std::process::Command::new(&agent.exe);
        command
            .arg0(agent::NAME)
            .env_clear()
            .current_dir(dir)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(writer.try_clone().map_err(spawn)?)
            .stdout(writer);
        let child = command.spawn().map_err(spawn)?;
        // Its copies of the descriptors would hide the agent's end.
        drop(command);
        let mut session = Self {
            child,
            control,
            output,
            exe: agent.exe.clone(),
            said: Vec::new(),
        };
        let sent = order::send_files(&session.control, files)
            .and_then(|()| order::send(&mut session.control, order));
        match sent {
            Ok(()) => Ok(session),
            // The agent died at once, or the program is no agent: its words say more than a broken pipe.
            Err(_) => Err(session.lost()),
        }
    }

    /// Waits for the reply. `soft`: the agent is asked to end what it does, and then replies; otherwise it is killed.
    pub(crate) fn wait(
        &mut self,
        order: &Order,
        cancel: &Cancel,
        timeout: Option<Duration>,
        soft: bool,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<End, Error> {
        let begin = Instant::now();
        let mut halt: Option<(Halt, Instant)> = None;
        let mut buffer = vec![0; 65536];
        let mut open = true;
        loop {
            if halt.is_none() {
                let wish = if cancel.is_cancelled() {
                    Some(Halt::Cancelled)
                } else {
                    timeout
                        .is_some_and(|limit| begin.elapsed() >= limit)
                        .then_some(Halt::TimedOut)
                };
                if let Some(wish) = wish {
                    if !soft {
                        return Ok(End::Halted(wish));
                    }
                    // A reply that is on its way already will come instead.
                    let _ = order::send(&mut self.control, &Note::Stop);
                    halt = Some((wish, Instant::now()));
                }
            }
            if halt.is_some_and(|(_, since)| since.elapsed() > GRACE) {
                return Err(self.lost());
            }
            let mut fds = vec![PollFd::new(&self.control, PollFlags::IN)];
            if open {
                fds.push(PollFd::new(&self.output, PollFlags::IN));
            }
            match rustix::event::poll(&mut fds, Some(&TICK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(Error::Io {
                        action: "poll",
                        path: self.exe.clone(),
                        source: error.into(),
                    });
                }
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            // Output first: the reply comes after the last of it.
            if open && ready.get(1) == Some(&true) {
                match self.output.read(&mut buffer) {
                    Ok(0) => open = false,
                    Ok(length) => {
                        let bytes = buffer.get(..length).unwrap_or_default();
                        self.remember(bytes);
                        output(bytes);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => open = false,
                }
                continue;
            }
            if ready.first() != Some(&true) {
                continue;
            }
            match order::receive::<Reply>(&mut self.control) {
                Ok(Some(Reply::Map)) => {
                    maps::write(order.mode, self.child.id())?;
                    if order::send(&mut self.control, &Note::Mapped).is_err() {
                        return Err(self.lost());
                    }
                }
                Ok(Some(reply)) => {
                    let _ = self.child.wait();
                    return Ok(match halt {
                        // Only a command that was killed was halted; one that ended first has its own outcome.
                        Some((wish, _))
                            if matches!(reply, Reply::Ended(crate::Outcome::Signaled(_))) =>
                        {
                            End::Halted(wish)
                        }
                        _ => End::Reply(reply),
                    });
                }
                Ok(None) => return Err(self.lost()),
                Err(error) => {
                    return Err(Error::Agent {
                        stage: "read the agent's reply".to_owned(),
                        message: error.to_string(),
                    });
                }
            }
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(
            bytes
                .get(bytes.len().saturating_sub(TAIL)..)
                .unwrap_or_default(),
        );
        let excess = self.said.len().saturating_sub(TAIL);
        self.said.drain(..excess);
    }

    /// The error of an agent that ended without an answer, or is made to.
    fn lost(&mut self) -> Error {
        // It is ending (in a panic, say): what it says last and its status are worth a moment.
        let begin = Instant::now();
        let mut buffer = vec![0; TAIL];
        while begin.elapsed() < LAST_WORDS {
            let mut fds = [PollFd::new(&self.output, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&TICK)) {
                Ok(0) | Err(_) => {}
                Ok(_) => match self.output.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(length) => self.remember(buffer.get(..length).unwrap_or_default()),
                },
            }
        }
        while begin.elapsed() < LAST_WORDS && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let status = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Error::AgentLost {
            status,
            output: String::from_utf8_lossy(&self.said).into_owned(),
        }
    }
}

/// Takes a sandbox's lock: an open file that is passed on to everything that works in it, so that the lock lasts as
/// long as anything of an earlier caller lives.
pub(crate) fn lock(path: &Path, cancel: &Cancel, patience: Duration) -> Result<OwnedFd, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let begin = Instant::now();
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file.into()),
            Err(rustix::io::Errno::WOULDBLOCK)
                if begin.elapsed() < patience && !cancel.is_cancelled() =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy(path.to_owned())),
            Err(error) => {
                return Err(Error::Io {
                    action: "lock",
                    path: path.to_owned(),
                    source: error.into(),
                });
            }
        }
    }
}
