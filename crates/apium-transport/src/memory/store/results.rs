//! The results of one namespace, its saved groups, and the watches of its results.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use jiff::Timestamp;

use crate::backend::backend::{ResultRecord, RunVersion, StoreResult, may_replace};
use crate::backend::watch_state::{StateVersion, WatchedState};
use crate::backend::watch_table::{WatchChanges, WatchTable};
use crate::memory::store::after_unlock::AfterUnlock;
use crate::memory::store::expiry::{after, is_alive};

/// With fewer rows than this, no expired ones are looked for.
const FIRST_PURGE: usize = 1024;

/// The results of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Results {
    rows: HashMap<TaskId, Row>,
    pub(crate) groups: HashMap<String, StoredGroup>,
    /// At so many rows, expired ones are looked for. Nothing else does that by itself.
    purge_at: usize,
    pub(crate) watches: WatchTable<TaskId>,
}

#[derive(Debug)]
struct Row {
    document: Arc<ResultDocument>,
    run: Option<RunVersion>,
    expires: Option<Timestamp>,
}

/// A saved group.
#[derive(Debug)]
pub(crate) struct StoredGroup {
    pub(crate) document: GroupDocument,
    pub(crate) expires: Option<Timestamp>,
}

impl Results {
    /// Writes a record under the overwrite rule, and reports it to its watches.
    pub(crate) fn store(
        &mut self,
        record: ResultRecord,
        now: Timestamp,
        after_unlock: &mut AfterUnlock,
    ) -> StoreResult {
        let ResultRecord { document, run, ttl, .. } = record;
        if let Some(old) = self.rows.get(&document.task_id)
            && is_alive(old.expires, now)
            && !may_replace((&old.document.state, old.run), (&document.state, run))
        {
            return StoreResult::Refused;
        }
        let expires = ttl.map(|ttl| after(now, ttl));
        let document = Arc::new(document);
        let mut changes = WatchChanges::default();
        let state = WatchedState::new(StateVersion::InOrder, Ok(document.clone()));
        self.watches.notify(&document.task_id, &state, &mut changes);
        after_unlock.wakers.append(&mut changes.wakers);
        self.rows.insert(document.task_id.clone(), Row { document, run, expires });
        if self.rows.len() >= self.purge_at.max(FIRST_PURGE) {
            self.purge_expired(now);
            // The next time is as many writes away as there are rows, so that it costs each write a constant.
            self.purge_at = self.rows.len() * 2;
        }
        StoreResult::Written
    }

    /// Reads a document that has not expired.
    pub(crate) fn fetch(&self, id: &TaskId, now: Timestamp) -> Option<Arc<ResultDocument>> {
        self.rows.get(id).filter(|row| is_alive(row.expires, now)).map(|row| row.document.clone())
    }

    /// A copy of a document that has not expired.
    pub(crate) fn document(&self, id: &TaskId, now: Timestamp) -> Option<ResultDocument> {
        self.fetch(id, now).map(Arc::unwrap_or_clone)
    }

    /// Deletes results. Returns their documents, to be dropped without the lock.
    pub(crate) fn forget(&mut self, ids: &[TaskId]) -> Vec<Arc<ResultDocument>> {
        ids.iter().filter_map(|id| self.rows.remove(id)).map(|row| row.document).collect()
    }

    /// Deletes expired results and groups. Returns how many.
    pub(crate) fn purge_expired(&mut self, now: Timestamp) -> u64 {
        let before = self.rows.len() + self.groups.len();
        self.rows.retain(|_, row| is_alive(row.expires, now));
        self.groups.retain(|_, group| is_alive(group.expires, now));
        (before - self.rows.len() - self.groups.len()) as u64
    }

    /// Reads a saved group that has not expired.
    pub(crate) fn group(&self, id: &str, now: Timestamp) -> Option<GroupDocument> {
        self.groups.get(id).filter(|group| is_alive(group.expires, now)).map(|group| group.document.clone())
    }

    /// Adds a watch that begins with the states stored now. It misses no later write, which needs the same lock.
    pub(crate) fn watch(&mut self, ids: &[TaskId], handle_closed: Arc<AtomicBool>, now: Timestamp) -> u64 {
        // Nobody polls it yet, so nobody is to be woken.
        let mut changes = WatchChanges::default();
        let number = self.watches.add(ids.iter().cloned(), handle_closed, &mut changes);
        let state =
            |id: &TaskId| Some((id.clone(), WatchedState::new(StateVersion::InOrder, Ok(self.fetch(id, now)?))));
        let stored: Vec<(TaskId, WatchedState)> = ids.iter().filter_map(state).collect();
        self.watches.start(number, &stored, &mut changes);
        number
    }
}

#[cfg(test)]
mod tests {

    use apium_protocol::json::text::Json;
    use apium_protocol::result::state::State;

    use super::*;

    #[test]
    fn expired_results_do_not_pile_up() {
        let (mut results, mut after_unlock) = (Results::default(), AfterUnlock::default());
        for second in 0..100_000 {
            let now = Timestamp::from_second(second).unwrap();
            let mut record = record(&second.to_string(), State::Success);
            record.ttl = Some(std::time::Duration::from_secs(100));
            results.store(record, now, &mut after_unlock);
            assert!(results.rows.len() <= FIRST_PURGE);
        }
    }

    fn record(id: &str, state: State) -> ResultRecord {
        let document = ResultDocument::new(TaskId::from(id), state, Json::NULL);
        ResultRecord::new(document)
    }
}
