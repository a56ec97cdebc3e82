//! What all workers of a namespace share.

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::broker::fleet::{FleetLimits, FleetRecord, FleetRecords, FleetTopic};
use crate::error::Result;
use crate::memory::broker::MemoryBroker;

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
