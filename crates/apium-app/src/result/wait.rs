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

/// How to wait.
#[derive(Default)]
pub(crate) struct WaitOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_message: Option<OnMessage>,
    pub(crate) allow_in_task: bool,
}

impl WaitOptions {
    /// Refuses to wait inside a task, where every slot of a worker could come to wait for another.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        if self.allow_in_task || current::may_join() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::GetInTask,
            format!(
                "get the result of {what}: Never call result.get() within a task! A worker whose slots all wait has none \
                 left for what they wait for. Use a callback, or allow it with .allow_in_task()"
            ),
        ))
    }

    /// Waits until everything that is wanted is over, at most the timeout; zero looks once. With `propagate` the first
    /// failure is raised as soon as it is seen, that of a task before it first.
    pub(crate) async fn complete(self, arrivals: &mut PendingResults, what: String, propagate: bool) -> Result<()> {
        self.each(arrivals, what, propagate, &mut |_, _| Ok(())).await
    }

    /// As [`complete`](Self::complete), and tells of each place that is over.
    pub(crate) async fn each(
        self,
        arrivals: &mut PendingResults,
        what: String,
        propagate: bool,
        over: &mut (dyn FnMut(&PendingResults, usize) -> Result<()> + Send),
    ) -> Result<()> {
        let mut wait = Wait::begin(self, what);
        while !(propagate && arrivals.has_failed()) {
            match wait.step(arrivals).await? {
                WaitEvent::News => {}
                WaitEvent::Over(place) => over(arrivals, place)?,
                WaitEvent::End => break,
            }
        }
        match propagate {
            true => in_time(wait.deadline, arrivals.raise()).await.unwrap_or_else(|| Err(wait.timed_out())),
            false => Ok(()),
        }
    }

    /// A stream of the places in the order in which they end, each as `item` makes it.
    pub(crate) fn in_completion_order<R>(
        self,
        arrivals: PendingResults,
        what: String,
        item: impl Fn(&PendingResults, usize) -> Result<R> + Send,
    ) -> impl Stream<Item = Result<R>> + Send
    where
        R: Send,
    {
        try_unfold((Wait::begin(self, what), arrivals, item), async |(mut wait, mut arrivals, item)| {
            loop {
                match wait.step(&mut arrivals).await? {
                    WaitEvent::News => {}
                    WaitEvent::Over(place) => return Ok(Some((item(&arrivals, place)?, (wait, arrivals, item)))),
                    WaitEvent::End => return Ok(None),
                }
            }
        })
    }
}

/// A wait that has begun.
struct Wait {
    what: String,
    timeout: Option<Duration>,
    /// When the time is up; `None` also for a wait that looks once.
    deadline: Option<Instant>,
    on_message: Option<OnMessage>,
    begun: bool,
}

/// What a wait has seen.
enum WaitEvent {
    News,
    /// A place is over.
    Over(usize),
    /// All are.
    End,
}

impl Wait {
    fn begin(waiting: WaitOptions, what: String) -> Self {
        let WaitOptions { timeout, on_message, .. } = waiting;
        let limit = timeout.filter(|limit| !limit.is_zero());
        // A timeout that is too long to be a time is none.
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { what, timeout, deadline, on_message, begun: false }
    }

    async fn step(&mut self, arrivals: &mut PendingResults) -> Result<WaitEvent> {
        if !self.begun {
            self.begun = true;
            arrivals.documents().for_each(|document| self.tell(document));
            if self.timeout == Some(Duration::ZERO) {
                let found = arrivals.fetch().await?;
                found.iter().for_each(|document| self.tell(document));
                return Ok(WaitEvent::News);
            }
        }
        if let Some(place) = arrivals.pop_ended() {
            return Ok(WaitEvent::Over(place));
        }
        if arrivals.open() == 0 {
            return Ok(WaitEvent::End);
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err(self.timed_out());
        }
        let news = in_time(self.deadline, arrivals.next()).await;
        if let Some(document) = news.ok_or_else(|| self.timed_out())?? {
            self.tell(&document);
        }
        Ok(WaitEvent::News)
    }

    fn tell(&mut self, document: &ResultDocument) {
        if let Some(callback) = &mut self.on_message {
            callback(document);
        }
    }

    fn timed_out(&self) -> Error {
        let limit = self.timeout.unwrap_or_default().as_secs_f64();
        Error::new(ErrorKind::Timeout, format!("get the result of {} within {limit} s; it may still come", self.what))
    }
}

/// `None` when the time is up.
async fn in_time<F: Future>(deadline: Option<Instant>, work: F) -> Option<F::Output> {
    match deadline {
        None => Some(work.await),
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
    }
}
