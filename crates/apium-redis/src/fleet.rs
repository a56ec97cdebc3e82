//! What all workers share: for each topic a sorted set of the times of its records, and a hash of their values.

use std::collections::HashMap;

use apium_protocol::json::text::Json;
use apium_transport::broker::fleet::{FleetLimits, FleetRecord, FleetRecords, FleetTopic};
use apium_transport::error::{Error, ErrorKind, Result};
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::broker::RedisBroker;
use crate::errors::unexpected_reply;
use crate::scripts::script::{FLEET_LIST, FLEET_PUT, FLEET_REMOVE};
use crate::shared::BrokerShared;

/// How many records one command writes, drops or reads at most.
const BATCH: usize = 1000;

const PUT: &str = "write what all workers share";
const REMOVE: &str = "remove what all workers share";
const LIST: &str = "read what all workers share";

/// A record as the server returns it: its key, its time, its value.
type PageEntry = (String, String, Option<Vec<u8>>);

/// A time as a score: microseconds, which a score holds exactly.
fn score(at: Timestamp) -> String {
    if at == Timestamp::MIN { "-inf".to_owned() } else { at.as_microsecond().to_string() }
}

impl BrokerShared {
    /// Writes a batch of records. Returns how many were dropped for lack of room.
    async fn put_records(&self, topic: FleetTopic, batch: &[FleetRecord], limits: FleetLimits) -> Result<usize> {
        let oldest = limits.keep.map_or(String::new(), |_| score(limits.oldest(self.server_time())));
        let (mut batch, mut dropped) = (batch, 0);
        loop {
            let answer = self
                .connection
                .script(PUT, &FLEET_PUT, |command| {
                    command.arg(2).arg(self.keys.fleet(topic.name())).arg(self.keys.fleet_values(topic.name()));
                    command.arg(limits.most).arg(&oldest).arg(BATCH);
                    for record in batch {
                        command.arg(score(record.at)).arg(&record.key).arg(record.value.as_bytes());
                    }
                })
                .await?;
            let (gone, has_more) =
                redis::from_redis_value::<(usize, bool)>(answer).map_err(|_| unexpected_reply(PUT))?;
            dropped += gone;
            batch = &[];
            if !has_more {
                return Ok(dropped);
            }
        }
    }

    /// Reads all records from a time on, the oldest first.
    async fn list_records(&self, topic: FleetTopic, from: Timestamp) -> Result<Vec<FleetRecord>> {
        // A record that is written again meanwhile comes a second time, with its new time.
        let mut found: HashMap<String, FleetRecord> = HashMap::new();
        let (mut time, mut after) = (score(from), None);
        loop {
            let answer = self
                .connection
                .script(LIST, &FLEET_LIST, |command| {
                    command.arg(2).arg(self.keys.fleet(topic.name())).arg(self.keys.fleet_values(topic.name()));
                    command.arg(BATCH).arg(&time).arg(&after);
                })
                .await?;
            let page: Vec<PageEntry> = redis::from_redis_value(answer).map_err(|_| unexpected_reply(LIST))?;
            let is_last = page.len() < BATCH;
            for (key, at, value) in page {
                if let Some(record) = self.read_record(topic, &key, &at, value)? {
                    found.insert(key.clone(), record);
                }
                (time, after) = (at, Some(key));
            }
            if is_last {
                let mut found: Vec<FleetRecord> = found.into_values().collect();
                found.sort_by(|one, other| (one.at, &one.key).cmp(&(other.at, &other.key)));
                return Ok(found);
            }
        }
    }

    /// A record as it is stored; `None` for one that was being removed.
    fn read_record(
        &self,
        topic: FleetTopic,
        key: &str,
        time: &str,
        value: Option<Vec<u8>>,
    ) -> Result<Option<FleetRecord>> {
        let Some(value) = value else { return Ok(None) };
        let corrupt = |text: &str| {
            let values = self.keys.fleet_values(topic.name());
            Error::new(ErrorKind::Corrupt, format!("{LIST}: the field {key:?} of the key {values:?} {text}; delete it"))
        };
        let micros = time.parse::<f64>().map_err(|error| corrupt("has a time that is none").with_source(error))?;
        let end = if micros < 0.0 { Timestamp::MIN } else { Timestamp::MAX };
        let at = Timestamp::from_microsecond(micros as i64).unwrap_or(end);
        let value = Json::from_bytes(value.into()).map_err(|error| corrupt("is no JSON").with_source(error))?;
        Ok(Some(FleetRecord::new(key, value, at)))
    }

    fn server_time(&self) -> Timestamp {
        Timestamp::from_millisecond(self.connection.server_now()).unwrap_or(Timestamp::MAX)
    }
}

impl FleetRecords for RedisBroker {
    fn put<'a>(
        &'a self,
        topic: FleetTopic,
        records: Vec<FleetRecord>,
        limits: FleetLimits,
    ) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open(PUT)?;
            let mut dropped = 0;
            for batch in records.chunks(BATCH) {
                dropped += shared.put_records(topic, batch, limits).await?;
            }
            if records.is_empty() {
                dropped += shared.put_records(topic, &[], limits).await?;
            }
            Ok(dropped)
        })
    }

    fn remove<'a>(&'a self, topic: FleetTopic, keys: &'a [String]) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open(REMOVE)?;
            let mut removed = 0;
            for keys in keys.chunks(BATCH) {
                // A script, since a server whose memory is full refuses transactions.
                let answer = shared
                    .connection
                    .script(REMOVE, &FLEET_REMOVE, |command| {
                        command.arg(2).arg(shared.keys.fleet(topic.name())).arg(shared.keys.fleet_values(topic.name()));
                        command.arg(keys);
                    })
                    .await?;
                removed += redis::from_redis_value::<usize>(answer).map_err(|_| unexpected_reply(REMOVE))?;
            }
            Ok(removed)
        })
    }

    fn list(
        &self,
        topic: FleetTopic,
        since: Option<Timestamp>,
        limits: FleetLimits,
    ) -> BoxFuture<'_, Result<Vec<FleetRecord>>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open(LIST)?;
            let oldest = limits.oldest(shared.server_time());
            shared.list_records(topic, since.map_or(oldest, |since| since.max(oldest))).await
        })
    }
}
