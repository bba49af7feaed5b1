//! What the caller and its agent say to each other: frames of JSON over a socket pair, descriptors first.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Command, Mode, Outcome};

/// A frame longer than this is a mistake.
const FRAME_LIMIT: u32 = 1 << 30;
/// As many descriptors as travel at once.
const MAX_FDS: usize = 4;

/// What an agent is to do; its working directory is the sandbox's directory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) mode: Mode,
    pub(crate) action: Action,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Run a command.
    Run(Command),
    /// Run a job of the embedding program.
    Job {
        name: String,
        args: serde_json::Value,
    },
    /// Make the tree's root directory.
    Create,
    /// Remove the tree.
    Destroy,
}

/// What the caller says after the order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Note {
    /// The maps of the agent's user namespace are written.
    Mapped,
    /// End the command.
    Stop,
}

/// What the agent says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It is in a new user namespace and needs its maps written.
    Map,
    /// The command ended.
    Ended(Outcome),
    /// The job's answer.
    Answer(serde_json::Value),
    /// The job's error.
    JobFailed(String),
    /// A step failed.
    Failed(Failure),
}

/// A step of an order that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) stage: String,
    pub(crate) message: String,
    /// The system's error number, if it had one.
    pub(crate) errno: Option<i32>,
}

impl Failure {
    pub(crate) fn new(stage: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            stage: stage.into(),
            message: message.into(),
            errno: None,
        }
    }
}

/// Names the step that an error belongs to.
pub(crate) trait Stage<T> {
    fn stage(self, stage: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Stage<T> for Result<T, E> {
    fn stage(self, stage: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            Failure {
                stage: stage.into(),
                message: error.to_string(),
                errno: error.raw_os_error(),
            }
        })
    }
}

/// Writes one frame.
pub(crate) fn send<T: Serialize>(socket: &mut UnixStream, message: &T) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|n| *n <= FRAME_LIMIT);
    let Some(length) = length else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a message to the sandbox agent is larger than 1 GiB",
        ));
    };
    socket.write_all(&length.to_le_bytes())?;
    socket.write_all(&body)
}

/// Reads one frame; `None` when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(socket: &mut UnixStream) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match socket.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        answer => answer?,
    }
    let length = u32::from_le_bytes(length);
    if length > FRAME_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message of the sandbox agent is larger than 1 GiB",
        ));
    }
    let mut body = Vec::new();
    if socket.take(length.into()).read_to_end(&mut body)? < length as usize {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

/// The descriptors that come with an order.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Holds the sandbox's lock as long as anything of the order lives.
    pub(crate) lock: Option<OwnedFd>,
    pub(crate) input: Option<File>,
    pub(crate) output: Option<File>,
}

/// Sends descriptors, in a message whose one byte says which they are.
pub(crate) fn send_files(socket: &UnixStream, files: &Files) -> io::Result<()> {
    let mut flags = 0u8;
    let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
    for (bit, fd) in [
        files.lock.as_ref().map(AsFd::as_fd),
        files.input.as_ref().map(AsFd::as_fd),
        files.output.as_ref().map(AsFd::as_fd),
    ]
    .into_iter()
    .enumerate()
    {
        if let Some(fd) = fd {
            flags |= 1 << bit;
            fds.push(fd);
        }
    }
    send_fds(socket.as_fd(), flags, &fds)
}

/// The other end of [`send_files`].
pub(crate) fn receive_files(socket: &UnixStream) -> io::Result<Files> {
    let (flags, fds) = receive_fds(socket.as_fd())?;
    let mut fds = fds.into_iter();
    let mut take = |bit: u8| {
        if flags & (1 << bit) == 0 {
            None
        } else {
            fds.next()
        }
    };
    Ok(Files {
        lock: take(0),
        input: take(1).map(File::from),
        output: take(2).map(File::from),
    })
}

/// Sends one byte and some descriptors.
pub(crate) fn send_fds(socket: BorrowedFd<'_>, byte: u8, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors"));
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(&[byte])],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives one byte and some descriptors, closed on exec.
pub(crate) fn receive_fds(socket: BorrowedFd<'_>) -> io::Result<(u8, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let answer = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if answer.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = message {
            fds.extend(list);
        }
    }
    Ok((byte[0], fds))
}
