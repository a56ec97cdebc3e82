//! `worker_health_listen`: `GET /ready` and `GET /live` over HTTP, for probes, and `GET /metrics` for Prometheus. A
//! connection is one request, and the answer is text; they need no more of HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apium_app::error::{Error, ErrorKind, Result};
use apium_protocol::error::with_causes;
use apium_transport::health::Health;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::health::health::WorkerHealth;
use crate::observe::metrics_page::MetricsPage;
use crate::observe::prometheus;
use crate::service::Stopping;

/// How many connections are served at a time. Others wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// How long a connection may take before it is dropped.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request with its headers may be, in bytes. A longer one gets no answer.
const MAX_REQUEST: usize = 8 * 1024;

/// The answer of a worker that is ready.
const READY: &str = "ready\n";

/// The page of metrics, once the worker has what it shows.
pub(crate) type SharedPage = Arc<OnceLock<MetricsPage>>;

/// What requests are answered from.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) health: Arc<WorkerHealth>,
    pub(crate) page: SharedPage,
}

impl Answers {
    /// The page of metrics, where the request is for it and it is there.
    async fn metrics(&self, line: &str) -> Option<String> {
        let page = self.page.get().filter(|_| matches!(method_and_path(line), ("GET" | "HEAD", "/metrics")))?;
        Some(page.text(self.health.health().is_green()).await)
    }
}

/// Listens on `address`, and returns the real address: for port 0 the system chooses a port.
///
/// # Errors
/// An address that is not this machine's, or is in use.
pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|error: std::io::Error| {
        let context = format!("listen on {address} for health probes (worker_health_listen)");
        Error::new(ErrorKind::Config, context).with_source(error)
    })
}

/// Answers requests until the service is stopped.
pub(crate) async fn serve(listener: TcpListener, answers: Answers, mut stopping: Stopping) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = stopping.wait() => return,
            Some(_) = open.join_next() => {}
            accepted = listener.accept(), if open.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let answers = answers.clone();
                    // The only errors are those of a client that went away, and the timeout.
                    open.spawn(async move { _ = tokio::time::timeout(CONNECTION_TIMEOUT, answer(stream, &answers)).await });
                }
                Err(error) => {
                    tracing::warn!(error = %with_causes(&error), "could not accept a health probe");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn answer(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    let mut request = Vec::with_capacity(512);
    // A socket that is closed with unread bytes is reset, and the client may lose the answer. So the request is read to
    // its end.
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > MAX_REQUEST || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let (status, kind, mut text) = match answers.metrics(&line).await {
        Some(text) => ("200 OK", prometheus::CONTENT_TYPE, text),
        None => {
            let (status, text) = respond(&line, || answers.health.health(), answers.page.get().is_some());
            (status, "text/plain; charset=utf-8", text)
        }
    };
    if text == READY
        && let Some(notes) = answers.health.notes()
    {
        text = format!("ready; {}\n", notes.replace(['\r', '\n'], " "));
    }
    let body = if line.starts_with("HEAD ") { "" } else { &text };
    let length = text.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}").as_bytes()).await?;
    stream.shutdown().await
}

/// The method and the path of a request line.
fn method_and_path(line: &str) -> (&str, &str) {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    (method, target.split('?').next().unwrap_or_default())
}

/// The status and the text that answer a request line, but for the page of metrics.
fn respond(line: &str, health: impl FnOnce() -> Health, has_metrics: bool) -> (&'static str, String) {
    match method_and_path(line) {
        ("GET" | "HEAD", "/live") => ("200 OK", "live\n".into()),
        ("GET" | "HEAD", "/ready") => match health() {
            Health::Green => ("200 OK", READY.into()),
            Health::Red { since, reason } => {
                ("503 Service Unavailable", format!("not ready since {since}: {}\n", reason.replace(['\r', '\n'], " ")))
            }
        },
        ("GET" | "HEAD", "/metrics") if !has_metrics => {
            ("503 Service Unavailable", "the worker has not started yet\n".into())
        }
        (_, "/live" | "/ready" | "/metrics") => ("405 Method Not Allowed", "only GET and HEAD\n".into()),
        _ => ("404 Not Found", "there are /ready, /live and /metrics\n".into()),
    }
}
