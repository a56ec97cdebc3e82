//! What all workers share: records in a queue for each topic. A message is a batch of changes; of two changes of one
//! key the later one counts. Who changes something reads all of it as the only reader, and adds a message. It writes
//! everything anew when much is outdated or has become many messages. So little is read when a worker starts, little is
//! written, and no two changes get in each other's way.

use std::collections::HashMap;

use apium_protocol::json::text::Json;
use apium_transport::broker::fleet::{FleetLimits, FleetRecord, FleetRecords, FleetTopic};
use apium_transport::broker::topology::{ExchangeType, Queue};
use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use lapin::BasicProperties;

use crate::broker::AmqpBroker;
use crate::consumer::whole_queue::WholeQueue;
use crate::publish::publisher::Ready;
use crate::shared::BrokerShared;

/// How many changes a message has at most.
const BATCH: usize = 2_000;

/// With so many messages more than the records need, all records are written anew.
const MESSAGES: usize = 64;

/// A change on the wire: a key, its value, and its time in microseconds. Without a time, nothing is kept of the key.
type Change = (String, Json, Option<i64>);

fn kept(record: &FleetRecord) -> Change {
    (record.key.clone(), record.value.clone(), Some(record.at.as_microsecond()))
}

fn removed(key: &str) -> Change {
    (key.to_owned(), Json::NULL, None)
}

fn queue_of(topic: FleetTopic) -> &'static str {
    match topic {
        FleetTopic::RevokedTasks => "apium.revoked",
        FleetTopic::RevokedStamps => "apium.revoked-stamps",
        FleetTopic::PausedQueues => "apium.paused",
        _ => "apium.records",
    }
}

/// The records of a topic, with the place of each key.
#[derive(Default)]
struct Records {
    all: Vec<Option<FleetRecord>>,
    by_key: HashMap<String, usize>,
}

impl Records {
    fn add(&mut self, record: FleetRecord) {
        if let Some(place) = self.by_key.insert(record.key.clone(), self.all.len()) {
            self.all[place] = None;
        }
        self.all.push(Some(record));
    }

    fn apply(&mut self, (key, value, at): Change) {
        let Some(at) = at else {
            self.remove(&key);
            return;
        };
        self.add(FleetRecord::new(key, value, Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH)));
    }

    fn remove(&mut self, key: &str) -> bool {
        let place = self.by_key.remove(key);
        place.is_some_and(|place| self.all[place].take().is_some())
    }

    /// What is kept, the oldest first.
    fn sorted(self) -> Vec<FleetRecord> {
        let mut all: Vec<FleetRecord> = self.all.into_iter().flatten().collect();
        all.sort_by_key(|record| record.at);
        all
    }
}

/// All records of a topic, while nobody else reads them.
struct Topic {
    queue: &'static str,
    reading: WholeQueue,
    records: Records,
    /// How many changes the queue holds. Some are outdated.
    changes: usize,
}

impl Topic {
    async fn open(shared: &BrokerShared, topic: FleetTopic) -> Result<Self> {
        let name = queue_of(topic);
        if !shared.declared.has_queue(name) {
            let mut queue = Queue::new(name).exchange("", ExchangeType::Direct);
            let classic = Json::from_serialize("classic").unwrap_or(Json::NULL);
            queue.arguments.insert("x-queue-type".to_owned(), classic);
            queue.max_priority = Some(0);
            shared.declare(&[queue]).await?;
        }
        let reading = WholeQueue::open(shared, name).await?;
        let (mut records, mut changes) = (Records::default(), 0);
        for message in &reading.all {
            let read = Json::from_bytes(Bytes::copy_from_slice(&message.data)).and_then(|json| json.decode());
            let read: Vec<Change> = read.map_err(|error| {
                let what = format!("read the records in the queue {name}: another program wrote to it");
                Error::new(ErrorKind::Corrupt, what).with_source(error)
            })?;
            changes += read.len();
            read.into_iter().for_each(|change| records.apply(change));
        }
        Ok(Self { queue: name, reading, records, changes })
    }

    fn messages(&self, changes: &[Change]) -> Result<Vec<Ready>> {
        let message = |batch: &[Change]| {
            let body = Json::from_serialize(batch)
                .map_err(|error| Error::new(ErrorKind::Other, "write records").with_source(error))?;
            let properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_content_encoding("utf-8".into())
                .with_delivery_mode(2);
            let routing_key = self.queue.into();
            Ok(Ready { exchange: "".into(), routing_key, properties, body: body.into_bytes(), mandatory: true })
        };
        changes.chunks(BATCH).map(message).collect()
    }

    /// Adds changes, after which these records are kept. Writes all of them anew instead if much is outdated.
    async fn write(self, shared: &BrokerShared, changes: &[Change], all: &[FleetRecord]) -> Result<()> {
        let outdated = (self.changes + changes.len()).saturating_sub(all.len());
        let is_long = self.reading.all.len() >= MESSAGES + all.len() / BATCH;
        if outdated <= all.len() / 4 && !is_long {
            if !changes.is_empty() {
                shared.publish_ready(self.messages(changes)?).await?;
            }
            return self.reading.close().await;
        }
        let anew: Vec<Change> = all.iter().map(kept).collect();
        shared.publish_ready(self.messages(&anew)?).await?;
        for message in &self.reading.all {
            self.reading.remove(message).await?;
        }
        self.reading.close().await
    }
}

async fn put(shared: &BrokerShared, topic: FleetTopic, new: Vec<FleetRecord>, limits: FleetLimits) -> Result<usize> {
    shared.check_open("write records")?;
    let mut topic = Topic::open(shared, topic).await?;
    let mut records = std::mem::take(&mut topic.records);
    new.iter().for_each(|record| records.add(record.clone()));
    let oldest = limits.oldest(shared.clock.now());
    let (mut all, aged): (Vec<_>, Vec<_>) = records.sorted().into_iter().partition(|record| record.at >= oldest);
    let dropped: Vec<_> = all.drain(..all.len().saturating_sub(limits.most)).collect();
    let gone = aged.iter().chain(&dropped).map(|record| removed(&record.key));
    let changes: Vec<Change> = new.iter().map(kept).chain(gone).collect();
    topic.write(shared, &changes, &all).await?;
    Ok(dropped.len())
}

async fn remove(shared: &BrokerShared, topic: FleetTopic, keys: &[String]) -> Result<usize> {
    shared.check_open("remove records")?;
    if keys.is_empty() {
        return Ok(0);
    }
    let mut topic = Topic::open(shared, topic).await?;
    let mut records = std::mem::take(&mut topic.records);
    let changes: Vec<Change> = keys.iter().filter(|key| records.remove(key)).map(|key| removed(key)).collect();
    topic.write(shared, &changes, &records.sorted()).await?;
    Ok(changes.len())
}

async fn list(
    shared: &BrokerShared,
    topic: FleetTopic,
    since: Option<Timestamp>,
    limits: FleetLimits,
) -> Result<Vec<FleetRecord>> {
    shared.check_open("read records")?;
    let mut topic = Topic::open(shared, topic).await?;
    let mut records = std::mem::take(&mut topic.records).sorted();
    topic.reading.close().await?;
    let oldest = limits.oldest(shared.clock.now()).max(since.unwrap_or(Timestamp::MIN));
    records.retain(|record| record.at >= oldest);
    records.drain(..records.len().saturating_sub(limits.most));
    Ok(records)
}

impl FleetRecords for AmqpBroker {
    fn put<'a>(
        &'a self,
        topic: FleetTopic,
        records: Vec<FleetRecord>,
        limits: FleetLimits,
    ) -> BoxFuture<'a, Result<usize>> {
        Box::pin(put(self.shared(), topic, records, limits))
    }

    fn remove<'a>(&'a self, topic: FleetTopic, keys: &'a [String]) -> BoxFuture<'a, Result<usize>> {
        Box::pin(remove(self.shared(), topic, keys))
    }

    fn list(
        &self,
        topic: FleetTopic,
        since: Option<Timestamp>,
        limits: FleetLimits,
    ) -> BoxFuture<'_, Result<Vec<FleetRecord>>> {
        Box::pin(list(self.shared(), topic, since, limits))
    }
}
