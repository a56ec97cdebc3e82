//! What all workers of a namespace share.

use std::collections::{BTreeMap, HashMap};

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::broker::fleet::{FleetLimits, FleetRecord, FleetRecords, FleetTopic};
use crate::error::Result;
use crate::memory::broker::MemoryBroker;

/// The records of all topics.
#[derive(Debug, Default)]
pub(crate) struct StoredRecords(HashMap<FleetTopic, TopicRecords>);

/// The records of one topic, the oldest first.
#[derive(Debug, Default)]
struct TopicRecords {
    records: BTreeMap<Place, FleetRecord>,
    places: HashMap<String, Place>,
    last: u64,
}

/// The time of a record, and a number for each write.
type Place = (Timestamp, u64);

impl TopicRecords {
    fn put(&mut self, record: FleetRecord) {
        self.last += 1;
        let place = (record.at, self.last);
        if let Some(earlier) = self.places.insert(record.key.clone(), place) {
            self.records.remove(&earlier);
        }
        self.records.insert(place, record);
    }

    fn remove(&mut self, key: &str) -> bool {
        self.places.remove(key).is_some_and(|place| self.records.remove(&place).is_some())
    }

    /// Drops what is too old, and the oldest of what is too much. Returns how many were too much.
    fn limit(&mut self, limits: FleetLimits, now: Timestamp) -> usize {
        let oldest = limits.oldest(now);
        let mut too_many = 0;
        while let Some(first) = self.records.first_entry() {
            let is_too_old = first.get().at < oldest;
            if !is_too_old && self.places.len() <= limits.most {
                break;
            }
            too_many += usize::from(!is_too_old);
            self.places.remove(&first.remove().key);
        }
        too_many
    }
}

impl FleetRecords for MemoryBroker {
    fn put<'a>(
        &'a self,
        topic: FleetTopic,
        records: Vec<FleetRecord>,
        limits: FleetLimits,
    ) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move {
            self.check_open("write what all workers share")?;
            let now = self.store.clock.now();
            let namespace = &mut *self.store.lock();
            let stored = namespace.fleet.0.entry(topic).or_default();
            records.into_iter().for_each(|record| stored.put(record));
            Ok(stored.limit(limits, now))
        })
    }

    fn remove<'a>(&'a self, topic: FleetTopic, keys: &'a [String]) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move {
            self.check_open("remove what all workers share")?;
            let namespace = &mut *self.store.lock();
            let stored = namespace.fleet.0.entry(topic).or_default();
            Ok(keys.iter().filter(|key| stored.remove(key)).count())
        })
    }

    fn list(
        &self,
        topic: FleetTopic,
        since: Option<Timestamp>,
        limits: FleetLimits,
    ) -> BoxFuture<'_, Result<Vec<FleetRecord>>> {
        Box::pin(async move {
            self.check_open("read what all workers share")?;
            let oldest = limits.oldest(self.store.clock.now());
            let first = since.map_or(oldest, |since| since.max(oldest));
            let namespace = self.store.lock();
            let Some(stored) = namespace.fleet.0.get(&topic) else { return Ok(Vec::new()) };
            Ok(stored.records.range((first, 0)..).map(|(_, record)| record.clone()).collect())
        })
    }
}
