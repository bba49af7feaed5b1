//! Runs commands and file work in a Linux root file system, as root or not, and leaves nothing behind.
//!
//! A [`Sandbox`] is a directory on disk: the tree of a root file system and, where the caller may
//! not own its files truly, a ledger of their ownership. It holds nothing mounted and nothing running
//! between two calls. [`Sandbox::run`] starts a command in it, [`Sandbox::job`] a function of the
//! embedding program; both happen in a fresh process (the *agent*: the embedding program started
//! again, see [`agent_main`]) that enters the namespaces of the sandbox and dies with its parent.
//!
//! # What a command meets
//!
//! Its own mount, pid, ipc and uts namespaces (and network namespace, if it is to have none), a fresh /proc,
//! /dev, /run and /tmp, an empty /sys, root with the capabilities that installing packages takes, and a
//! seccomp filter. File capabilities and ACLs are refused with `EOPNOTSUPP` in every mode, so that the tree
//! is the same in every mode; io_uring, keyrings and foreign instruction sets (i386, x32) with `ENOSYS`.
//!
//! # The limits of [`Mode::Single`]
//!
//! chown, stat, device nodes, set*id and get*id, set-id programs and the owners of what is made are
//! answered from the ledger as real root would have them. Not imitated are: permission checks (a process that became
//! another user can still read and write everything), the credentials that sockets and /proc tell (`SO_PEERCRED`,
//! the owner of /proc/PID), the owner of a bound Unix socket (images have none), and absolute symlinks
//! met on a *relative* path by a process in a chroot of its own (they are looked up in the tree's root). In
//! [`Mode::Subuid`] all of that is real, but device nodes look like empty files to commands.

// Namespaces, mounts, seccomp filters and their notifications have no safe interface; every block says why it is sound.
#![allow(unsafe_code)]

mod agent;
mod command;
mod error;
mod filter;
mod init;
mod ledger;
mod maps;
mod metadata;
mod mounts;
mod namespaces;
mod order;
pub mod path_bytes;
mod probe;
mod resolver;
mod root;
mod sandbox;
mod session;
mod supervisor;
mod sys;

pub use agent::{Agent, Job, JobInput, agent_main};
pub use command::{Bind, Cancel, Command, Mode, Network, Outcome};
pub use error::{Error, Unavailable};
pub use metadata::{Entry, Kind, Metadata};
pub use root::Root;
pub use sandbox::{JobFiles, Sandbox};
