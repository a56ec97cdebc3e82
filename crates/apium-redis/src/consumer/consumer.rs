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

use crate::consumer::blocking_wait::{Ended, Outcome};
use crate::consumer::claim::{Claimed, claim};
use crate::consumer::maintenance::Attendant;
use crate::consumer::queue_lists::Lists;
use crate::consumer::recovery::look;
use crate::consumer::state::Seat;
use crate::crash_points::reached;
use crate::settle::acker::RedisAcker;
use crate::settle::settle::{MOST, give_back};
use crate::shared::Core;

/// How long closing waits for what was on its way.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// A wait that is called off may not have begun in the server: it is called off again after this time.
const AGAIN: Duration = Duration::from_millis(20);

/// A consumer of one or more queues.
pub struct RedisConsumer {
    core: Arc<Core>,
    seat: Arc<Seat>,
    acker: Arc<RedisAcker>,
    lists: Lists,
    /// The claim that is on its way.
    claiming: Option<BoxFuture<'static, (Result<Claimed>, Duration, usize)>>,
    /// Its first number, and who claims.
    reserved: (u64, Arc<str>),
    buffer: VecDeque<Delivery>,
    /// The fastest answer to a claim: about one round trip.
    round_trip: Duration,
    attendant: Option<Attendant>,
}

impl std::fmt::Debug for RedisConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConsumer").field("id", &self.seat.id()).finish_non_exhaustive()
    }
}

impl RedisConsumer {
    pub(crate) fn new(core: Arc<Core>, seat: Arc<Seat>, attendant: Attendant) -> Self {
        let acker = Arc::new(RedisAcker { core: core.clone(), seat: seat.clone() });
        let mut lists = Lists::new(core.clone(), seat.clone());
        for queue in seat.queues() {
            lists.add(&queue);
        }
        Self {
            core,
            seat,
            acker,
            lists,
            claiming: None,
            reserved: (0, Arc::default()),
            buffer: VecDeque::new(),
            round_trip: Duration::from_secs(1),
            attendant: Some(attendant),
        }
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>> {
        const WHAT: &str = "take the next delivery";
        let (core, seat) = (self.core.clone(), self.seat.clone());
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
                    () = core.link.wait_closed() => continue,
                };
                self.claiming = None;
                seat.release(wanted);
                let claimed = self.heard((claimed, wanted))?;
                self.take_in(claimed, took).await?;
                continue;
            }
            let room = seat.room();
            let outdated = self.lists.is_outdated();
            if outdated && self.lists.waits.is_empty() && !self.lists.any_moved() {
                self.lists.renew();
                continue;
            }
            if room == 0 || outdated {
                self.be_full(changed, &core).await?;
                continue;
            }
            if self.lists.any_ready() {
                self.begin_claim(max.max(1).min(room).min(MOST));
                continue;
            }
            self.lists.begin_waits();
            tokio::select! {
                biased;
                () = core.link.wait_closed() => {}
                Some(ended) = self.lists.waits.next() => self.waited(ended)?,
                () = changed => {}
            }
        }
    }

    fn begin_claim(&mut self, wanted: usize) {
        let lists = self.lists.asked();
        let now = u64::try_from(self.core.link.clock().now().as_microsecond()).unwrap_or(0);
        let reserved = self.seat.reserve(wanted, now);
        self.reserved = reserved.clone();
        let claim = claim(self.core.clone(), reserved, wanted, lists);
        self.claiming = Some(Box::pin(async move {
            let began = Instant::now();
            (claim.await, began.elapsed(), wanted)
        }));
    }

    /// A claim that broke may have been done all the same.
    fn heard(&self, (claimed, wanted): (Result<Claimed>, usize)) -> Result<Claimed> {
        claimed.inspect_err(|error| {
            if error.is_connection() {
                let (first, id) = self.reserved.clone();
                self.seat.unsure().claim(id, first, wanted, self.seat.patience());
            }
        })
    }

    async fn take_in(&mut self, claimed: Claimed, took: Duration) -> Result<()> {
        if claimed.gone {
            // Until the attendant has entered it anew there is nothing to take.
            self.seat.doubted.notify_one();
            let outdated = self.seat.wait_renamed(&claimed.id);
            return tokio::time::timeout(LAST_WAIT, outdated).await.or(Ok(()));
        }
        self.round_trip = self.round_trip.min(took);
        self.lists.claimed(&claimed);
        let mut held = Vec::with_capacity(claimed.envelopes.len());
        for (number, entry, delivery) in claimed.deliveries() {
            held.push((number, entry));
            self.buffer.push_back(delivery);
        }
        if let Err(held) = self.seat.enter(&claimed.id, held) {
            // Taken under an id that others count as dead, and had gone through already.
            self.buffer.clear();
            return give_back(&self.core, &claimed.id, held).await;
        }
        Ok(())
    }

    fn waited(&mut self, ended: Ended) -> Result<()> {
        if ended.outcome.is_err() {
            self.seat.unsure().wait(self.lists.id(), self.seat.patience());
        }
        let soon = self.round_trip * 2 + Duration::from_millis(1);
        let at_once = matches!(ended.outcome, Ok(Outcome::Moved { after }) if after < soon);
        self.lists.waited(ended, at_once)
    }

    /// Holds as much as it may: nothing must come now, and what a wait has moved meanwhile goes back to others.
    async fn be_full(&mut self, changed: impl Future<Output = ()>, core: &Core) -> Result<()> {
        if self.lists.any_moved() {
            return self.lists.put_back().await;
        }
        if self.lists.waits.is_empty() {
            tokio::select! {
                biased;
                () = core.link.wait_closed() => {}
                () = changed => {}
            }
            return Ok(());
        }
        self.lists.call_off().await?;
        tokio::select! {
            biased;
            Some(ended) = self.lists.waits.next() => self.waited(ended),
            () = tokio::time::sleep(AGAIN) => Ok(()),
        }
    }

    /// Ends what is on its way and gives back what it brought.
    async fn stand_down(&mut self) -> Result<()> {
        let deadline = Instant::now() + LAST_WAIT;
        if let Some(claiming) = &mut self.claiming
            && let Ok((claimed, took, wanted)) = tokio::time::timeout_at(deadline, claiming).await
        {
            self.claiming = None;
            self.seat.release(wanted);
            let claimed = self.heard((claimed, wanted))?;
            self.take_in(claimed, took).await?;
        }
        while !self.lists.waits.is_empty() && Instant::now() < deadline {
            self.lists.call_off().await?;
            if let Ok(Some(ended)) = tokio::time::timeout(AGAIN, self.lists.waits.next()).await {
                // One that failed has moved nothing that anybody knows of; what it has moved is put back below.
                let _ = self.waited(ended);
            }
        }
        self.lists.put_back_all().await?;
        match self.claiming.is_none() && self.lists.waits.is_empty() {
            true => Ok(()),
            // It may still be done by a server that is slow.
            false => Err(Error::new(ErrorKind::Timeout, "stop taking messages: the server does not answer in time")),
        }
    }

    async fn shut(mut self) -> Result<()> {
        if self.core.link.is_closed() {
            self.seat.close();
            return Ok(());
        }
        let stood_down = self.stand_down().await;
        reached("close-stood-down");
        let (id, held) = self.seat.close();
        let given_back = give_back(&self.core, &id, held).await;
        reached("close-given-back");
        let looked = look(&self.core, &self.seat).await;
        let clear = stood_down.is_ok() && given_back.is_ok() && looked.is_ok() && self.seat.unsure().is_empty();
        match self.attendant.take() {
            // What could not be given back, or may come yet, is left to the others, who find it by the registration.
            Some(attendant) if clear => attendant.leave().await?,
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
            self.seat.set_prefetch(prefetch);
            Ok(())
        })
    }

    fn pause(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.claiming.is_none() && self.lists.waits.is_empty() && !self.lists.any_moved() {
                true => Ok(()),
                false => self.stand_down().await,
            }
        })
    }

    fn subscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut queues = self.seat.queues();
            if queues.iter().any(|other| &**other == queue) {
                return Ok(());
            }
            queues.push(queue.into());
            self.tell(queues).await?;
            self.lists.add(queue);
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a mut self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut queues = self.seat.queues();
            let before = queues.len();
            queues.retain(|other| &**other != queue);
            if queues.len() == before {
                return Ok(());
            }
            self.stand_down().await?;
            self.lists.remove(queue);
            self.tell(queues).await
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(self.shut())
    }
}

impl RedisConsumer {
    /// Tells the others which queues are read.
    async fn tell(&mut self, queues: Vec<Arc<str>>) -> Result<()> {
        let before = self.seat.queues();
        self.core.listen(&queues);
        self.seat.set_queues(queues);
        let told = match &self.attendant {
            Some(attendant) => attendant.register().await,
            None => Err(Error::new(ErrorKind::Closed, "change the queues of a consumer: it was closed")),
        };
        if told.is_err() {
            self.seat.set_queues(before);
        }
        told
    }
}
