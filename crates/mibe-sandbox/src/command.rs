//! What to run and how it ended.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::path_bytes;

/// How a sandbox gets the ownership of its files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Real root: ownership is real.
    Root,
    /// An ordinary user with ranges in /etc/subuid and /etc/subgid, mapped by newuidmap and newgidmap.
    Subuid,
    /// An ordinary user with a single mapped uid; ownership is kept in the ledger.
    Single,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Subuid => "subuid",
            Self::Single => "single",
        })
    }
}

/// The network a command sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The network of the machine, its abstract Unix sockets included.
    #[default]
    Host,
    /// A loopback device and nothing else.
    None,
}

/// A directory or file of the host that a command sees inside the sandbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bind {
    /// Where it is on the host; must exist.
    #[serde(with = "path_bytes")]
    pub host: PathBuf,
    /// Where it appears; must exist in the tree (or below a tmpfs like /run or /tmp, where it is
    /// created) and be of the same kind. Symlinks in it are resolved inside the tree.
    #[serde(with = "path_bytes")]
    pub inside: PathBuf,
    /// Whether the command may write to it.
    pub writable: bool,
}

/// A command to run in a sandbox. Only what is said here reaches it: its environment holds `env` and nothing
/// else, its standard input is /dev/null, its umask 022, its core size limit 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Command {
    /// Program (looked for in the PATH of `env` when it has no slash) and arguments.
    #[serde(with = "byte_list")]
    pub argv: Vec<OsString>,
    /// The whole environment.
    #[serde(with = "byte_pairs")]
    pub env: Vec<(OsString, OsString)>,
    /// Working directory inside the sandbox.
    #[serde(with = "path_bytes")]
    pub cwd: PathBuf,
    /// The network it sees.
    pub network: Network,
    /// Contents of the /etc/resolv.conf it sees, bound over the tree's for the time of the run. Empty: the
    /// tree's own stays.
    pub resolv_conf: Vec<u8>,
    /// Host name it sees; at most 64 bytes.
    pub hostname: String,
    /// After this time everything is killed.
    pub timeout: Option<Duration>,
    /// Further parts of the host it sees.
    pub binds: Vec<Bind>,
    /// Whether /tmp is a fresh tmpfs (true) or the tree's own.
    pub tmp_tmpfs: bool,
}

impl Command {
    /// A command with the usual small environment (PATH, HOME, LC_ALL, TERM), in `/`, without network,
    /// on a fresh /tmp, without time limit.
    pub fn new<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Self {
        let env = [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("TERM", "dumb"),
        ];
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: env
                .iter()
                .map(|(k, v)| (OsString::from(k), OsString::from(v)))
                .collect(),
            cwd: PathBuf::from("/"),
            network: Network::None,
            resolv_conf: Vec::new(),
            hostname: "mibe".to_owned(),
            timeout: None,
            binds: Vec::new(),
            tmp_tmpfs: true,
        }
    }
}

/// How a command ended. When it ended, everything it had started was killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It exited with this status. 127: not found, 126: not executable (the reason is in the output).
    Exited(i32),
    /// It was killed by this signal.
    Signaled(i32),
    /// Its time was up; it was killed.
    TimedOut,
    /// The caller's flag was raised; it was killed.
    Cancelled,
}

impl Outcome {
    /// Whether it exited with status 0.
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }
}

/// A shared flag that ends what runs. The signal handler of the command line raises it; every wait in this crate
/// looks at it within 100 ms.
#[derive(Clone, Default, Debug)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag around an atomic that others (a signal handler) hold.
    pub fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// The atomic, for others that are to end with it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Raises it. Safe in a signal handler.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was raised.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Arguments travel as paths do, see [`path_bytes`].
mod byte_list {
    use super::{OsString, OsStringExt};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::os::unix::ffi::OsStrExt;

    pub fn serialize<S: Serializer>(list: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
        list.iter()
            .map(|s| s.as_bytes())
            .collect::<Vec<_>>()
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<OsString>, D::Error> {
        let list: Vec<Vec<u8>> = Vec::deserialize(deserializer)?;
        Ok(list.into_iter().map(OsString::from_vec).collect())
    }
}

mod byte_pairs {
    use super::{OsString, OsStringExt};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::os::unix::ffi::OsStrExt;

    type Pair = (OsString, OsString);

    pub fn serialize<S: Serializer>(list: &[Pair], serializer: S) -> Result<S::Ok, S::Error> {
        list.iter()
            .map(|(k, v)| (k.as_bytes(), v.as_bytes()))
            .collect::<Vec<_>>()
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pair>, D::Error> {
        let list: Vec<(Vec<u8>, Vec<u8>)> = Vec::deserialize(deserializer)?;
        Ok(list
            .into_iter()
            .map(|(k, v)| (OsString::from_vec(k), OsString::from_vec(v)))
            .collect())
    }
}
