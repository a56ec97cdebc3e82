//! The life of a child: it is started, takes runs, and ends.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultDocument;
use apium_transport::clock::Clock;
use serde::Serialize;
use tokio::net::UnixStream as AsyncStream;
use tokio::net::unix::OwnedReadHalf;

use crate::pool::process::child::{Child, EndedRun};
use crate::pool::process::child_program::ChildProgram;
use crate::pool::process::children::{ChildOptions, Children};
use crate::pool::process::frame::{Frame, FrameKind, FrameReader, VERSION, encode};
use crate::pool::process::messages::{
    FailedHead, HelloHead, NoHead, ReadyHead, RunNumber, StartHead, StoreHead, StoredHead,
};
use crate::shutdown::faults::Faults;

/// How often it is said that a child is not ready.
const NOT_READY: Duration = Duration::from_secs(10);
/// The pause after a child that could not be started. It doubles from one to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The name of the fault of a worker whose children cannot be started.
const FAULT: &str = "children";

/// A child process, which is killed when this is dropped before its end.
struct Process<'a> {
    children: &'a Children,
    pid: u32,
    has_ended: bool,
}

impl Process<'_> {
    /// Waits until it has ended, and says how. After `patience` it is killed.
    async fn end(mut self, patience: Duration) -> String {
        let spawner = self.children.spawner();
        spawner.end(self.pid, None, patience);
        let exit = spawner.reap(self.pid).await;
        self.has_ended = true;
        exit
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.children.spawner().forget(self.pid);
        }
    }
}

/// A child that is ready.
struct Started<'a> {
    process: Process<'a>,
    reader: FrameReader<OwnedReadHalf>,
    child: Arc<Child>,
    /// What its app is, where that was asked for.
    app: Option<Json>,
}

/// Starts a child, and hears what it says until it has ended.
pub(crate) async fn live(children: Children) {
    let mut pause = FIRST_PAUSE;
    let Started { process, mut reader, child, .. } = loop {
        match started(&children).await {
            Ok(started) => break started,
            Err(text) => {
                tracing::error!("could not start a child process: {text}");
                children.faults().set(FAULT, format!("no child process can be started: {text}"));
                children.refused(text);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                if !children.are_wanted() {
                    return children.not_started();
                }
            }
        }
    };
    let pid = process.pid;
    children.faults().clear(FAULT);
    children.add(&child);
    let end = hear(&mut reader, &child).await;
    children.retire(&child);
    let patience = match &end {
        Ok(()) => children.options().lost_wait,
        Err(error) => {
            tracing::error!(pid, error = %with_causes(error), "the channel of child process {pid} cannot be used any more");
            Duration::ZERO
        }
    };
    let exit = process.end(patience).await;
    tracing::debug!(pid, "child process {pid} ended: {exit}");
    child.gone(exit);
    children.remove(&child);
}

/// Starts a child, and waits until it is ready.
async fn started(children: &Children) -> Result<Started<'_>, String> {
    let options = children.options();
    let (pid, stream) = spawn(children).await.map_err(|error| error.to_string())?;
    let process = Process { children, pid, has_ended: false };
    let (reader, writer) = stream.into_split();
    let (mut reader, child) = (FrameReader::new(reader), Arc::new(Child::new(pid, writer)));
    let python = children.program().python_app();
    let start = StartHead {
        protocol: VERSION,
        hostname: options.hostname.clone(),
        index: children.next_child(),
        memory: options.max_memory.is_some(),
        concurrency: options.concurrency,
        describe: options.describe,
        app: python.map(|python| python.app.clone()),
        loglevel: python.map(|python| python.loglevel.clone()),
        results: python.map(|python| python.results).unwrap_or_default(),
    };
    let hello = async {
        if let Some(text) = children.program().text() {
            send(&child, FrameKind::Program, &NoHead {}, text.as_bytes()).await?;
        }
        send(&child, FrameKind::Start, &start, b"").await?;
        next(&mut reader).await
    };
    let hello = tokio::time::timeout(options.alive_timeout, hello).await;
    let patience = options.alive_timeout.as_secs_f64();
    let hello = hello.unwrap_or_else(|_| Err(format!("it did not show within {patience} s that it runs")));
    let ready = async {
        let hello = hello?;
        match hello.kind {
            FrameKind::Hello => {}
            other => return Err(format!("it began with a frame {other:?}")),
        }
        let HelloHead { protocol, .. } = hello.head().map_err(|error| error.to_string())?;
        if protocol != VERSION {
            return Err(format!("it speaks version {protocol} of the protocol, and this worker {VERSION}"));
        }
        let ready = until_ready(&mut reader, pid).await?;
        match ready.kind {
            FrameKind::Ready => Ok(ready.head::<ReadyHead>().map_err(|error| error.to_string())?.app),
            FrameKind::Failed => {
                let FailedHead { text, .. } = ready.head().map_err(|error| error.to_string())?;
                Err(text)
            }
            other => Err(format!("it said {other:?} before it was ready")),
        }
    };
    match ready.await {
        Ok(app) => Ok(Started { process, reader, child, app }),
        Err(text) if text.is_empty() => {
            let exit = process.end(options.lost_wait).await;
            Err(format!("it ended before it was ready: {exit}"))
        }
        Err(text) => {
            process.end(Duration::ZERO).await;
            Err(text)
        }
    }
}

async fn send(child: &Child, kind: FrameKind, head: &impl Serialize, body: &[u8]) -> Result<(), String> {
    let frame = encode(kind, head, body).map_err(|error| error.to_string())?;
    // A child that has ended says why it did, or its exit does.
    let _ = child.send(&frame).await;
    Ok(())
}

/// Starts a child, asks it what its app is, and ends it.
///
/// # Errors
/// Why it has none.
pub async fn describe(program: ChildProgram) -> Result<Json, String> {
    let options = ChildOptions::for_a_description();
    let faults = Faults::new(Clock::system());
    let children = Children::new(program, options, 1, faults).map_err(|error| error.to_string())?;
    let Started { process, child, app, .. } = started(&children).await?;
    send(&child, FrameKind::Stop, &NoHead {}, b"").await?;
    process.end(children.options().lost_wait).await;
    app.ok_or_else(|| "it did not say what its app is".to_owned())
}

async fn spawn(children: &Children) -> io::Result<(u32, AsyncStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let stream = AsyncStream::from_std(ours)?;
    let pid = children.spawner().spawn(children.program().command(), theirs.into()).await?;
    Ok((pid, stream))
}

/// The next frame. The error is empty where the channel has ended.
async fn next(reader: &mut FrameReader<OwnedReadHalf>) -> Result<Frame, String> {
    match reader.next().await {
        Ok(frame) => frame.ok_or_else(String::new),
        Err(error) => Err(error.to_string()),
    }
}

/// Waits for the next frame, and says now and then that it does not come.
async fn until_ready(reader: &mut FrameReader<OwnedReadHalf>, pid: u32) -> Result<Frame, String> {
    let mut seconds = 0;
    loop {
        match tokio::time::timeout(NOT_READY, next(reader)).await {
            Ok(frame) => return frame,
            Err(_) => {
                seconds += NOT_READY.as_secs();
                tracing::warn!(pid, "child process {pid} is not ready after {seconds} s");
            }
        }
    }
}

/// Hears what a child says until its channel ends. When no run comes any more it is told so, and ends itself.
async fn hear(reader: &mut FrameReader<OwnedReadHalf>, child: &Child) -> io::Result<()> {
    let mut is_told = false;
    loop {
        let frame = tokio::select! {
            frame = reader.next() => frame?,
            () = child.stop.notified(), if !is_told => {
                is_told = true;
                // Where it cannot be told, the channel is closed, and this learns it soon.
                let _ = child.send(&encode(FrameKind::Stop, &NoHead {}, b"")?).await;
                continue;
            }
        };
        let Some(frame) = frame else { return Ok(()) };
        match frame.kind {
            FrameKind::Began => child.began(frame.head::<RunNumber>()?.run),
            FrameKind::Store => store(child, &frame).await?,
            FrameKind::RunEnded => child.run_ended(EndedRun { head: frame.head()?, value: frame.body }),
            other => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame {other:?}"))),
        }
    }
}

/// Stores a result that a child has sent in the middle of a run, and answers where it waits for that. What it says
/// next comes after it.
async fn store(child: &Child, frame: &Frame) -> io::Result<()> {
    let StoreHead { run, seq, wait } = frame.head()?;
    let stored = match (child.ctx_of(run), ResultDocument::from_json(&frame.body)) {
        (Some(ctx), Ok(document)) => ctx.store_document(document).await.map_err(|error| format!("{error:#}")),
        // Nobody waits for that run any more.
        (None, _) => Err("the run was given up".to_owned()),
        (_, Err(error)) => Err(format!("{error:#}")),
    };
    if let Err(error) = &stored {
        tracing::warn!(pid = child.pid, "could not store a state of a task: {error}");
    }
    match wait {
        true => child.send(&encode(FrameKind::Stored, &StoredHead { seq, error: stored.err() }, b"")?).await,
        false => Ok(()),
    }
}
