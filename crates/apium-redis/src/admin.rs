//! Queue administration: counting, peeking, purging, deleting.

use std::collections::BTreeMap;

use apium_protocol::message::envelope::Envelope;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::queue_admin::{ConsumerCounts, QueueAdmin, QueueCounts, QueuePeek, QueueStats};
use apium_transport::error::Result;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use redis::Value;

use crate::broker::RedisBroker;
use crate::consumer::reclaim::split_payload;
use crate::consumer::registration::Registration;
use crate::errors::unexpected_reply;
use crate::shared::BrokerShared;

impl QueueAdmin for RedisBroker {
    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("count a queue")?;
            Ok(counts(shared, queue).await?.0)
        })
    }

    fn purge<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { clear(self.shared(), "purge a queue", queue, false).await })
    }

    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { clear(self.shared(), "delete a queue", queue, true).await.map(drop) })
    }

    fn messages(&self) -> Option<&dyn QueuePeek> {
        Some(self)
    }

    fn counts(&self) -> Option<&dyn QueueCounts> {
        Some(self)
    }

    fn consumers(&self) -> Option<&dyn ConsumerCounts> {
        Some(self)
    }
}

impl QueuePeek for RedisBroker {
    fn peek<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("peek at a queue")?;
            let mut found = Vec::new();
            for list in shared.keys.lists(queue) {
                let remaining = limit - found.len();
                if remaining == 0 {
                    break;
                }
                let mut command = redis::cmd("LRANGE");
                command.arg(&list).arg(-(i64::try_from(remaining).unwrap_or(i64::MAX))).arg(-1);
                let answer = shared.connection.command("peek at a queue", &command).await?;
                let Value::Array(elements) = answer else { return Err(unexpected_reply("peek at a queue")) };
                let mut due = redis::cmd("ZRANGEBYSCORE");
                due.arg(format!("{}{list}", shared.keys.eta_prefix())).arg("-inf");
                due.arg(shared.connection.clock().now().as_microsecond()).arg("LIMIT").arg(0).arg(remaining);
                let answer = shared.connection.command("peek at a queue", &due).await?;
                let Value::Array(due) = answer else { return Err(unexpected_reply("peek at a queue")) };
                // A list is read from its end, and due messages come after those of the list. What is no message is
                // skipped.
                found.extend(elements.into_iter().rev().chain(due).take(remaining).filter_map(
                    |element| match element {
                        Value::BulkString(raw) => decode(&Bytes::from(raw), queue),
                        _ => None,
                    },
                ));
            }
            Ok(found)
        })
    }

    fn peek_delayed<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>> {
        const WHAT: &str = "look at the delayed messages of a queue";
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open(WHAT)?;
            let now = shared.connection.clock().now().as_microsecond();
            let mut pipeline = redis::pipe();
            for list in shared.keys.lists(queue) {
                let due = pipeline.cmd("ZRANGEBYSCORE").arg(format!("{}{list}", shared.keys.eta_prefix()));
                due.arg(format!("({now}")).arg("+inf").arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
            }
            let mut delayed: Vec<(Vec<u8>, f64)> = Vec::new();
            for answer in shared.connection.pipeline(WHAT, &pipeline).await? {
                delayed.extend(redis::from_redis_value::<Vec<_>>(answer).map_err(|_| unexpected_reply(WHAT))?);
            }
            delayed.sort_by(|(_, a), (_, b)| a.total_cmp(b));
            // What is no message is skipped.
            let found = delayed.into_iter().take(limit).filter_map(|(raw, due)| {
                let due = Timestamp::from_microsecond(due as i64).ok()?;
                Some(decode(&Bytes::from(raw), queue)?.at(Some(due)))
            });
            Ok(found.collect())
        })
    }
}

impl QueueCounts for RedisBroker {
    fn sees_every_worker(&self) -> bool {
        false
    }

    fn stats(&self) -> BoxFuture<'_, Result<Vec<QueueStats>>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("count the queues")?;
            let mut all: BTreeMap<String, QueueStats> = BTreeMap::new();
            let count = |all: &mut BTreeMap<String, QueueStats>, queue: &str, add: &dyn Fn(&mut QueueStats)| {
                add(all.entry(queue.to_owned()).or_insert_with(|| QueueStats::new(queue.to_owned())));
            };
            for queue in shared.bound_queues().await?.keys() {
                count(&mut all, queue, &|_| {});
            }
            for registration in registrations(shared).await? {
                for queue in &registration.queues {
                    count(&mut all, queue, &|stats| stats.consumers += 1);
                }
            }
            // The lists are counted before and after the deliveries: so a message that is claimed or requeued meanwhile
            // is seen.
            for (queue, stats) in &mut all {
                stats.ready = counts(shared, queue).await?.0;
            }
            for queue in unacked_queues(shared).await? {
                count(&mut all, &queue, &|stats| stats.unacked += 1);
            }
            for (queue, stats) in &mut all {
                let (ready, delayed) = counts(shared, queue).await?;
                stats.ready = stats.ready.max(ready);
                stats.delayed = delayed;
            }
            Ok(all.into_values().collect())
        })
    }
}

impl ConsumerCounts for RedisBroker {
    fn consumers_named<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.shared().check_open("count the consumers of a name")?;
            let all = registrations(self.shared()).await?;
            Ok(all.iter().filter(|registration| registration.node == node).count() as u64)
        })
    }
}

fn decode(raw: &Bytes, queue: &str) -> Option<Outgoing> {
    let Envelope { message, exchange, routing_key, .. } = Envelope::decode(raw).ok()?;
    let routing_key = routing_key.unwrap_or_else(|| queue.into());
    Some(Outgoing::new(exchange.unwrap_or_default(), routing_key, message))
}

/// The registrations of Apium's consumers.
async fn registrations(shared: &BrokerShared) -> Result<Vec<Registration>> {
    let mut command = redis::cmd("HVALS");
    command.arg(shared.keys.consumers());
    let answer = shared.connection.command("list the consumers", &command).await?;
    let texts: Vec<String> = redis::from_redis_value(answer).unwrap_or_default();
    Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
}

/// The queue of each message in flight.
async fn unacked_queues(shared: &BrokerShared) -> Result<Vec<String>> {
    const WHAT: &str = "count the messages in flight";
    let (mut cursor, mut found) = (0_u64, BTreeMap::new());
    loop {
        let mut command = redis::cmd("HSCAN");
        command.arg(shared.keys.unacked()).arg(cursor).arg("COUNT").arg(500);
        let answer = shared.connection.command(WHAT, &command).await?;
        let (next, some) =
            redis::from_redis_value::<(u64, Vec<(Vec<u8>, Vec<u8>)>)>(answer).map_err(|_| unexpected_reply(WHAT))?;
        for (tag, payload) in some {
            if let Some((_, exchange, key)) = split_payload(&payload) {
                let queue = match exchange.is_empty() {
                    true => key,
                    // A guess where this process has not declared the queue: to read the bindings of each would cost
                    // too much.
                    false => shared.declared.queue_of(&exchange, &key).unwrap_or(key),
                };
                found.insert(tag, queue);
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(found.into_values().collect());
        }
    }
}

/// How many messages of a queue can be delivered now, delayed ones that are due included, and how many are delayed for
/// longer.
async fn counts(shared: &BrokerShared, queue: &str) -> Result<(u64, u64)> {
    let lists = shared.keys.lists(queue);
    let now = shared.connection.clock().now().as_microsecond();
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    for list in &lists {
        let delayed = format!("{}{list}", shared.keys.eta_prefix());
        pipeline.cmd("LLEN").arg(list);
        pipeline.cmd("ZCOUNT").arg(&delayed).arg("-inf").arg(now);
        pipeline.cmd("ZCOUNT").arg(&delayed).arg(format!("({now}")).arg("+inf");
    }
    let answers = shared.connection.pipeline("count a queue", &pipeline).await?;
    let numbers = answers.into_iter().map(|n| redis::from_redis_value::<u64>(n).unwrap_or_default());
    let (mut ready, mut delayed) = (0, 0);
    for (index, number) in numbers.enumerate() {
        if index % 3 == 2 { delayed += number } else { ready += number }
    }
    Ok((ready, delayed))
}

/// Deletes the ready and the delayed messages of a queue, and with `with_bindings` its bindings. Returns the number of
/// messages.
async fn clear(shared: &BrokerShared, what: &'static str, queue: &str, with_bindings: bool) -> Result<u64> {
    shared.check_open(what)?;
    let lists = shared.keys.lists(queue);
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    for list in &lists {
        pipeline.cmd("LLEN").arg(list);
        pipeline.cmd("ZCARD").arg(format!("{}{list}", shared.keys.eta_prefix()));
    }
    for list in &lists {
        pipeline.cmd("DEL").arg(list).arg(format!("{}{list}", shared.keys.eta_prefix())).ignore();
        pipeline.cmd("ZREM").arg(shared.keys.eta()).arg(list).ignore();
    }
    if with_bindings {
        let bindings = shared.bound_queues().await?.remove(queue).unwrap_or_default();
        for (key, member) in bindings {
            pipeline.cmd("SREM").arg(&key).arg(&member).ignore();
            let permanent = key.replace("_kombu.binding.", "_kombu.binding_permanent.");
            pipeline.cmd("SREM").arg(permanent).arg(&member).ignore();
        }
        if let Some(exchange) = shared.declared.fanout_of(queue) {
            pipeline.cmd("SREM").arg(shared.keys.fanout_queues(&exchange)).arg(queue).ignore();
        }
        shared.declared.forget(queue);
    }
    let answers = shared.connection.pipeline(what, &pipeline).await?;
    let numbers: Option<Vec<u64>> = answers.into_iter().map(|n| redis::from_redis_value(n).ok()).collect();
    numbers.map(|numbers| numbers.iter().sum()).ok_or_else(|| unexpected_reply(what))
}
