//! One write transaction: its instant, its counters, the queues it knows and what has to be told once it is committed.

use std::sync::Arc;
use std::time::Duration;

use apium_transport::error::Error;
use rusqlite::Connection;

use crate::store::result_row::Record;
use crate::store::topology::Known;

/// Why a request cannot be done.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite failed: the whole transaction is undone.
    Sqlite(rusqlite::Error),
    /// The request itself is wrong. It has written nothing; the others of the transaction go on.
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
pub(crate) type Done<T> = Result<T, Fault>;

/// What others want to know after the commit.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Queues that have more ready messages.
    pub(crate) ready: Vec<i64>,
    /// A message was parked that is due before all the others.
    pub(crate) earlier: bool,
    /// Results that were written, in order, with their place.
    pub(crate) results: Vec<(i64, Arc<Record>)>,
}

impl Effects {
    /// Notes that `queue` has more ready messages.
    pub(crate) fn ready(&mut self, queue: i64) {
        if self.ready.last() != Some(&queue) && !self.ready.contains(&queue) {
            self.ready.push(queue);
        }
    }

    /// How much is noted now.
    fn mark(&self) -> Mark {
        Mark { ready: self.ready.len(), earlier: self.earlier, results: self.results.len() }
    }

    /// Forgets what was noted since.
    fn back_to(&mut self, mark: Mark) {
        self.ready.truncate(mark.ready);
        self.earlier = mark.earlier;
        self.results.truncate(mark.results);
    }
}

/// A moment of [`Effects`], which only grow.
#[derive(Debug, Clone, Copy)]
struct Mark {
    ready: usize,
    earlier: bool,
    results: usize,
}

/// The last numbers given out; see `counters` in schema.sql.
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
    /// The instant, in microseconds.
    pub(crate) now: i64,
    /// What to tell after the commit.
    pub(crate) effects: Effects,
    /// The queues and exchanges.
    pub(crate) known: &'c mut Known,
    begun: Counters,
    counters: Counters,
}

impl<'c> Tx<'c> {
    /// Reads the counters of a transaction that has just begun.
    pub(crate) fn begin(conn: &'c Connection, known: &'c mut Known, now: i64) -> rusqlite::Result<Self> {
        let begun = conn
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
        known.refresh(conn, begun.topology)?;
        Ok(Self { conn, now, effects: Effects::default(), known, begun, counters: begun })
    }

    /// Writes the counters back; the commit follows.
    pub(crate) fn end(self) -> rusqlite::Result<(Effects, i64)> {
        let Counters { message, result, consumer, topology, listener } = self.counters;
        if self.counters != self.begun {
            self.conn
                .prepare_cached(
                    "UPDATE counters SET message = ?1, result = ?2, consumer = ?3, topology = ?4, listener = ?5 WHERE one = 1",
                )?
                .execute([message, result, consumer, topology, listener])?;
        }
        Ok((self.effects, listener))
    }

    /// Does `work` whole or not at all: what it wrote before it was refused is undone, and the others of the transaction go on.
    pub(crate) fn whole<T>(&mut self, work: impl FnOnce(&mut Self) -> Done<T>) -> Done<T> {
        let (counters, effects) = (self.counters, self.effects.mark());
        self.conn.prepare_cached("SAVEPOINT whole")?.raw_execute()?;
        let done = work(self);
        match &done {
            Ok(_) => {}
            // The whole transaction is undone.
            Err(Fault::Sqlite(_)) => return done,
            Err(Fault::Refused(_)) => {
                self.conn.prepare_cached("ROLLBACK TO whole")?.raw_execute()?;
                self.effects.back_to(effects);
                if self.counters.topology != counters.topology {
                    self.known.forget();
                    self.known.refresh(self.conn, counters.topology)?;
                }
                self.counters = counters;
            }
        }
        self.conn.prepare_cached("RELEASE whole")?.raw_execute()?;
        done
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

    /// A new place for a result.
    pub(crate) fn next_result(&mut self) -> i64 {
        self.counters.result += 1;
        self.counters.result
    }

    /// A new consumer id.
    pub(crate) fn next_consumer(&mut self) -> i64 {
        self.counters.consumer += 1;
        self.counters.consumer
    }

    /// Notes that queues, exchanges or bindings change, and returns a new id for a queue.
    pub(crate) fn change_topology(&mut self) -> i64 {
        self.counters.topology += 1;
        self.known.changed(self.counters.topology);
        self.counters.topology
    }

    /// Notes that a listener came or went.
    pub(crate) fn change_listeners(&mut self) {
        self.counters.listener += 1;
    }
}
