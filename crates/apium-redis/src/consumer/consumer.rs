//! The consumer: it claims messages while there are any, and waits while there are none.
//!
//! Nothing runs in the background for a call of `next`. The claim and the waits that it has started belong to the
//! consumer and go on with the next call, so that dropping a call loses nothing.

use std::sync::Arc;
use std::time::Duration;

use apium_transport::broker::consumer::{Consumer, Delivery};
use apium_transport::broker::demand::Demand;
use apium_transport::broker::settlement::Acker;
use apium_transport::error::{Error, ErrorKind, Result};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::consumer::claim::{ClaimArgs, Claimed, Reserved, claim, now_micros};
use crate::consumer::maintenance::Maintenance;
use crate::consumer::queue_lists::{QueueLists, WaitEvent};
use crate::consumer::recovery::recover_lost_replies;
use crate::consumer::state::ConsumerState;
use crate::crash_points::reached;
use crate::scripts::operation::MAX_DELIVERIES;
use crate::settle::acker::RedisAcker;
use crate::settle::prepared::requeue;
use crate::shared::BrokerShared;

/// How long closing and pausing wait for a running claim and for running waits.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after a wait is cancelled it is cancelled once more: it may not have reached the server before.
const CANCEL_INTERVAL: Duration = Duration::from_millis(20);

/// A consumer of one or more queues.
pub struct RedisConsumer {
    shared: Arc<BrokerShared>,
    state: Arc<ConsumerState>,
    acker: Arc<RedisAcker>,
    lists: QueueLists,
    /// The running claim: its result, how long it took, and how many messages it asked for.
    claiming: Option<BoxFuture<'static, (Result<Claimed>, Duration, usize)>>,
    /// The first number of the last claim, and the consumer's id at that time.
    reserved: (u64, Arc<str>),
    /// Whether what is buffered is to be requeued, and not handed out.
    returns_buffer: bool,
    /// The fastest reply to a claim, which took about one round trip.
    round_trip: Duration,
    /// Counts the connections for commands.
    reconnects: watch::Receiver<u64>,
    maintenance: Option<Maintenance>,
}

impl std::fmt::Debug for RedisConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConsumer").field("id", &self.state.id()).finish_non_exhaustive()
    }
}

impl RedisConsumer {
    pub(crate) fn new(shared: Arc<BrokerShared>, state: Arc<ConsumerState>, maintenance: Maintenance) -> Self {
        let acker = Arc::new(RedisAcker { shared: shared.clone(), state: state.clone() });
        let mut lists = QueueLists::new(shared.clone(), state.clone());
        for queue in state.queues() {
            lists.add(&queue);
        }
        let reconnects = shared.connection.reconnects();
        Self {
            shared,
            state,
            acker,
            lists,
            reconnects,
            claiming: None,
            reserved: (0, Arc::default()),
            returns_buffer: false,
            round_trip: Duration::from_secs(1),
            maintenance: Some(maintenance),
        }
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>> {
        const WHAT: &str = "receive the next delivery";
        let (shared, state) = (self.shared.clone(), self.state.clone());
        if self.returns_buffer {
            self.return_buffered().await?;
        }
        loop {
            shared.check_open(WHAT)?;
            // Registered before the state is read, so that no change is missed.
            let changed = state.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.drop_outdated_waits();
            let claimed = state.take_buffered(max.max(1));
            if !claimed.is_empty() {
                return Ok(claimed);
            }
            if let Some(claiming) = &mut self.claiming {
                let (claimed, took, wanted) = tokio::select! {
                    biased;
                    claimed = claiming => claimed,
                    () = shared.connection.wait_closed() => continue,
                    // A settlement has claimed something meanwhile.
                    () = state.claimed.notified() => continue,
                };
                self.claiming = None;
                state.release(wanted);
                let claimed = self.claim_answered((claimed, wanted))?;
                self.buffer_claimed(claimed, took).await?;
                continue;
            }
            let free = state.free_prefetch();
            let outdated = self.lists.is_outdated();
            if outdated && self.lists.waits.is_empty() && !self.lists.any_moved() {
                self.lists.renew();
                continue;
            }
            if free == 0 && !outdated && state.has_next_claims() {
                // A settlement claims, and soon says how much of the prefetch stays free. The waits go on.
                tokio::select! {
                    biased;
                    () = shared.connection.wait_closed() => {}
                    () = changed => {}
                    Some(wait_end) = self.lists.waits.next() => self.wait_ended(wait_end).await?,
                }
                continue;
            }
            if free == 0 || outdated {
                self.wait_while_full(changed, &shared).await?;
                continue;
            }
            if self.lists.any_ready() {
                self.start_claim(max.max(1).min(free).min(MAX_DELIVERIES));
                continue;
            }
            self.lists.start_waits();
            if self.lists.must_cancel() {
                self.cancel_waits().await?;
                continue;
            }
            tokio::select! {
                biased;
                () = shared.connection.wait_closed() => {}
                Some(ended) = self.lists.waits.next() => self.wait_ended(ended).await?,
                () = self.lists.tracking.changed() => self.lists.note_changes(),
                () = changed => {}
                // The sender lives in `shared`.
                _ = self.reconnects.changed() => {}
            }
        }
    }

    fn start_claim(&mut self, wanted: usize) {
        let lists = self.lists.claim_requests();
        let marked = self.state.wanted().marked;
        let Reserved { first, id, wanted, begin } = self.state.reserve(wanted, marked, now_micros(&self.shared));
        self.reserved = (first, id.clone());
        let claim = claim(self.shared.clone(), ClaimArgs { first, id, wanted, begin, lists });
        self.claiming = Some(Box::pin(async move {
            let began = Instant::now();
            (claim.await, began.elapsed(), wanted)
        }));
    }

    /// Remembers a claim without a reply, since the server may have done it.
    fn claim_answered(&self, (claimed, wanted): (Result<Claimed>, usize)) -> Result<Claimed> {
        claimed.inspect_err(|error| {
            if error.is_connection() {
                let (first, id) = self.reserved.clone();
                self.state.lost_replies().add_claim(id, first, wanted, self.state.lost_reply_window());
                self.state.suspected.notify_one();
            }
        })
    }

    /// Puts claimed messages in flight and into the buffer.
    async fn buffer_claimed(&mut self, claimed: Claimed, took: Duration) -> Result<()> {
        if claimed.gone {
            self.get_new_id(&claimed.id).await;
            return Ok(());
        }
        self.round_trip = self.round_trip.min(took);
        self.lists.claim_answered(&claimed);
        match claimed.add_to(&self.state) {
            Ok(()) => Ok(()),
            Err((id, deliveries)) => requeue(&self.shared, &id, deliveries).await,
        }
    }

    /// Takes note of the end of a wait. One that ended within about a round trip found its message there already, so
    /// there may be more. The error is one that a claim would not show.
    async fn wait_ended(&mut self, wait_end: WaitEvent) -> Result<()> {
        let soon = self.round_trip * 2 + Duration::from_millis(1);
        let ended = self.lists.wait_ended(wait_end, |after| after < soon);
        if ended.broke {
            self.waits_broke();
        }
        if ended.closed {
            self.get_new_id(&self.lists.id()).await;
        }
        ended.error.map_or(Ok(()), Err)
    }

    /// Others have taken the consumer `id` for dead: there is nothing to claim until the maintenance loop has
    /// registered it again.
    async fn get_new_id(&mut self, id: &str) {
        self.state.suspected.notify_one();
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.state.wait_renamed(id)).await;
    }

    fn drop_outdated_waits(&mut self) {
        if self.lists.drop_outdated_waits() {
            self.waits_broke();
        }
    }

    /// Lets the maintenance look for messages that broken waits have moved.
    fn waits_broke(&self) {
        self.state.lost_replies().add_wait(self.lists.id(), self.state.lost_reply_window());
        self.state.suspected.notify_one();
    }

    /// Waits while the prefetch is used up. No wait may take a message from other consumers meanwhile: running ones are
    /// cancelled, and messages that were moved are returned.
    async fn wait_while_full(&mut self, changed: impl Future<Output = ()>, shared: &BrokerShared) -> Result<()> {
        if self.lists.any_moved() {
            return self.lists.return_moved().await;
        }
        if self.lists.waits.is_empty() {
            tokio::select! {
                biased;
                () = shared.connection.wait_closed() => {}
                () = changed => {}
            }
            return Ok(());
        }
        self.cancel_waits().await
    }

    /// Cancels the waits. One of them has ended then, or it is time to cancel them once more.
    async fn cancel_waits(&mut self) -> Result<()> {
        self.lists.cancel_waits().await?;
        tokio::select! {
            biased;
            Some(ended) = self.lists.waits.next() => self.wait_ended(ended).await,
            () = tokio::time::sleep(CANCEL_INTERVAL) => Ok(()),
        }
    }

    /// Ends the running claims and the waits. Claimed messages stay in the buffer, and those in handoff lists are
    /// returned.
    async fn stop_claims(&mut self) -> Result<()> {
        let deadline = Instant::now() + STOP_TIMEOUT;
        let next_stopped = tokio::time::timeout_at(deadline, self.state.stop_next_claims()).await.is_ok();
        if let Some(claiming) = &mut self.claiming
            && let Ok((claimed, took, wanted)) = tokio::time::timeout_at(deadline, claiming).await
        {
            self.claiming = None;
            self.state.release(wanted);
            let claimed = self.claim_answered((claimed, wanted))?;
            self.buffer_claimed(claimed, took).await?;
        }
        while !self.lists.waits.is_empty() && Instant::now() < deadline {
            self.lists.cancel_waits().await?;
            if let Ok(Some(ended)) = tokio::time::timeout(CANCEL_INTERVAL, self.lists.waits.next()).await {
                // If it failed, what it has moved nevertheless is returned below.
                let _ = self.wait_ended(ended).await;
            }
        }
        self.lists.return_all().await?;
        match next_stopped && self.claiming.is_none() && self.lists.waits.is_empty() {
            true => Ok(()),
            // A slow server may still do them.
            false => Err(Error::new(ErrorKind::Timeout, "stop claiming messages: the server does not answer in time")),
        }
    }

    async fn shutdown(mut self) -> Result<()> {
        if self.shared.connection.is_closed() {
            self.state.close();
            return Ok(());
        }
        let stopped = self.stop_claims().await;
        reached("close-stopped");
        let (id, deliveries) = self.state.close();
        let requeued = requeue(&self.shared, &id, deliveries).await;
        reached("close-requeued");
        let recovered = recover_lost_replies(&self.shared, &self.state).await;
        let clear = stopped.is_ok() && requeued.is_ok() && recovered.is_ok() && self.state.lost_replies().is_empty();
        match self.maintenance.take() {
            // Otherwise it stays registered, so that others reclaim what could not be requeued and what may still come.
            Some(maintenance) if clear => maintenance.unregister().await?,
            _ => {}
        }
        stopped.and(requeued)
    }
}

impl Drop for RedisConsumer {
    fn drop(&mut self) {
        // The acker may live on, and nobody would get what its settlements claim.
        self.state.forbid_next_claims();
    }
}

impl Consumer for RedisConsumer {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(self.next_batch(max))
    }

    fn acker(&self) -> Arc<dyn Acker> {
        self.acker.clone()
    }

    fn set_demand(&mut self, demand: Arc<dyn Demand>) {
        self.state.set_demand(demand);
    }

    fn set_prefetch(&mut self, prefetch: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.state.set_prefetch(prefetch);
            Ok(())
        })
    }

    fn pause(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let is_idle = self.claiming.is_none() && self.lists.waits.is_empty() && !self.lists.any_moved();
            match is_idle && !self.state.has_next_claims() {
                true => self.state.stop_next_claims().await,
                false => self.stop_claims().await?,
            }
            self.return_buffered().await
        })
    }

    fn subscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut queues = self.state.queues();
            if queues.iter().any(|other| &**other == queue) {
                return Ok(());
            }
            queues.push(queue.into());
            self.update_registration(queues).await?;
            self.lists.add(queue);
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut queues = self.state.queues();
            let before = queues.len();
            queues.retain(|other| &**other != queue);
            if queues.len() == before {
                return Ok(());
            }
            self.stop_claims().await?;
            self.lists.remove(queue);
            self.update_registration(queues).await
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(self.shutdown())
    }
}

impl RedisConsumer {
    /// Requeues what was claimed and is not handed out. Where there is no answer the server may have done it, so the
    /// next call of `next` does it again before it hands out anything.
    async fn return_buffered(&mut self) -> Result<()> {
        self.returns_buffer = true;
        let (id, buffered) = self.state.buffered();
        requeue(&self.shared, &id, buffered).await?;
        self.state.clear_buffer();
        self.returns_buffer = false;
        Ok(())
    }

    /// Registers the queues that are read.
    async fn update_registration(&mut self, queues: Vec<Arc<str>>) -> Result<()> {
        let before = self.state.queues();
        self.shared.subscribe_fanout(&queues);
        self.state.set_queues(queues);
        let registered = match &self.maintenance {
            Some(maintenance) => maintenance.register().await,
            None => Err(Error::new(ErrorKind::Closed, "change the queues of a consumer: it was closed")),
        };
        if registered.is_err() {
            self.state.set_queues(before);
        }
        registered
    }
}
