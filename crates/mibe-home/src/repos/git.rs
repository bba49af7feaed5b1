//! Runs the system's git, so that users' keys, agents, credential helpers, proxies and settings hold.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use mibe_host::{Input, Outcome, Stream, process};
use serde::Serialize;

/// Bytes that are kept of what git prints on each stream.
const KEPT: usize = 64 << 10;
/// Variables that would make git work on another repository than it is told: hooks of a build server set them.
const MISLEADING: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
];

/// How long one repository may take, and what ends all of them.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// Wall-clock time for one repository.
    pub timeout: Duration,
    /// Raised by who wants an end.
    pub cancel: &'a AtomicBool,
}

/// The limits of one repository's work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until<'a> {
    deadline: Instant,
    timeout: Duration,
    cancel: &'a AtomicBool,
}

impl<'a> Limits<'a> {
    pub(crate) fn start(self) -> Until<'a> {
        Until {
            deadline: Instant::now() + self.timeout,
            timeout: self.timeout,
            cancel: self.cancel,
        }
    }
}

/// Why git failed, as far as its words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is no such repository, or it is not shown.
    NotFound,
    /// The server wants to know who asks.
    Auth,
    /// ssh does not know the server.
    HostKey,
    /// The server can't be reached, or hung up.
    Network,
    /// There is no such branch, tag or commit.
    NoRef,
    /// The folder is another user's.
    Owner,
    /// It took too long.
    Timeout,
    /// It was ended.
    Cancelled,
    /// All else.
    Other,
}

impl Kind {
    /// What to do about it.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound => {
                "see how etc/repos.list and GITSERVER in etc/repos.conf name it; a private repository may look so to who has no access"
            }
            Self::Auth => {
                "nobody is there to type: for https give git a credential helper (git help credentials), for ssh load the key into ssh-agent"
            }
            Self::HostKey => "connect once with ssh by hand to see and accept the server's key",
            Self::Network => {
                "see that the server is up and can be reached from here, and try again"
            }
            Self::NoRef => "see what etc/repos.list has behind the @",
            Self::Owner => {
                "git config --global --add safe.directory FOLDER, if you trust whoever owns it"
            }
            Self::Timeout => "give it more time with --timeout, or see what the server does",
            Self::Cancelled | Self::Other => return None,
        })
    }
}

/// git did not do what it should.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why, as far as git's words tell.
    pub kind: Kind,
    /// What git says, in one line.
    pub message: String,
}

/// What git said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn success(&self) -> bool {
        self.status == 0
    }
}

/// The system's git.
#[derive(Clone, Debug)]
pub struct Git {
    program: PathBuf,
    /// For ssh when the user has no command of their own for it.
    ssh: Option<&'static str>,
    /// Variables beside those of this process.
    environment: Vec<(OsString, OsString)>,
}

impl Git {
    /// Finds it on PATH; `None` if it isn't there.
    pub fn find() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let program = std::env::split_paths(&path)
            .map(|folder| folder.join("git"))
            .find(|program| rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok())?;
        let mut git = Self {
            program,
            ssh: None,
            environment: Vec::new(),
        };
        let own = ["GIT_SSH_COMMAND", "GIT_SSH"]
            .iter()
            .any(|name| std::env::var_os(name).is_some());
        let never = AtomicBool::new(false);
        let limits = Limits {
            timeout: Duration::from_secs(10),
            cancel: &never,
        };
        if !own
            && !git
                .run(
                    ["config", "--get", "core.sshCommand"],
                    None,
                    &limits.start(),
                )
                .is_ok_and(|output| output.success())
        {
            // Nobody is there to be asked for a passphrase or about a key, least of all by eight at once.
            git.ssh = Some("ssh -o BatchMode=yes -o ConnectTimeout=15");
        }
        Some(git)
    }

    /// Adds a variable to git's environment.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn command(&self, folder: Option<&Utf8Path>) -> Command {
        let mut command = Command::new(&self.program);
        for name in MISLEADING {
            command.env_remove(name);
        }
        // A window that asks for a password is somebody asked, too. GIT_ASKPASS stays: who sets it wants it.
        command
            .env_remove("SSH_ASKPASS")
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            // Housekeeping in the background would outlive us and keep the streams open.
            .args([
                "-c",
                "gc.autoDetach=false",
                "-c",
                "maintenance.autoDetach=false",
            ]);
        if let Some(ssh) = self.ssh {
            command.env("GIT_SSH_COMMAND", ssh);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = folder {
            command.arg("-C").arg(folder.as_str());
        }
        command
    }

    /// Runs git and waits for it.
    ///
    /// # Errors
    ///
    /// It could not be started, took too long or was ended. An exit status other than 0 is none.
    pub(crate) fn run<I, S>(
        &self,
        arguments: I,
        folder: Option<&Utf8Path>,
        until: &Until<'_>,
    ) -> Result<Output, Failure>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let arguments: Vec<OsString> = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned())
            .collect();
        let mut command = self.command(folder);
        command.args(&arguments);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let timeout = until.deadline.saturating_duration_since(Instant::now());
        let outcome = process::run(
            &mut command,
            Input::Nothing,
            Some(timeout),
            until.cancel,
            &mut |stream, bytes| {
                let kept = match stream {
                    Stream::Out => &mut stdout,
                    Stream::Err => &mut stderr,
                };
                kept.extend_from_slice(bytes);
                let beyond = kept.len().saturating_sub(KEPT);
                kept.drain(..beyond);
            },
        );
        let failed = |kind, message: String| Err(Failure { kind, message });
        match outcome {
            Ok(Outcome::Exited(status)) => Ok(Output {
                status,
                stdout: String::from_utf8_lossy(&stdout).into_owned(),
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
            }),
            Ok(Outcome::Signaled(signal)) => {
                failed(Kind::Other, format!("git was killed by signal {signal}"))
            }
            Ok(Outcome::TimedOut) => failed(
                Kind::Timeout,
                format!("took longer than {} s", until.timeout.as_secs_f32().ceil()),
            ),
            Ok(Outcome::Cancelled) => failed(Kind::Cancelled, "ended".to_owned()),
            Err(error) => failed(Kind::Other, format!("git can't be started: {error}")),
        }
    }

    /// Runs git, for what must succeed.
    ///
    /// # Errors
    ///
    /// As [`Git::run`], or its exit status is not 0.
    pub(crate) fn must<I, S>(
        &self,
        arguments: I,
        folder: Option<&Utf8Path>,
        until: &Until<'_>,
    ) -> Result<Output, Failure>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let output = self.run(arguments, folder, until)?;
        if output.success() {
            Ok(output)
        } else {
            Err(failure(&output.stderr))
        }
    }
}

/// What git's last words mean.
pub(crate) fn failure(stderr: &str) -> Failure {
    let lower = stderr.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let kind = if has(&["dubious ownership"]) {
        Kind::Owner
    } else if has(&["host key verification failed"]) {
        Kind::HostKey
    } else if has(&[
        "authentication failed",
        "could not read username",
        "could not read password",
        "permission denied (",
        "terminal prompts disabled",
        "error: 401",
        "error: 403",
        "access denied",
    ]) && !has(&["repository not exported"])
    {
        Kind::Auth
    } else if has(&[
        "repository not exported",
        "not found",
        "does not exist",
        "does not appear to be a git repository",
        "error: 404",
        "no such file or directory",
    ]) && !has(&["remote branch", "command not found"])
    {
        Kind::NotFound
    } else if has(&[
        "did not match any",
        "invalid reference",
        "remote branch",
        "pathspec",
        "couldn't find remote ref",
        "unknown revision",
    ]) {
        Kind::NoRef
    } else if has(&[
        "could not resolve host",
        "connection refused",
        "failed to connect",
        "unable to connect",
        "connection reset",
        "connection timed out",
        "connection closed",
        "early eof",
        "hung up",
        "rpc failed",
        "timed out",
        "network is unreachable",
        "error: 500",
        "error: 502",
        "error: 503",
    ]) {
        Kind::Network
    } else {
        Kind::Other
    };
    // The first line that says what failed; progress and advice stand around it.
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let telling = lines.iter().position(|line| {
        let of_git = ["fatal:", "error:", "ERROR:"]
            .iter()
            .any(|mark| line.starts_with(mark));
        // What ssh says comes before it, and says more.
        let tells = !line.contains("Could not read from remote repository");
        (of_git && tells) || line.contains("denied")
    });
    let of_ssh = || {
        lines
            .iter()
            .position(|line| line.contains("Could not read from remote"))
    };
    let telling = telling.or_else(|| of_ssh().map(|place| place.saturating_sub(1)));
    let place = telling.unwrap_or(lines.len().saturating_sub(1));
    let mut line = lines
        .get(place)
        .copied()
        .unwrap_or("git failed without a word")
        .to_owned();
    if line.ends_with(':')
        && let Some(next) = lines.get(place + 1)
    {
        line = format!("{line} {next}");
    }
    let message = line
        .trim_start_matches("fatal: ")
        .trim_start_matches("error: ");
    Failure {
        kind,
        message: message
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(300)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, failure};

    #[test]
    fn what_git_says_is_understood() {
        for (words, kind) in [
            (
                "Cloning into 'x'...\nremote: Repository not found.\nfatal: repository 'https://h/x.git/' not found\n",
                Kind::NotFound,
            ),
            (
                "fatal: unable to access 'http://h/x/': The requested URL returned error: 404",
                Kind::NotFound,
            ),
            (
                "fatal: unable to access 'http://h/x/': The requested URL returned error: 500",
                Kind::Network,
            ),
            (
                "fatal: could not read Username for 'http://h': terminal prompts disabled",
                Kind::Auth,
            ),
            ("fatal: Authentication failed for 'http://h/x/'", Kind::Auth),
            (
                "git@h: Permission denied (publickey).\r\nfatal: Could not read from remote repository.",
                Kind::Auth,
            ),
            (
                "Host key verification failed.\nfatal: Could not read from remote repository.",
                Kind::HostKey,
            ),
            (
                "fatal: remote error: access denied or repository not exported: /x",
                Kind::NotFound,
            ),
            (
                "fatal: unable to connect to h:\nh[0: 127.0.0.1]: errno=Connection refused\n",
                Kind::Network,
            ),
            (
                "fatal: Remote branch nope not found in upstream origin",
                Kind::NoRef,
            ),
            (
                "error: pathspec 'nope' did not match any file(s) known to git",
                Kind::NoRef,
            ),
            (
                "fatal: early EOF\nfatal: fetch-pack: invalid index-pack output",
                Kind::Network,
            ),
            ("fatal: invalid reference: nope", Kind::NoRef),
            (
                "bash: line 1: git-upload-pack: command not found\nfatal: Could not read from remote repository.",
                Kind::Other,
            ),
            ("something", Kind::Other),
        ] {
            assert_eq!(failure(words).kind, kind, "{words}");
        }
        assert_eq!(failure("a\nfatal: b\nc").message, "b");
        assert_eq!(
            failure("fatal: unable to connect to h:\nh: refused").message,
            "unable to connect to h: h: refused"
        );
        let through_ssh = "sh: git-upload-pack: not there\nfatal: Could not read from remote repository.\n\nPlease make sure";
        assert_eq!(
            failure(through_ssh).message,
            "sh: git-upload-pack: not there"
        );
        assert_eq!(failure("").message, "git failed without a word");
    }
}
