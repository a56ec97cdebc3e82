//! The consuming half: claims while there is something to take, waits while there is not.
//!
//! Nothing runs in the background for a call of `next`: what it has begun (a claim, waits) is kept in the consumer and goes on
//! with the next call, so a dropped call loses nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use apium_transport::broker::consumer::{Consumer, Delivery};
use apium_transport::broker::settlement::Acker;
use apium_transport::error::{Error, ErrorKind, Result};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::consumer::blocking_wait::{WaitEnd, WaitResult};
use crate::consumer::claim::{Claimed, claim};
use crate::consumer::maintenance::Maintenance;
use crate::consumer::queue_lists::QueueLists;
use crate::consumer::recovery::recover_lost_replies;
use crate::consumer::state::ConsumerState;
use crate::crash_points::reached;
use crate::settle::acker::RedisAcker;
use crate::settle::settle::{MAX_DELIVERIES, requeue};
use crate::shared::BrokerShared;

/// How long closing waits for what was on its way.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// A wait that is called off may not have begun in the server: it is called off again after this time.
const CANCEL_INTERVAL: Duration = Duration::from_millis(20);

/// A consumer of one or more queues.
pub struct RedisConsumer {
    shared: Arc<BrokerShared>,
    state: Arc<ConsumerState>,
    acker: Arc<RedisAcker>,
    lists: QueueLists,
    /// The claim that is on its way.
    claiming: Option<BoxFuture<'static, (Result<Claimed>, Duration, usize)>>,
    /// Its first number, and who claims.
    reserved: (u64, Arc<str>),
    buffer: VecDeque<Delivery>,
    /// The fastest answer to a claim: about one round trip.
    round_trip: Duration,
    maintenance: Option<Maintenance>,
}

impl std::fmt::Debug for RedisConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConsumer").field("id", &self.state.id()).finish_non_exhaustive()
    }
}

impl RedisConsumer {
    pub(crate) fn new(core: Arc<BrokerShared>, seat: Arc<ConsumerState>, attendant: Maintenance) -> Self {
        let acker = Arc::new(RedisAcker { shared: core.clone(), state: seat.clone() });
        let mut lists = QueueLists::new(core.clone(), seat.clone());
        for queue in seat.queues() {
            lists.add(&queue);
        }
        Self {
            shared: core,
            state: seat,
            acker,
            lists,
            claiming: None,
            reserved: (0, Arc::default()),
            buffer: VecDeque::new(),
            round_trip: Duration::from_secs(1),
            maintenance: Some(attendant),
        }
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>> {
        const WHAT: &str = "take the next delivery";
        let (core, seat) = (self.shared.clone(), self.state.clone());
        loop {
            core.check_open(WHAT)?;
            // From here on no change is missed.
            let changed = seat.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.buffer.is_empty() {
                let count = self.buffer.len().min(max.max(1));
                return Ok(self.buffer.drain(..count).collect());
            }
            if let Some(claiming) = &mut self.claiming {
                let (claimed, took, wanted) = tokio::select! {
                    biased;
                    claimed = claiming => claimed,
                    () = core.connection.wait_closed() => continue,
                };
                self.claiming = None;
                seat.release(wanted);
                let claimed = self.claim_answered((claimed, wanted))?;
                self.buffer_claimed(claimed, took).await?;
                continue;
            }
            let room = seat.free_prefetch();
            let outdated = self.lists.is_outdated();
            if outdated && self.lists.waits.is_empty() && !self.lists.any_moved() {
                self.lists.renew();
                continue;
            }
            if room == 0 || outdated {
                self.wait_while_full(changed, &core).await?;
                continue;
            }
            if self.lists.any_ready() {
                self.start_claim(max.max(1).min(room).min(MAX_DELIVERIES));
                continue;
            }
            self.lists.start_waits();
            tokio::select! {
                biased;
                () = core.connection.wait_closed() => {}
                Some(ended) = self.lists.waits.next() => self.wait_ended(ended)?,
                () = changed => {}
            }
        }
    }

    fn start_claim(&mut self, wanted: usize) {
        let lists = self.lists.claim_requests();
        let now = u64::try_from(self.shared.connection.clock().now().as_microsecond()).unwrap_or(0);
        let reserved = self.state.reserve(wanted, now);
        self.reserved = reserved.clone();
        let claim = claim(self.shared.clone(), reserved, wanted, lists);
        self.claiming = Some(Box::pin(async move {
            let began = Instant::now();
            (claim.await, began.elapsed(), wanted)
        }));
    }

    /// A claim that broke may have been done all the same.
    fn claim_answered(&self, (claimed, wanted): (Result<Claimed>, usize)) -> Result<Claimed> {
        claimed.inspect_err(|error| {
            if error.is_connection() {
                let (first, id) = self.reserved.clone();
                self.state.lost_replies().add_claim(id, first, wanted, self.state.lost_reply_window());
            }
        })
    }

    async fn buffer_claimed(&mut self, claimed: Claimed, took: Duration) -> Result<()> {
        if claimed.gone {
            // Until the attendant has entered it anew there is nothing to take.
            self.state.suspected.notify_one();
            let outdated = self.state.wait_renamed(&claimed.id);
            return tokio::time::timeout(STOP_TIMEOUT, outdated).await.or(Ok(()));
        }
        self.round_trip = self.round_trip.min(took);
        self.lists.claim_answered(&claimed);
        let mut held = Vec::with_capacity(claimed.envelopes.len());
        for (number, entry, delivery) in claimed.deliveries() {
            held.push((number, entry));
            self.buffer.push_back(delivery);
        }
        if let Err(held) = self.state.add_in_flight(&claimed.id, held) {
            // Taken under an id that others count as dead, and had gone through already.
            self.buffer.clear();
            return requeue(&self.shared, &claimed.id, held).await;
        }
        Ok(())
    }

    fn wait_ended(&mut self, ended: WaitEnd) -> Result<()> {
        if ended.result.is_err() {
            self.state.lost_replies().add_wait(self.lists.id(), self.state.lost_reply_window());
        }
        let soon = self.round_trip * 2 + Duration::from_millis(1);
        let at_once = matches!(ended.result, Ok(WaitResult::Moved { after }) if after < soon);
        self.lists.wait_ended(ended, at_once)
    }

    /// Holds as much as it may: nothing must come now, and what a wait has moved meanwhile goes back to others.
    async fn wait_while_full(&mut self, changed: impl Future<Output = ()>, core: &BrokerShared) -> Result<()> {
        if self.lists.any_moved() {
            return self.lists.return_moved().await;
        }
        if self.lists.waits.is_empty() {
            tokio::select! {
                biased;
                () = core.connection.wait_closed() => {}
                () = changed => {}
            }
            return Ok(());
        }
        self.lists.cancel_waits().await?;
        tokio::select! {
            biased;
            Some(ended) = self.lists.waits.next() => self.wait_ended(ended),
            () = tokio::time::sleep(CANCEL_INTERVAL) => Ok(()),
        }
    }

    /// Ends what is on its way and gives back what it brought.
    async fn stop_claims(&mut self) -> Result<()> {
        let deadline = Instant::now() + STOP_TIMEOUT;
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
                // One that failed has moved nothing that anybody knows of; what it has moved is put back below.
                let _ = self.wait_ended(ended);
            }
        }
        self.lists.return_all().await?;
        match self.claiming.is_none() && self.lists.waits.is_empty() {
            true => Ok(()),
            // It may still be done by a server that is slow.
            false => Err(Error::new(ErrorKind::Timeout, "stop taking messages: the server does not answer in time")),
        }
    }

    async fn shutdown(mut self) -> Result<()> {
        if self.shared.connection.is_closed() {
            self.state.close();
            return Ok(());
        }
        let stood_down = self.stop_claims().await;
        reached("close-stood-down");
        let (id, held) = self.state.close();
        let given_back = requeue(&self.shared, &id, held).await;
        reached("close-given-back");
        let looked = recover_lost_replies(&self.shared, &self.state).await;
        let clear = stood_down.is_ok() && given_back.is_ok() && looked.is_ok() && self.state.lost_replies().is_empty();
        match self.maintenance.take() {
            // What could not be given back, or may come yet, is left to the others, who find it by the registration.
            Some(attendant) if clear => attendant.unregister().await?,
            _ => {}
        }
        stood_down.and(given_back)
    }
}

impl Consumer for RedisConsumer {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(self.next_batch(max))
    }

    fn acker(&self) -> Arc<dyn Acker> {
        self.acker.clone()
    }

    fn set_prefetch(&mut self, prefetch: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.state.set_prefetch(prefetch);
            Ok(())
        })
    }

    fn pause(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.claiming.is_none() && self.lists.waits.is_empty() && !self.lists.any_moved() {
                true => Ok(()),
                false => self.stop_claims().await,
            }
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
    /// Tells the others which queues are read.
    async fn update_registration(&mut self, queues: Vec<Arc<str>>) -> Result<()> {
        let before = self.state.queues();
        self.shared.subscribe_fanout(&queues);
        self.state.set_queues(queues);
        let told = match &self.maintenance {
            Some(attendant) => attendant.register().await,
            None => Err(Error::new(ErrorKind::Closed, "change the queues of a consumer: it was closed")),
        };
        if told.is_err() {
            self.state.set_queues(before);
        }
        told
    }
}
