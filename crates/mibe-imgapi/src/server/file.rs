//! Files as answers: whole or a range of them (RFC 9110, sections 13 and 14), read piece by piece.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use tokio::task::JoinHandle;

use crate::signature::http_date;

/// What is read at a time, in bytes: memory of a client that reads slowly is about twice as much.
const PIECE: usize = 128 << 10;

/// A file and what is told of it.
pub struct Served {
    pub file: File,
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub modified: SystemTime,
    pub content_type: &'static str,
}

/// Part of a file on its way out.
struct FileBody {
    file: Arc<File>,
    rest: Range<u64>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    sent: Counter,
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            let length = (self.rest.end - self.rest.start).min(PIECE as u64) as usize;
            let offset = self.rest.start;
            // What is in memory already is not worth another thread.
            if let Some(bytes) = read_at_once(&self.file, offset, length) {
                return Poll::Ready(Some(Ok(self.sent(bytes))));
            }
            let file = Arc::clone(&self.file);
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, offset)?;
                Ok(buffer.into())
            }));
        }
        let Some(reading) = self.reading.as_mut() else {
            return Poll::Ready(None);
        };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        // A body that ends early breaks the connection off, and the client sees that.
        let bytes = match read {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Poll::Ready(Some(Err(error))),
            Err(error) => return Poll::Ready(Some(Err(io::Error::other(error)))),
        };
        Poll::Ready(Some(Ok(self.sent(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.end.saturating_sub(self.rest.start))
    }
}

impl FileBody {
    fn sent(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.rest.start += bytes.len() as u64;
        self.sent.inc_by(bytes.len() as u64);
        Frame::data(bytes)
    }
}

/// Reads what needs no disk; `None` where it does, or where the system can't tell.
#[cfg(target_os = "linux")]
fn read_at_once(file: &File, offset: u64, length: usize) -> Option<Bytes> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut buffer = vec![0; length];
    let mut slices = [io::IoSliceMut::new(&mut buffer)];
    let count = preadv2(file, &mut slices, offset, ReadWriteFlags::NOWAIT).ok()?;
    buffer.truncate(count);
    (count > 0).then(|| buffer.into())
}

#[cfg(not(target_os = "linux"))]
fn read_at_once(_: &File, _: u64, _: usize) -> Option<Bytes> {
    None
}

/// The answer with a file, or with what was asked for of it.
pub fn answer(served: Served, method: &Method, asked: &HeaderMap, sent: &Counter) -> Response {
    let Served {
        file,
        size,
        etag,
        modified,
        content_type,
    } = served;
    let quoted = format!("\"{etag}\"");
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    insert(headers, header::ETAG, &quoted);
    insert(headers, header::LAST_MODIFIED, &http_date(modified));
    insert(headers, header::ACCEPT_RANGES, "bytes");
    insert(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if has_not_changed(asked, &etag, Some(modified)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let range = match asked
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok())
    {
        Some(range) if *method == Method::GET && may_range(asked, &quoted, modified) => {
            parse_range(range, size)
        }
        _ => Asked::All,
    };
    let headers = response.headers_mut();
    let range = match range {
        Asked::All => 0..size,
        Asked::Part(range) => {
            let value = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            insert(headers, header::CONTENT_RANGE, &value);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            range
        }
        Asked::Nothing => {
            insert(headers, header::CONTENT_RANGE, &format!("bytes */{size}"));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return response;
        }
    };
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_TYPE, content_type);
    let length = range.end - range.start;
    insert(headers, header::CONTENT_LENGTH, &length.to_string());
    if *method != Method::HEAD {
        *response.body_mut() = Body::new(FileBody {
            file: Arc::new(file),
            rest: range,
            reading: None,
            sent: sent.clone(),
        });
    }
    response
}

pub fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether the client has it already, as it is.
pub fn has_not_changed(asked: &HeaderMap, etag: &str, modified: Option<SystemTime>) -> bool {
    if let Some(known) = asked.get(header::IF_NONE_MATCH) {
        let known = known.to_str().unwrap_or_default();
        return known.split(',').any(|one| {
            let one = one.trim();
            one == "*" || one.trim_start_matches("W/").trim_matches('"') == etag
        });
    }
    let since = asked
        .get(header::IF_MODIFIED_SINCE)
        .and_then(|since| jiff::fmt::rfc2822::parse(since.to_str().ok()?).ok());
    match (
        since,
        modified.and_then(|time| jiff::Timestamp::try_from(time).ok()),
    ) {
        (Some(since), Some(modified)) => modified.as_second() <= since.timestamp().as_second(),
        _ => false,
    }
}

fn may_range(asked: &HeaderMap, quoted: &str, modified: SystemTime) -> bool {
    asked.get(header::IF_RANGE).is_none_or(|only| {
        let only = only.to_str().unwrap_or_default();
        only == quoted || only == http_date(modified)
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Part(Range<u64>),
    Nothing,
}

/// What is not understood is not asked for, and neither are several ranges at once.
fn parse_range(text: &str, size: u64) -> Asked {
    let Some((from, to)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::All;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(from) || !digits(to) || (from.is_empty() && to.is_empty()) {
        return Asked::All;
    }
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let range = if from.is_empty() {
        size.saturating_sub(number(to))..size
    } else {
        let end = if to.is_empty() {
            size
        } else {
            number(to).saturating_add(1).min(size)
        };
        if !to.is_empty() && number(to) < number(from) {
            return Asked::All;
        }
        number(from)..end
    };
    if range.is_empty() {
        Asked::Nothing
    } else {
        Asked::Part(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let of = |text: &str| parse_range(text, 10);
        assert_eq!(of("bytes=0-"), Asked::Part(0..10));
        assert_eq!(of("bytes=3-4"), Asked::Part(3..5));
        assert_eq!(of("bytes=3-400"), Asked::Part(3..10));
        assert_eq!(of("bytes=-4"), Asked::Part(6..10));
        assert_eq!(of("bytes=-40"), Asked::Part(0..10));
        assert_eq!(of("bytes=9-9"), Asked::Part(9..10));
        for nothing in [
            "bytes=10-",
            "bytes=-0",
            "bytes=99999999999999999999-",
            "bytes=18446744073709551615-",
        ] {
            assert_eq!(of(nothing), Asked::Nothing, "{nothing}");
        }
        for all in [
            "bytes=",
            "bytes=-",
            "bytes=4-3",
            "bytes=0-1,3-4",
            "chars=0-1",
            "bytes=x-",
            "bytes=+1-2",
            "bytes= 1 -2",
        ] {
            assert_eq!(of(all), Asked::All, "{all}");
        }
    }
}
