//! What goes on beside a consumer: it shows that it lives, looks after what the dead have left, and returns what was parked.
//!
//! All times are the server's, so that machines whose clocks differ agree. An idle consumer sends a few commands a minute (P16).

use std::sync::Arc;
use std::time::Duration;

use apium_transport::error::{ErrorKind, Result};
use redis::Value;
use tokio::time::Instant;

use crate::connection::background::Background;
use crate::consumer::heartbeat::renew_in_flight;
use crate::consumer::reclaim::{reclaim_consumer, reclaim_expired};
use crate::consumer::recovery::recover_lost_replies;
use crate::consumer::registration::{RECLAIMING_PREFIX, Registration, unregister};
use crate::consumer::state::{ConsumerState, fresh_id};
use crate::crash_points::reached;
use crate::publish::delayed;
use crate::shared::BrokerShared;

/// The attendant of a consumer. Dropping it ends it, and with it the consumer's signs of life.
#[derive(Debug)]
pub(crate) struct Maintenance {
    inner: Arc<MaintenanceLoop>,
    _background: Background,
}

#[derive(Debug)]
struct MaintenanceLoop {
    shared: Arc<BrokerShared>,
    state: Arc<ConsumerState>,
}

impl Maintenance {
    /// Registers the consumer and begins.
    pub(crate) async fn start(core: Arc<BrokerShared>, seat: Arc<ConsumerState>) -> Result<Self> {
        let work = Arc::new(MaintenanceLoop { shared: core, state: seat });
        work.register(&work.state.id()).await?;
        // What a worker that was killed has left is there at once.
        let sweep = work.sweep().await?;
        let task = Background::start(work.clone().run(sweep));
        Ok(Self { inner: work, _background: task })
    }

    /// Says anew what the consumer is.
    pub(crate) async fn register(&self) -> Result<()> {
        self.inner.register(&self.inner.state.id()).await
    }

    /// The consumer is gone, and has left nothing.
    pub(crate) async fn unregister(self) -> Result<()> {
        unregister(&self.inner.shared, &self.inner.state.id()).await
    }
}

/// The times at which something is to be done.
struct Schedule {
    heartbeat: Instant,
    sweep: Instant,
    expired: Instant,
    delayed: Option<Instant>,
}

impl MaintenanceLoop {
    fn lease(&self) -> Duration {
        self.state.spec.lease
    }

    /// How often a consumer that holds something shows that it lives.
    fn heartbeat_interval(&self) -> Duration {
        self.lease().min(self.shared.options.visibility_timeout) / 3
    }

    /// For how long nobody is taken for dead after the server was away or refused, so that everybody can come back: longer than
    /// the pauses between attempts.
    fn grace(&self) -> Duration {
        self.lease().clamp(Duration::from_secs(2), Duration::from_secs(5))
    }

    fn lease_deadline(&self) -> i64 {
        self.shared.connection.server_now() + i64::try_from(self.lease().as_millis()).unwrap_or(i64::MAX / 2)
    }

    async fn register(&self, id: &str) -> Result<()> {
        let card = Registration {
            node: self.state.spec.node.clone(),
            queues: self.state.queues(),
            max_crashes: self.state.spec.max_crashes,
            pid: std::process::id(),
        };
        let card = serde_json::to_string(&card).unwrap_or_default();
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        pipeline.cmd("HSET").arg(self.shared.keys.consumers()).arg(id).arg(card);
        // A larger one only: that of a consumer that is being buried stays as it is.
        pipeline.cmd("ZADD").arg(self.shared.keys.leases()).arg("GT").arg(self.lease_deadline()).arg(id);
        self.shared.connection.pipeline("register a consumer", &pipeline).await.map(drop)
    }

    async fn run(self: Arc<Self>, sweep: Instant) {
        let now = Instant::now();
        let mut plan = Schedule { heartbeat: now + self.heartbeat_interval(), sweep, expired: now, delayed: Some(now) };
        let mut generations = self.shared.connection.reconnects();
        generations.mark_unchanged();
        let mut etas = self.shared.channels.next_eta.subscribe();
        loop {
            let next =
                [Some(plan.heartbeat), Some(plan.sweep), Some(plan.expired), plan.delayed].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = self.state.wait_closed() => return,
                () = self.shared.connection.wait_closed() => return,
                () = self.state.suspected.notified() => plan.heartbeat = Instant::now(),
                // The server was away: it is told at once that this consumer was not.
                Ok(()) = generations.changed() => {
                    plan.heartbeat = Instant::now();
                    self.shared.declared.forget_all();
                    plan.delayed = Some(Instant::now());
                }
                Ok(()) = etas.changed() => {
                    plan.delayed = delayed::next_due(&self.shared, *etas.borrow_and_update());
                    continue;
                }
                () = tokio::time::sleep_until(next.unwrap_or(now)) => {}
            }
            if let Err(error) = self.run_due(&mut plan).await {
                tracing::debug!(%error, "could not look after a consumer; trying again");
                let soon = Instant::now() + (self.lease() / 10).min(Duration::from_secs(1));
                for time in [&mut plan.heartbeat, &mut plan.expired].into_iter().chain(plan.delayed.as_mut()) {
                    *time = (*time).max(soon);
                }
                // What kept this consumer from showing life may have kept the others from it.
                plan.sweep = plan.sweep.max(Instant::now() + self.grace());
            }
        }
    }

    /// Does what is due.
    async fn run_due(&self, plan: &mut Schedule) -> Result<()> {
        let due = |time: Instant| time <= Instant::now();
        if due(plan.heartbeat) {
            self.heartbeat().await?;
            // An idle consumer need not hurry: it holds nothing that could be lost.
            let idle = self.state.in_flight().is_empty();
            plan.heartbeat =
                Instant::now() + if idle { self.heartbeat_interval() * 3 / 2 } else { self.heartbeat_interval() };
        }
        if due(plan.sweep) {
            plan.sweep = self.sweep().await?;
        }
        if plan.delayed.is_some_and(due) {
            plan.delayed = delayed::promote_due(&self.shared).await?;
        }
        if due(plan.expired) {
            reclaim_expired(&self.shared).await?;
            let visibility = self.shared.options.visibility_timeout;
            plan.expired = Instant::now() + (visibility / 4).clamp(Duration::from_millis(250), Duration::from_secs(60));
        }
        Ok(())
    }

    /// Shows that the consumer lives, and so what it holds.
    async fn heartbeat(&self) -> Result<()> {
        const WHAT: &str = "show that a consumer lives";
        let id = self.state.id();
        let mut command = redis::cmd("ZADD");
        command.arg(self.shared.keys.leases()).arg("XX").arg("GT").arg("CH").arg(self.lease_deadline()).arg(&*id);
        let known = self.shared.connection.heartbeat(WHAT, &command).await?;
        if known == Value::Int(0) && !self.is_registered(&id).await? {
            return self.register_again(&id).await;
        }
        reached("after-life");
        recover_lost_replies(&self.shared, &self.state).await?;
        let all = self.state.in_flight();
        for part in all.chunks(crate::settle::settle::MAX_DELIVERIES) {
            let tags: Vec<(&str, bool)> = part.iter().map(|(_, tag, begun)| (tag.as_str(), *begun)).collect();
            let gone = renew_in_flight(&self.shared, WHAT, &tags).await?;
            let gone: Vec<u64> =
                gone.into_iter().filter_map(|place| part.get(place)).map(|(number, ..)| *number).collect();
            // Those that were settled meanwhile are not held any more.
            let lost = self.state.drop_lost(&gone);
            if lost > 0 {
                tracing::warn!(lost, "deliveries of this worker were given to others, who took it for dead");
            }
        }
        Ok(())
    }

    async fn is_registered(&self, id: &str) -> Result<bool> {
        let mut command = redis::cmd("ZSCORE");
        command.arg(self.shared.keys.leases()).arg(id);
        let answer = self.shared.connection.command("show that a consumer lives", &command).await?;
        let deadline: Option<f64> = redis::from_redis_value(answer).unwrap_or_default();
        Ok(deadline.is_some_and(f64::is_finite))
    }

    /// Others took this consumer for dead, or the server has forgotten everything.
    async fn register_again(&self, old: &str) -> Result<()> {
        self.shared.connection.learn_time().await?;
        let id = fresh_id();
        self.register(&id).await?;
        let lost = self.state.renew_id(id);
        tracing::warn!(lost, "this worker was taken for dead; what it held is given to others, and it goes on anew");
        // What came in after the others had looked.
        reclaim_consumer(&self.shared, old, None).await
    }

    /// Looks after the dead; answers when to look again.
    async fn sweep(&self) -> Result<Instant> {
        const WHAT: &str = "look after dead consumers";
        if let Some(left) = self
            .grace()
            .checked_sub(self.shared.connection.connected_for().unwrap_or_default())
            .filter(|left| !left.is_zero())
            && *self.shared.connection.reconnects().borrow() > 1
        {
            return Ok(Instant::now() + left);
        }
        let mut passed = 0;
        loop {
            let mut command = redis::cmd("ZRANGE");
            command.arg(self.shared.keys.leases()).arg(passed).arg(passed).arg("WITHSCORES");
            let asked = Instant::now();
            let answer = self.shared.connection.command(WHAT, &command).await?;
            if asked.elapsed() > self.heartbeat_interval() {
                // It was held up, and with it everybody's signs of life.
                return Ok(Instant::now() + self.grace());
            }
            let first: Vec<(String, f64)> = redis::from_redis_value(answer).unwrap_or_default();
            let Some((id, deadline)) = first.into_iter().next() else { return Ok(Instant::now() + self.lease()) };
            let id = id.strip_prefix(RECLAIMING_PREFIX).unwrap_or(&id);
            let mut left = deadline as i64 - self.shared.connection.server_now();
            if left <= 0 {
                self.shared.connection.learn_time().await?;
                left = deadline as i64 - self.shared.connection.server_now();
            }
            if left > 0 {
                // Not all at the same time.
                let spread = fastrand::u64(50..=500).min(self.lease().as_millis() as u64 / 4);
                return Ok(Instant::now() + Duration::from_millis(left.unsigned_abs() + spread));
            }
            if *id == *self.state.id() {
                self.heartbeat().await?;
                continue;
            }
            match reclaim_consumer(&self.shared, id, Some(deadline)).await {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    // A key that it needs is of another type; the other dead are buried all the same.
                    tracing::warn!(%error, consumer = id, "could not give on what a dead worker held; trying again");
                    passed += 1;
                }
                buried => buried?,
            }
        }
    }
}
