//! PID 1 of a sandbox's pid namespace: sets the scene, starts the command, reaps, and answers the command's
//! seccomp notifications. When it ends, the kernel kills whatever is left.

use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode as Bits, OFlags};
use rustix::process::{Pid, PidfdFlags, Resource, WaitOptions};

use crate::agent::hung_up;
use crate::filter;
use crate::ledger::Ledger;
use crate::order::{self, Failure, Stage};
use crate::supervisor::Supervisor;
use crate::{Command, Mode, Network, Outcome, mounts, namespaces, sys};

/// How long orphans may stay zombies.
const REAP_EVERY: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// Notifications answered between two looks at the children.
const BURST: usize = 64;

/// Runs as PID 1 and ends the process.
pub(crate) fn main(mode: Mode, command: &Command, life: &PipeReader, mut result: PipeWriter) -> ! {
    let answer = run(mode, command, life);
    if let Ok(text) = serde_json::to_vec(&answer) {
        let _ = result.write_all(&text);
    }
    drop(result);
    sys::exit_now(0)
}

fn run(mode: Mode, command: &Command, life: &PipeReader) -> Result<Outcome, Failure> {
    namespaces::die_with_parent().stage("tie to the agent")?;
    if hung_up(life) {
        return Err(Failure::new("tie to the agent", "the agent is gone"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(".", flags, Bits::empty()).stage("open the sandbox directory")?;
    scene(mode, command)?;
    let ledger = Ledger::open(mode, dir.as_fd(), "").stage("open the ledger")?;
    drop(dir);
    let (ours, theirs) = UnixStream::pair().stage("make a socket pair")?;
    let Some(child) = sys::fork().stage("start the command")? else {
        drop(ours);
        start(mode, command, &theirs);
    };
    drop(theirs);
    let listener = match order::receive_fds(ours.as_fd()) {
        Ok((_, mut fds)) => fds.pop(),
        // The command failed to start; it has said why.
        Err(_) => None,
    };
    // The only copy of standard output and error that stays is the command's.
    quiet().stage("close the output")?;
    rustix::process::chdir("/proc").stage("enter /proc")?;
    let mut supervisor = listener
        .map(|fd| Supervisor::new(mode, fd, ledger))
        .transpose()
        .stage("supervise")?;
    order::send_fds(ours.as_fd(), 0, &[]).ok();
    let outcome = attend(child, supervisor.as_mut(), life);
    // While there still is a supervisor: once its listener is closed, the calls of what is left would fail with
    // ENOSYS, and programs would act on that until the kernel kills them with us.
    sys::kill_all();
    while rustix::process::wait(WaitOptions::empty()).is_ok_and(|child| child.is_some()) {}
    outcome
}

/// Namespaces, mounts, host name, loopback.
fn scene(mode: Mode, command: &Command) -> Result<(), Failure> {
    let network = if command.network == Network::None {
        libc::CLONE_NEWNET
    } else {
        0
    };
    sys::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | network)
        .stage("make namespaces (mount, ipc, uts, net)")?;
    rustix::system::sethostname(command.hostname.as_bytes()).stage("set the host name")?;
    if command.network == Network::None {
        sys::loopback_up().stage("bring the loopback device up")?;
    }
    mounts::enter(mode, command)
}

fn quiet() -> std::io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Bits::empty())?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}

/// The command's process up to its exec.
fn start(mode: Mode, command: &Command, socket: &UnixStream) -> ! {
    let failure = match prepare(mode, socket) {
        Ok(()) => {
            let Some((program, arguments)) = command.argv.split_first() else {
                sys::exit_now(127)
            };
            let error = std::process::Command::new(program)
                .args(arguments)
                .env_clear()
                .envs(command.env.iter().map(|(name, value)| (name, value)))
                .current_dir(&command.cwd)
                .exec();
            let status = if error.kind() == std::io::ErrorKind::NotFound {
                127
            } else {
                126
            };
            complain(&format!("mibe: {}: {error}\n", program.to_string_lossy()));
            sys::exit_now(status)
        }
        Err(failure) => failure,
    };
    complain(&format!("mibe: {}: {}\n", failure.stage, failure.message));
    sys::exit_now(125)
}

fn complain(text: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}

fn prepare(mode: Mode, socket: &UnixStream) -> Result<(), Failure> {
    rustix::process::setsid().stage("start a session")?;
    sys::default_signals();
    rustix::process::umask(0o022.into());
    sys::limit(Resource::Core, 0, 0).stage("limit core files")?;
    let listener = filter::install(mode).stage("install the seccomp filter")?;
    order::send_fds(socket.as_fd(), 0, &[listener.as_fd()])
        .stage("hand over the seccomp listener")?;
    drop(listener);
    order::receive_fds(socket.as_fd()).stage("wait for the supervisor")?;
    namespaces::drop_capabilities().stage("drop capabilities")
}

/// Until the command ends.
fn attend(
    child: Pid,
    mut supervisor: Option<&mut Supervisor>,
    life: &PipeReader,
) -> Result<Outcome, Failure> {
    let pidfd =
        rustix::process::pidfd_open(child, PidfdFlags::empty()).stage("watch the command")?;
    loop {
        if let Some(outcome) = reap(child) {
            return Ok(outcome);
        }
        for _ in 0..BURST {
            let mut fds = vec![
                PollFd::new(&pidfd, PollFlags::IN),
                PollFd::new(life, PollFlags::empty()),
            ];
            if let Some(supervisor) = &supervisor {
                fds.push(PollFd::new(supervisor.listener(), PollFlags::IN));
            }
            match rustix::event::poll(&mut fds, Some(&REAP_EVERY)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => break,
                answer => answer.stage("wait")?,
            };
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            if ready.get(1).is_some_and(|r| !r.is_empty()) {
                return Err(Failure::new("run", "the agent is gone"));
            }
            match ready.get(2) {
                Some(flags) if flags.contains(PollFlags::IN) => {
                    if let Some(supervisor) = supervisor.as_deref_mut() {
                        supervisor.answer().stage("answer a system call")?;
                    }
                }
                // Every process under the filter is gone.
                Some(flags) if flags.intersects(PollFlags::HUP | PollFlags::ERR) => {
                    supervisor = None;
                }
                _ => break,
            }
        }
    }
}

/// Reaps what has ended; the command's end, if it is among them.
fn reap(child: Pid) -> Option<Outcome> {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == child {
            return Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Outcome::Exited(code),
                (None, signal) => Outcome::Signaled(signal.unwrap_or(libc::SIGKILL)),
            });
        }
    }
    None
}
