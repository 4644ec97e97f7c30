//! Serves the newest metrics over HTTP (`--metrics_address`), to a Prometheus that scrapes.
//!
//! A thread of its own answers one connection after the other, each within [`CONNECTION`], with
//! the page that the main thread has made last. So whoever asks here, and however slowly, holds up
//! nobody but others who ask here. Each connection is for one request.

use httparse::{EMPTY_HEADER, Request, Status};
use interleavings::threads;
use seldom::Seldom;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long one connection may take.
const CONNECTION: Duration = Duration::from_secs(2);

/// How long to wait before the next connection, if one could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// The longest request.
const REQUEST_BYTES_MAX: usize = 8 * 1_024;

/// The most headers of a request.
const HEADERS_MAX: usize = 64;

/// Where the metrics are.
const PATH: &str = "/metrics";

/// The page that is served: empty until the first is made.
pub(super) type Page = Arc<Mutex<String>>;

/// Serves a page at this address from now on.
///
/// # Errors
///
/// When the address or a thread cannot be had.
pub(super) fn serve(at: SocketAddr) -> io::Result<Page> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("--metrics_address {at}: {error}"));
    let listener = TcpListener::bind(at).map_err(named)?;
    let page = Page::default();
    let served = Arc::clone(&page);
    threads::spawn("metrics", move || {
        let (mut failed, began) = (Seldom::new(), Instant::now());
        loop {
            match listener.accept() {
                // Whoever goes away before his answer does not want it.
                Ok((stream, _)) => drop(answer_in_time(&stream, &served)),
                Err(error) => {
                    if let Some(again) = failed.happened(began.elapsed().as_micros() as u64) {
                        log::warn!("--metrics_address {at}: {error}; the replica goes on{again}");
                    }
                    sleep(ACCEPT_AGAIN);
                }
            }
        }
    })?;
    Ok(page)
}

fn answer_in_time(stream: &TcpStream, page: &Mutex<String>) -> io::Result<()> {
    let end = Instant::now() + CONNECTION;
    let left = || match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(Some(left)),
    };
    let mut reader = stream;
    let asked = read(|into| {
        stream.set_read_timeout(left()?)?;
        reader.read(into)
    })?;
    let page = page.lock().unwrap_or_else(PoisonError::into_inner).clone();
    stream.set_write_timeout(left()?)?;
    let mut writer = stream;
    writer.write_all(answer(asked, &page).as_bytes())
}

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The metrics; or only what stands above them.
    Metrics { head: bool },
    /// Another page.
    Elsewhere,
    /// To do something.
    Deed,
    /// Nothing that is HTTP.
    Malformed,
}

/// Reads a request, by a function that reads what has come.
fn read(mut more: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Asked> {
    let (mut bytes, mut length) = ([0; REQUEST_BYTES_MAX], 0);
    loop {
        let came = more(&mut bytes[length..])?;
        length += came;
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut request = Request::new(&mut headers);
        match request.parse(&bytes[..length]) {
            Ok(Status::Complete(_)) => return Ok(asked(&request)),
            Ok(Status::Partial) if came > 0 && length < bytes.len() => {}
            Ok(Status::Partial) | Err(_) => return Ok(Asked::Malformed),
        }
    }
}

fn asked(request: &Request<'_, '_>) -> Asked {
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match request.method {
        Some(method @ ("GET" | "HEAD")) if path == PATH => {
            Asked::Metrics { head: method == "HEAD" }
        }
        Some("GET" | "HEAD") => Asked::Elsewhere,
        _ => Asked::Deed,
    }
}

/// The answer, whole.
fn answer(asked: Asked, page: &str) -> String {
    let (status, kind, body) = match asked {
        Asked::Metrics { .. } => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", page),
        Asked::Elsewhere => ("404 Not Found", "text/plain", "the metrics are at /metrics\n"),
        Asked::Deed => {
            ("405 Method Not Allowed\r\nAllow: GET, HEAD", "text/plain", "GET or HEAD\n")
        }
        Asked::Malformed => ("400 Bad Request", "text/plain", "no HTTP/1.1\n"),
    };
    let length = body.len();
    let body = if asked == (Asked::Metrics { head: true }) { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: \
         close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked by a request that comes in pieces of so many bytes.
    fn read_in(pieces: usize, request: &str) -> Asked {
        let mut left = request.as_bytes();
        let more = |into: &mut [u8]| {
            let most = pieces.min(into.len());
            left.read(&mut into[..most])
        };
        read(more).expect("memory does not fail")
    }

    #[test]
    fn a_request_is_understood_however_it_is_cut() {
        for (request, asked) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Asked::Metrics { head: false }),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Asked::Metrics { head: false }),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", Asked::Metrics { head: true }),
            ("GET / HTTP/1.1\r\n\r\n", Asked::Elsewhere),
            ("POST /metrics HTTP/1.1\r\n\r\n", Asked::Deed),
            ("GET /metrics HTTP/1.1\r\nHost: a", Asked::Malformed),
            ("\u{1}\u{2}\u{3}\r\n\r\n", Asked::Malformed),
            ("", Asked::Malformed),
        ] {
            for pieces in [1, 7, 9_000] {
                assert_eq!(read_in(pieces, request), asked, "{request:?}");
            }
        }
    }

    #[test]
    fn a_request_without_an_end_is_not_read_for_ever() {
        let mut read_bytes = 0;
        let endless = |into: &mut [u8]| {
            into.fill(b'a');
            read_bytes += into.len();
            Ok(into.len())
        };
        assert_eq!(read(endless).expect("memory does not fail"), Asked::Malformed);
        assert_eq!(read_bytes, REQUEST_BYTES_MAX);
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(read_in(9_000, &many), Asked::Malformed);
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_a_head_has_no_body() {
        let page = "x 1\n";
        let get = answer(Asked::Metrics { head: false }, page);
        let head = answer(Asked::Metrics { head: true }, page);
        assert!(get.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
        assert_eq!(get, format!("{head}{page}"));
        assert!(head.contains("\r\nContent-Length: 4\r\n") && head.ends_with("\r\n\r\n"));
        let deed = answer(Asked::Deed, page);
        assert!(deed.starts_with("HTTP/1.1 405 ") && deed.contains("\r\nAllow: GET, HEAD\r\n"));
    }
}
