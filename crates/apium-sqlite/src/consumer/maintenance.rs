//! The thread that attends to what happens outside of requests: doorbells of other processes, polling where they may not
//! ring, leases to renew, and consumers that died. It has its own small reactor, since callers come and go with theirs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apium_transport::error::Result;
use jiff::Timestamp;
use rusqlite::Connection;

use crate::backend::chord;
use crate::backend::results;
use crate::consumer::lease;
use crate::consumer::lock_file::{Life, listed, look};
use crate::consumer::state::Seat;
use crate::store::request::Weight;
use crate::store::store::Store;
use crate::store::transaction::Tx;
use crate::wake::doorbell::Doorbell;
use crate::wake::ringer::{MESSAGES, RESULTS};

/// How often the commits of others are looked for where doorbells ring.
const SLOW_POLL: Duration = Duration::from_millis(250);
/// How often at first where they do not; then less and less often, down to `SLOW_POLL`.
const QUICK_POLL: Duration = Duration::from_millis(25);
/// How often the marks of other consumers are looked at.
const SWEEP: Duration = Duration::from_millis(500);
/// How often expired results are deleted.
const PURGE: Duration = Duration::from_secs(900);
/// Ids up to which each is looked up by itself.
const FEW: usize = 64;

/// Attends until the store is closed.
pub(crate) fn run(store: &Arc<Store>, doorbell: Option<Doorbell>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time();
    #[cfg(unix)]
    builder.enable_io();
    match builder.build() {
        Ok(runtime) => runtime.block_on(attend(store, doorbell)),
        Err(error) => {
            let path = store.options.path.display();
            tracing::error!(%path, %error, "no leases are renewed: the attendant could not start");
        }
    }
}

async fn attend(store: &Arc<Store>, doorbell: Option<Doorbell>) {
    let mut bell = Bell::new(doorbell);
    let mut poller = Poller::new(store, bell.rings());
    let (mut sweep, mut purge) = (tokio::time::Instant::now(), tokio::time::Instant::now() + PURGE);
    loop {
        if store.wake.is_stopped() {
            return;
        }
        let seats = store.wake.seats();
        let renewal = store.next_renewal(&seats);
        let idle = seats.is_empty() && !store.wake.hub.is_watched();
        tokio::select! {
            biased;
            () = store.wake.attendant.notified() => {}
            what = bell.heard() => {
                store.wake.causes.bell.fetch_add(1, Ordering::Relaxed);
                store.others_committed(what).await;
            }
            () = store.clock.sleep_until(renewal), if !seats.is_empty() => store.attend_leases(seats).await,
            () = tokio::time::sleep_until(sweep), if !seats.is_empty() => {
                sweep = tokio::time::Instant::now() + SWEEP;
                store.attend_marks().await;
            }
            () = poller.due(), if !idle => {
                if poller.others_committed() {
                    store.wake.causes.poll.fetch_add(1, Ordering::Relaxed);
                    store.others_committed(MESSAGES | RESULTS).await;
                }
            }
            () = tokio::time::sleep_until(purge), if !idle => {
                purge = tokio::time::Instant::now() + PURGE;
                if let Err(error) = store.purge_expired(true).await {
                    tracing::warn!(%error, "expired results stay for now");
                }
            }
        }
    }
}

/// This process's doorbell, as the reactor listens to it.
struct Bell {
    #[cfg(unix)]
    socket: Option<tokio::net::UnixDatagram>,
    _doorbell: Option<Doorbell>,
}

impl Bell {
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

    /// Waits for a ring and takes all that rang meanwhile.
    #[cfg(unix)]
    async fn heard(&mut self) -> u8 {
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
    async fn heard(&mut self) -> u8 {
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

/// Looks whether other connections have committed, less and less often while they have not.
struct Poller {
    conn: Result<Connection>,
    version: i64,
    pause: Duration,
    shortest: Duration,
    next: tokio::time::Instant,
}

impl Poller {
    fn new(store: &Store, rings: bool) -> Self {
        let shortest = if rings { SLOW_POLL } else { QUICK_POLL };
        let conn = store.open_reader();
        Self { conn, version: 0, pause: shortest, shortest, next: tokio::time::Instant::now() }
    }

    async fn due(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    fn others_committed(&mut self) -> bool {
        let version = match &self.conn {
            Ok(conn) => conn
                .prepare_cached("PRAGMA data_version")
                .and_then(|mut pragma| pragma.query_row([], |row| row.get(0)))
                .unwrap_or(self.version),
            Err(_) => self.version,
        };
        let changed = version != self.version;
        self.version = version;
        self.pause = if changed { self.shortest } else { (self.pause * 2).min(SLOW_POLL) };
        self.next = tokio::time::Instant::now() + self.pause;
        changed
    }
}

impl Store {
    /// When leases are to be renewed next: in time for the shortest.
    fn next_renewal(&self, seats: &[Arc<Seat>]) -> Timestamp {
        let third = seats.iter().map(|seat| seat.lease / 3).min().unwrap_or_default();
        let last = seats.iter().map(|seat| seat.renewed_at()).min().unwrap_or_default();
        last.saturating_add(third.max(Duration::from_millis(1))).unwrap_or(Timestamp::MAX)
    }

    async fn others_committed(&self, what: u8) {
        if what & MESSAGES != 0 {
            self.wake.all_seats();
        }
        if what & RESULTS != 0 && self.wake.hub.is_watched() {
            self.look_for_results().await;
        }
    }

    /// Reads the results that other processes wrote, for those who watch.
    async fn look_for_results(&self) {
        let (ids, seen) = self.wake.hub.wanted(FEW);
        let outcome = match ids {
            Some(ids) => {
                let read = move |conn: &Connection, now| {
                    let mut found = Vec::new();
                    for id in ids {
                        if let Some(document) = results::fetch(conn, &id, now)? {
                            found.push((id, document));
                        }
                    }
                    Ok((found, None))
                };
                self.read("watch results", read).await
            }
            None => {
                let this = self.wake.hub.watched_ids();
                let read = move |conn: &Connection, _| {
                    results::newer(conn, seen, |id| this.contains(id)).map(|(found, last)| (found, Some(last)))
                };
                self.read("watch results", read).await
            }
        };
        match outcome {
            Ok((found, seen)) => self.wake.hub.tell_found(&found, seen),
            Err(error) => tracing::warn!(%error, "results of other processes come later"),
        }
    }

    /// Renews the leases of this process, and gives back what is held by those who did not.
    async fn attend_leases(&self, seats: Vec<Arc<Seat>>) {
        for seat in &seats {
            seat.set_renewed_at(self.clock.now());
        }
        let work = move |tx: &mut Tx<'_>| {
            lease::renew(tx, &seats)?;
            lease::expired(tx)
        };
        match self.write("renew leases", Weight::passing(4), work).await {
            Ok(expired) => {
                for consumer in expired {
                    self.bury(consumer).await;
                }
            }
            Err(error) => tracing::warn!(%error, "leases were not renewed; the next attempt follows"),
        }
    }

    /// Gives back what is held by consumers whose mark says that they are dead.
    pub(crate) async fn attend_marks(&self) {
        for consumer in listed(&self.live_folder()) {
            if self.wake.seats().iter().all(|seat| seat.id != consumer) {
                self.bury_dead(consumer).await;
            }
        }
    }

    /// Gives back what a consumer held, should it be dead; says whether it was.
    async fn bury_dead(&self, consumer: i64) -> bool {
        let Life::Dead(remains) = look(&self.live_folder(), consumer) else { return false };
        let remains = Arc::new(remains);
        let known = remains.clone();
        let work = move |tx: &mut Tx<'_>| lease::remove(tx, consumer, |id, fence| known.had_begun(id, fence));
        match self.write("give back what a dead consumer held", Weight::durable(64), work).await {
            Ok(count) => {
                tracing::info!(consumer, count, "gave back what a dead consumer held");
                remains.remove();
            }
            Err(error) => tracing::warn!(consumer, %error, "what a dead consumer held is given back later"),
        }
        true
    }

    /// Gives back what a consumer held whose lease has run out. It may only stand still: then no crash is counted.
    async fn bury(&self, consumer: i64) {
        if self.bury_dead(consumer).await {
            return;
        }
        let work = move |tx: &mut Tx<'_>| match lease::is_expired(tx, consumer)? {
            true => lease::remove(tx, consumer, |_, _| false).map(Some),
            false => Ok(None),
        };
        match self.write("give back what an expired lease held", Weight::durable(64), work).await {
            Ok(Some(count)) => tracing::warn!(consumer, count, "a lease has run out; gave back what it held"),
            Ok(None) => {}
            Err(error) => tracing::warn!(consumer, %error, "what an expired lease held is given back later"),
        }
    }

    /// Deletes results, groups and chords that are past their time, a bounded number in each transaction. With `only_oldest` it ends at
    /// the first step that finds none, which is enough where results expire in the order they were written.
    pub(crate) async fn purge_expired(&self, only_oldest: bool) -> Result<u64> {
        let mut purged = self.write("purge expired groups", Weight::passing(1), results::purge_groups).await?;
        purged += self.write("purge expired chords", Weight::passing(1), chord::purge).await?;
        let mut after = Some(0);
        while let Some(from) = after {
            let step = move |tx: &mut Tx<'_>| results::purge_step(tx, from);
            let (gone, next) = self.write("purge expired results", Weight::passing(1000), step).await?;
            purged += gone;
            after = if only_oldest && gone == 0 { None } else { next };
        }
        Ok(purged)
    }
}
