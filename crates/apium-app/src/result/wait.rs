//! How to wait for results: for how long, who sees the states meanwhile, and whether it is allowed inside a task.

use std::time::Duration;

use apium_protocol::result::document::ResultDocument;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use tokio::time::Instant;

use crate::context::current;
use crate::error::{Error, ErrorKind, Result};
use crate::result::pending::PendingResults;

/// A callback that sees states as documents.
type OnMessage = Box<dyn FnMut(&ResultDocument) + Send>;

/// The options of a wait.
#[derive(Default)]
pub(crate) struct WaitOptions {
    /// For how long; zero reads the states once.
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_message: Option<OnMessage>,
    pub(crate) allow_in_task: bool,
}

impl WaitOptions {
    /// Refuses to wait inside a task, unless it is allowed: all slots of a worker could wait for tasks that need a
    /// slot.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        if self.allow_in_task || current::may_join() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::GetInTask,
            format!(
                "get the result of {what}: Never call result.get() within a task! A worker whose slots all wait has no \
                 slot for the tasks that they wait for. Use a callback, or allow it with .allow_in_task()"
            ),
        ))
    }

    /// Waits until all results are ready, at most for the timeout. With `propagate` the first failure is returned as an
    /// error as soon as it is seen, one of a task before the results first.
    pub(crate) async fn complete(self, pending: &mut PendingResults, what: String, propagate: bool) -> Result<()> {
        self.each(pending, what, propagate, &mut |_, _| Ok(())).await
    }

    /// As [`complete`](Self::complete). Calls `on_ready` with the index of each result that is ready.
    pub(crate) async fn each(
        self,
        pending: &mut PendingResults,
        what: String,
        propagate: bool,
        on_ready: &mut (dyn FnMut(&PendingResults, usize) -> Result<()> + Send),
    ) -> Result<()> {
        let mut wait = Wait::begin(self, what);
        while !(propagate && pending.has_failed()) {
            match wait.step(pending).await? {
                WaitEvent::Update => {}
                WaitEvent::Ready(index) => on_ready(pending, index)?,
                WaitEvent::Done => break,
            }
        }
        match propagate {
            true => in_time(wait.deadline, pending.raise()).await.unwrap_or_else(|| Err(wait.timed_out())),
            false => Ok(()),
        }
    }

    /// The results in the order in which they become ready, each as `item` makes it.
    pub(crate) fn in_completion_order<R>(
        self,
        pending: PendingResults,
        what: String,
        item: impl Fn(&PendingResults, usize) -> Result<R> + Send,
    ) -> impl Stream<Item = Result<R>> + Send
    where
        R: Send,
    {
        try_unfold((Wait::begin(self, what), pending, item), async |(mut wait, mut pending, item)| {
            loop {
                match wait.step(&mut pending).await? {
                    WaitEvent::Update => {}
                    WaitEvent::Ready(index) => return Ok(Some((item(&pending, index)?, (wait, pending, item)))),
                    WaitEvent::Done => return Ok(None),
                }
            }
        })
    }
}

/// A wait that has begun.
struct Wait {
    what: String,
    timeout: Option<Duration>,
    /// When the time is over; `None` also for a wait that reads the states once.
    deadline: Option<Instant>,
    on_message: Option<OnMessage>,
    started: bool,
}

/// What happened in a wait.
enum WaitEvent {
    /// A state was read.
    Update,
    /// The result of this index is ready.
    Ready(usize),
    /// All results are ready.
    Done,
}

impl Wait {
    fn begin(options: WaitOptions, what: String) -> Self {
        let WaitOptions { timeout, on_message, .. } = options;
        let limit = timeout.filter(|limit| !limit.is_zero());
        // A timeout that is too long for a clock is no timeout.
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { what, timeout, deadline, on_message, started: false }
    }

    async fn step(&mut self, pending: &mut PendingResults) -> Result<WaitEvent> {
        if !self.started {
            self.started = true;
            pending.documents().for_each(|document| self.call_back(document));
            if self.timeout == Some(Duration::ZERO) {
                let found = pending.look().await?;
                found.iter().for_each(|document| self.call_back(document));
                return Ok(WaitEvent::Update);
            }
        }
        if let Some(index) = pending.pop_ready() {
            return Ok(WaitEvent::Ready(index));
        }
        if pending.open() == 0 {
            return Ok(WaitEvent::Done);
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err(self.timed_out());
        }
        let update = in_time(self.deadline, pending.next()).await;
        if let Some(document) = update.ok_or_else(|| self.timed_out())?? {
            self.call_back(&document);
        }
        Ok(WaitEvent::Update)
    }

    fn call_back(&mut self, document: &ResultDocument) {
        if let Some(callback) = &mut self.on_message {
            callback(document);
        }
    }

    fn timed_out(&self) -> Error {
        let limit = self.timeout.unwrap_or_default().as_secs_f64();
        Error::new(
            ErrorKind::Timeout,
            format!(
                "get the result of {} within {limit} s: it is not ready yet, and the task is not taken back",
                self.what
            ),
        )
    }
}

/// What the future returns; `None` when the time is over first.
async fn in_time<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        None => Some(future.await),
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
    }
}
