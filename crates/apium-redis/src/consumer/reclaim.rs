//! Reclaiming: the messages that dead consumers had in flight go back to their lists. A consumer of Apium is dead when
//! its lease has ended (the guarantee takeover); messages of any worker are reclaimed after the visibility timeout, by
//! kombu's own rule.

use std::collections::{BTreeMap, HashSet};

use apium_protocol::message::envelope::{Envelope, mark_redelivered};
use apium_transport::error::{Error, Result};
use bytes::Bytes;
use redis::{Cmd, Value};

use crate::consumer::handoff::close_handoffs;
use crate::consumer::registration::{Registration, unregister};
use crate::crash_points::reached;
use crate::errors::unexpected_reply;
use crate::keys::broker_keys::QueueList;
use crate::keys::broker_keys::{Keys, glob_escaped};
use crate::keys::score::{has_started, score};
use crate::scripts::operation::{Operation, write};
use crate::scripts::script::SETTLE;
use crate::shared::BrokerShared;

const WHAT: &str = "reclaim the messages of a dead worker";
/// How many messages are reclaimed in one step.
const BATCH: usize = 200;

/// A message in flight whose worker is dead.
#[derive(Debug)]
struct Orphan {
    tag: String,
    started: bool,
    envelope: Vec<u8>,
    /// The list to which it goes back.
    queue_list: QueueList,
    /// The delivery tag in the envelope.
    delivery_tag: String,
}

/// Reclaims what the consumer `id` had in flight. With a `deadline`, only if its lease is still the one that ended
/// then.
pub(crate) async fn reclaim_consumer(shared: &BrokerShared, id: &str, deadline: Option<f64>) -> Result<()> {
    let mut command = redis::cmd("HGET");
    command.arg(shared.keys.consumers()).arg(id);
    let registration: Option<String> =
        redis::from_redis_value(shared.connection.command(WHAT, &command).await?).unwrap_or_default();
    let registration: Option<Registration> =
        registration.and_then(|registration| serde_json::from_str(&registration).ok());
    let queues = registration.map(|registration| registration.queues).unwrap_or_default();
    let lists = queues.iter().flat_map(|queue| shared.keys.lists(queue));
    let pairs: Vec<(String, String)> = lists.map(|list| (shared.keys.handoff(id, &list), list)).collect();
    if !close_handoffs(shared, id, deadline, &pairs).await? {
        return Ok(());
    }
    reached("reclaim-closed");
    let tags = tags_of(shared, id).await?;
    let count = tags.len();
    redistribute_tags(shared, tags).await?;
    if count > 0 {
        tracing::info!(consumer = id, count, "reclaimed the messages of a dead worker");
    }
    reached("reclaim-done");
    unregister(shared, id).await
}

/// Returns the messages under these tags, whose runs have not started, to the front of their lists.
pub(crate) async fn return_unstarted(shared: &BrokerShared, tags: Vec<(String, bool)>) -> Result<()> {
    redistribute_tags(shared, tags).await
}

async fn redistribute_tags(shared: &BrokerShared, mut tags: Vec<(String, bool)>) -> Result<()> {
    // The one that came first is pushed last, and so ends in front.
    let number = |tag: &str| tag.rsplit('.').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    tags.sort_unstable_by_key(|(tag, _)| std::cmp::Reverse(number(tag)));
    for batch in tags.chunks(BATCH) {
        let (orphans, empty) = read_orphans(shared, batch).await?;
        redistribute(shared, &orphans).await?;
        remove_empty(shared, &empty).await?;
        reached("reclaim-batch");
    }
    Ok(())
}

/// Removes tags without a message from the index, as kombu does.
async fn remove_empty(shared: &BrokerShared, empty: &[&str]) -> Result<()> {
    if empty.is_empty() {
        return Ok(());
    }
    let mut command = redis::cmd("ZREM");
    command.arg(shared.keys.unacked_index()).arg(empty);
    shared.connection.command(WHAT, &command).await.map(drop)
}

/// The tags of a consumer in the index, each with whether its run has started.
async fn tags_of(shared: &BrokerShared, id: &str) -> Result<Vec<(String, bool)>> {
    let pattern = format!("{}*", glob_escaped(&Keys::tag_prefix(id)));
    let (mut cursor, mut found) = (0_u64, BTreeMap::new());
    loop {
        let mut command = redis::cmd("ZSCAN");
        command.arg(shared.keys.unacked_index()).arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
        let answer = shared.connection.command(WHAT, &command).await?;
        let (next, some) =
            redis::from_redis_value::<(u64, Vec<(String, f64)>)>(answer).map_err(|_| unexpected_reply(WHAT))?;
        found.extend(some.into_iter().map(|(tag, score)| (tag, has_started(score))));
        cursor = next;
        if cursor == 0 {
            return Ok(found.into_iter().collect());
        }
    }
}

/// Reads the messages under these tags, and the lists to which they go back. Also returns the tags without a message.
async fn read_orphans<'a>(shared: &BrokerShared, tags: &'a [(String, bool)]) -> Result<(Vec<Orphan>, Vec<&'a str>)> {
    if tags.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut command = redis::cmd("HMGET");
    command.arg(shared.keys.unacked());
    for (tag, _) in tags {
        command.arg(tag);
    }
    let Value::Array(payloads) = shared.connection.command(WHAT, &command).await? else {
        return Err(unexpected_reply(WHAT));
    };
    let (mut all, mut empty) = (Vec::new(), Vec::new());
    for ((tag, started), payload) in tags.iter().zip(payloads) {
        let Value::BulkString(payload) = payload else {
            empty.push(tag.as_str());
            continue;
        };
        let Some((raw, exchange, key)) = split_payload(&payload) else {
            tracing::error!(tag, "skipped an entry of unacked that is not what kombu writes there");
            continue;
        };
        let raw = Bytes::copy_from_slice(raw);
        let decoded = Envelope::decode(&raw).ok();
        let priority = decoded.as_ref().and_then(|envelope| envelope.message.properties.priority).unwrap_or(0);
        let queues = match exchange.is_empty() {
            true => vec![key],
            false => match shared.binding_table(&exchange).await.and_then(|table| {
                table.queues(&exchange, &key).map(|queues| queues.into_iter().map(str::to_owned).collect::<Vec<_>>())
            }) {
                Ok(queues) if !queues.is_empty() => queues,
                Err(error) if error.is_retryable() => return Err(error),
                // No queue is bound any more. The routing key is the best guess at a queue's name.
                _ => vec![key],
            },
        };
        // kombu has one entry for all copies of a topic message, and requeues one copy to each queue. So does this.
        for queue in queues {
            let queue_list = QueueList::new(&shared.keys, &queue.as_str().into(), shared.keys.step(priority));
            let delivery_tag =
                decoded.as_ref().and_then(|envelope| envelope.delivery_tag.as_deref()).unwrap_or(tag).to_owned();
            let (tag, started, envelope) = (tag.clone(), *started, raw.to_vec());
            all.push(Orphan { tag, started, envelope, queue_list, delivery_tag });
        }
    }
    Ok((all, empty))
}

/// Splits an entry of `unacked`, `[envelope, exchange, routing key]`. It reads from the end, so that the envelope stays
/// byte for byte what it was, even if it is no JSON.
pub(crate) fn split_payload(payload: &[u8]) -> Option<(&[u8], String, String)> {
    let inner = payload.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let (key, inner) = last_text(inner)?;
    let (exchange, inner) = last_text(inner)?;
    Some((inner, exchange, key))
}

/// Splits `, "text"` off the end. Returns the text, and what is before it.
fn last_text(text: &[u8]) -> Option<(String, &[u8])> {
    let end = text.strip_suffix(b"\"")?;
    // The opening quote is the last one that is not escaped: an even number of backslashes is before it.
    let mut at = end.len();
    loop {
        at = end[..at].iter().rposition(|byte| *byte == b'"')?;
        let backslashes = end[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 0 {
            break;
        }
    }
    let value = serde_json::from_slice(&text[at..]).ok()?;
    let before = end[..at].strip_suffix(b" ").unwrap_or(&end[..at]).strip_suffix(b",")?;
    Some((value, before))
}

/// Puts messages at the front of their lists. The runs that had started count a crash.
async fn redistribute(shared: &BrokerShared, orphans: &[Orphan]) -> Result<()> {
    if orphans.is_empty() {
        return Ok(());
    }
    let mut tags: Vec<&str> = orphans.iter().map(|orphan| orphan.tag.as_str()).collect();
    tags.dedup();
    let mut operations = Vec::with_capacity(orphans.len() * 2);
    let requeued = |orphan: &Orphan| mark_redelivered(&orphan.envelope).unwrap_or_else(|_| orphan.envelope.clone());
    let requeued: Vec<Vec<u8>> = orphans.iter().map(requeued).collect();
    let mut position = 0;
    let mut last = "";
    for (orphan, requeued) in orphans.iter().zip(&requeued) {
        if orphan.tag != last {
            position += 1;
            last = &orphan.tag;
        }
        operations.push(Operation::ForDelivery(position));
        let list = orphan.queue_list.key.as_str();
        operations.push(match orphan.started {
            false => Operation::PushFront(list, requeued.clone()),
            true => Operation::Crashed { tag: &orphan.delivery_tag, list, envelope: requeued },
        });
    }
    let fill = |command: &mut Cmd| {
        let tags = (tags.iter().copied(), tags.len());
        write(&shared.keys, shared.connection.server_now(), command, tags, &operations);
    };
    shared.connection.script(WHAT, &SETTLE, fill).await.map(drop)
}

/// Reclaims messages that nobody has renewed for the visibility timeout: those of Celery's workers, by the rule that
/// they follow among themselves, and what is left over of any other.
pub(crate) async fn reclaim_expired(shared: &BrokerShared) -> Result<()> {
    let limit = shared.connection.server_now()
        - i64::try_from(shared.options.visibility_timeout.as_millis()).unwrap_or(i64::MAX / 2);
    let limit = score(limit, false);
    // So that tags that are skipped do not hide those behind them.
    let mut skipped = 0;
    loop {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(shared.keys.unacked_index()).arg("-inf").arg(&limit).arg("LIMIT").arg(skipped).arg(BATCH);
        let answer = shared.connection.command(WHAT, &command).await?;
        let tags: Vec<String> = redis::from_redis_value(answer).unwrap_or_default();
        if tags.is_empty() {
            return Ok(());
        }
        let live = live_consumers(shared, &tags).await?;
        let expired = tags.iter().filter(|tag| owner(tag).is_none_or(|id| !live.contains(id)));
        // Newest first, so that the oldest ends in front.
        let expired: Vec<(String, bool)> = expired.rev().map(|tag| (tag.clone(), false)).collect();
        let (orphans, empty) = read_orphans(shared, &expired).await?;
        redistribute(shared, &orphans).await?;
        if !orphans.is_empty() {
            tracing::info!(count = orphans.len(), "reclaimed messages that were in flight for the visibility timeout");
        }
        remove_empty(shared, &empty).await?;
        if tags.len() < BATCH {
            return Ok(());
        }
        let reclaimed: HashSet<&str> = orphans.iter().map(|orphan| orphan.tag.as_str()).collect();
        skipped += tags.len() - reclaimed.len() - empty.len();
    }
}

/// The id of the consumer in a tag, if it is one of Apium's.
fn owner(tag: &str) -> Option<&str> {
    tag.strip_prefix("apium.")?.split('.').next()
}

/// The owners of `tags` that have a lease.
async fn live_consumers(shared: &BrokerShared, tags: &[String]) -> Result<HashSet<String>, Error> {
    let ids: HashSet<&str> = tags.iter().filter_map(|tag| owner(tag)).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let mut command = redis::cmd("ZMSCORE");
    command.arg(shared.keys.leases());
    for id in &ids {
        command.arg(*id);
    }
    let answer = shared.connection.command(WHAT, &command).await?;
    let scores: Vec<Option<f64>> = redis::from_redis_value(answer).unwrap_or_default();
    let alive = ids.into_iter().zip(scores).filter(|(_, score)| score.is_some());
    Ok(alive.map(|(id, _)| id.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::split_payload;

    #[test]
    fn an_entry_of_unacked_is_split_byte_for_byte() {
        for (payload, envelope, exchange, key) in [
            (&br#"[{"a": 1}, "", "celery"]"#[..], &br#"{"a": 1}"#[..], "", "celery"),
            (br#"[{"a":1},"x","k"]"#, br#"{"a":1}"#, "x", "k"),
            (br#"[no json ], "", "q], "", "q"]"#, br#"no json ], "", "q]"#, "", "q"),
            (br#"[{}, "", "a\"b\\"]"#, b"{}", "", "a\"b\\"),
            (b"[\xff\x00, \"\", \"\\u00fc\"]", b"\xff\x00", "", "\u{fc}"),
        ] {
            assert_eq!(split_payload(payload), Some((envelope, exchange.to_owned(), key.to_owned())), "{payload:?}");
        }
        assert_eq!(split_payload(b"[1, 2]"), None);
        assert_eq!(split_payload(b""), None);
    }
}
