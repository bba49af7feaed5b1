//! The agent: the embedding program started again to carry out one order inside the namespaces of a sandbox.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode as Bits, OFlags};
use rustix::process::Signal;

use crate::order::{self, Action, Failure, Files, Note, Order, Reply, Stage};
use crate::root::remove_tree;
use crate::{Mode, Root, init, namespaces, resolver, sys};

/// What an agent is called: `argv[0]`.
pub(crate) const NAME: &str = "mibe-sandbox-agent";

/// How long PID 1 may take to end what runs before it is killed.
const PATIENCE: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// Which executable serves as agent. It must call [`agent_main`] first thing in its `main`.
#[derive(Clone, Debug)]
pub struct Agent {
    pub(crate) exe: PathBuf,
}

impl Agent {
    /// The running program itself (the very file, also after it was replaced on disk).
    pub fn current() -> Self {
        Self {
            exe: PathBuf::from("/proc/self/exe"),
        }
    }

    /// Another program that calls [`agent_main`].
    pub fn path(exe: impl Into<PathBuf>) -> Self {
        Self { exe: exe.into() }
    }
}

/// A function of the embedding program that can be run inside a sandbox.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The name that [`Sandbox::job`](crate::Sandbox::job) calls it by.
    pub name: &'static str,
    /// The function; its error is shown to the user as it is.
    pub run: fn(&Root, JobInput) -> Result<serde_json::Value, String>,
}

/// What a job is given.
#[derive(Debug)]
pub struct JobInput {
    /// The caller's arguments.
    pub args: serde_json::Value,
    /// A file to read.
    pub input: Option<File>,
    /// A file to write.
    pub output: Option<File>,
}

/// Must be the first thing in `main` of the program that serves as agent, before any thread is started:
/// returns at once when this process is not an agent; otherwise carries out its order and exits.
pub fn agent_main(jobs: &[Job]) {
    if std::env::args_os().next().is_none_or(|name| name != NAME) {
        return;
    }
    let status = match serve(jobs) {
        Ok(()) => 0,
        Err(failure) => {
            // There is no one else to tell: the caller reads this descriptor.
            let text = format!("{}: {}\n", failure.stage, failure.message);
            let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
            125
        }
    };
    std::process::exit(status);
}

fn serve(jobs: &[Job]) -> Result<(), Failure> {
    let mut control = take_control()?;
    let mut files = order::receive_files(&control).stage("receive the order's files")?;
    let Some(order) = order::receive::<Order>(&mut control).stage("receive the order")? else {
        return Err(Failure::new("receive the order", "the caller is gone"));
    };
    // The terminal's Ctrl-C is for the caller alone, who then ends us in order.
    let _ = rustix::process::setsid();
    namespaces::die_with_parent().stage("tie to the caller")?;
    if hung_up(&control) {
        return Ok(());
    }
    let reply = match carry_out(&order, &mut files, &mut control, jobs) {
        Ok(reply) => reply,
        Err(failure) => Reply::Failed(failure),
    };
    order::send(&mut control, &reply).stage("send the reply")
}

/// The control socket is the standard input; a null device takes its place.
fn take_control() -> Result<UnixStream, Failure> {
    let stage = "take the control socket";
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).stage(stage)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Bits::empty())
        .stage("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).stage(stage)?;
    Ok(UnixStream::from(socket))
}

pub(crate) fn hung_up(control: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(control, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut fds, Some(&now)).is_ok()
        && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

fn carry_out(
    order: &Order,
    files: &mut Files,
    control: &mut UnixStream,
    jobs: &[Job],
) -> Result<Reply, Failure> {
    rustix::process::umask(0o022.into());
    enter_users(order.mode, control)?;
    match &order.action {
        Action::Create => {
            namespaces::make_root().stage("make the root directory")?;
            Ok(Reply::Answer(serde_json::Value::Null))
        }
        Action::Destroy => {
            let dir = sandbox_dir()?;
            match remove_tree(dir.as_fd(), c"root") {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                answer => answer.stage("remove the tree")?,
            }
            Ok(Reply::Answer(serde_json::Value::Null))
        }
        Action::Job { name, args } => {
            let root = open_root(order.mode)?;
            resolver::tidy(&root, &sandbox_dir()?).stage("remove a left resolv.conf")?;
            let Some(job) = jobs.iter().find(|job| job.name == name) else {
                return Err(Failure::new(
                    format!("job {name}"),
                    "the agent's program has no such job",
                ));
            };
            let input = JobInput {
                args: args.clone(),
                input: files.input.take(),
                output: files.output.take(),
            };
            Ok(match (job.run)(&root, input) {
                Ok(answer) => Reply::Answer(answer),
                Err(message) => Reply::JobFailed(message),
            })
        }
        Action::Run(command) => {
            let dir = sandbox_dir()?;
            resolver::tidy(&open_root(order.mode)?, &dir).stage("remove a left resolv.conf")?;
            let answer = run(order.mode, command, control);
            resolver::tidy(&open_root(order.mode)?, &dir).stage("remove resolv.conf")?;
            answer.map(Reply::Ended)
        }
    }
}

fn enter_users(mode: Mode, control: &mut UnixStream) -> Result<(), Failure> {
    if mode == Mode::Root {
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::new("mode root", "needs to be run by root"));
        }
        return namespaces::become_root(mode).stage("become root alone");
    }
    sys::unshare(libc::CLONE_NEWUSER).stage("make a user namespace")?;
    order::send(control, &Reply::Map).stage("ask for the id maps")?;
    match order::receive::<Note>(control).stage("wait for the id maps")? {
        Some(Note::Mapped) => {}
        _ => return Err(Failure::new("wait for the id maps", "the caller is gone")),
    }
    namespaces::become_root(mode).stage("become root of the user namespace")?;
    if hung_up(control) {
        return Err(Failure::new("tie to the caller", "the caller is gone"));
    }
    Ok(())
}

fn sandbox_dir() -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(".", flags, Bits::empty()).stage("open the sandbox directory")
}

fn open_root(mode: Mode) -> Result<Root, Failure> {
    Root::new(mode, sandbox_dir()?).stage("open the tree")
}

/// Starts PID 1 of a new pid namespace and sees to its end: by itself, at the caller's wish, or with the caller.
fn run(
    mode: Mode,
    command: &crate::Command,
    control: &mut UnixStream,
) -> Result<crate::Outcome, Failure> {
    let (mut result_in, result_out) = std::io::pipe().stage("make a pipe")?;
    let (life_in, life_out) = std::io::pipe().stage("make a pipe")?;
    sys::unshare(libc::CLONE_NEWPID).stage("make a pid namespace")?;
    let Some(first) = sys::fork().stage("start PID 1")? else {
        drop((life_out, result_in));
        init::main(mode, command, &life_in, result_out);
    };
    drop((life_in, result_out));
    // Only PID 1 and its children write the output from here on.
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Bits::empty()) {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    // From here the caller's end is noticed by the socket's: unlike a signal that leaves time to take down what
    // the run left in the tree. PID 1 keeps dying with this process.
    let _ = rustix::process::set_parent_process_death_signal(None);
    let ended = wait(&[control.as_fd(), result_in.as_fd()], None).stage("wait")?;
    if ended != Some(1) {
        // Stop, or the caller is gone. PID 1 sees its life line cut and ends what runs; if it can't, it is killed.
        drop(life_out);
        let _ = wait(&[result_in.as_fd()], Some(&PATIENCE));
        let _ = rustix::process::kill_process(first, Signal::KILL);
    }
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut result_in, &mut text).stage("read the result")?;
    // Returns when every process of the pid namespace is gone.
    while let Err(error) =
        rustix::process::waitpid(Some(first), rustix::process::WaitOptions::empty())
    {
        if error != rustix::io::Errno::INTR {
            break;
        }
    }
    match serde_json::from_slice::<Result<crate::Outcome, Failure>>(&text) {
        // It may have ended by itself just then.
        Ok(Err(_)) if ended != Some(1) => Ok(crate::Outcome::Signaled(libc::SIGKILL)),
        Ok(answer) => answer,
        Err(_) => Ok(crate::Outcome::Signaled(libc::SIGKILL)),
    }
}

/// Which descriptor is readable or hung up first; `None` when the time is up.
fn wait(fds: &[BorrowedFd<'_>], time: Option<&Timespec>) -> rustix::io::Result<Option<usize>> {
    loop {
        let mut polled: Vec<PollFd<'_>> = fds
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut polled, time) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(polled.iter().position(|fd| !fd.revents().is_empty())),
        }
    }
}
