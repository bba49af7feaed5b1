//! A host behind the user's own ssh: its configuration, agent and jumps hold.
//!
//! All commands share one connection (ssh_config, ControlMaster). The remote side of each command tells its process group first, so that it
//! can be ended there: closing a connection ends nothing.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::command::{Command, Input, Outcome, Stream};
use crate::error::HostError;
use crate::{Host, process as run, quote_all};

/// The status with which ssh itself fails (ssh, EXIT STATUS); a command can have it, too.
const SSH_FAILED: i32 = 255;

/// Seconds for which the shared connection outlives its last command, so that a killed mibe leaves none for long.
const PERSIST: u32 = 60;

/// How long ending a command over there, or asking for the connection, may take.
const SHORT: Duration = Duration::from_secs(20);

/// What precedes the process group on standard error.
const MARK: &[u8] = b"mibe-group ";

/// Tells the process group, then becomes the command. `ps -o pgid=` is of POSIX, and illumos has it. What sshd sets as PATH may lack
/// the folders of a global zone's programs.
const WRAPPER: &str = r#"PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin:/smartdc/bin:/opt/smartdc/bin:/opt/local/sbin:/opt/local/bin; export PATH
echo "mibe-group $(ps -o pgid= -p $$)" >&2; exec "$@""#;

/// How a host is reached.
#[derive(Clone, Debug, Default)]
pub struct SshOptions {
    /// Arguments for ssh before the host: `-p 2222`, `-F FILE`.
    pub arguments: Vec<OsString>,
    /// The ssh program; `ssh` on PATH without it.
    pub program: Option<OsString>,
}

/// A host behind ssh.
#[derive(Debug)]
pub struct SshHost {
    target: String,
    options: SshOptions,
    /// Where the shared connection's socket is: a folder of ours alone.
    folder: tempfile::TempDir,
}

impl SshHost {
    /// Connects to `target`, as ssh takes it (`root@headnode`, a name of the user's ssh_config). ssh may ask the user for a passphrase
    /// or about the host's key now, and never later.
    ///
    /// # Errors
    ///
    /// ssh is not there, the host can't be reached, or does not let us in.
    pub fn connect(target: &str, options: SshOptions) -> Result<Self, HostError> {
        let io = |what| move |source| HostError::Io { what, source };
        if target.is_empty() || target.starts_with('-') {
            return Err(HostError::Connect {
                host: target.to_owned(),
                message: "this is no name of a host".to_owned(),
            });
        }
        // The path of a socket has some hundred bytes at most, so not below a long TMPDIR.
        let folder = tempfile::Builder::new()
            .prefix("mibe-ssh-")
            .tempdir_in("/tmp")
            .map_err(io("make a folder in /tmp"))?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))
            .map_err(io("make a folder in /tmp"))?;
        let host = Self {
            target: target.to_owned(),
            options,
            folder,
        };
        // ssh speaks with the user itself.
        let status = host
            .ssh()
            .arg("-o")
            .arg("ServerAliveInterval=10")
            .arg("--")
            .arg(&host.target)
            .arg("exit 0")
            .stdout(process::Stdio::null())
            .status()
            .map_err(|source| HostError::Start {
                program: "ssh".to_owned(),
                source,
            })?;
        if status.success() {
            Ok(host)
        } else {
            Err(HostError::Connect {
                host: host.target.clone(),
                message: "ssh says above why".to_owned(),
            })
        }
    }

    /// ssh with what every call has.
    fn ssh(&self) -> process::Command {
        let program = self.options.program.as_deref().unwrap_or(OsStr::new("ssh"));
        let mut command = process::Command::new(program);
        let socket = self.folder.path().join("c");
        // Of several values ssh takes the first, and these are what a shared connection is.
        command
            .arg("-o")
            .arg("ControlMaster=auto")
            .arg("-o")
            .arg(format!("ControlPath={}", socket.display()))
            .arg("-o")
            .arg(format!("ControlPersist={PERSIST}"))
            .args(["-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no"])
            .args(&self.options.arguments)
            .arg("-o")
            .arg("ConnectTimeout=20")
            .arg("-o")
            .arg("ServerAliveCountMax=3")
            // What the user's configuration may add to a login is in the way of commands.
            .args([
                "-T",
                "-x",
                "-a",
                "-o",
                "ForwardAgent=no",
                "-o",
                "ClearAllForwardings=yes",
            ]);
        command
    }

    /// Whether the shared connection still stands.
    fn is_connected(&self) -> bool {
        self.control("check")
    }

    fn control(&self, what: &str) -> bool {
        let mut command = self.ssh();
        command.args(["-O", what, "--"]).arg(&self.target);
        let never = AtomicBool::new(false);
        run::run(
            &mut command,
            Input::Nothing,
            Some(SHORT),
            &never,
            &mut |_, _| {},
        )
        .is_ok_and(Outcome::success)
    }

    /// Runs words in the remote shell.
    fn shell(
        &self,
        words: &[OsString],
        input: Input,
        timeout: Option<Duration>,
        cancel: &AtomicBool,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Outcome, HostError> {
        let mut command = self.ssh();
        command
            .args(["-o", "BatchMode=yes", "-o", "ServerAliveInterval=10", "--"])
            .arg(&self.target)
            .arg(OsString::from_vec(quote_all(words)));
        run::run(&mut command, input, timeout, cancel, output).map_err(|source| HostError::Start {
            program: "ssh".to_owned(),
            source,
        })
    }

    /// Ends what runs in a process group over there.
    fn end(&self, group: &str) {
        let never = AtomicBool::new(false);
        let script = format!("kill -TERM -{group}; sleep 1; kill -KILL -{group}");
        let words = ["sh", "-c", script.as_str()].map(OsString::from);
        // If it can't be ended, whoever reads of the outcome knows that it may run on.
        let _ = self.shell(&words, Input::Nothing, Some(SHORT), &never, &mut |_, _| {});
    }
}

impl Drop for SshHost {
    fn drop(&mut self) {
        self.control("exit");
    }
}

impl Host for SshHost {
    fn title(&self) -> &str {
        &self.target
    }

    fn run(
        &self,
        command: Command,
        cancel: &AtomicBool,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Outcome, HostError> {
        let shown = command.shown();
        let mut words: Vec<OsString> = ["sh", "-c", WRAPPER, "sh"].map(OsString::from).to_vec();
        words.extend(command.argv);
        let mut head = Head::default();
        let outcome = self.shell(
            &words,
            command.input,
            command.timeout,
            cancel,
            &mut |stream, bytes| match stream {
                Stream::Out => output(stream, bytes),
                Stream::Err => head.take(bytes, &mut |bytes| output(Stream::Err, bytes)),
            },
        )?;
        match outcome {
            Outcome::TimedOut | Outcome::Cancelled => {
                if let Some(group) = head.group() {
                    self.end(group);
                }
                Ok(outcome)
            }
            // ssh's own status, or the command's? While the connection stands and the command began, the command's.
            Outcome::Exited(SSH_FAILED) if head.group().is_none() || !self.is_connected() => {
                if cancel.load(Ordering::SeqCst) {
                    return Ok(Outcome::Cancelled);
                }
                let message = last_words(&head.last);
                Err(match head.group() {
                    None => HostError::Connect {
                        host: self.target.clone(),
                        message,
                    },
                    Some(_) => HostError::Lost {
                        host: self.target.clone(),
                        command: shown,
                        message,
                    },
                })
            }
            Outcome::Signaled(_) => Err(HostError::Lost {
                host: self.target.clone(),
                command: shown,
                message: "ssh was killed".to_owned(),
            }),
            outcome @ Outcome::Exited(_) => Ok(outcome),
        }
    }
}

/// Takes the line with the process group out of standard error.
#[derive(Default)]
struct Head {
    line: Vec<u8>,
    group: Option<String>,
    done: bool,
    /// The last of what was printed, for messages.
    last: Vec<u8>,
}

impl Head {
    fn take(&mut self, bytes: &[u8], output: &mut dyn FnMut(&[u8])) {
        let mut rest = bytes;
        while !self.done {
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                self.line.extend_from_slice(rest);
                // A line this long is not ours.
                if self.line.len() > 4096 {
                    self.flush(output);
                    self.done = true;
                }
                return;
            };
            self.line.extend_from_slice(&rest[..=end]);
            rest = &rest[end + 1..];
            let digits = self.line.strip_prefix(MARK).map(<[u8]>::trim_ascii);
            match digits.and_then(|digits| std::str::from_utf8(digits).ok()) {
                Some(group)
                    if !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    self.group = Some(group.to_owned());
                    self.line.clear();
                    self.done = true;
                }
                // A banner of the server, or what the shell's start-up files print.
                _ => self.flush(output),
            }
        }
        self.remember(rest);
        if !rest.is_empty() {
            output(rest);
        }
    }

    fn flush(&mut self, output: &mut dyn FnMut(&[u8])) {
        let line = std::mem::take(&mut self.line);
        self.remember(&line);
        output(&line);
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        let beyond = self.last.len().saturating_sub(4096);
        self.last.drain(..beyond);
    }

    fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }
}

/// The last line that says something.
fn last_words(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr)
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or("ssh says nothing")
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}
