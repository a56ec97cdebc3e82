//! The writer thread. All waiting requests share one transaction (group commit). Requests that must be durable are
//! answered after the flush that follows the commit (see `flusher`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use crate::crash_points::reached;
use crate::errors::SqliteText;
use crate::faults::ConnectionFaults;
use crate::options::Synchronous;
use crate::store::busy::BusyDeadline;
use crate::store::flusher::MAX_UNFLUSHED;
use crate::store::request::{Committed, WriteRequest};
use crate::store::store::Store;
use crate::store::topology::QueueCache;
use crate::store::transaction::{Effects, Tx};
use crate::wake::ringer::Ringer;

/// With so many rows a transaction is full: later requests go into the next one.
const MAX_ROWS: usize = 4096;

/// While another process has the file locked, the writer looks this often whether its requests still wait.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Beyond so many requests that wait for another process, those that come are left in the inbox, which has a bound.
const MAX_WAITING: usize = 4096;

type Requests = VecDeque<Box<dyn WriteRequest>>;

struct Writer<'s> {
    store: &'s Store,
    conn: Connection,
    /// Until when a statement waits for other processes.
    busy: BusyDeadline,
    faults: ConnectionFaults,
    queues: QueueCache,
    /// Whether SQLite flushes the disk with each commit, as it was set last.
    flushes_commits: bool,
    ringer: Ringer,
    /// Whether SQLite itself has flushed the write-ahead log once.
    log_flushed_once: bool,
}

/// Serves requests until the store is closed.
pub(crate) fn run(store: &Store, (conn, busy): (Connection, BusyDeadline)) {
    let _close = (store.writes.close_on_drop(), store.flushes.close_on_drop());
    let mut writer = Writer {
        store,
        conn,
        busy,
        faults: ConnectionFaults::default(),
        queues: QueueCache::default(),
        flushes_commits: false,
        ringer: Ringer::new(),
        log_flushed_once: false,
    };
    while let Some(waiting) = store.writes.take_all() {
        writer.serve(waiting);
    }
    writer.close();
}

impl Writer<'_> {
    /// Serves the requests: begins a transaction, and runs as many in it as it takes.
    fn serve(&mut self, mut waiting: Requests) {
        while self.begin(&mut waiting) {
            let mut rows = 0;
            let mut batch = Vec::with_capacity(waiting.len());
            while rows < MAX_ROWS
                && let Some(request) = waiting.pop_front()
            {
                rows += request.cost().rows;
                batch.push(request);
            }
            match self.run_and_commit(&mut batch) {
                Ok(effects) => self.committed(batch, effects),
                // One request may have failed it for all: each gets a transaction of its own.
                Err(_) if batch.len() > 1 => {
                    for request in batch {
                        self.serve(VecDeque::from([request]));
                    }
                }
                Err(error) => self.fail(batch, &error),
            }
        }
    }

    /// Begins a transaction for the requests. Returns whether it has begun: not when no request is left, since their
    /// callers have gone, or were told that it failed.
    ///
    /// While another process has the file locked, requests that came meanwhile are added, and each waits until its own
    /// deadline and no longer.
    fn begin(&mut self, waiting: &mut Requests) -> bool {
        loop {
            waiting.retain(|request| !request.is_abandoned());
            if waiting.is_empty() {
                return false;
            }
            if self.store.condition.is_over() {
                for request in waiting.drain(..) {
                    let closed = self.store.check(request.what()).err();
                    request.answer(closed);
                }
                return false;
            }
            self.busy.restart(LOOK_INTERVAL);
            let error = match self.try_to_begin() {
                Ok(()) => {
                    self.busy.restart(self.store.options.busy_timeout);
                    return true;
                }
                Err(error) => error,
            };
            let is_locked = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            if waiting.len() < MAX_WAITING {
                waiting.extend(self.store.writes.take_waiting());
            }
            let now = Instant::now();
            let (patient, failed): (Requests, Requests) =
                waiting.drain(..).partition(|request| is_locked && now < request.deadline());
            *waiting = patient;
            self.fail(failed, &error);
        }
    }

    fn try_to_begin(&mut self) -> rusqlite::Result<()> {
        self.faults.update(&self.conn, &self.store.options.path)?;
        // SQLite flushes the first one itself. It also flushes the folder, so that the log file is there after a power
        // failure.
        self.set_flushing(!self.log_flushed_once && self.store.options.synchronous == Synchronous::Full)?;
        execute(&self.conn, "BEGIN IMMEDIATE")
    }

    /// Answers requests for which nothing was committed.
    fn fail(&self, requests: impl IntoIterator<Item = Box<dyn WriteRequest>>, error: &rusqlite::Error) {
        for request in requests {
            let error = self.store.explain(request.what(), copy_of(error));
            request.answer(Some(error));
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

    fn run_and_commit(&mut self, batch: &mut [Box<dyn WriteRequest>]) -> rusqlite::Result<Effects> {
        let result = self.run_all(batch);
        if result.is_ok() {
            self.log_flushed_once |= self.flushes_commits;
            self.store.condition.set_written(batch.iter().map(|request| request.what()));
            return result;
        }
        self.queues.clear();
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::warn!(path = %self.store.options.path.display(), error = %SqliteText(error), "could not roll a transaction back");
        }
        result
    }

    fn run_all(&mut self, batch: &mut [Box<dyn WriteRequest>]) -> rusqlite::Result<Effects> {
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

    /// Closes the connection. The last one copies the write-ahead log into the file.
    fn close(self) {
        let path = self.store.options.path.display();
        if self.store.condition.is_over() {
            // What this process sees of the log may not be what the disk has. Whoever opens the file next reads the log
            // up to where its checksums are right.
            let set = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            if let Err(error) = set {
                tracing::warn!(%path, error = %SqliteText(error), "could not leave the write-ahead log as it is");
            }
        }
        if let Err((_, error)) = self.conn.close() {
            tracing::warn!(%path, error = %SqliteText(error), "could not close the store");
        }
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
