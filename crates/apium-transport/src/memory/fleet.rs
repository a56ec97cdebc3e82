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

/// The records of one topic, in the order in which they were written.
#[derive(Debug, Default)]
struct TopicRecords {
    records: BTreeMap<u64, FleetRecord>,
    numbers: HashMap<String, u64>,
    last: u64,
}

impl TopicRecords {
    fn put(&mut self, record: FleetRecord) {
        self.last += 1;
        if let Some(earlier) = self.numbers.insert(record.key.clone(), self.last) {
            self.records.remove(&earlier);
        }
        self.records.insert(self.last, record);
    }

    fn remove(&mut self, key: &str) -> bool {
        self.numbers.remove(key).is_some_and(|number| self.records.remove(&number).is_some())
    }

    /// Drops what is too old, and the oldest of what is too much. Returns how many were too much.
    fn limit(&mut self, limits: FleetLimits, now: Timestamp) -> usize {
        let mut too_many = 0;
        while let Some(first) = self.records.first_entry() {
            let is_too_old = !is_kept(first.get(), limits, now);
            if !is_too_old && self.numbers.len() <= limits.most {
                break;
            }
            too_many += usize::from(!is_too_old);
            self.numbers.remove(&first.remove().key);
        }
        too_many
    }
}

fn is_kept(record: &FleetRecord, limits: FleetLimits, now: Timestamp) -> bool {
    limits.keep.is_none_or(|keep| now.duration_since(record.at).unsigned_abs() <= keep || record.at > now)
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
            let now = self.store.clock.now();
            let namespace = self.store.lock();
            let stored = namespace.fleet.0.get(&topic).into_iter().flat_map(|topic| topic.records.values());
            let is_asked = |record: &&FleetRecord| since.is_none_or(|since| record.at >= since);
            Ok(stored.filter(is_asked).filter(|record| is_kept(record, limits, now)).cloned().collect())
        })
    }
}
