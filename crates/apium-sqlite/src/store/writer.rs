//! The writer thread. All waiting requests share one transaction (group commit). Requests that must be durable are
//! answered after the flush that follows the commit (see `flusher`).

use std::collections::VecDeque;

use rusqlite::Connection;

use crate::crash_points::reached;
use crate::errors::{SqliteText, explain};
use crate::options::Synchronous;
use crate::store::flusher::MAX_UNFLUSHED;
use crate::store::request::{Committed, WriteRequest};
use crate::store::store::Store;
use crate::store::topology::QueueCache;
use crate::store::transaction::{Effects, Tx};
use crate::wake::ringer::Ringer;

/// With so many rows a transaction is full: later requests go into the next one.
const MAX_ROWS: usize = 4096;

struct Writer<'s> {
    store: &'s Store,
    conn: Connection,
    queues: QueueCache,
    /// Whether SQLite flushes the disk with each commit, as it was set last.
    flushes_commits: bool,
    ringer: Ringer,
    /// Whether SQLite itself has flushed the write-ahead log once.
    log_flushed_once: bool,
}

/// Why a transaction failed.
enum Failed {
    /// It could not begin, so no request would succeed by itself either.
    Begin(rusqlite::Error),
    /// A request or the commit failed.
    Within(rusqlite::Error),
}

/// Serves requests until the store is closed.
pub(crate) fn run(store: &Store, conn: Connection) {
    let _close = (store.writes.close_on_drop(), store.flushes.close_on_drop());
    let mut writer = Writer {
        store,
        conn,
        queues: QueueCache::default(),
        flushes_commits: false,
        ringer: Ringer::new(),
        log_flushed_once: false,
    };
    while let Some(waiting) = store.writes.take_all() {
        writer.serve(waiting);
    }
    let path = store.options.path.display();
    if let Err((_, error)) = writer.conn.close() {
        tracing::warn!(%path, error = %SqliteText(error), "could not close the store");
    }
}

impl Writer<'_> {
    fn serve(&mut self, mut waiting: VecDeque<Box<dyn WriteRequest>>) {
        while !waiting.is_empty() {
            let mut rows = 0;
            let mut batch = Vec::with_capacity(waiting.len());
            while rows < MAX_ROWS
                && let Some(request) = waiting.pop_front()
            {
                rows += request.cost().rows;
                batch.push(request);
            }
            self.serve_batch(batch);
        }
    }

    fn serve_batch(&mut self, mut batch: Vec<Box<dyn WriteRequest>>) {
        match self.transaction(&mut batch) {
            Ok(effects) => self.committed(batch, effects),
            // One request may have failed it for all: each gets a transaction of its own.
            Err(Failed::Within(_)) if batch.len() > 1 => {
                for request in batch {
                    self.serve_batch(vec![request]);
                }
            }
            Err(Failed::Begin(error) | Failed::Within(error)) => {
                for request in batch {
                    let error = explain(&self.store.options.path, request.what(), copy_of(&error));
                    request.answer(Some(error));
                }
            }
        }
    }

    /// Answers the requests that need not be durable, and sends the others to the flusher.
    fn committed(&mut self, batch: Vec<Box<dyn WriteRequest>>, mut effects: Effects) {
        let full = self.store.options.synchronous == Synchronous::Full;
        let (durable, volatile): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|request| full && request.cost().durable);
        for request in volatile {
            request.answer(None);
        }
        if durable.is_empty() {
            return self.store.announce(&mut self.ringer, effects);
        }
        // Messages are announced at once, since they may be claimed before the flush. Results are announced after it.
        let after_flush = Effects { results: std::mem::take(&mut effects.results), ..Effects::default() };
        self.store.announce(&mut self.ringer, effects);
        let committed = Committed { requests: durable, effects: after_flush };
        if self.store.flushes.send_below(committed, MAX_UNFLUSHED).is_err() {
            let path = self.store.options.path.display();
            tracing::error!(%path, "the flusher thread ended before the writer thread");
        }
    }

    fn transaction(&mut self, batch: &mut [Box<dyn WriteRequest>]) -> Result<Effects, Failed> {
        let durable = batch.iter().any(|request| request.cost().durable);
        // SQLite flushes the first one itself. It also flushes the folder, so that the log file is there after a power
        // failure.
        let first = durable && !self.log_flushed_once && self.store.options.synchronous == Synchronous::Full;
        self.set_flushing(first).map_err(Failed::Begin)?;
        execute(&self.conn, "BEGIN IMMEDIATE").map_err(Failed::Begin)?;
        let result = self.run_and_commit(batch);
        self.log_flushed_once |= first && result.is_ok();
        if result.is_err() {
            self.queues.clear();
            if !self.conn.is_autocommit()
                && let Err(error) = self.conn.execute_batch("ROLLBACK")
            {
                tracing::warn!(path = %self.store.options.path.display(), error = %SqliteText(error), "could not roll a transaction back");
            }
        }
        result.map_err(Failed::Within)
    }

    fn run_and_commit(&mut self, batch: &mut [Box<dyn WriteRequest>]) -> rusqlite::Result<Effects> {
        let mut tx = Tx::begin(&self.conn, &mut self.queues, self.store.now())?;
        for request in batch {
            request.run(&mut tx)?;
        }
        let (effects, listeners) = tx.end()?;
        reached("before-commit");
        execute(&self.conn, "COMMIT")?;
        reached("after-commit");
        if let Err(error) = self.store.waker.read_doorbells(&self.conn, listeners) {
            tracing::debug!(error = %SqliteText(error), "could not read the doorbells of other processes");
        }
        Ok(effects)
    }

    fn set_flushing(&mut self, flush: bool) -> rusqlite::Result<()> {
        if self.flushes_commits != flush {
            execute(&self.conn, if flush { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
            self.flushes_commits = flush;
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
