//! What goes on beside a consumer: it shows that it lives, looks after what the dead have left, and returns what was parked.
//!
//! All times are the server's, so that machines whose clocks differ agree. An idle consumer sends a few commands a minute (P16).

use std::sync::Arc;
use std::time::Duration;

use apium_transport::error::{ErrorKind, Result};
use redis::Value;
use tokio::time::Instant;

use crate::connection::background::Task;
use crate::consumer::heartbeat::touch;
use crate::consumer::reclaim::{bury, restore_visible};
use crate::consumer::recovery::look;
use crate::consumer::registration::{Card, MARK, unregister};
use crate::consumer::state::{Seat, fresh_id};
use crate::crash_points::reached;
use crate::publish::delayed;
use crate::shared::Core;

/// The attendant of a consumer. Dropping it ends it, and with it the consumer's signs of life.
#[derive(Debug)]
pub(crate) struct Attendant {
    work: Arc<Work>,
    _task: Task,
}

#[derive(Debug)]
struct Work {
    core: Arc<Core>,
    seat: Arc<Seat>,
}

impl Attendant {
    /// Registers the consumer and begins.
    pub(crate) async fn start(core: Arc<Core>, seat: Arc<Seat>) -> Result<Self> {
        let work = Arc::new(Work { core, seat });
        work.register(&work.seat.id()).await?;
        // What a worker that was killed has left is there at once.
        let sweep = work.sweep().await?;
        let task = Task::start(work.clone().serve(sweep));
        Ok(Self { work, _task: task })
    }

    /// Says anew what the consumer is.
    pub(crate) async fn register(&self) -> Result<()> {
        self.work.register(&self.work.seat.id()).await
    }

    /// The consumer is gone, and has left nothing.
    pub(crate) async fn leave(self) -> Result<()> {
        unregister(&self.work.core, &self.work.seat.id()).await
    }
}

/// The times at which something is to be done.
struct Plan {
    beat: Instant,
    sweep: Instant,
    visible: Instant,
    eta: Option<Instant>,
}

impl Work {
    fn lease(&self) -> Duration {
        self.seat.spec.lease
    }

    /// How often a consumer that holds something shows that it lives.
    fn beat(&self) -> Duration {
        self.lease().min(self.core.options.visibility) / 3
    }

    /// For how long nobody is taken for dead after the server was away or refused, so that everybody can come back: longer than
    /// the pauses between attempts.
    fn grace(&self) -> Duration {
        self.lease().clamp(Duration::from_secs(2), Duration::from_secs(5))
    }

    fn deadline(&self) -> i64 {
        self.core.link.server_now() + i64::try_from(self.lease().as_millis()).unwrap_or(i64::MAX / 2)
    }

    async fn register(&self, id: &str) -> Result<()> {
        let card = Card {
            node: self.seat.spec.node.clone(),
            queues: self.seat.queues(),
            max_crashes: self.seat.spec.max_crashes,
            pid: std::process::id(),
        };
        let card = serde_json::to_string(&card).unwrap_or_default();
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        pipeline.cmd("HSET").arg(self.core.keys.consumers()).arg(id).arg(card);
        // A larger one only: that of a consumer that is being buried stays as it is.
        pipeline.cmd("ZADD").arg(self.core.keys.alive()).arg("GT").arg(self.deadline()).arg(id);
        self.core.link.pipeline("register a consumer", &pipeline).await.map(drop)
    }

    async fn serve(self: Arc<Self>, sweep: Instant) {
        let now = Instant::now();
        let mut plan = Plan { beat: now + self.beat(), sweep, visible: now, eta: Some(now) };
        let mut generations = self.core.link.generations();
        generations.mark_unchanged();
        let mut etas = self.core.ears.etas.subscribe();
        loop {
            let next = [Some(plan.beat), Some(plan.sweep), Some(plan.visible), plan.eta].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = self.seat.wait_closed() => return,
                () = self.core.link.wait_closed() => return,
                () = self.seat.doubted.notified() => plan.beat = Instant::now(),
                // The server was away: it is told at once that this consumer was not.
                Ok(()) = generations.changed() => {
                    plan.beat = Instant::now();
                    self.core.known.forget_all();
                    plan.eta = Some(Instant::now());
                }
                Ok(()) = etas.changed() => {
                    plan.eta = delayed::planned(&self.core, *etas.borrow_and_update());
                    continue;
                }
                () = tokio::time::sleep_until(next.unwrap_or(now)) => {}
            }
            if let Err(error) = self.attend(&mut plan).await {
                tracing::debug!(%error, "could not look after a consumer; trying again");
                let soon = Instant::now() + (self.lease() / 10).min(Duration::from_secs(1));
                for time in [&mut plan.beat, &mut plan.visible].into_iter().chain(plan.eta.as_mut()) {
                    *time = (*time).max(soon);
                }
                // What kept this consumer from showing life may have kept the others from it.
                plan.sweep = plan.sweep.max(Instant::now() + self.grace());
            }
        }
    }

    /// Does what is due.
    async fn attend(&self, plan: &mut Plan) -> Result<()> {
        let due = |time: Instant| time <= Instant::now();
        if due(plan.beat) {
            self.show_life().await?;
            // An idle consumer need not hurry: it holds nothing that could be lost.
            let idle = self.seat.all().is_empty();
            plan.beat = Instant::now() + if idle { self.beat() * 3 / 2 } else { self.beat() };
        }
        if due(plan.sweep) {
            plan.sweep = self.sweep().await?;
        }
        if plan.eta.is_some_and(due) {
            plan.eta = delayed::attend(&self.core).await?;
        }
        if due(plan.visible) {
            restore_visible(&self.core).await?;
            let visibility = self.core.options.visibility;
            plan.visible = Instant::now() + (visibility / 4).clamp(Duration::from_millis(250), Duration::from_secs(60));
        }
        Ok(())
    }

    /// Shows that the consumer lives, and so what it holds.
    async fn show_life(&self) -> Result<()> {
        const WHAT: &str = "show that a consumer lives";
        let id = self.seat.id();
        let mut command = redis::cmd("ZADD");
        command.arg(self.core.keys.alive()).arg("XX").arg("GT").arg("CH").arg(self.deadline()).arg(&*id);
        let known = self.core.link.show_life(WHAT, &command).await?;
        if known == Value::Int(0) && !self.is_registered(&id).await? {
            return self.enter_anew(&id).await;
        }
        reached("after-life");
        look(&self.core, &self.seat).await?;
        let all = self.seat.all();
        for part in all.chunks(crate::settle::settle::MOST) {
            let tags: Vec<(&str, bool)> = part.iter().map(|(_, tag, begun)| (tag.as_str(), *begun)).collect();
            let gone = touch(&self.core, WHAT, &tags).await?;
            let gone: Vec<u64> =
                gone.into_iter().filter_map(|place| part.get(place)).map(|(number, ..)| *number).collect();
            // Those that were settled meanwhile are not held any more.
            let lost = self.seat.lose(&gone);
            if lost > 0 {
                tracing::warn!(lost, "deliveries of this worker were given to others, who took it for dead");
            }
        }
        Ok(())
    }

    async fn is_registered(&self, id: &str) -> Result<bool> {
        let mut command = redis::cmd("ZSCORE");
        command.arg(self.core.keys.alive()).arg(id);
        let answer = self.core.link.command("show that a consumer lives", &command).await?;
        let deadline: Option<f64> = redis::from_redis_value(answer).unwrap_or_default();
        Ok(deadline.is_some_and(f64::is_finite))
    }

    /// Others took this consumer for dead, or the server has forgotten everything.
    async fn enter_anew(&self, old: &str) -> Result<()> {
        self.core.link.learn_time().await?;
        let id = fresh_id();
        self.register(&id).await?;
        let lost = self.seat.enter_anew(id);
        tracing::warn!(lost, "this worker was taken for dead; what it held is given to others, and it goes on anew");
        // What came in after the others had looked.
        bury(&self.core, old, None).await
    }

    /// Looks after the dead; answers when to look again.
    async fn sweep(&self) -> Result<Instant> {
        const WHAT: &str = "look after dead consumers";
        if let Some(left) =
            self.grace().checked_sub(self.core.link.age().unwrap_or_default()).filter(|left| !left.is_zero())
            && *self.core.link.generations().borrow() > 1
        {
            return Ok(Instant::now() + left);
        }
        let mut passed = 0;
        loop {
            let mut command = redis::cmd("ZRANGE");
            command.arg(self.core.keys.alive()).arg(passed).arg(passed).arg("WITHSCORES");
            let asked = Instant::now();
            let answer = self.core.link.command(WHAT, &command).await?;
            if asked.elapsed() > self.beat() {
                // It was held up, and with it everybody's signs of life.
                return Ok(Instant::now() + self.grace());
            }
            let first: Vec<(String, f64)> = redis::from_redis_value(answer).unwrap_or_default();
            let Some((id, deadline)) = first.into_iter().next() else { return Ok(Instant::now() + self.lease()) };
            let id = id.strip_prefix(MARK).unwrap_or(&id);
            let mut left = deadline as i64 - self.core.link.server_now();
            if left <= 0 {
                self.core.link.learn_time().await?;
                left = deadline as i64 - self.core.link.server_now();
            }
            if left > 0 {
                // Not all at the same time.
                let spread = fastrand::u64(50..=500).min(self.lease().as_millis() as u64 / 4);
                return Ok(Instant::now() + Duration::from_millis(left.unsigned_abs() + spread));
            }
            if *id == *self.seat.id() {
                self.show_life().await?;
                continue;
            }
            match bury(&self.core, id, Some(deadline)).await {
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
