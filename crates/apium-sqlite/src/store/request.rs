//! Requests to the threads. Those to the writer run inside a transaction that others share, and answer after its commit.

use apium_transport::error::{Error, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::transaction::{Done, Effects, Fault, Tx};

/// How much a request writes, and whether it must be on the disk before it is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight {
    pub(crate) rows: usize,
    pub(crate) durable: bool,
}

impl Weight {
    /// For what must survive a power failure.
    pub(crate) fn durable(rows: usize) -> Self {
        Self { rows, durable: true }
    }

    /// For what is worth nothing after a power failure: who holds which message.
    pub(crate) fn passing(rows: usize) -> Self {
        Self { rows, durable: false }
    }
}

/// A request to the writer.
pub(crate) trait Job: Send {
    /// What it does, for errors.
    fn what(&self) -> &'static str;

    /// How much it writes.
    fn weight(&self) -> Weight;

    /// Does it. Called again from the start when the transaction was undone because of another request.
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;

    /// Answers, after the commit or with the error that prevented it.
    fn finish(self: Box<Self>, failed: Option<Error>);
}

/// A request made of a closure.
pub(crate) struct Write<T, F> {
    what: &'static str,
    weight: Weight,
    work: F,
    outcome: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T: Send + 'static, F: FnMut(&mut Tx<'_>) -> Done<T> + Send + 'static> Write<T, F> {
    /// The request and where its answer comes.
    pub(crate) fn request(what: &'static str, weight: Weight, work: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T>>) {
        let (answer, receiver) = oneshot::channel();
        (Box::new(Self { what, weight, work, outcome: None, answer }), receiver)
    }
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> Done<T> + Send> Job for Write<T, F> {
    fn what(&self) -> &'static str {
        self.what
    }

    fn weight(&self) -> Weight {
        self.weight
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.outcome = match (self.work)(tx) {
            Ok(value) => Some(Ok(value)),
            Err(Fault::Refused(error)) => Some(Err(error)),
            Err(Fault::Sqlite(error)) => return Err(error),
        };
        Ok(())
    }

    fn finish(self: Box<Self>, failed: Option<Error>) {
        let outcome = match failed {
            Some(error) => Some(Err(error)),
            None => self.outcome,
        };
        if let Some(outcome) = outcome {
            // Nobody waits any more when the caller was cancelled.
            let _ = self.answer.send(outcome);
        }
    }
}

/// A commit that is not flushed.
pub(crate) struct Committed {
    /// The requests that are answered after the flush.
    pub(crate) jobs: Vec<Box<dyn Job>>,
    /// What is told after the flush.
    pub(crate) effects: Effects,
}

/// A request to the thread that reads.
pub(crate) type ReadJob = Box<dyn FnOnce(Result<&Connection, &Error>) + Send>;
