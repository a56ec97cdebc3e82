//! The queue `apium.crashes`: which runs had begun when their worker died. Its messages are the marks of dead workers
//! ([`run_marks`](crate::consumer::run_marks)), which the server moves there.

use std::collections::{HashMap, HashSet};

use apium_protocol::json::text::Json;
use apium_transport::broker::topology::{ExchangeType, Queue};
use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;

use crate::consumer::late_settlements::MessageKey;
use crate::consumer::whole_queue::WholeQueue;
use crate::publish::declare::queue_counts;
use crate::publish::publisher::Ready;
use crate::shared::BrokerShared;

/// The queue of the records.
pub(crate) const QUEUE: &str = "apium.crashes";

/// How long a crash counts, in milliseconds: a day.
const KEPT: u32 = 24 * 60 * 60 * 1000;

/// How many records there are at most; the oldest go.
const MOST: u32 = 10_000;

/// Runs of one consumer that had begun.
#[derive(Debug)]
pub(crate) struct CrashRecord {
    /// The consumer.
    consumer: String,
    runs: Vec<MessageKey>,
}

/// A record on the wire: the consumer, and for each run its queue, its task id and its retries.
type WireRecord = (String, Vec<(String, String, u32)>);

impl CrashRecord {
    fn read(message: &Delivery) -> Option<Self> {
        let json = Json::from_bytes(Bytes::copy_from_slice(&message.data)).ok()?;
        let (consumer, runs): WireRecord = json.decode().ok()?;
        let runs = runs.iter().map(|(queue, id, retries)| MessageKey::from_wire(queue, id, *retries)).collect();
        Some(Self { consumer, runs })
    }
}

/// The body of a record.
pub(crate) fn body<'a>(consumer: &str, runs: impl Iterator<Item = &'a MessageKey>) -> Result<Bytes> {
    let runs: Vec<_> = runs.map(MessageKey::to_wire).collect();
    let json = Json::from_serialize(&(consumer, runs));
    Ok(json.map_err(|error| Error::new(ErrorKind::Other, "write a record").with_source(error))?.into_bytes())
}

/// The properties of a record. It does not survive a restart of the server: that ends the connections of all workers,
/// and says nothing about their runs.
pub(crate) fn properties() -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(1)
}

/// The queue by which a consumer holds its marks.
pub(crate) fn marks_of(consumer: &str) -> String {
    format!("apium.started.{consumer}")
}

/// Makes sure that the queue is there.
pub(crate) async fn ensure_queue(shared: &BrokerShared) -> Result<()> {
    if shared.declared.has_queue(QUEUE) {
        return Ok(());
    }
    let mut queue = Queue::new(QUEUE).exchange("", ExchangeType::Direct);
    let argument = |value: Result<Json, _>| value.unwrap_or(Json::NULL);
    queue.arguments.insert("x-queue-type".to_owned(), argument(Json::from_serialize("classic")));
    queue.arguments.insert("x-message-ttl".to_owned(), argument(Json::from_serialize(&KEPT)));
    queue.arguments.insert("x-max-length".to_owned(), argument(Json::from_serialize(&MOST)));
    queue.max_priority = Some(0);
    shared.declare(&[queue]).await
}

/// How many crashes these messages have: how many consumers died while they ran them.
pub(crate) async fn count(shared: &BrokerShared, keys: &HashSet<MessageKey>) -> Result<HashMap<MessageKey, u32>> {
    ensure_queue(shared).await?;
    let mut commands = shared.commands("count crashes").await?;
    if queue_counts(&mut commands, QUEUE).await? == Some((0, 0)) {
        return Ok(HashMap::new());
    }
    drop(commands);
    let reading = WholeQueue::open(shared, QUEUE).await?;
    let records: Vec<CrashRecord> = reading.all.iter().filter_map(CrashRecord::read).collect();
    reading.close().await?;
    let mut by_consumer: HashMap<String, HashSet<MessageKey>> = HashMap::new();
    for CrashRecord { consumer, runs } in records {
        let found: Vec<MessageKey> = runs.into_iter().filter(|key| keys.contains(key)).collect();
        if !found.is_empty() {
            by_consumer.entry(consumer).or_default().extend(found);
        }
    }
    let mut counts = HashMap::new();
    for (consumer, found) in by_consumer {
        let mut commands = shared.commands("count crashes").await?;
        let holds_marks = queue_counts(&mut commands, &marks_of(&consumer)).await?;
        drop(commands);
        if holds_marks.is_some_and(|(_, consumers)| consumers > 0) {
            // It lost its connection for a while, and lives.
            continue;
        }
        for key in found {
            *counts.entry(key).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Messages are settled: their crashes count no more.
pub(crate) async fn forget_runs(shared: &BrokerShared, keys: &HashSet<MessageKey>) -> Result<()> {
    change(shared, |record| {
        let before = record.runs.len();
        record.runs.retain(|key| !keys.contains(key));
        record.runs.len() < before
    })
    .await
}

/// A consumer lives: it has not crashed.
pub(crate) async fn forget_consumer(shared: &BrokerShared, consumer: &str) -> Result<()> {
    change(shared, |record| {
        let is_meant = record.consumer == consumer;
        if is_meant {
            record.runs.clear();
        }
        is_meant
    })
    .await
}

/// Changes records: those for which `change` is true are written anew, or removed when no run is left.
async fn change(shared: &BrokerShared, mut change: impl FnMut(&mut CrashRecord) -> bool) -> Result<()> {
    ensure_queue(shared).await?;
    let mut commands = shared.commands("remove records of crashes").await?;
    if queue_counts(&mut commands, QUEUE).await? == Some((0, 0)) {
        return Ok(());
    }
    drop(commands);
    let reading = WholeQueue::open(shared, QUEUE).await?;
    let (mut changed, mut rest) = (Vec::new(), Vec::new());
    for message in &reading.all {
        let Some(mut record) = CrashRecord::read(message) else { continue };
        if !change(&mut record) {
            continue;
        }
        changed.push(message);
        if !record.runs.is_empty() {
            let body = body(&record.consumer, record.runs.iter())?;
            let (exchange, routing_key) = ("".into(), QUEUE.into());
            rest.push(Ready { exchange, routing_key, properties: properties(), body, mandatory: true });
        }
    }
    if !rest.is_empty() {
        // A crash in between leaves a run in two records of one consumer, which count once.
        shared.publish_ready(rest).await?;
    }
    for message in changed {
        reading.remove(message).await?;
    }
    reading.close().await
}
