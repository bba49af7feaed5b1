//! Requests to one server: bounded, timed, tried again where that may help.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, SendBody};

use crate::credentials::Credentials;
use crate::error::{Error, Reply};

/// Largest answer that is no image, in bytes.
const ANSWER: u64 = 64 << 20;
/// Largest error, in bytes; what is more is not read.
const ERROR_ANSWER: u64 = 64 << 10;
/// Longest message of a server that is shown, in characters.
const MESSAGE: usize = 500;

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until an answer begins, and between two pieces of it, either way.
    pub silence: Duration,
    /// Until the answer to a whole file begins, which the server may first have to store.
    pub store: Duration,
    /// Bytes per second that a file must have on average once it took longer than `silence`.
    pub slowest: u64,
    /// Tries, the first included.
    pub tries: u32,
    /// Before the second try; it doubles with every further one.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            store: Duration::from_secs(1800),
            slowest: 1024,
            tries: 5,
            pause: Duration::from_secs(1),
        }
    }
}

/// A flag that ends work from outside.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that something else sets, too.
    pub fn new(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// # Errors
    ///
    /// [`Error::Cancelled`] if it is set.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_set() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Sleeps, and wakes early when it is set.
    fn sleep(&self, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.check()?;
            std::thread::sleep(Duration::from_millis(50).min(end - Instant::now()));
        }
        self.check()
    }
}

/// One server, as HTTP sees it.
pub struct Http {
    agent: Agent,
    /// Without a `/` at its end.
    base: String,
    credentials: Credentials,
    patience: Patience,
    cancel: Cancel,
}

/// How one try failed.
pub(crate) enum Failure {
    /// Another try may go better; after so long, where the server says so.
    Passing(Error, Option<Duration>),
    /// Nobody is there, which more than one further try seldom changes.
    Absent(Error),
    /// The answer is final.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<mibe_image::Error> for Failure {
    fn from(error: mibe_image::Error) -> Self {
        Self::Final(error.into())
    }
}

/// What is asked of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Delete,
}

impl Http {
    /// A server at this URL.
    ///
    /// # Errors
    ///
    /// It is no URL of http or https, or holds a password, which would show.
    pub fn new(
        url: &str,
        credentials: Credentials,
        patience: Patience,
        cancel: Cancel,
    ) -> Result<Self, Error> {
        let config = Agent::config_builder()
            .user_agent(concat!("mibe/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            // A file that comes compressed on the way would have another length than the one announced.
            .accept_encoding("identity")
            .http_status_as_error(false)
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .timeout_per_write(Some(patience.silence))
            .max_redirects(5)
            .max_redirects_will_error(true);
        let base = checked_url(url)?;
        // Reading the authorities' certificates takes a while.
        let is_plain = base
            .get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
        let config = if is_plain {
            config
        } else {
            config.tls_config(crate::roots::tls()?)
        };
        Ok(Self {
            agent: config.build().new_agent(),
            base,
            credentials,
            patience,
            cancel,
        })
    }

    /// The same server, whatever was ended from outside, and with less patience.
    pub(crate) fn uncancelled(&self) -> Result<Self, Error> {
        let patience = Patience {
            tries: 2,
            ..self.patience
        };
        Self::new(
            &self.base,
            self.credentials.clone(),
            patience,
            Cancel::default(),
        )
    }

    /// The URL of the server.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether it is told who asks.
    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The JSON behind a path; `None` where there is nothing.
    pub(crate) fn get_json(&self, path: &str) -> Result<Option<Value>, Error> {
        self.retry(|http| match http.call(Method::Get, path, None) {
            Err(Failure::Final(error)) if error.status() == Some(404) => Ok(None),
            other => other.map(Some),
        })
    }

    /// Asks once for something that changes the server: whether a lost answer means that it was done is for the caller.
    pub(crate) fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        self.call(method, path, body).map_err(Failure::error)
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.cancel.check()?;
        let url = self.url(path);
        let response = match (method, body) {
            (Method::Get, _) => {
                let mut request = self.agent.get(&url);
                for (name, value) in self.credentials.headers()? {
                    request = request.header(name, value);
                }
                request.call()
            }
            (Method::Delete, _) => {
                let mut request = self.agent.delete(&url);
                for (name, value) in self.credentials.headers()? {
                    request = request.header(name, value);
                }
                request.config().max_redirects(0).build().call()
            }
            (Method::Post, body) => {
                let mut request = self.agent.post(&url);
                for (name, value) in self.credentials.headers()? {
                    request = request.header(name, value);
                }
                let request = request
                    .content_type("application/json")
                    .config()
                    .max_redirects(0)
                    .build();
                match body {
                    Some(body) => request.send(body.to_string()),
                    None => request.send_empty(),
                }
            }
        };
        let mut response = response.map_err(|error| self.failure(&url, &error))?;
        succeeded(&url, &mut response)?;
        self.json(&url, response)
    }

    fn json(&self, url: &str, response: Response<Body>) -> Result<Value, Failure> {
        let mut text = Vec::new();
        self.copy(
            url,
            response.into_body().into_reader(),
            ANSWER,
            &mut |piece| {
                text.extend_from_slice(piece);
                Ok(())
            },
        )?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&text).map_err(|error| {
            Failure::Final(Error::Wrong {
                url: url.to_owned(),
                what: format!("the answer is not the JSON of an image server ({error})"),
            })
        })
    }

    /// A file from `offset` on, as the server gives it.
    pub(crate) fn open(&self, path: &str, offset: u64) -> Result<Response<Body>, Failure> {
        self.cancel.check()?;
        let url = self.url(path);
        let mut request = self.agent.get(&url).header("accept", "*/*");
        if offset > 0 {
            request = request.header("range", format!("bytes={offset}-"));
        }
        for (name, value) in self.credentials.headers()? {
            request = request.header(name, value);
        }
        let response = request.call().map_err(|error| self.failure(&url, &error))?;
        Ok(response)
    }

    /// Sends a body of known length, once. The server may refuse it before it has all come.
    pub(crate) fn send(
        &self,
        put: bool,
        path: &str,
        content_type: &str,
        length: u64,
        body: &mut (dyn Read + Send),
    ) -> Result<Value, Failure> {
        self.cancel.check()?;
        let url = self.url(path);
        let mut request = if put {
            self.agent.put(&url)
        } else {
            self.agent.post(&url)
        };
        for (name, value) in self.credentials.headers()? {
            request = request.header(name, value);
        }
        let mut body = Cancellable {
            inner: body,
            cancel: &self.cancel,
        };
        let response = request
            .content_type(content_type)
            .header("content-length", length.to_string())
            // Who may not upload is told so before gigabytes travel.
            .header("expect", "100-continue")
            .config()
            .max_redirects(0)
            .timeout_recv_response(Some(self.patience.store))
            .build()
            .send(SendBody::from_reader(&mut body));
        if self.cancel.is_set() {
            return Err(Failure::Final(Error::Cancelled));
        }
        let mut response = response.map_err(|error| self.failure(&url, &error))?;
        succeeded(&url, &mut response)?;
        self.json(&url, response)
    }

    /// Hands over an answer piece by piece; ends it when it is cancelled, too slow, or longer than `limit`.
    pub(crate) fn copy(
        &self,
        url: &str,
        mut body: impl Read,
        limit: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let start = Instant::now();
        let mut buffer = vec![0; 1 << 17];
        let mut size: u64 = 0;
        loop {
            self.cancel.check()?;
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok(size),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let reason = format!("the answer broke off after {size} bytes: {error}");
                    return Err(self.unreachable(url, reason));
                }
            };
            size += count as u64;
            if size > limit {
                return Err(Failure::Final(Error::Wrong {
                    url: url.to_owned(),
                    what: format!("the answer is longer than {limit} bytes"),
                }));
            }
            take(buffer.get(..count).unwrap_or_default())?;
            let taken = start.elapsed();
            let fair = Duration::from_secs(size / self.patience.slowest.max(1));
            if taken > self.patience.silence + fair {
                let reason = format!(
                    "the answer came too slowly ({size} bytes in {} s)",
                    taken.as_secs()
                );
                return Err(self.unreachable(url, reason));
            }
        }
    }

    /// Tries until it goes well, is final, or has been tried often enough.
    pub(crate) fn retry<T>(
        &self,
        mut attempt: impl FnMut(&Self) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mut pause = self.patience.pause;
        let mut tried = 1;
        let mut was_there = false;
        loop {
            match attempt(self) {
                Ok(value) => return Ok(value),
                Err(failure) => {
                    let (error, after, tries) = match failure {
                        Failure::Passing(error, after) => {
                            was_there = true;
                            (error, after, self.patience.tries)
                        }
                        // One that was there may be starting anew.
                        Failure::Absent(error) if was_there => (error, None, self.patience.tries),
                        Failure::Absent(error) => (error, None, self.patience.tries.min(2)),
                        Failure::Final(error) => return Err(error),
                    };
                    if tried >= tries {
                        return Err(match error {
                            Error::Unreachable { url, reason } => Error::Unreachable {
                                url,
                                reason: format!("{reason} (tried {tried} times)"),
                            },
                            other => other,
                        });
                    }
                    self.cancel.sleep(after.unwrap_or(pause))?;
                }
            }
            tried += 1;
            pause *= 2;
        }
    }

    pub(crate) fn unreachable(&self, url: &str, reason: String) -> Failure {
        if self.cancel.is_set() {
            return Failure::Final(Error::Cancelled);
        }
        let error = Error::Unreachable {
            url: url.to_owned(),
            reason,
        };
        Failure::Passing(error, None)
    }

    fn failure(&self, url: &str, error: &ureq::Error) -> Failure {
        match error {
            ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed => {
                Failure::Final(Error::Wrong {
                    url: url.to_owned(),
                    what: "the server sends from one place to the next without end".to_owned(),
                })
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Failure::Final(Error::usage(format!("{url} is no usable URL"), &[]))
            }
            ureq::Error::Protocol(error) => Failure::Final(Error::Wrong {
                url: url.to_owned(),
                what: format!("what answers speaks no HTTP as it should be ({error})"),
            }),
            ureq::Error::LargeResponseHeader(..) => Failure::Final(Error::Wrong {
                url: url.to_owned(),
                what: "the headers of the answer are too long".to_owned(),
            }),
            // rustls says so within an error of input and output.
            other if other.to_string().contains("invalid peer certificate") => {
                Failure::Final(Error::Untrusted {
                    url: url.to_owned(),
                    reason: other.to_string().replace("io: ", ""),
                })
            }
            other => {
                let is_absent = match other {
                    ureq::Error::HostNotFound => true,
                    ureq::Error::Io(error) => {
                        error.kind() == io::ErrorKind::ConnectionRefused
                            || error.to_string().contains("failed to lookup address")
                    }
                    _ => false,
                };
                let reason = other.to_string();
                let reason = reason.strip_prefix("io: ").unwrap_or(&reason).to_owned();
                match self.unreachable(url, reason) {
                    Failure::Passing(error, _) if is_absent => Failure::Absent(error),
                    failure => failure,
                }
            }
        }
    }
}

impl Failure {
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Passing(error, _) | Self::Absent(error) | Self::Final(error) => error,
        }
    }
}

/// A body that ends with an error when it is cancelled.
struct Cancellable<'a> {
    inner: &'a mut (dyn Read + Send),
    cancel: &'a Cancel,
}

impl Read for Cancellable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_set() {
            return Err(io::Error::other("interrupted"));
        }
        self.inner.read(buffer)
    }
}

/// Errors of a server as errors.
pub(crate) fn succeeded(url: &str, response: &mut Response<Body>) -> Result<(), Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        let to = response.headers().get("location");
        let to = to.and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
        return Err(Failure::Final(Error::Wrong {
            url: url.to_owned(),
            what: format!(
                "the server sends to {}, where nothing is changed unasked",
                shown(to)
            ),
        }));
    }
    let after = response.headers().get("retry-after");
    let after = after
        .and_then(|after| after.to_str().ok()?.parse().ok())
        .map(|seconds: u64| Duration::from_secs(seconds.min(60)));
    let mut text = Vec::new();
    let reader = response.body_mut().as_reader();
    // What can't be read of it is not told.
    let _ = reader.take(ERROR_ANSWER).read_to_end(&mut text);
    let error = Error::Refused {
        url: url.to_owned(),
        reply: reply(status, &text),
    };
    Err(match status.as_u16() {
        408 | 425 | 429 | 502 | 504 => Failure::Passing(error, after),
        // Without a word of when, a full storage is told at once.
        503 if after.is_some() => Failure::Passing(error, after),
        _ => Failure::Final(error),
    })
}

fn reply(status: StatusCode, text: &[u8]) -> Reply {
    let json: Option<Value> = serde_json::from_slice(text).ok();
    let word = |key: &str| {
        json.as_ref()
            .and_then(|json| json.get(key)?.as_str())
            .map(shown)
    };
    let mut message = word("message")
        .or_else(|| word("error"))
        .unwrap_or_else(|| {
            let is_text = json.is_none() && !text.trim_ascii_start().starts_with(b"<");
            let own = if is_text {
                String::from_utf8_lossy(text).into_owned()
            } else {
                String::new()
            };
            if own.trim().is_empty() {
                status.canonical_reason().unwrap_or_default().to_owned()
            } else {
                shown(own.trim())
            }
        });
    let fields = json
        .as_ref()
        .and_then(|json| json.get("errors")?.as_array());
    let fields: Vec<String> = fields
        .into_iter()
        .flatten()
        .take(20)
        .filter_map(|field| {
            let name = field.get("field")?.as_str()?;
            let what = field.get("message").or_else(|| field.get("code"));
            let what = what.and_then(Value::as_str).unwrap_or("wrong");
            Some(format!("{}: {}", shown(name), shown(what)))
        })
        .collect();
    if !fields.is_empty() {
        message = format!("{message} ({})", fields.join("; "));
    }
    Reply {
        status: status.as_u16(),
        code: word("code"),
        message,
    }
}

/// Words of a server, bounded and fit for terminals and logs.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MESSAGE)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(MESSAGE).is_some() {
        shown.push('…');
    }
    shown
}

/// A URL without a `/` at its end.
fn checked_url(url: &str) -> Result<String, Error> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let start = url.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| &url[scheme.len()..])
    });
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        None => Err(Error::usage(
            format!("{url} is no URL of an image server"),
            &["it begins with http:// or https://"],
        )),
        Some(host) if host.contains('@') => Err(Error::usage(
            "a URL with a user or a password in it is shown in many places",
            &["leave it out of the URL, and give --user and --password-file"],
        )),
        Some("") => Err(Error::usage(format!("{url} names no host"), &[])),
        Some(_) if url.contains(['?', '#']) || url.contains(char::is_whitespace) => {
            Err(Error::usage(
                format!("{url} is no URL of an image server"),
                &["a channel is named with --channel"],
            ))
        }
        Some(_) => Ok(url.trim_end_matches('/').to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let of = |url: &str| checked_url(url);
        assert_eq!(of("http://h/repo/").unwrap(), "http://h/repo");
        assert_eq!(of("HTTPS://h").unwrap(), "HTTPS://h");
        for wrong in [
            "",
            "h",
            "ftp://h",
            "http://",
            "http://u:p@h/",
            "http://h/?channel=x",
            "http://h/ x",
        ] {
            let error = of(wrong).unwrap_err();
            assert!(!error.to_string().contains("u:p"), "{error}");
        }
    }

    #[test]
    fn errors_of_servers_are_fit_for_a_terminal() {
        let text = br#"{"code":"ValidationFailed","message":"bad\u001b[31m","errors":[{"field":"os","code":"Invalid"}]}"#;
        let reply = reply(StatusCode::UNPROCESSABLE_ENTITY, text);
        assert_eq!(
            reply.to_string(),
            "the server says 422 ValidationFailed: bad [31m (os: Invalid)"
        );
        let html = super::reply(StatusCode::BAD_GATEWAY, b"<html>long</html>");
        assert_eq!(html.to_string(), "the server says 502: Bad Gateway");
    }
}
