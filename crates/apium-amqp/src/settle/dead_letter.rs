//! Dead letters on the wire: the message as it was, in a queue of its own, with a header that says where it died, when
//! and why.

use apium_transport::broker::dead_set::{DeadLetter, DeadReason};
use apium_transport::broker::topology::Queue;
use apium_transport::clock::Clock;
use apium_transport::error::Result;
use bytes::Bytes;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use crate::publish::properties::{DEAD_HEADER, decode, kept_in_mode, label, own_headers};
use crate::publish::publisher::Ready;
use crate::publish::table::{int, int_in, short, table, text_in};
use crate::shared::{BrokerShared, next_number};

/// The queue of dead letters.
pub(crate) const QUEUE: &str = "apium.dead";

/// The longest text of a reason that is kept: headers must fit one frame.
const LONGEST_REASON: usize = 8 * 1024;

/// Makes sure that the queue is there. It is a classic one, so that it can be read by one connection alone.
pub(crate) async fn ensure_queue(shared: &BrokerShared) -> Result<()> {
    if shared.declared.has_queue(QUEUE) {
        return Ok(());
    }
    let mut queue = Queue::new(QUEUE).exchange("", apium_transport::broker::topology::ExchangeType::Direct);
    let classic = apium_protocol::json::text::Json::from_serialize("classic");
    if let Ok(classic) = classic {
        queue.arguments.insert("x-queue-type".to_owned(), classic);
    }
    queue.max_priority = Some(0);
    shared.declare(&[queue]).await
}

/// A dead letter for the wire.
pub(crate) fn ready(
    clock: &Clock,
    queue: &str,
    properties: &BasicProperties,
    body: Bytes,
    reason: &DeadReason,
) -> Result<Ready> {
    let key = i64::try_from(next_number(clock)).unwrap_or(i64::MAX);
    let text: String = reason.text.chars().take(LONGEST_REASON).collect();
    let mut dead = table([
        ("key", AMQPValue::LongLongInt(key)),
        ("code", AMQPValue::LongString(reason.code.into())),
        ("reason", AMQPValue::LongString(text.into())),
        ("at", AMQPValue::LongLongInt(clock.now().as_microsecond())),
        ("queue", AMQPValue::LongString(queue.into())),
    ]);
    if let Some(expiration) = properties.expiration() {
        // In the queue of dead letters it must not expire.
        dead.insert("expiration".into(), AMQPValue::LongString(expiration.as_str().into()));
    }
    if let Some(mode) = *properties.delivery_mode() {
        dead.insert("delivery_mode".into(), int(mode.into()));
    }
    if properties.headers().is_none() {
        dead.insert("bare".into(), AMQPValue::Boolean(true));
    }
    let mut headers = own_headers(properties).unwrap_or_default();
    headers.insert(DEAD_HEADER.into(), AMQPValue::FieldTable(dead));
    let properties = kept_in_mode(properties, Some(headers), Some(2));
    Ok(Ready { exchange: "".into(), routing_key: QUEUE.into(), properties, body, mandatory: true })
}

fn header(properties: &BasicProperties) -> Option<&FieldTable> {
    match properties.headers().as_ref()?.inner().get(DEAD_HEADER)? {
        AMQPValue::FieldTable(table) => Some(table),
        _ => None,
    }
}

/// The key of a dead letter. One that another program has put into the queue has none.
pub(crate) fn key_of(properties: &BasicProperties) -> Option<u64> {
    int_in(header(properties)?, "key").and_then(|key| u64::try_from(key).ok())
}

/// The message as it was, and the queue that it was delivered from.
pub(crate) fn original(properties: &BasicProperties) -> Option<(BasicProperties, String)> {
    let dead = header(properties)?;
    let is_bare = dead.contains_key("bare");
    let own = own_headers(properties).filter(|_| !is_bare);
    let mode = int_in(dead, "delivery_mode").and_then(|mode| u8::try_from(mode).ok());
    let mut original = kept_in_mode(properties, own, mode);
    if let Some(expiration) = text_in(dead, "expiration").and_then(|text| short("expiration", &text).ok()) {
        original = original.with_expiration(expiration);
    }
    Some((original, text_in(dead, "queue")?))
}

/// The dead letter as the seam shows it.
pub(crate) fn read(properties: &BasicProperties, body: Bytes) -> Option<DeadLetter> {
    let dead = header(properties)?;
    let text = |name: &str| text_in(dead, name).unwrap_or_default();
    let at = int_in(dead, "at").and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let (original, queue) = original(properties)?;
    let mut letter =
        DeadLetter::new(key_of(properties)?, text("code"), text("reason"), at.unwrap_or(Timestamp::UNIX_EPOCH), queue);
    match decode(&original, body.clone()) {
        Ok(message) => {
            (letter.task_id, letter.task) = label(&original);
            letter.message = Some(message);
        }
        Err(_) => letter.raw = Some(body),
    }
    Some(letter)
}
