//! Runs commands and file work in a Linux root file system, as root or not, and leaves nothing behind.
//!
//! A [`Sandbox`] is a directory on disk: the tree of a root file system and, where the caller may
//! not own its files truly, a ledger of their ownership. It holds nothing mounted and nothing running
//! between two calls. [`Sandbox::run`] starts a command in it, [`Sandbox::job`] a function of the
//! embedding program; both happen in a fresh process (the *agent*: the embedding program started
//! again, see [`agent_main`]) that enters the namespaces of the sandbox and dies with its parent.
