//! The thread that writes. All requests that wait share one transaction (group commit); those that must be durable are
//! answered after the flush behind it (see `flusher`).

use std::collections::VecDeque;

use rusqlite::Connection;

use crate::crash_points::reached;
use crate::errors::explain;
use crate::options::Synchronous;
use crate::store::flusher::AHEAD;
use crate::store::request::{Committed, Job};
use crate::store::store::Store;
use crate::store::topology::Known;
use crate::store::transaction::{Effects, Tx};
use crate::wake::ringer::Ringer;

/// Rows after which a transaction takes in no further request.
const ENOUGH_ROWS: usize = 4096;

struct Writer<'s> {
    store: &'s Store,
    conn: Connection,
    known: Known,
    /// Whether commits flush the disk, as SQLite was told last.
    flushes: bool,
    ringer: Ringer,
    /// Whether SQLite has flushed the log once.
    log_is_sure: bool,
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
    let _serving = (store.writes.serving(), store.flushes.serving());
    let mut writer =
        Writer { store, conn, known: Known::default(), flushes: false, ringer: Ringer::new(), log_is_sure: false };
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
            Ok(effects) => self.committed(batch, effects),
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

    /// Answers what need not be durable, and leaves the rest to the flusher.
    fn committed(&mut self, batch: Vec<Box<dyn Job>>, mut effects: Effects) {
        let full = self.store.options.synchronous == Synchronous::Full;
        let (durable, passing): (Vec<_>, Vec<_>) = batch.into_iter().partition(|job| full && job.weight().durable);
        for job in passing {
            job.finish(None);
        }
        if durable.is_empty() {
            return self.store.tell(&mut self.ringer, effects);
        }
        // Messages are told of at once: they may be claimed while their publisher still waits for the disk.
        let later = Effects { results: std::mem::take(&mut effects.results), ..Effects::default() };
        self.store.tell(&mut self.ringer, effects);
        let committed = Committed { jobs: durable, effects: later };
        if self.store.flushes.send_below(committed, AHEAD).is_err() {
            tracing::error!(path = %self.store.options.path.display(), "the flusher has ended before the writer");
        }
    }

    fn transaction(&mut self, batch: &mut [Box<dyn Job>]) -> Result<Effects, Failed> {
        let durable = batch.iter().any(|job| job.weight().durable);
        // The first one is flushed by SQLite, which also makes sure of the log's place in its folder.
        let first = durable && !self.log_is_sure && self.store.options.synchronous == Synchronous::Full;
        self.set_flushing(first).map_err(Failed::Begin)?;
        execute(&self.conn, "BEGIN IMMEDIATE").map_err(Failed::Begin)?;
        let done = self.within(batch);
        self.log_is_sure |= first && done.is_ok();
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

    fn within(&mut self, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<Effects> {
        let mut tx = Tx::begin(&self.conn, &mut self.known, self.store.now())?;
        for job in batch {
            job.run(&mut tx)?;
        }
        let (effects, listeners) = tx.end()?;
        reached("before-commit");
        execute(&self.conn, "COMMIT")?;
        reached("after-commit");
        if let Err(error) = self.store.wake.learn_bells(&self.conn, listeners) {
            tracing::debug!(%error, "the doorbells of other processes could not be read");
        }
        Ok(effects)
    }

    fn set_flushing(&mut self, flush: bool) -> rusqlite::Result<()> {
        if self.flushes != flush {
            execute(&self.conn, if flush { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
            self.flushes = flush;
        }
        Ok(())
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
