//! Requests to the threads. A request to the writer runs in a transaction that it shares with others, and is answered
//! after the commit.

use std::time::Instant;

use apium_transport::error::{Error, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::store::Store;
use crate::store::transaction::{Effects, Fault, Tx, TxResult};

/// How much a request writes, whether that must be on the disk before it is answered, and whether it is still to be
/// done when its caller has gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestCost {
    pub(crate) rows: usize,
    pub(crate) durable: bool,
    outlives_caller: bool,
}

impl RequestCost {
    /// A request whose effect must survive a power failure.
    pub(crate) fn durable(rows: usize) -> Self {
        Self { rows, durable: true, outlives_caller: false }
    }

    /// A request whose effect is of no use after a power failure, such as who has which message in flight.
    pub(crate) fn volatile(rows: usize) -> Self {
        Self { rows, durable: false, outlives_caller: false }
    }

    /// The request is done although its caller has gone, and waits no longer for the answer.
    #[must_use]
    pub(crate) fn outliving_caller(self) -> Self {
        Self { outlives_caller: true, ..self }
    }
}

/// A request to the writer.
pub(crate) trait WriteRequest: Send {
    /// What it does, for errors: they read "could not {what} …".
    fn what(&self) -> &'static str;

    /// How much it writes.
    fn cost(&self) -> RequestCost;

    /// Until when it may wait for the transactions of other processes.
    fn deadline(&self) -> Instant;

    /// Whether its caller has gone, so that it need not be done. What was begun is done all the same.
    fn is_abandoned(&self) -> bool;

    /// Runs it. It is called again when the transaction was rolled back because of another request.
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;

    /// Sends the answer: its own after the commit, or `failed` when there was no commit.
    fn answer(self: Box<Self>, failed: Option<Error>);
}

/// A request made of a closure.
pub(crate) struct WriteClosure<T, F> {
    what: &'static str,
    cost: RequestCost,
    deadline: Instant,
    operation: F,
    outcome: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T: Send + 'static, F: FnMut(&mut Tx<'_>) -> TxResult<T> + Send + 'static> WriteClosure<T, F> {
    /// The request, and the channel on which its answer comes.
    pub(crate) fn request(
        what: &'static str,
        cost: RequestCost,
        deadline: Instant,
        operation: F,
    ) -> (Box<dyn WriteRequest>, oneshot::Receiver<Result<T>>) {
        let (answer, receiver) = oneshot::channel();
        (Box::new(Self { what, cost, deadline, operation, outcome: None, answer }), receiver)
    }
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> TxResult<T> + Send> WriteRequest for WriteClosure<T, F> {
    fn what(&self) -> &'static str {
        self.what
    }

    fn cost(&self) -> RequestCost {
        self.cost
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed() && !self.cost.outlives_caller
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.outcome = match (self.operation)(tx) {
            Ok(value) => Some(Ok(value)),
            Err(Fault::Refused(error)) => Some(Err(error)),
            Err(Fault::Sqlite(error)) => return Err(error),
        };
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<Error>) {
        let outcome = match failed {
            Some(error) => Some(Err(error)),
            None => self.outcome,
        };
        if let Some(outcome) = outcome {
            // When the caller was cancelled, nobody waits for the answer.
            let _ = self.answer.send(outcome);
        }
    }
}

/// A commit that is not flushed yet.
pub(crate) struct Committed {
    /// The requests to answer after the flush.
    pub(crate) requests: Vec<Box<dyn WriteRequest>>,
    /// What to announce after the flush.
    pub(crate) effects: Effects,
}

/// A request to the reader thread.
pub(crate) type ReadRequest = Box<dyn FnOnce(&Store, Result<&Connection, &Error>) + Send>;
