//! Scripts run in a zone, by zlogin(1).
//!
//! zlogin hands a single argument as it is to `su root -c`, several with quotes that do not hold (`prep_args` in zlogin.c), so there
//! is one always. It exits with the command's status, and with 0 for one that was killed or whose zone went down (`WEXITSTATUS` of
//! any status), so that a script tells its end itself: by a line that no script can foresee.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use mibe_host::{Command, Input, Outcome, quote};

use super::tools::{Tools, text};
use crate::error::BuildError;
use crate::log::last_words;

/// How a script in a zone ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this status.
    Exited(i32),
    /// Without a word: it was killed, most likely as the zone went down.
    Silent,
    /// It took too long; it may run on in the zone.
    TimedOut,
}

/// Runs `script` with the zone's /bin/sh; what it prints goes to `output`, both streams as they come.
pub(crate) fn run(
    tools: &Tools,
    uuid: &str,
    script: &[u8],
    input: Input,
    timeout: Duration,
    output: &mut dyn FnMut(&[u8]),
) -> Result<Ended, BuildError> {
    let mark = format!("mibe-end-{}", uuid::Uuid::new_v4().simple());
    let mut inner = b"(\n".to_vec();
    inner.extend_from_slice(script);
    inner.extend_from_slice(
        format!("\n)\ns=$?\nprintf '\\n%s %s\\n' {mark} $s\nexit $s").as_bytes(),
    );
    let mut text = b"exec /bin/sh -c ".to_vec();
    text.extend_from_slice(&quote(os(&inner)));
    let argv: Vec<OsString> = vec!["zlogin".into(), uuid.into(), os(&text).to_owned()];
    let command = Command::new(argv).input(input).timeout(timeout);
    let mut filter = Filter::new(&mark);
    let mut last = Vec::new();
    let outcome = tools.host().run(command, tools.cancel(), &mut |_, bytes| {
        filter.take(bytes, &mut |bytes| {
            output(bytes);
            last.extend_from_slice(bytes);
            let beyond = last.len().saturating_sub(2048);
            last.drain(..beyond);
        });
    })?;
    filter.flush(output);
    match (outcome, filter.status) {
        (Outcome::Cancelled, _) => Err(BuildError::Cancelled),
        // The script's own word counts, whatever became of the zone after it.
        (_, Some(status)) => Ok(Ended::Exited(status)),
        (Outcome::TimedOut, None) => Ok(Ended::TimedOut),
        (Outcome::Exited(0) | Outcome::Signaled(_), None) => Ok(Ended::Silent),
        (Outcome::Exited(status), None) => Err(BuildError::Command {
            what: format!("zlogin on {}", tools.title()),
            how: format!("exited with status {status}"),
            said: last_words(&last),
            hints: vec![format!("see whether `zlogin {uuid}` works there")],
        }),
    }
}

/// Runs a script whose output is wanted, and whose end must be one with status 0.
pub(crate) fn answer(
    tools: &Tools,
    uuid: &str,
    what: &'static str,
    script: &[u8],
    input: Input,
) -> Result<String, BuildError> {
    let mut printed = Vec::new();
    let ended = run(tools, uuid, script, input, tools.timeout(), &mut |bytes| {
        keep(&mut printed, bytes);
    })?;
    if ended == Ended::Exited(0) {
        return Ok(text(&printed).into_owned());
    }
    let how = match ended {
        Ended::Exited(status) => format!("exited with status {status}"),
        Ended::Silent => "it ended without a word, as where the zone goes down".to_owned(),
        Ended::TimedOut => format!("took longer than {} s", tools.timeout().as_secs()),
    };
    Err(BuildError::Work {
        what,
        why: match last_words(&printed) {
            Some(said) => format!("{how}: {said}"),
            None => how,
        },
        hints: Vec::new(),
    })
}

/// Keeps what a zone prints, as long as it may be an answer: a zone may print without end.
pub(crate) fn keep(printed: &mut Vec<u8>, bytes: &[u8]) {
    /// More is no answer.
    const MOST: usize = 1 << 20;
    let room = MOST.saturating_sub(printed.len());
    printed.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Bytes as a word.
pub(crate) fn os(bytes: &[u8]) -> &OsStr {
    use std::os::unix::ffi::OsStrExt as _;
    OsStr::from_bytes(bytes)
}

/// Most bytes of a status.
const STATUS: usize = 16;

/// Takes the line of the end out of what a script prints. Nothing is held back that can't be its beginning.
struct Filter {
    mark: Vec<u8>,
    held: Vec<u8>,
    found: bool,
    status: Option<i32>,
}

impl Filter {
    fn new(mark: &str) -> Self {
        Self {
            mark: format!("\n{mark} ").into_bytes(),
            held: Vec::new(),
            found: false,
            status: None,
        }
    }

    fn take(&mut self, bytes: &[u8], output: &mut dyn FnMut(&[u8])) {
        self.held.extend_from_slice(bytes);
        if !self.found {
            let length = self.mark.len();
            let place = self.held.windows(length).position(|part| part == self.mark);
            let safe = match place {
                Some(place) => place,
                None => self.held.len() - self.overlap(),
            };
            if safe > 0 {
                output(&self.held[..safe]);
                self.held.drain(..safe);
            }
            if place.is_some() {
                self.held.drain(..length);
                self.found = true;
            }
        }
        if self.found
            && self.status.is_none()
            && let Some(end) = self.held.iter().position(|&byte| byte == b'\n')
        {
            self.status = text(&self.held[..end]).trim().parse().ok();
            self.held.drain(..=end);
        }
        // What runs on in the background prints on; a status has few digits.
        if self.found && (self.status.is_some() || self.held.len() > STATUS) {
            self.flush(output);
        }
    }

    /// How much of the end of what is held may be the beginning of the mark.
    fn overlap(&self) -> usize {
        let most = self.held.len().min(self.mark.len() - 1);
        (1..=most)
            .rev()
            .find(|&count| self.held.ends_with(&self.mark[..count]))
            .unwrap_or(0)
    }

    /// What is left when all was printed: a beginning that was none, and what came after the end.
    fn flush(&mut self, output: &mut dyn FnMut(&[u8])) {
        if !self.held.is_empty() {
            output(&self.held);
            self.held.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(chunks: &[&str]) -> (String, Option<i32>) {
        let mut filter = Filter::new("end-1");
        let mut printed = Vec::new();
        for chunk in chunks {
            filter.take(chunk.as_bytes(), &mut |bytes| {
                printed.extend_from_slice(bytes);
            });
        }
        filter.flush(&mut |bytes| printed.extend_from_slice(bytes));
        (String::from_utf8(printed).unwrap(), filter.status)
    }

    #[test]
    fn the_end_is_found_wherever_it_is_cut() {
        let whole = "one\ntwo\nend-1 17\n";
        for cut in 0..whole.len() {
            let (printed, status) = filtered(&[&whole[..cut], &whole[cut..]]);
            assert_eq!((printed.as_str(), status), ("one\ntwo", Some(17)), "{cut}");
        }
        let bytes: Vec<String> = whole.chars().map(String::from).collect();
        let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(filtered(&bytes), ("one\ntwo".to_owned(), Some(17)));
    }

    #[test]
    fn what_only_looks_like_it_is_output() {
        assert_eq!(
            filtered(&["a\nend-", "2 0\nend", "-1"]),
            ("a\nend-2 0\nend-1".to_owned(), None)
        );
        // A daemon that prints on.
        let (printed, status) = filtered(&["a\nend-1 0\nlater"]);
        assert_eq!((printed.as_str(), status), ("alater", Some(0)));
    }

    #[test]
    fn a_line_does_not_wait_for_the_next() {
        let mut filter = Filter::new("end-1");
        let mut printed = Vec::new();
        filter.take(b"a prompt: ", &mut |bytes| printed.extend_from_slice(bytes));
        assert_eq!(printed, b"a prompt: ");
    }
}
