//! What the dead have left: the deliveries of consumers of Apium that show no life any more (P3), and those of any worker whose
//! time is up by kombu's own rule.

use std::collections::{BTreeMap, HashSet};

use apium_protocol::message::envelope::{Envelope, mark_redelivered, unmark_redelivered};
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::error::{Error, Result};
use bytes::Bytes;
use redis::{Cmd, Value};

use crate::consumer::handoff::close_handoffs;
use crate::consumer::registration::{Registration, unregister};
use crate::crash_points::reached;
use crate::dead_letter::StoredDeadLetter;
use crate::errors::unexpected_reply;
use crate::keys::broker_keys::{Keys, glob_escaped};
use crate::keys::queue_list::QueueList;
use crate::keys::score::{has_started, score};
use crate::scripts::operation::{Operation, write};
use crate::scripts::script::SETTLE;
use crate::shared::BrokerShared;

const WHAT: &str = "give back what a dead worker held";
/// So many deliveries are looked at in one go.
const PART: usize = 200;

/// A delivery of somebody who is dead.
#[derive(Debug)]
struct Orphan {
    tag: String,
    started: bool,
    envelope: Vec<u8>,
    /// The list it goes back to, with its queue.
    queue_list: QueueList,
    /// The tag in the envelope.
    delivery_tag: String,
}

/// Gives on what the consumer `id` held. With a `deadline`, only if it has shown no life since that.
pub(crate) async fn reclaim_consumer(core: &BrokerShared, id: &str, deadline: Option<f64>) -> Result<()> {
    let mut command = redis::cmd("HGET");
    command.arg(core.keys.consumers()).arg(id);
    let card: Option<String> =
        redis::from_redis_value(core.connection.command(WHAT, &command).await?).unwrap_or_default();
    let card: Option<Registration> = card.and_then(|card| serde_json::from_str(&card).ok());
    let (queues, limit) = card.map_or((Vec::new(), 0), |card| (card.queues, card.max_crashes));
    let lists = queues.iter().flat_map(|queue| core.keys.lists(queue));
    let pairs: Vec<(String, String)> = lists.map(|list| (core.keys.handoff(id, &list), list)).collect();
    if !close_handoffs(core, id, deadline, &pairs).await? {
        return Ok(());
    }
    reached("bury-closed");
    let tags = tags_of(core, id).await?;
    let count = tags.len();
    redistribute_tags(core, tags, limit).await?;
    if count > 0 {
        tracing::info!(consumer = id, count, "gave on what a worker held that shows no life");
    }
    reached("bury-given");
    unregister(core, id).await
}

/// Gives back what stands under these tags, which no run has begun of.
pub(crate) async fn return_unstarted(core: &BrokerShared, tags: Vec<(String, bool)>) -> Result<()> {
    redistribute_tags(core, tags, 0).await
}

async fn redistribute_tags(core: &BrokerShared, mut tags: Vec<(String, bool)>, limit: u32) -> Result<()> {
    // The one that came first is pushed last, and lies in front then.
    let number = |tag: &str| tag.rsplit('.').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    tags.sort_unstable_by_key(|(tag, _)| std::cmp::Reverse(number(tag)));
    for part in tags.chunks(PART) {
        let (left, empty) = read_orphans(core, part).await?;
        redistribute(core, &left, limit).await?;
        remove_empty(core, &empty).await?;
        reached("bury-part");
    }
    Ok(())
}

/// Takes tags out of the index that no message stands behind, as kombu does.
async fn remove_empty(core: &BrokerShared, empty: &[&str]) -> Result<()> {
    if empty.is_empty() {
        return Ok(());
    }
    let mut command = redis::cmd("ZREM");
    command.arg(core.keys.unacked_index()).arg(empty);
    core.connection.command(WHAT, &command).await.map(drop)
}

/// The tags of a consumer in the index, each with whether its run has begun.
async fn tags_of(core: &BrokerShared, id: &str) -> Result<Vec<(String, bool)>> {
    let pattern = format!("{}*", glob_escaped(&Keys::tag_prefix(id)));
    let (mut cursor, mut found) = (0_u64, BTreeMap::new());
    loop {
        let mut command = redis::cmd("ZSCAN");
        command.arg(core.keys.unacked_index()).arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
        let answer = core.connection.command(WHAT, &command).await?;
        let (next, some) =
            redis::from_redis_value::<(u64, Vec<(String, f64)>)>(answer).map_err(|_| unexpected_reply(WHAT))?;
        found.extend(some.into_iter().map(|(tag, score)| (tag, has_started(score))));
        cursor = next;
        if cursor == 0 {
            return Ok(found.into_iter().collect());
        }
    }
}

/// Reads what stands in `unacked` under these tags, and where it belongs; and under which of them nothing stands.
async fn read_orphans<'a>(core: &BrokerShared, tags: &'a [(String, bool)]) -> Result<(Vec<Orphan>, Vec<&'a str>)> {
    if tags.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut command = redis::cmd("HMGET");
    command.arg(core.keys.unacked());
    for (tag, _) in tags {
        command.arg(tag);
    }
    let Value::Array(payloads) = core.connection.command(WHAT, &command).await? else {
        return Err(unexpected_reply(WHAT));
    };
    let (mut all, mut empty) = (Vec::new(), Vec::new());
    for ((tag, begun), payload) in tags.iter().zip(payloads) {
        let Value::BulkString(payload) = payload else {
            empty.push(tag.as_str());
            continue;
        };
        let Some((raw, exchange, key)) = split_payload(&payload) else {
            tracing::error!(tag, "what stands in unacked under this tag is not what kombu writes there; it is left");
            continue;
        };
        let raw = Bytes::copy_from_slice(raw);
        let decoded = Envelope::decode(&raw).ok();
        let priority = decoded.as_ref().and_then(|envelope| envelope.message.properties.priority).unwrap_or(0);
        let queues = match exchange.is_empty() {
            true => vec![key],
            false => match core.binding_table(&exchange).await.and_then(|table| {
                table.queues(&exchange, &key).map(|queues| queues.into_iter().map(str::to_owned).collect::<Vec<_>>())
            }) {
                Ok(queues) if !queues.is_empty() => queues,
                Err(error) if error.is_retryable() => return Err(error),
                // Nobody is bound any more: the name that it was sent to is the best guess.
                _ => vec![key],
            },
        };
        // kombu keeps one entry for all copies of a topic message; it gives each queue one, and so does this.
        for queue in queues {
            let source = QueueList::new(&core.keys, &queue.as_str().into(), core.keys.step(priority));
            let delivery_tag =
                decoded.as_ref().and_then(|envelope| envelope.delivery_tag.as_deref()).unwrap_or(tag).to_owned();
            all.push(Orphan {
                tag: tag.clone(),
                started: *begun,
                envelope: raw.to_vec(),
                queue_list: source,
                delivery_tag,
            });
        }
    }
    Ok((all, empty))
}

/// The envelope, the exchange and the routing key of what stands in `unacked`: `[envelope, exchange, routing key]`. Byte for byte,
/// also where the envelope is no JSON, since what follows it is known.
pub(crate) fn split_payload(payload: &[u8]) -> Option<(&[u8], String, String)> {
    let inner = payload.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let (key, inner) = last_text(inner)?;
    let (exchange, inner) = last_text(inner)?;
    Some((inner, exchange, key))
}

/// Takes `, "text"` off the end.
fn last_text(text: &[u8]) -> Option<(String, &[u8])> {
    let end = text.strip_suffix(b"\"")?;
    // The quote that opens it is the last one before which no odd number of backslashes stands.
    let mut at = end.len();
    loop {
        at = end[..at].iter().rposition(|byte| *byte == b'"')?;
        let backslashes = end[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 0 {
            break;
        }
    }
    let value = serde_json::from_slice(&text[at..]).ok()?;
    let rest = end[..at].strip_suffix(b" ").unwrap_or(&end[..at]).strip_suffix(b",")?;
    Some((value, rest))
}

/// To the front of their lists; a message whose runs have killed too many workers goes into the dead set.
async fn redistribute(core: &BrokerShared, left: &[Orphan], limit: u32) -> Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    let mut tags: Vec<&str> = left.iter().map(|one| one.tag.as_str()).collect();
    tags.dedup();
    let mut operations = Vec::with_capacity(left.len() * 2);
    let again: Vec<Vec<u8>> =
        left.iter().map(|one| mark_redelivered(&one.envelope).unwrap_or_else(|_| one.envelope.clone())).collect();
    let mut place = 0;
    let mut last = "";
    for (one, again) in left.iter().zip(&again) {
        if one.tag != last {
            place += 1;
            last = &one.tag;
        }
        operations.push(Operation::ForDelivery(place));
        let list = one.queue_list.key.as_str();
        operations.push(match one.started && limit > 0 {
            false => Operation::PushFront(list, again.clone()),
            true => Operation::Crashed {
                tag: &one.delivery_tag,
                limit,
                list,
                envelope: again,
                document: crash_loop_text(core, one, limit)?,
            },
        });
    }
    let fill = |command: &mut Cmd| write(core, command, tags.iter().copied(), tags.len(), &operations);
    core.connection.script(WHAT, &SETTLE, fill).await.map(drop)
}

fn crash_loop_text(core: &BrokerShared, left: &Orphan, limit: u32) -> Result<String> {
    let text = format!("its worker died during {limit} of its runs, as many as worker_max_crashes allows");
    let reason = DeadReason::new("crash-loop", text);
    let raw = unmark_redelivered(&left.envelope).unwrap_or_else(|_| left.envelope.clone());
    StoredDeadLetter::new(&left.queue_list, &left.delivery_tag, &raw, &reason, core.connection.clock().now()).to_json()
}

/// Gives on what nobody has shown life for in the visibility timeout: what Python's workers held, as they do it among themselves,
/// and what is left of anybody else.
pub(crate) async fn reclaim_expired(core: &BrokerShared) -> Result<()> {
    let limit = core.connection.server_now()
        - i64::try_from(core.options.visibility_timeout.as_millis()).unwrap_or(i64::MAX / 2);
    let limit = score(limit, false);
    // What is passed over must not stand before the others for ever.
    let mut passed = 0;
    loop {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(core.keys.unacked_index()).arg("-inf").arg(&limit).arg("LIMIT").arg(passed).arg(PART);
        let answer = core.connection.command(WHAT, &command).await?;
        let tags: Vec<String> = redis::from_redis_value(answer).unwrap_or_default();
        if tags.is_empty() {
            return Ok(());
        }
        let living = live_consumers(core, &tags).await?;
        let mut left: Vec<(String, bool)> = Vec::new();
        for tag in &tags {
            if owner(tag).is_none_or(|id| !living.contains(id)) {
                left.push((tag.clone(), false));
            }
        }
        // Newest first, so that the oldest is in front afterwards.
        left.reverse();
        let (restored, empty) = read_orphans(core, &left).await?;
        redistribute(core, &restored, 0).await?;
        if !restored.is_empty() {
            tracing::info!(count = restored.len(), "gave on what a worker held longer than the visibility timeout");
        }
        remove_empty(core, &empty).await?;
        if tags.len() < PART {
            return Ok(());
        }
        let given: HashSet<&str> = restored.iter().map(|one| one.tag.as_str()).collect();
        passed += tags.len() - given.len() - empty.len();
    }
}

/// Whose tag it is, if it is one of Apium's.
fn owner(tag: &str) -> Option<&str> {
    tag.strip_prefix("apium.")?.split('.').next()
}

/// Those of the owners of `tags` that live.
async fn live_consumers(core: &BrokerShared, tags: &[String]) -> Result<HashSet<String>, Error> {
    let ids: HashSet<&str> = tags.iter().filter_map(|tag| owner(tag)).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let mut command = redis::cmd("ZMSCORE");
    command.arg(core.keys.leases());
    for id in &ids {
        command.arg(*id);
    }
    let answer = core.connection.command(WHAT, &command).await?;
    let scores: Vec<Option<f64>> = redis::from_redis_value(answer).unwrap_or_default();
    let alive = ids.into_iter().zip(scores).filter(|(_, score)| score.is_some());
    Ok(alive.map(|(id, _)| id.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::split_payload;

    #[test]
    fn what_stands_in_unacked_is_taken_apart_byte_for_byte() {
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
