//! The dead set: the queue `apium.dead`. Who reads it takes all of its messages for a moment, as the only reader, and
//! gives back what stays.

use std::collections::HashSet;

use apium_transport::broker::dead_set::{DeadLetter, DeadSet, NewDeadLetter};
use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use lapin::BasicProperties;
use lapin::message::Delivery;

use crate::broker::AmqpBroker;
use crate::consumer::whole_queue::WholeQueue;
use crate::publish::declare::queue_counts;
use crate::publish::properties::{as_copy, encode};
use crate::publish::publisher::Ready;
use crate::publish::table::short;
use crate::settle::dead_letter::{self, QUEUE, key_of};

impl AmqpBroker {
    /// Puts messages back on the queues that they came from, or removes them.
    async fn take_dead(&self, keys: Vec<u64>, replay: bool) -> Result<u64> {
        let shared = self.shared();
        let what = if replay { "replay dead letters" } else { "remove dead letters" };
        shared.check_open(what)?;
        let keys: HashSet<u64> = keys.into_iter().collect();
        dead_letter::ensure_queue(shared).await?;
        let mut reading = WholeQueue::open(shared, QUEUE).await?;
        let all = std::mem::take(&mut reading.all);
        let found: Vec<&Delivery> =
            all.iter().filter(|one| key_of(&one.properties).is_some_and(|key| keys.contains(&key))).collect();
        if replay {
            let mut messages = Vec::with_capacity(found.len());
            for delivery in &found {
                let missing = || Error::new(ErrorKind::Corrupt, format!("{what}: the header of one cannot be read"));
                let (properties, queue) = dead_letter::original(&delivery.properties).ok_or_else(missing)?;
                shared.ensure_queue(&queue).await?;
                // A consumer may remember that this message was settled when it went to the dead set.
                let properties = as_copy(&shared.clock, properties);
                let routing_key = short("name of a queue", &queue)?;
                let body = Bytes::copy_from_slice(&delivery.data);
                messages.push(Ready { exchange: "".into(), routing_key, properties, body, mandatory: true });
            }
            shared.publish_ready(messages).await?;
        }
        for delivery in &found {
            reading.remove(delivery).await?;
        }
        let count = found.len() as u64;
        reading.close().await?;
        Ok(count)
    }

    /// All dead letters by their keys, and the number of messages that are none.
    async fn read_dead(&self) -> Result<Vec<DeadLetter>> {
        let shared = self.shared();
        shared.check_open("read the dead set")?;
        dead_letter::ensure_queue(shared).await?;
        let mut reading = WholeQueue::open(shared, QUEUE).await?;
        let all = std::mem::take(&mut reading.all);
        let read = |one: &Delivery| dead_letter::read(&one.properties, Bytes::copy_from_slice(&one.data));
        let mut letters: Vec<DeadLetter> = all.iter().filter_map(read).collect();
        letters.sort_by_key(|letter| letter.key);
        reading.close().await?;
        Ok(letters)
    }
}

impl DeadSet for AmqpBroker {
    fn list(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        Box::pin(async move {
            if limit == 0 {
                return self.shared().check_open("read the dead set").map(|()| Vec::new());
            }
            let all = self.read_dead().await?;
            Ok(all.into_iter().filter(|letter| letter.key > after).take(limit).collect())
        })
    }

    fn get(&self, key: u64) -> BoxFuture<'_, Result<Option<DeadLetter>>> {
        Box::pin(async move { Ok(self.read_dead().await?.into_iter().find(|letter| letter.key == key)) })
    }

    fn add(&self, messages: Vec<NewDeadLetter>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("add to the dead set")?;
            dead_letter::ensure_queue(shared).await?;
            let ready = |new: NewDeadLetter| {
                let properties: BasicProperties = encode(&new.message)?;
                dead_letter::ready(&shared.clock, &new.queue, &properties, new.message.body, &new.reason)
            };
            let ready: Result<Vec<Ready>> = messages.into_iter().map(ready).collect();
            shared.publish_ready(ready?).await
        })
    }

    fn replay(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.take_dead(keys, true))
    }

    fn remove(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.take_dead(keys, false))
    }

    fn count(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("count the dead set")?;
            let mut commands = shared.commands("count the dead set").await?;
            Ok(queue_counts(&mut commands, QUEUE).await?.map_or(0, |(messages, _)| messages))
        })
    }
}
