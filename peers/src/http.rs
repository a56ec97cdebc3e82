//! One HTTP request and its answer, over a connection of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a server may take to go on with its answer.
const LIMIT: Duration = Duration::from_secs(60);

/// What a server answered.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// The status, such as 200.
    pub status: u16,
    /// The text behind the headers.
    pub body: String,
}

/// Asks the server at `address` (`127.0.0.1:80`). `body` may be empty. Panics where nobody answers in HTTP.
#[track_caller]
pub fn ask(address: &str, method: &str, path: &str, body: &str) -> HttpAnswer {
    try_ask(address, method, path, body)
        .unwrap_or_else(|error| panic!("could not {method} {path} of {address}: {error}"))
}

fn try_ask(address: &str, method: &str, path: &str, body: &str) -> std::io::Result<HttpAnswer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    // With HTTP/1.0 the answer comes in one piece, and its end is the end of the connection.
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    read(&answer).ok_or_else(|| std::io::Error::other(format!("it answers {answer:?}")))
}

fn read(answer: &str) -> Option<HttpAnswer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(HttpAnswer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = read("HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\nno\r\n\r\nsuch").unwrap();
        assert_eq!((answer.status, &*answer.body), (404, "no\r\n\r\nsuch"));
        for broken in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 many\r\n\r\n"] {
            assert!(read(broken).is_none(), "{broken:?}");
        }
    }
}
