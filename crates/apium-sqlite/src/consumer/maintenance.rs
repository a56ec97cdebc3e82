//! The maintenance thread. It listens for the doorbell, polls for commits that rang no doorbell, renews leases,
//! reclaims from dead consumers and deletes what has expired. It has a small async runtime of its own, because those of
//! the callers may end before the store does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::clock::Moment;
use apium_transport::error::Result;
use rusqlite::Connection;

use crate::backend::chord;
use crate::backend::results;
use crate::consumer::lock_file::{LockState, check, consumer_ids};
use crate::consumer::mailbox_leases::MailboxLeases;
use crate::consumer::observed_leases::{LeaseRow, ObservedLeases};
use crate::consumer::state::ConsumerState;
use crate::consumer::{reclaim, registration};
use crate::store::request::RequestCost;
use crate::store::store::Store;
use crate::store::transaction::Tx;
use crate::wake::doorbell::Doorbell;
use crate::wake::ringer::{BROADCASTS, MESSAGES, RESULTS};

/// How often to look for commits of other processes where doorbells work.
const SLOW_POLL: Duration = Duration::from_millis(250);
/// How often to look where they do not. The pause doubles up to `SLOW_POLL` while nothing is found.
const QUICK_POLL: Duration = Duration::from_millis(25);
/// How often to check the lock files of other consumers.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// How often to delete expired results.
const PURGE_INTERVAL: Duration = Duration::from_secs(900);
/// Up to so many watched ids, each is looked up by its id; beyond, all new results are read.
const MAX_SINGLE_LOOKUPS: usize = 64;

/// Runs until the store is closed.
pub(crate) fn run(store: &Arc<Store>, doorbell: Option<Doorbell>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time();
    #[cfg(unix)]
    builder.enable_io();
    match builder.build() {
        Ok(runtime) => runtime.block_on(run_maintenance(store, doorbell)),
        Err(error) => {
            let path = store.options.path.display();
            tracing::error!(%path, error = %with_causes(&error), "could not start the maintenance of the store: no leases are renewed");
        }
    }
}

async fn run_maintenance(store: &Arc<Store>, doorbell: Option<Doorbell>) {
    let mut listener = DoorbellListener::new(doorbell);
    let mut poller = Poller::new(store, listener.rings());
    let (mut leases, mut mailbox_leases) = (ObservedLeases::default(), MailboxLeases::default());
    let (mut sweep, mut purge) = (tokio::time::Instant::now(), tokio::time::Instant::now() + PURGE_INTERVAL);
    loop {
        if store.waker.is_stopped() || store.condition.is_over() {
            return;
        }
        let consumers = store.waker.consumers();
        let renewal = store.next_renewal(&consumers);
        let listens = !store.waker.mailboxes.open().is_empty();
        let idle = consumers.is_empty() && !store.waker.watch_table.is_watched() && !listens;
        tokio::select! {
            biased;
            () = store.waker.maintenance.notified() => {}
            what = listener.rung() => {
                store.waker.counts.doorbell.fetch_add(1, Ordering::Relaxed);
                store.others_committed(what).await;
            }
            () = store.clock.sleep_until_moment(renewal), if !consumers.is_empty() => {
                store.renew_leases(consumers, &mut leases).await;
            }
            () = store.clock.sleep_until_moment(mailbox_leases.next_renewal(store.clock.moment())), if listens => {
                mailbox_leases.renew(store).await;
            }
            () = tokio::time::sleep_until(sweep), if !consumers.is_empty() => {
                sweep = tokio::time::Instant::now() + SWEEP_INTERVAL;
                store.check_lock_files().await;
            }
            () = poller.due(), if !idle => {
                if poller.others_committed() {
                    store.waker.counts.poll.fetch_add(1, Ordering::Relaxed);
                    store.others_committed(MESSAGES | RESULTS | BROADCASTS).await;
                }
            }
            () = tokio::time::sleep_until(purge), if !idle => {
                purge = tokio::time::Instant::now() + PURGE_INTERVAL;
                if let Err(error) = store.purge_expired(true).await {
                    tracing::warn!(error = %with_causes(&error), "could not delete expired results; the next attempt is in 15 minutes");
                }
            }
        }
    }
}

/// How often leases are renewed: a third of the shortest lease.
fn renewal_interval(consumers: &[Arc<ConsumerState>]) -> Duration {
    consumers.iter().map(|state| state.lease / 3).min().unwrap_or_default().max(Duration::from_millis(1))
}

/// Listens for this process's doorbell.
struct DoorbellListener {
    #[cfg(unix)]
    socket: Option<tokio::net::UnixDatagram>,
    _doorbell: Option<Doorbell>,
}

impl DoorbellListener {
    #[cfg(unix)]
    fn new(doorbell: Option<Doorbell>) -> Self {
        let socket = doorbell.as_ref().and_then(|doorbell| {
            let socket = doorbell.socket.try_clone().ok()?;
            tokio::net::UnixDatagram::from_std(socket).ok()
        });
        Self { socket, _doorbell: doorbell }
    }

    #[cfg(not(unix))]
    fn new(doorbell: Option<Doorbell>) -> Self {
        Self { _doorbell: doorbell }
    }

    /// Waits until the doorbell rings; returns what for, of all rings since the last call.
    #[cfg(unix)]
    async fn rung(&mut self) -> u8 {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        let mut byte = [0];
        let mut what = 0;
        if socket.recv(&mut byte).await.is_ok() {
            what |= byte[0];
        }
        while socket.try_recv(&mut byte).is_ok() {
            what |= byte[0];
        }
        what
    }

    #[cfg(not(unix))]
    async fn rung(&mut self) -> u8 {
        std::future::pending().await
    }

    #[cfg(unix)]
    fn rings(&self) -> bool {
        self.socket.is_some()
    }

    #[cfg(not(unix))]
    fn rings(&self) -> bool {
        false
    }
}

/// Finds out whether other connections have committed, less and less often while they have not.
struct Poller<'s> {
    store: &'s Store,
    conn: Option<Connection>,
    version: i64,
    pause: Duration,
    shortest: Duration,
    next: tokio::time::Instant,
}

impl<'s> Poller<'s> {
    fn new(store: &'s Store, rings: bool) -> Self {
        let shortest = if rings { SLOW_POLL } else { QUICK_POLL };
        Self { store, conn: None, version: 0, pause: shortest, shortest, next: tokio::time::Instant::now() }
    }

    async fn due(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    fn others_committed(&mut self) -> bool {
        if self.conn.is_none() {
            self.conn = self.store.open_reader().ok().map(|(conn, _)| conn);
        }
        let read = self.conn.as_ref().map(|conn| {
            let mut pragma = conn.prepare_cached("PRAGMA data_version")?;
            pragma.query_row([], |row| row.get(0))
        });
        let version = match read {
            Some(Ok(version)) => version,
            // It is opened again by the next look, which then counts as a commit.
            Some(Err(_)) | None => {
                self.conn = None;
                0
            }
        };
        let changed = version != self.version;
        self.version = version;
        self.pause = if changed { self.shortest } else { (self.pause * 2).min(SLOW_POLL) };
        self.next = tokio::time::Instant::now() + self.pause;
        changed
    }
}

impl Store {
    /// When to renew the leases next.
    fn next_renewal(&self, consumers: &[Arc<ConsumerState>]) -> Moment {
        let last = consumers.iter().map(|state| state.renewed_at()).min().unwrap_or(Moment::FIRST);
        last.saturating_add(renewal_interval(consumers))
    }

    async fn others_committed(&self, what: u8) {
        if what & MESSAGES != 0 {
            self.waker.wake_consumers();
        }
        if what & BROADCASTS != 0 {
            self.waker.mailboxes.wake_all();
        }
        if what & RESULTS != 0 && self.waker.watch_table.is_watched() {
            self.read_new_results().await;
        }
    }

    /// Reads the results that other processes wrote and that somebody watches.
    async fn read_new_results(&self) {
        let (ids, seen) = self.waker.watch_table.wanted(MAX_SINGLE_LOOKUPS);
        let outcome = match ids {
            Some(ids) => {
                let read = move |conn: &Connection, now| Ok((results::fetch_all(conn, &ids, now)?, None));
                self.read("watch results", read).await
            }
            None => {
                let watched = self.waker.watch_table.watched_ids();
                let read = move |conn: &Connection, _| {
                    results::newer(conn, seen, |id| watched.contains(id)).map(|(found, last)| (found, Some(last)))
                };
                self.read("watch results", read).await
            }
        };
        match outcome {
            Ok((found, seen)) => self.waker.watch_table.notify_found(found, seen),
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "could not read the results of other processes; the next attempt follows")
            }
        }
    }

    /// Renews the leases of this process's consumers, and reclaims from consumers whose lease has ended.
    async fn renew_leases(&self, consumers: Vec<Arc<ConsumerState>>, leases: &mut ObservedLeases) {
        let (now, interval) = (self.clock.moment(), renewal_interval(&consumers));
        let own = consumers.iter().map(|state| state.lease).min().unwrap_or_default();
        for state in &consumers {
            state.set_renewed_at(now);
        }
        let operation = move |tx: &mut Tx<'_>| {
            registration::renew(tx, &consumers)?;
            registration::leases(tx)
        };
        match self.write("renew leases", RequestCost::volatile(4), operation).await {
            Ok(rows) => {
                for lease in leases.look(&rows, now, interval, own) {
                    self.reclaim_expired(lease).await;
                }
            }
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "could not renew leases; the next attempt follows")
            }
        }
    }

    /// Reclaims from the consumers whose lock file says that they are dead.
    pub(crate) async fn check_lock_files(&self) {
        for consumer in consumer_ids(&self.live_folder()) {
            if self.waker.consumers().iter().all(|state| state.id != consumer) {
                self.reclaim_dead(consumer).await;
            }
        }
    }

    /// Reclaims from a consumer if its lock file says that it is dead. Returns whether it is.
    async fn reclaim_dead(&self, consumer: i64) -> bool {
        let LockState::Dead(dead_file) = check(&self.live_folder(), consumer) else { return false };
        let dead_file = Arc::new(dead_file);
        let file = dead_file.clone();
        let operation = move |tx: &mut Tx<'_>| reclaim::reclaim(tx, consumer, |id, fence| file.had_started(id, fence));
        match self.write("reclaim the deliveries of a dead consumer", RequestCost::durable(64), operation).await {
            Ok(count) => {
                tracing::info!(consumer, count, "reclaimed the deliveries of a dead consumer");
                dead_file.remove();
            }
            Err(error) => {
                tracing::warn!(consumer, error = %with_causes(&error), "could not reclaim from a dead consumer; the next attempt follows")
            }
        }
        true
    }

    /// Reclaims from a consumer whose lease has ended. Its process may be alive and blocked: then no crash is counted.
    async fn reclaim_expired(&self, lease: LeaseRow) {
        let consumer = lease.consumer;
        if self.reclaim_dead(consumer).await {
            return;
        }
        let operation = move |tx: &mut Tx<'_>| match registration::is_unchanged(tx, lease)? {
            true => reclaim::reclaim(tx, consumer, |_, _| false).map(Some),
            false => Ok(None),
        };
        match self.write("reclaim the deliveries of an expired lease", RequestCost::durable(64), operation).await {
            Ok(Some(count)) => {
                tracing::warn!(consumer, count, "a lease has ended; reclaimed the deliveries of its consumer")
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(consumer, error = %with_causes(&error), "could not reclaim after an expired lease; the next attempt follows")
            }
        }
    }

    /// Deletes expired results, groups and chords, a bounded number in each transaction. With `only_oldest` it stops at
    /// the first step that finds no expired result, which is enough when results expire in the order in which they were
    /// written.
    pub(crate) async fn purge_expired(&self, only_oldest: bool) -> Result<u64> {
        let mut purged = self.write("purge expired groups", RequestCost::volatile(1), results::purge_groups).await?;
        purged += self.write("purge expired chords", RequestCost::volatile(1), chord::purge).await?;
        let mut after = Some(0);
        while let Some(from) = after {
            let step = move |tx: &mut Tx<'_>| results::purge_step(tx, from);
            let (deleted, next) = self.write("purge expired results", RequestCost::volatile(1000), step).await?;
            purged += deleted;
            after = if only_oldest && deleted == 0 { None } else { next };
        }
        Ok(purged)
    }
}
