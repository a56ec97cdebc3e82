//! The side of the child: it serves the runs that its worker sends, with the executor and the pools of a worker.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, Write as _};
use std::sync::Arc;

use apium_app::app::app::App;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::child::own_channel::OwnChannel;
use crate::child::server::BodyServer;
use crate::pool::process::child_program::ChildProgram;
use crate::pool::process::frame::{FrameKind, FrameReader, encode};
use crate::pool::process::messages::{FailedHead, ReadyHead, RunHead, RunNumber, StartHead};
use crate::runs::slot::Slot;
use crate::runs::terminate_signal::TerminateSignal;

/// The argument of a child that [`ChildProgram::of`] serves.
const CHILD: &str = "--apium-child";

/// Serves runs of the app that `app` makes, and ends the process.
pub fn run<F, Fut, E>(app: F) -> !
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<App, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let served = || -> io::Result<u8> {
        let channel = OwnChannel::take()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match app().await {
                Ok(app) => serve(&app, channel).await.map(|()| 0),
                Err(error) => refuse(channel, &format!("{}", error.into())).map(|()| 1),
            }
        })
    };
    std::process::exit(match served() {
        Ok(code) => i32::from(code),
        Err(error) => {
            // There is no log in a program of which only this is known.
            let _ = writeln!(io::stderr().lock(), "could not serve as a child process: {error}");
            1
        }
    })
}

/// Says that this child has no app, and why.
///
/// # Errors
/// The channel cannot be written to.
pub fn refuse(channel: OwnChannel, text: &str) -> io::Result<()> {
    let head = FailedHead { what: "app".to_owned(), text: format!("build its app: {text}") };
    (&channel.0).write_all(&encode(FrameKind::Failed, &head, b"")?)
}

/// Serves runs until the worker wants no more. A run that its worker has lost interest in ends with the process.
///
/// # Errors
/// The channel fails.
pub async fn serve(app: &App, channel: OwnChannel) -> io::Result<()> {
    // They come to every process of a service that is stopped. The worker ends its children in order.
    let _ignored = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    channel.0.set_nonblocking(true)?;
    let (reader, mut writer) = UnixStream::from_std(channel.0)?.into_split();
    let mut reader = FrameReader::new(reader);
    let start: StartHead = match reader.next().await? {
        Some(frame) if frame.kind == FrameKind::Start => frame.head()?,
        _ => return Err(io::Error::other("the worker did not say how to serve")),
    };
    writer.write_all(&encode(FrameKind::Ready, &ReadyHead::default(), b"")?).await?;
    let server = BodyServer::new(app, &start);
    let mut slots: HashMap<u64, Arc<Slot>> = HashMap::new();
    let mut runs = FuturesUnordered::new();
    let mut is_stopped = false;
    while !(is_stopped && runs.is_empty()) {
        tokio::select! {
            biased;
            Some(ended) = runs.next(), if !runs.is_empty() => {
                let (run, frame): (u64, Vec<u8>) = ended;
                slots.remove(&run);
                writer.write_all(&frame).await?;
            }
            frame = reader.next() => {
                let Some(frame) = frame? else { return Ok(()) };
                match frame.kind {
                    FrameKind::Run => {
                        let head: RunHead = frame.head()?;
                        let number = RunNumber { run: head.run };
                        writer.write_all(&encode(FrameKind::Began, &number, b"")?).await?;
                        let slot = Arc::<Slot>::default();
                        slots.insert(head.run, slot.clone());
                        runs.push(server.run(head, frame, slot));
                    }
                    FrameKind::Cancel => {
                        if let Some(slot) = slots.get(&frame.head::<RunNumber>()?.run) {
                            slot.cancel.terminate(TerminateSignal::TERM);
                        }
                    }
                    FrameKind::Stop => is_stopped = true,
                    other => return Err(io::Error::other(format!("the worker sent a frame {other:?}"))),
                }
            }
        }
    }
    Ok(())
}

impl ChildProgram {
    /// This program, whose children have the app that `app` makes. In a child it serves runs, ends the process when the
    /// worker wants it to, and does not return. Call it in the first line of `main`, outside of a runtime: what comes
    /// before it runs in each child, too.
    pub fn of<F, Fut, E>(app: F) -> Self
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<App, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut args = std::env::args_os().skip(1);
        if (args.next().as_deref(), args.next()) == (Some(CHILD.as_ref()), None) {
            run(app);
        }
        Self::with_args(vec![CHILD.into()])
    }
}
