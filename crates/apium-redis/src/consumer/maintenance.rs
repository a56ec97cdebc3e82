//! The maintenance of a consumer: a loop that sends its heartbeats, reclaims the messages of dead consumers, and
//! promotes delayed messages.
//!
//! It has a thread and a connection of its own. A worker whose tasks keep all threads of its runtime busy lives, and
//! must not be taken for dead.
//!
//! All times are those of the server's clock, so that machines whose clocks differ agree. An idle consumer sends only a
//! few commands a minute (the guarantee idle-quiet).

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::error::{Error, ErrorKind, Result};
use redis::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::connection::background::BackgroundThread;
use crate::consumer::data_loss::{move_if_data_lost, register_again};
use crate::consumer::heartbeat::renew_in_flight;
use crate::consumer::reclaim::{reclaim_consumer, reclaim_expired};
use crate::consumer::recovery::recover_lost_replies;
use crate::consumer::registration::{RECLAIMING_PREFIX, lease_deadline, register, unregister};
use crate::consumer::state::ConsumerState;
use crate::crash_points::reached;
use crate::publish::delayed;
use crate::scripts::operation::MAX_DELIVERIES;
use crate::shared::BrokerShared;

/// The first pause between two looks for the messages of lost replies. It doubles with each.
const FIRST_RECOVERY_PAUSE: Duration = Duration::from_millis(100);

/// The maintenance of a consumer. Dropping it ends the loop, and with it the heartbeats.
#[derive(Debug)]
pub(crate) struct Maintenance {
    /// What the callers' runtime uses.
    inner: MaintenanceLoop,
    thread: BackgroundThread,
}

#[derive(Debug)]
struct MaintenanceLoop {
    shared: Arc<BrokerShared>,
    state: Arc<ConsumerState>,
}

impl Maintenance {
    /// Registers the consumer, sweeps once, and starts the loop.
    pub(crate) async fn start(shared: Arc<BrokerShared>, state: Arc<ConsumerState>) -> Result<Self> {
        let (started, start) = oneshot::channel();
        let on_thread = MaintenanceLoop { shared: Arc::new(shared.with_another_connection()), state: state.clone() };
        let thread = BackgroundThread::start("apium-redis-m", || on_thread.start_and_run(started))?;
        let ended = |_| Err(Error::new(ErrorKind::Closed, "register a consumer: this handle was closed"));
        start.await.unwrap_or_else(ended)?;
        Ok(Self { inner: MaintenanceLoop { shared, state }, thread })
    }

    /// Writes the registration anew, after the queues have changed.
    pub(crate) async fn register(&self) -> Result<()> {
        let MaintenanceLoop { shared, state } = &self.inner;
        register(shared, state, &state.id()).await.map(drop)
    }

    /// Ends the loop and removes the registration. Nothing may be in flight any more.
    pub(crate) async fn unregister(self) -> Result<()> {
        let Self { inner, thread } = self;
        // A heartbeat must not find the registration gone, and register the consumer again.
        drop(thread);
        unregister(&inner.shared, &inner.state.id()).await
    }
}

/// The times at which each job is due.
struct Schedule {
    heartbeat: Instant,
    /// The sweep for dead consumers.
    sweep: Instant,
    /// The sweep for messages that nobody has renewed for the visibility timeout.
    expired: Instant,
    /// The promotion of delayed messages; none while nothing is delayed.
    delayed: Option<Instant>,
    /// The next look for the messages of lost replies, and the pause after it; none while no reply is missing.
    recovery: Option<Instant>,
    recovery_pause: Duration,
    /// Whether the queues must be declared again.
    declare: bool,
}

/// Whether the loop, which should have gone on at `planned`, does so much later that other consumers may have missed
/// heartbeats, too: this process was stopped, and with it perhaps all processes of the machine. Between two heartbeats
/// the loop sleeps for half a lease at most, and a lease ends two thirds after a heartbeat was due.
fn was_held_up(planned: Instant, now: Instant, lease: Duration) -> bool {
    now.saturating_duration_since(planned) > lease / 6
}

impl MaintenanceLoop {
    fn lease(&self) -> Duration {
        self.state.spec.lease
    }

    /// How often a consumer with messages in flight sends a heartbeat.
    fn heartbeat_interval(&self) -> Duration {
        self.lease().min(self.shared.options.visibility_timeout) / 3
    }

    /// For how long no consumer is taken for dead after the server was away or refused commands. It is longer than the
    /// pauses between attempts to connect, so that every consumer can come back.
    fn grace(&self) -> Duration {
        self.lease().clamp(Duration::from_secs(2), Duration::from_secs(5))
    }

    /// Puts off taking consumers for dead: what held this one up, or kept it from the server, may have done the same to
    /// the others.
    fn give_time(&self, schedule: &mut Schedule) {
        let later = Instant::now() + self.grace();
        schedule.sweep = schedule.sweep.max(later);
        schedule.expired = schedule.expired.max(later);
    }

    /// Registers the consumer, sweeps once, and says so. Then it runs the loop.
    async fn start_and_run(self, started: oneshot::Sender<Result<()>>) {
        let start = async {
            // The lease is told by the server's clock, which this connection has not seen yet.
            self.shared.connection.learn_time().await?;
            let data_id = register(&self.shared, &self.state, &self.state.id()).await?;
            self.state.set_data_id(data_id);
            // This sweep comes before the first claim, so that the claim finds the messages of a worker that was
            // killed.
            self.sweep().await
        };
        let (answer, sweep) = match start.await {
            Ok(sweep) => (Ok(()), Some(sweep)),
            Err(error) => (Err(error), None),
        };
        if let (Ok(()), Some(sweep)) = (started.send(answer), sweep) {
            self.run(sweep).await;
        }
    }

    async fn run(&self, sweep: Instant) {
        let now = Instant::now();
        let heartbeat = now + self.heartbeat_interval();
        let mut schedule = Schedule {
            heartbeat,
            sweep,
            expired: now,
            delayed: Some(now),
            recovery: None,
            recovery_pause: FIRST_RECOVERY_PAUSE,
            declare: false,
        };
        let mut reconnects = self.shared.connection.reconnects();
        reconnects.mark_unchanged();
        let mut next_eta = self.shared.channels.next_eta.subscribe();
        loop {
            let next = [Some(schedule.heartbeat), Some(schedule.sweep), Some(schedule.expired)];
            let next = next.into_iter().chain([schedule.delayed, schedule.recovery]).flatten().min();
            tokio::select! {
                biased;
                () = self.state.wait_closed() => return,
                () = self.shared.connection.wait_closed() => return,
                () = self.state.suspected.notified() => {
                    schedule.heartbeat = Instant::now();
                    schedule.recovery_pause = FIRST_RECOVERY_PAUSE;
                }
                // The server was away and may have missed heartbeats, bindings and the end of an eta.
                Ok(()) = reconnects.changed() => {
                    schedule.heartbeat = Instant::now();
                    schedule.declare = true;
                    schedule.delayed = Some(Instant::now());
                    self.give_time(&mut schedule);
                }
                Ok(()) = next_eta.changed() => {
                    schedule.delayed = delayed::next_due(&self.shared, *next_eta.borrow_and_update());
                    continue;
                }
                () = tokio::time::sleep_until(next.unwrap_or(now)) => {}
            }
            if next.is_some_and(|next| was_held_up(next, Instant::now(), self.lease())) {
                self.give_time(&mut schedule);
            }
            if let Err(error) = self.run_due(&mut schedule).await {
                tracing::debug!(error = %with_causes(&error), "the maintenance of a consumer failed; trying again");
                let soon = Instant::now() + (self.lease() / 10).min(Duration::from_secs(1));
                let times = [&mut schedule.heartbeat, &mut schedule.expired].into_iter();
                for time in times.chain(&mut schedule.delayed).chain(&mut schedule.recovery) {
                    *time = (*time).max(soon);
                }
                self.give_time(&mut schedule);
            }
        }
    }

    /// Does the jobs that are due, and sets when they are due next.
    async fn run_due(&self, schedule: &mut Schedule) -> Result<()> {
        let due = |time: Instant| time <= Instant::now();
        let began = Instant::now();
        if due(schedule.heartbeat) {
            schedule.declare |= self.heartbeat().await?;
            // A consumer with nothing in flight needs fewer heartbeats: it has nothing to lose.
            let idle = self.state.in_flight().is_empty();
            let interval = if idle { self.heartbeat_interval() * 3 / 2 } else { self.heartbeat_interval() };
            schedule.heartbeat = Instant::now() + interval;
            schedule.recovery = Some(Instant::now());
        }
        if schedule.declare {
            match self.shared.declare_again(&self.state.queues()).await {
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => tracing::warn!(error = %with_causes(&error), "could not declare the queues again"),
                Ok(()) => {}
            }
            schedule.declare = false;
        }
        if was_held_up(began, Instant::now(), self.lease()) {
            self.give_time(schedule);
        }
        if due(schedule.sweep) {
            schedule.sweep = self.sweep().await?;
        }
        if schedule.delayed.is_some_and(due) {
            schedule.delayed = delayed::promote_due(&self.shared).await?;
        }
        if due(schedule.expired) {
            reclaim_expired(&self.shared).await?;
            let interval = self.shared.options.visibility_timeout / 4;
            schedule.expired = Instant::now() + interval.clamp(Duration::from_millis(250), Duration::from_secs(60));
        }
        if schedule.recovery.is_some_and(due) {
            recover_lost_replies(&self.shared, &self.state).await?;
            // A server that was held up may do a claim or a wait later, whose connection is gone.
            let missing = !self.state.lost_replies().is_empty();
            schedule.recovery = missing.then(|| Instant::now() + schedule.recovery_pause);
            schedule.recovery_pause = (schedule.recovery_pause * 2).min(self.heartbeat_interval());
        }
        Ok(())
    }

    /// Renews the lease of the consumer and all that it has in flight. Returns whether the server may have lost its
    /// data.
    async fn heartbeat(&self) -> Result<bool> {
        const WHAT: &str = "send a heartbeat";
        let id = self.state.id();
        let mut command = redis::cmd("ZADD");
        command.arg(self.shared.keys.leases()).arg("XX").arg("GT").arg("CH");
        command.arg(lease_deadline(&self.shared, self.lease())).arg(&*id);
        let changed = self.shared.connection.heartbeat(WHAT, &command).await?;
        if changed == Value::Int(0) && !self.is_registered(&id).await? {
            register_again(&self.shared, &self.state, &id).await?;
            return Ok(true);
        }
        reached("after-heartbeat");
        for batch in self.state.in_flight().chunks(MAX_DELIVERIES) {
            let tags: Vec<(&str, bool)> = batch.iter().map(|(_, tag, started)| (tag.as_str(), *started)).collect();
            let gone = renew_in_flight(&self.shared, WHAT, &tags).await?;
            // A run that was marked as started meanwhile may have been renewed as not started after that. Without this
            // a worker that dies before its next heartbeat would not be counted as a crash.
            let changed = self.state.marks_changed_since(batch);
            if !changed.is_empty() {
                renew_in_flight(&self.shared, WHAT, &changed).await?;
            }
            let gone = gone.into_iter().filter_map(|index| batch.get(index));
            let gone: Vec<u64> = gone.map(|(number, ..)| *number).collect();
            if !gone.is_empty() && move_if_data_lost(&self.shared, &self.state, &id).await? {
                return Ok(true);
            }
            // Those that were settled meanwhile are not in flight here any more, and so not counted.
            let lost = self.state.drop_lost(&gone);
            if lost > 0 {
                tracing::warn!(lost, "messages of this worker were given to others, which took it for dead");
            }
        }
        Ok(false)
    }

    async fn is_registered(&self, id: &str) -> Result<bool> {
        let mut command = redis::cmd("ZSCORE");
        command.arg(self.shared.keys.leases()).arg(id);
        let answer = self.shared.connection.command("send a heartbeat", &command).await?;
        let deadline: Option<f64> = redis::from_redis_value(answer).unwrap_or_default();
        Ok(deadline.is_some_and(f64::is_finite))
    }

    /// Reclaims the messages of dead consumers. Returns when to sweep again.
    async fn sweep(&self) -> Result<Instant> {
        const WHAT: &str = "look for dead consumers";
        if let Some(remaining) = self
            .grace()
            .checked_sub(self.shared.connection.connected_for().unwrap_or_default())
            .filter(|remaining| !remaining.is_zero())
            && *self.shared.connection.reconnects().borrow() > 1
        {
            return Ok(Instant::now() + remaining);
        }
        let mut skipped = 0;
        loop {
            let mut command = redis::cmd("ZRANGE");
            command.arg(self.shared.keys.leases()).arg(skipped).arg(skipped).arg("WITHSCORES");
            let sent = Instant::now();
            let answer = self.shared.connection.command(WHAT, &command).await?;
            let first: Vec<(String, f64)> = redis::from_redis_value(answer).unwrap_or_default();
            let Some((id, deadline)) = first.into_iter().next() else { return Ok(Instant::now() + self.lease()) };
            let id = id.strip_prefix(RECLAIMING_PREFIX).unwrap_or(&id);
            let mut remaining = deadline as i64 - self.shared.connection.server_now();
            if remaining <= 0 {
                self.shared.connection.learn_time().await?;
                remaining = deadline as i64 - self.shared.connection.server_now();
            }
            if sent.elapsed() > self.heartbeat_interval() {
                // The server was held up, and with it the heartbeats of all consumers.
                return Ok(Instant::now() + self.grace());
            }
            if remaining > 0 {
                // A random delay, so that not all consumers sweep at the same time.
                let spread = fastrand::u64(50..=500).min(self.lease().as_millis() as u64 / 4);
                return Ok(Instant::now() + Duration::from_millis(remaining.unsigned_abs() + spread));
            }
            if *id == *self.state.id() {
                self.heartbeat().await?;
                continue;
            }
            match reclaim_consumer(&self.shared, id, Some(deadline)).await {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    // A key that it needs has another type. The other dead consumers are reclaimed all the same.
                    tracing::warn!(error = %with_causes(&error), consumer = id, "could not reclaim the messages of a dead worker; trying again");
                    skipped += 1;
                }
                reclaimed => reclaimed?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_goes_on_late_was_held_up() {
        let (planned, lease) = (Instant::now(), Duration::from_secs(30));
        let is_after = |millis| was_held_up(planned, planned + Duration::from_millis(millis), lease);
        assert!(!is_after(0) && !is_after(5_000));
        assert!(is_after(5_001) && is_after(90_000));
        // Another event came before the time that was planned.
        assert!(!was_held_up(planned + lease, planned, lease));
    }
}
