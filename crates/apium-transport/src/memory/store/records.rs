//! What all workers of a namespace share.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::broker::fleet::{FleetLimits, FleetRecord, FleetTopic};

/// The records of all topics.
#[derive(Debug, Default)]
pub(crate) struct StoredRecords(pub(crate) HashMap<FleetTopic, TopicRecords>);

/// The records of one topic, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct TopicRecords {
    pub(crate) records: BTreeMap<Position, FleetRecord>,
    positions: HashMap<String, Position>,
    last: u64,
}

/// The time of a record, and a number for each write.
pub(crate) type Position = (Timestamp, u64);

impl TopicRecords {
    pub(crate) fn put(&mut self, record: FleetRecord) {
        self.last += 1;
        let position = (record.at, self.last);
        if let Some(earlier) = self.positions.insert(record.key.clone(), position) {
            self.records.remove(&earlier);
        }
        self.records.insert(position, record);
    }

    pub(crate) fn remove(&mut self, key: &str) -> bool {
        self.positions.remove(key).is_some_and(|position| self.records.remove(&position).is_some())
    }

    /// Drops what is too old, and the oldest of what is too much. Returns how many were too much.
    pub(crate) fn limit(&mut self, limits: FleetLimits, now: Timestamp) -> usize {
        let oldest = limits.oldest(now);
        let mut too_many = 0;
        while let Some(first) = self.records.first_entry() {
            let is_too_old = first.get().at < oldest;
            if !is_too_old && self.positions.len() <= limits.most {
                break;
            }
            too_many += usize::from(!is_too_old);
            self.positions.remove(&first.remove().key);
        }
        too_many
    }
}
