//! Counting, peeking, purging and deleting of queues.

use std::collections::BTreeMap;

use apium_protocol::message::envelope::Envelope;
use apium_transport::broker::broker::{QueueAdmin, QueueStats};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use redis::Value;

use crate::broker::RedisBroker;
use crate::consumer::reclaim::split_payload;
use crate::consumer::registration::Registration;
use crate::errors::unexpected_reply;
use crate::shared::BrokerShared;

impl QueueAdmin for RedisBroker {
    fn stats(&self) -> BoxFuture<'_, Result<Vec<QueueStats>>> {
        Box::pin(async move {
            let core = self.shared();
            core.check_open("count the queues")?;
            let mut all: BTreeMap<String, QueueStats> = BTreeMap::new();
            let named = |all: &mut BTreeMap<String, QueueStats>, queue: &str, add: &dyn Fn(&mut QueueStats)| {
                add(all.entry(queue.to_owned()).or_insert_with(|| QueueStats::new(queue.to_owned())));
            };
            for queue in core.bound_queues().await?.keys() {
                named(&mut all, queue, &|_| {});
            }
            for card in registrations(core).await? {
                for queue in &card.queues {
                    named(&mut all, queue, &|stats| stats.consumers += 1);
                }
            }
            // What is taken or given back meanwhile is seen all the same: lists are counted before the deliveries, and after.
            for (queue, stats) in &mut all {
                stats.ready = counts(core, queue).await?.0;
            }
            for queue in unacked_queues(core).await? {
                named(&mut all, &queue, &|stats| stats.unacked += 1);
            }
            for (queue, stats) in &mut all {
                let (ready, parked) = counts(core, queue).await?;
                stats.ready = stats.ready.max(ready);
                stats.delayed = parked;
            }
            Ok(all.into_values().collect())
        })
    }

    fn peek<'a>(&'a self, queue: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Outgoing>>> {
        Box::pin(async move {
            let core = self.shared();
            core.check_open("peek at a queue")?;
            let mut found = Vec::new();
            for list in core.keys.lists(queue) {
                let left = limit - found.len();
                if left == 0 {
                    break;
                }
                let mut command = redis::cmd("LRANGE");
                command.arg(&list).arg(-(i64::try_from(left).unwrap_or(i64::MAX))).arg(-1);
                let answer = core.connection.command("peek at a queue", &command).await?;
                let Value::Array(elements) = answer else { return Err(unexpected_reply("peek at a queue")) };
                let mut due = redis::cmd("ZRANGEBYSCORE");
                due.arg(format!("{}{list}", core.keys.eta_prefix())).arg("-inf");
                due.arg(core.connection.clock().now().as_microsecond()).arg("LIMIT").arg(0).arg(left);
                let answer = core.connection.command("peek at a queue", &due).await?;
                let Value::Array(due) = answer else { return Err(unexpected_reply("peek at a queue")) };
                // The next one stands last, and what is due comes after them; what is no message is passed over.
                found.extend(elements.into_iter().rev().chain(due).take(left).filter_map(|element| match element {
                    Value::BulkString(raw) => decode(&Bytes::from(raw), queue),
                    _ => None,
                }));
            }
            Ok(found)
        })
    }

    fn purge<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { clear(self.shared(), "purge a queue", queue, false).await })
    }

    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { clear(self.shared(), "delete a queue", queue, true).await.map(drop) })
    }

    fn consumers_named<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.shared().check_open("count the consumers of a name")?;
            Ok(registrations(self.shared()).await?.iter().filter(|card| card.node == node).count() as u64)
        })
    }
}

fn decode(raw: &Bytes, queue: &str) -> Option<Outgoing> {
    let Envelope { message, exchange, routing_key, .. } = Envelope::decode(raw).ok()?;
    let routing_key = routing_key.unwrap_or_else(|| queue.into());
    Some(Outgoing::new(exchange.unwrap_or_default(), routing_key, message))
}

/// What the consumers of Apium say of themselves.
async fn registrations(core: &BrokerShared) -> Result<Vec<Registration>> {
    let mut command = redis::cmd("HVALS");
    command.arg(core.keys.consumers());
    let answer = core.connection.command("list the consumers", &command).await?;
    let cards: Vec<String> = redis::from_redis_value(answer).unwrap_or_default();
    Ok(cards.iter().filter_map(|card| serde_json::from_str(card).ok()).collect())
}

/// The queues of what is out, one for each delivery.
async fn unacked_queues(core: &BrokerShared) -> Result<Vec<String>> {
    const WHAT: &str = "count what is not acked";
    let (mut cursor, mut found) = (0_u64, BTreeMap::new());
    loop {
        let mut command = redis::cmd("HSCAN");
        command.arg(core.keys.unacked()).arg(cursor).arg("COUNT").arg(500);
        let answer = core.connection.command(WHAT, &command).await?;
        let (next, some) =
            redis::from_redis_value::<(u64, Vec<(Vec<u8>, Vec<u8>)>)>(answer).map_err(|_| unexpected_reply(WHAT))?;
        for (tag, payload) in some {
            if let Some((_, exchange, key)) = split_payload(&payload) {
                let queue = match exchange.is_empty() {
                    true => key,
                    // As good as can be told without asking for the bindings of each.
                    false => core.declared.queue_of(&exchange, &key).unwrap_or(key),
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

/// How many messages of a queue can be delivered now (those that are due and not returned yet among them), and how many wait.
async fn counts(core: &BrokerShared, queue: &str) -> Result<(u64, u64)> {
    let lists = core.keys.lists(queue);
    let now = core.connection.clock().now().as_microsecond();
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    for list in &lists {
        let parked = format!("{}{list}", core.keys.eta_prefix());
        pipeline.cmd("LLEN").arg(list);
        pipeline.cmd("ZCOUNT").arg(&parked).arg("-inf").arg(now);
        pipeline.cmd("ZCOUNT").arg(&parked).arg(format!("({now}")).arg("+inf");
    }
    let answers = core.connection.pipeline("count a queue", &pipeline).await?;
    let numbers = answers.into_iter().map(|n| redis::from_redis_value::<u64>(n).unwrap_or_default());
    let (mut ready, mut parked) = (0, 0);
    for (place, number) in numbers.enumerate() {
        if place % 3 == 2 { parked += number } else { ready += number }
    }
    Ok((ready, parked))
}

/// Deletes what waits and what is parked, and the bindings too if wanted; answers how many messages there were.
async fn clear(core: &BrokerShared, what: &'static str, queue: &str, with_bindings: bool) -> Result<u64> {
    core.check_open(what)?;
    let lists = core.keys.lists(queue);
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    for list in &lists {
        pipeline.cmd("LLEN").arg(list);
        pipeline.cmd("ZCARD").arg(format!("{}{list}", core.keys.eta_prefix()));
    }
    for list in &lists {
        pipeline.cmd("DEL").arg(list).arg(format!("{}{list}", core.keys.eta_prefix())).ignore();
        pipeline.cmd("ZREM").arg(core.keys.eta()).arg(list).ignore();
    }
    if with_bindings {
        let bindings = core.bound_queues().await?.remove(queue).unwrap_or_default();
        for (key, member) in bindings {
            pipeline.cmd("SREM").arg(&key).arg(&member).ignore();
            let permanent = key.replace("_kombu.binding.", "_kombu.binding_permanent.");
            pipeline.cmd("SREM").arg(permanent).arg(&member).ignore();
        }
        if let Some(exchange) = core.declared.fanout_of(queue) {
            pipeline.cmd("SREM").arg(core.keys.fanout_queues(&exchange)).arg(queue).ignore();
        }
        core.declared.forget(queue);
    }
    let answers = core.connection.pipeline(what, &pipeline).await?;
    let numbers: Option<Vec<u64>> = answers.into_iter().map(|n| redis::from_redis_value(n).ok()).collect();
    numbers
        .map(|numbers| numbers.iter().sum())
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("{what}: odd answers")))
}
