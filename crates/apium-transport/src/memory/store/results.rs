//! Results, saved groups and those who watch results, of one namespace.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use jiff::Timestamp;

use crate::backend::backend::{ResultRecord, RunVersion, StoreResult, may_replace};
use crate::memory::store::after_unlock::AfterUnlock;
use crate::memory::store::expiry::{after, is_alive};

/// How many states a watcher that does not look may fall behind before the oldest that are not ready are left out.
const LAG: usize = 1024;

/// With fewer rows than this none is looked at for being past its time.
const FIRST_PURGE: usize = 1024;

/// The results of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Results {
    rows: HashMap<TaskId, Row>,
    pub(crate) groups: HashMap<String, Group>,
    /// At so many rows what is past its time is looked for: nobody else does it here.
    purge_at: usize,
    watches: HashMap<u64, Watch>,
    /// Which watches wait for a task.
    watched: HashMap<TaskId, Vec<u64>>,
    last_watch: u64,
}

#[derive(Debug)]
struct Row {
    document: Arc<ResultDocument>,
    run: Option<RunVersion>,
    expires: Option<Timestamp>,
}

/// A saved group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) document: GroupDocument,
    pub(crate) expires: Option<Timestamp>,
}

/// One stream of states.
#[derive(Debug, Default)]
struct Watch {
    /// The tasks that were not ready when it began.
    tasks: Vec<TaskId>,
    /// How many of them are not ready yet.
    open: usize,
    /// What the stream has not yielded yet.
    news: VecDeque<Arc<ResultDocument>>,
    waker: Option<Waker>,
}

/// What a watch has to say.
pub(crate) enum News {
    State(Arc<ResultDocument>),
    Wait,
    End,
}

impl Results {
    /// Writes a record under the overwrite rule and tells who watches.
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
        self.notify_watchers(&document, after_unlock);
        self.rows.insert(document.task_id.clone(), Row { document, run, expires });
        if self.rows.len() >= self.purge_at.max(FIRST_PURGE) {
            self.purge_expired(now);
            // The next look is as far away as there are rows, so that looking costs each write a constant.
            self.purge_at = self.rows.len() * 2;
        }
        StoreResult::Written
    }

    fn notify_watchers(&mut self, document: &Arc<ResultDocument>, after_unlock: &mut AfterUnlock) {
        if self.watched.is_empty() {
            return;
        }
        let ready = document.state.is_ready();
        let watchers = match ready {
            true => self.watched.remove(&document.task_id),
            false => self.watched.get(&document.task_id).cloned(),
        };
        for id in watchers.unwrap_or_default() {
            let Some(watch) = self.watches.get_mut(&id) else { continue };
            watch.open -= usize::from(ready);
            if watch.news.len() >= LAG
                && let Some(oldest) = watch.news.iter().position(|old| !old.state.is_ready())
            {
                watch.news.remove(oldest);
            }
            watch.news.push_back(document.clone());
            after_unlock.wakers.extend(watch.waker.take());
        }
    }

    /// Reads a document that is not past its time.
    pub(crate) fn fetch(&self, id: &TaskId, now: Timestamp) -> Option<Arc<ResultDocument>> {
        self.rows.get(id).filter(|row| is_alive(row.expires, now)).map(|row| row.document.clone())
    }

    /// A copy of a document that is not past its time.
    pub(crate) fn document(&self, id: &TaskId, now: Timestamp) -> Option<ResultDocument> {
        self.fetch(id, now).map(Arc::unwrap_or_clone)
    }

    /// Deletes results; returns the documents to be dropped without the lock.
    pub(crate) fn forget(&mut self, ids: &[TaskId]) -> Vec<Arc<ResultDocument>> {
        ids.iter().filter_map(|id| self.rows.remove(id)).map(|row| row.document).collect()
    }

    /// Deletes results and groups that are past their time.
    pub(crate) fn purge_expired(&mut self, now: Timestamp) -> u64 {
        let before = self.rows.len() + self.groups.len();
        self.rows.retain(|_, row| is_alive(row.expires, now));
        self.groups.retain(|_, group| is_alive(group.expires, now));
        (before - self.rows.len() - self.groups.len()) as u64
    }

    /// Reads a saved group that is not past its time.
    pub(crate) fn group(&self, id: &str, now: Timestamp) -> Option<GroupDocument> {
        self.groups.get(id).filter(|group| is_alive(group.expires, now)).map(|group| group.document.clone())
    }

    /// Begins to watch: what is stored now is the first news, and no later write is missed, being behind the same lock.
    pub(crate) fn watch(&mut self, mut ids: Vec<TaskId>, now: Timestamp) -> u64 {
        let mut seen = std::collections::HashSet::with_capacity(ids.len());
        ids.retain(|id| seen.insert(id.clone()));
        self.last_watch += 1;
        let number = self.last_watch;
        let mut watch = Watch::default();
        for id in ids {
            let stored = self.fetch(&id, now);
            let ready = stored.as_ref().is_some_and(|document| document.state.is_ready());
            watch.news.extend(stored);
            if !ready {
                watch.open += 1;
                self.watched.entry(id.clone()).or_default().push(number);
                watch.tasks.push(id);
            }
        }
        self.watches.insert(number, watch);
        number
    }

    /// The next news of a watch; keeps the waker when there are none yet.
    pub(crate) fn poll(&mut self, watch: u64, waker: &Waker) -> News {
        match self.watches.get_mut(&watch) {
            None => News::End,
            Some(watch) => match watch.news.pop_front() {
                Some(document) => News::State(document),
                None if watch.open == 0 => News::End,
                None => {
                    watch.waker = Some(waker.clone());
                    News::Wait
                }
            },
        }
    }

    /// Has every watch look again.
    pub(crate) fn wake_all(&mut self, after_unlock: &mut AfterUnlock) {
        after_unlock.wakers.extend(self.watches.values_mut().filter_map(|watch| watch.waker.take()));
    }

    /// Ends a watch.
    pub(crate) fn unwatch(&mut self, watch: u64) {
        let Some(ended) = self.watches.remove(&watch).filter(|watch| watch.open > 0) else { return };
        for task in ended.tasks {
            if let Some(watchers) = self.watched.get_mut(&task) {
                watchers.retain(|id| *id != watch);
                if watchers.is_empty() {
                    self.watched.remove(&task);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    

    use apium_protocol::json::text::Json;
    use apium_protocol::result::state::State;

    use super::*;

    #[test]
    fn what_is_past_its_time_does_not_pile_up() {
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

    fn drain(results: &mut Results, watch: u64) -> Vec<State> {
        std::iter::from_fn(|| match results.poll(watch, Waker::noop()) {
            News::State(document) => Some(document.state.clone()),
            News::Wait | News::End => None,
        })
        .collect()
    }

    #[test]
    fn a_watcher_that_does_not_look_holds_a_bounded_number_of_states() {
        let (mut results, mut after_unlock) = (Results::default(), AfterUnlock::default());
        let now = Timestamp::UNIX_EPOCH;
        let watch = results.watch(vec![TaskId::from("done"), TaskId::from("busy")], now);
        results.store(record("done", State::Success), now, &mut after_unlock);
        for n in 0..LAG * 2 {
            results.store(record("busy", State::Custom(n.to_string().into())), now, &mut after_unlock);
        }
        results.store(record("busy", State::Failure), now, &mut after_unlock);
        let seen = drain(&mut results, watch);
        assert_eq!(seen.len(), LAG);
        assert_eq!(seen[0], State::Success, "a ready state is never left out");
        assert_eq!(seen[LAG - 2], State::Custom((LAG * 2 - 1).to_string().into()));
        assert_eq!(seen[LAG - 1], State::Failure);
        assert!(matches!(results.poll(watch, Waker::noop()), News::End));
    }

    #[test]
    fn an_ended_watch_leaves_nothing_behind() {
        let (mut results, mut after_unlock) = (Results::default(), AfterUnlock::default());
        let now = Timestamp::UNIX_EPOCH;
        let ids = || vec![TaskId::from("a"), TaskId::from("b"), TaskId::from("b")];
        let (first, second) = (results.watch(ids(), now), results.watch(ids(), now));
        results.store(record("a", State::Success), now, &mut after_unlock);
        results.unwatch(first);
        assert_eq!(results.watched.len(), 1);
        assert_eq!(drain(&mut results, second), [State::Success]);
        results.unwatch(second);
        assert!(results.watched.is_empty() && results.watches.is_empty());
    }
}
