//! One write transaction: its instant, its counters, the declared queues, and what to announce after the commit.

use std::sync::Arc;
use std::time::Duration;

use apium_transport::error::Error;
use rusqlite::Connection;

use crate::store::result_row::ResultRow;
use crate::store::topology::QueueCache;

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite failed: the whole transaction is rolled back.
    Sqlite(rusqlite::Error),
    /// The request itself is wrong. It has written nothing, and the other requests of the transaction go on.
    Refused(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// The result of one request inside a transaction.
pub(crate) type TxResult<T> = Result<T, Fault>;

/// What to announce after the commit.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Queues that have more ready messages.
    pub(crate) ready: Vec<i64>,
    /// A message was delayed that is due before all other delayed messages.
    pub(crate) earlier_due: bool,
    /// Results that were written, in order, each with its `seq`.
    pub(crate) results: Vec<(i64, Arc<ResultRow>)>,
    /// Exchanges on which there are more broadcasts.
    pub(crate) broadcasts: Vec<Arc<str>>,
}

impl Effects {
    /// Adds that `queue` has more ready messages.
    pub(crate) fn add_ready(&mut self, queue: i64) {
        if self.ready.last() != Some(&queue) && !self.ready.contains(&queue) {
            self.ready.push(queue);
        }
    }

    /// Adds that there are more broadcasts on an exchange.
    pub(crate) fn add_broadcast(&mut self, exchange: &Arc<str>) {
        if !self.broadcasts.contains(exchange) {
            self.broadcasts.push(exchange.clone());
        }
    }

    /// How much was added so far.
    fn savepoint(&self) -> Savepoint {
        Savepoint {
            ready: self.ready.len(),
            earlier_due: self.earlier_due,
            results: self.results.len(),
            broadcasts: self.broadcasts.len(),
        }
    }

    /// Removes what was added since.
    fn roll_back_to(&mut self, savepoint: Savepoint) {
        self.ready.truncate(savepoint.ready);
        self.earlier_due = savepoint.earlier_due;
        self.results.truncate(savepoint.results);
        self.broadcasts.truncate(savepoint.broadcasts);
    }
}

/// How much there was in [`Effects`] at one moment; they only grow.
#[derive(Debug, Clone, Copy)]
struct Savepoint {
    ready: usize,
    earlier_due: bool,
    results: usize,
    broadcasts: usize,
}

/// The last numbers that were used; see `counters` in schema.sql.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    message: i64,
    result: i64,
    consumer: i64,
    topology: i64,
    listener: i64,
}

/// A write transaction.
#[derive(Debug)]
pub(crate) struct Tx<'c> {
    /// The connection, inside the transaction.
    pub(crate) conn: &'c Connection,
    /// The instant of the transaction, in microseconds.
    pub(crate) now: i64,
    /// What to announce after the commit.
    pub(crate) effects: Effects,
    /// The declared queues and exchanges.
    pub(crate) queues: &'c mut QueueCache,
    start_counters: Counters,
    counters: Counters,
}

impl<'c> Tx<'c> {
    /// Reads the counters of a transaction that has just begun.
    pub(crate) fn begin(conn: &'c Connection, queues: &'c mut QueueCache, now: i64) -> rusqlite::Result<Self> {
        let counters = conn
            .prepare_cached("SELECT message, result, consumer, topology, listener FROM counters WHERE one = 1")?
            .query_row([], |row| {
                Ok(Counters {
                    message: row.get(0)?,
                    result: row.get(1)?,
                    consumer: row.get(2)?,
                    topology: row.get(3)?,
                    listener: row.get(4)?,
                })
            })?;
        queues.refresh(conn, counters.topology)?;
        Ok(Self { conn, now, effects: Effects::default(), queues, start_counters: counters, counters })
    }

    /// Writes the counters, before the commit. Returns the effects and the counter of listeners.
    pub(crate) fn end(self) -> rusqlite::Result<(Effects, i64)> {
        let Counters { message, result, consumer, topology, listener } = self.counters;
        if self.counters != self.start_counters {
            self.conn
                .prepare_cached(
                    "UPDATE counters SET message = ?1, result = ?2, consumer = ?3, topology = ?4, listener = ?5 WHERE one = 1",
                )?
                .execute([message, result, consumer, topology, listener])?;
        }
        Ok((self.effects, listener))
    }

    /// Runs `operation` whole or not at all: when it is refused, what it wrote is rolled back, and the other requests
    /// of the transaction go on.
    pub(crate) fn all_or_nothing<T>(&mut self, operation: impl FnOnce(&mut Self) -> TxResult<T>) -> TxResult<T> {
        let (counters, effects) = (self.counters, self.effects.savepoint());
        self.conn.prepare_cached("SAVEPOINT whole")?.raw_execute()?;
        let result = operation(self);
        match &result {
            Ok(_) => {}
            // The writer rolls back the whole transaction.
            Err(Fault::Sqlite(_)) => return result,
            Err(Fault::Refused(_)) => {
                self.conn.prepare_cached("ROLLBACK TO whole")?.raw_execute()?;
                self.effects.roll_back_to(effects);
                if self.counters.topology != counters.topology {
                    self.queues.clear();
                    self.queues.refresh(self.conn, counters.topology)?;
                }
                self.counters = counters;
            }
        }
        self.conn.prepare_cached("RELEASE whole")?.raw_execute()?;
        result
    }

    /// The instant `span` later, in microseconds.
    pub(crate) fn after(&self, span: Duration) -> i64 {
        self.now.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
    }

    /// A new message id.
    pub(crate) fn next_message(&mut self) -> i64 {
        self.counters.message += 1;
        self.counters.message
    }

    /// A new `seq` for a result.
    pub(crate) fn next_result(&mut self) -> i64 {
        self.counters.result += 1;
        self.counters.result
    }

    /// A new consumer id.
    pub(crate) fn next_consumer(&mut self) -> i64 {
        self.counters.consumer += 1;
        self.counters.consumer
    }

    /// Counts a change of queues, exchanges or bindings. Returns the new count, which may serve as the id of a new
    /// queue.
    pub(crate) fn change_topology(&mut self) -> i64 {
        self.counters.topology += 1;
        self.queues.set_version(self.counters.topology);
        self.counters.topology
    }

    /// Counts that a doorbell was registered or removed.
    pub(crate) fn change_listeners(&mut self) {
        self.counters.listener += 1;
    }
}
