//! The thread that writes. All requests that wait share one transaction, are committed with one flush of the disk, and are
//! answered after it (group commit). While that commit is under way the next requests gather.

use std::collections::VecDeque;

use rusqlite::Connection;

use crate::errors::explain;
use crate::options::Synchronous;
use crate::store::Store;
use crate::store::job::Job;
use crate::store::transaction::{Effects, Tx};
use crate::topology::Known;
use crate::wake::bell::Ringer;

/// Rows after which a transaction takes in no further request.
const ENOUGH_ROWS: usize = 4096;

struct Writer<'s> {
    store: &'s Store,
    conn: Connection,
    known: Known,
    /// Whether commits flush the disk, as SQLite was told last.
    flushes: bool,
    ringer: Ringer,
}

/// Why a transaction was not made.
enum Failed {
    /// It could not begin: none of the requests can do better.
    Begin(rusqlite::Error),
    /// A request or the commit failed.
    Within(rusqlite::Error),
}

/// Serves requests until the store is closed.
pub(crate) fn run(store: &Store, conn: Connection) {
    let mut writer = Writer { store, conn, known: Known::default(), flushes: false, ringer: Ringer::new() };
    while let Some(waiting) = store.writes.take() {
        writer.serve(waiting);
    }
    let path = store.options.path.display();
    if let Err((_, error)) = writer.conn.close() {
        tracing::warn!(%path, %error, "the store could not be closed");
    }
}

impl Writer<'_> {
    fn serve(&mut self, mut waiting: VecDeque<Box<dyn Job>>) {
        while !waiting.is_empty() {
            let mut rows = 0;
            let mut batch = Vec::with_capacity(waiting.len());
            while rows < ENOUGH_ROWS
                && let Some(job) = waiting.pop_front()
            {
                rows += job.weight().rows;
                batch.push(job);
            }
            self.serve_batch(batch);
        }
    }

    fn serve_batch(&mut self, mut batch: Vec<Box<dyn Job>>) {
        match self.transaction(&mut batch) {
            Ok((effects, listeners)) => {
                for job in batch {
                    job.finish(None);
                }
                self.tell(effects, listeners);
            }
            // One request may have spoilt it for the others.
            Err(Failed::Within(_)) if batch.len() > 1 => {
                for job in batch {
                    self.serve_batch(vec![job]);
                }
            }
            Err(Failed::Begin(error) | Failed::Within(error)) => {
                for job in batch {
                    let error = explain(&self.store.options.path, job.what(), copy_of(&error));
                    job.finish(Some(error));
                }
            }
        }
    }

    fn transaction(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(Effects, i64), Failed> {
        let durable = batch.iter().any(|job| job.weight().durable);
        self.set_flushing(durable && self.store.options.synchronous == Synchronous::Full).map_err(Failed::Begin)?;
        execute(&self.conn, "BEGIN IMMEDIATE").map_err(Failed::Begin)?;
        let done = self.within(batch);
        if done.is_err() {
            self.known.forget();
            if !self.conn.is_autocommit()
                && let Err(error) = self.conn.execute_batch("ROLLBACK")
            {
                tracing::warn!(path = %self.store.options.path.display(), %error, "a transaction could not be undone");
            }
        }
        done.map_err(Failed::Within)
    }

    fn within(&mut self, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<(Effects, i64)> {
        let mut tx = Tx::begin(&self.conn, &mut self.known, self.store.now())?;
        for job in batch {
            job.run(&mut tx)?;
        }
        let told = tx.end()?;
        execute(&self.conn, "COMMIT")?;
        Ok(told)
    }

    fn set_flushing(&mut self, flush: bool) -> rusqlite::Result<()> {
        if self.flushes != flush {
            execute(&self.conn, if flush { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
            self.flushes = flush;
        }
        Ok(())
    }

    /// Tells this process and the others what is new.
    fn tell(&mut self, effects: Effects, listeners: i64) {
        if let Err(error) = self.ringer.learn(&self.conn, listeners) {
            tracing::debug!(%error, "the doorbells of other processes could not be read");
        }
        let gone = self.ringer.ring(&effects, self.store.wake.own_bell().as_deref());
        for path in gone {
            self.store.forget_doorbell(path);
        }
        self.store.wake.told(effects);
    }
}

fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.raw_execute().map(drop)
}

fn copy_of(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => rusqlite::Error::SqliteFailure(*code, text.clone()),
        other => rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR),
            Some(other.to_string()),
        ),
    }
}
