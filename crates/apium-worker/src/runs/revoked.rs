//! The tasks that are revoked: by id, and by stamp. The intake asks for every message, and a slot once more before the
//! run begins. Both sets are bounded, and what is in them expires (`worker_revokes_max`, `worker_revoke_expires`).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_protocol::message::headers::Headers;
use apium_transport::broker::fleet::stamp_keys;
use jiff::Timestamp;

/// The revoked tasks of a worker.
#[derive(Debug)]
pub(crate) struct RevokedTasks {
    /// Whether anything is revoked: if not, a run looks nowhere.
    any: AtomicBool,
    sets: Mutex<Sets>,
}

#[derive(Debug)]
struct Sets {
    ids: LimitedSet,
    stamps: LimitedSet,
    /// Whether it was said that the oldest are dropped. It is said once, until there is room again.
    is_full_told: bool,
}

impl RevokedTasks {
    /// At most so many ids and so many stamps, each for so long.
    pub(crate) fn new(most: usize, keep: Duration) -> Self {
        let set = || LimitedSet { numbers: HashMap::new(), order: VecDeque::new(), next: 0, dropped: 0, most, keep };
        let sets = Sets { ids: set(), stamps: set(), is_full_told: false };
        Self { any: AtomicBool::new(false), sets: Mutex::new(sets) }
    }

    fn lock(&self) -> MutexGuard<'_, Sets> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Revokes ids at these times. Returns how many were not revoked before.
    pub(crate) fn add_ids<T: AsRef<str>>(
        &self,
        ids: impl IntoIterator<Item = (T, Timestamp)>,
        now: Timestamp,
    ) -> usize {
        let mut sets = self.lock();
        let mut new = 0;
        for (id, at) in ids {
            new += usize::from(sets.ids.add(id.as_ref(), at));
        }
        self.limit(&mut sets, now);
        new
    }

    /// Revokes stamps ([`stamp_key`]) at these times.
    pub(crate) fn add_stamps<T: AsRef<str>>(&self, keys: impl IntoIterator<Item = (T, Timestamp)>, now: Timestamp) {
        let mut sets = self.lock();
        for (key, at) in keys {
            sets.stamps.add(key.as_ref(), at);
        }
        self.limit(&mut sets, now);
    }

    /// Takes the revokes of these ids back.
    pub(crate) fn remove_ids<T: AsRef<str>>(&self, ids: impl IntoIterator<Item = T>, now: Timestamp) {
        let mut sets = self.lock();
        for id in ids {
            sets.ids.numbers.remove(id.as_ref());
        }
        self.limit(&mut sets, now);
    }

    /// Takes the revokes of these stamps back.
    pub(crate) fn remove_stamps<T: AsRef<str>>(&self, keys: impl IntoIterator<Item = T>, now: Timestamp) {
        let mut sets = self.lock();
        for key in keys {
            sets.stamps.numbers.remove(key.as_ref());
        }
        self.limit(&mut sets, now);
    }

    fn limit(&self, sets: &mut Sets, now: Timestamp) {
        let dropped = sets.ids.limit(now) + sets.stamps.limit(now);
        let most = sets.ids.most;
        if dropped > 0 && !std::mem::replace(&mut sets.is_full_told, true) {
            tracing::warn!(
                dropped,
                "more than {most} tasks are revoked (worker_revokes_max): the oldest revokes are forgotten, and their \
                 tasks run"
            );
        }
        if sets.ids.numbers.len() < most && sets.stamps.numbers.len() < most {
            sets.is_full_told = false;
        }
        self.any.store(!sets.ids.numbers.is_empty() || !sets.stamps.numbers.is_empty(), Ordering::Release);
    }

    /// Whether a task is revoked, by its id or by one of its stamps.
    pub(crate) fn contains(&self, headers: &Headers, now: Timestamp) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let sets = self.lock();
        let has_id = || headers.id.as_ref().is_some_and(|id| sets.ids.contains(id.as_str(), now));
        let has_stamp = || stamps_of(headers).any(|key| sets.stamps.contains(&key, now));
        has_id() || (!sets.stamps.numbers.is_empty() && has_stamp())
    }

    /// The ids, the oldest first.
    pub(crate) fn ids(&self, now: Timestamp) -> Vec<Arc<str>> {
        self.lock().ids.iter(now).cloned().collect()
    }

    /// The keys of the stamps, the oldest first.
    pub(crate) fn stamps(&self, now: Timestamp) -> Vec<Arc<str>> {
        self.lock().stamps.iter(now).cloned().collect()
    }
}

/// The keys of the stamps of a message.
pub(crate) fn stamps_of(headers: &Headers) -> impl Iterator<Item = String> {
    let names = headers.stamped_headers.iter().flatten();
    names.filter_map(|name| Some((name, headers.stamps.get(name)?))).flat_map(|(name, values)| stamp_keys(name, values))
}

/// A set that forgets the oldest of too many, and what is too old.
#[derive(Debug)]
struct LimitedSet {
    /// The number of the last time that each was added.
    numbers: HashMap<Arc<str>, (u64, Timestamp)>,
    /// In the order in which they were added. One that was added again is here twice, and the first time is void.
    order: VecDeque<(u64, Arc<str>)>,
    next: u64,
    /// How many were too much since the last [`limit`](Self::limit).
    dropped: usize,
    most: usize,
    keep: Duration,
}

impl LimitedSet {
    /// Adds one. Returns whether it is new.
    fn add(&mut self, key: &str, at: Timestamp) -> bool {
        let key: Arc<str> = key.into();
        let number = self.next;
        self.next += 1;
        self.order.push_back((number, key.clone()));
        let is_new = self.numbers.insert(key, (number, at)).is_none();
        if self.order.len() > 2 * self.most + 64 {
            // Keeps the memory bounded however many are added at once.
            self.drop_oldest();
            let numbers = &self.numbers;
            self.order.retain(|(number, key)| numbers.get(key).is_some_and(|(last, _)| last == number));
        }
        is_new
    }

    /// Drops the oldest until there are not too many.
    fn drop_oldest(&mut self) {
        while self.numbers.len() > self.most {
            let Some((number, key)) = self.order.pop_front() else { break };
            if self.numbers.get(&key).is_some_and(|(last, _)| *last == number) {
                self.numbers.remove(&key);
                self.dropped += 1;
            }
        }
    }

    /// Drops what is too old, and the oldest of what is too much. Returns how many were too much since the last call.
    fn limit(&mut self, now: Timestamp) -> usize {
        while let Some((number, key)) = self.order.front() {
            let is_void = match self.numbers.get(key) {
                Some((last, at)) if last == number => {
                    if is_kept(*at, self.keep, now) {
                        break;
                    }
                    self.numbers.remove(&key.clone());
                    true
                }
                _ => true,
            };
            if is_void {
                self.order.pop_front();
            }
        }
        self.drop_oldest();
        std::mem::take(&mut self.dropped)
    }

    fn contains(&self, key: &str, now: Timestamp) -> bool {
        self.numbers.get(key).is_some_and(|(_, at)| is_kept(*at, self.keep, now))
    }

    fn iter(&self, now: Timestamp) -> impl Iterator<Item = &Arc<str>> {
        let present = move |(number, key): &&(u64, Arc<str>)| {
            self.numbers.get(key).is_some_and(|(last, at)| last == number && is_kept(*at, self.keep, now))
        };
        self.order.iter().filter(present).map(|(_, key)| key)
    }
}

fn is_kept(at: Timestamp, keep: Duration, now: Timestamp) -> bool {
    at > now || now.duration_since(at).unsigned_abs() <= keep
}

#[cfg(test)]
mod tests {
    use apium_protocol::json::text::Json;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn headers(id: &str, stamps: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        headers.id = Some(id.into());
        headers.stamped_headers = Some(stamps.iter().map(|(name, _)| (*name).to_owned()).collect());
        let json = |text: &str| Json::from_text(text).unwrap();
        headers.stamps = stamps.iter().map(|(name, value)| ((*name).to_owned(), json(value))).collect();
        headers
    }

    fn ids(revoked: &RevokedTasks, now: i64) -> Vec<String> {
        revoked.ids(at(now)).iter().map(|id| id.to_string()).collect()
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_and_all_expire() {
        let revoked = RevokedTasks::new(3, HOUR);
        assert!(!revoked.contains(&headers("a", &[]), at(0)));
        assert_eq!(revoked.add_ids([("a", at(0)), ("b", at(1)), ("a", at(2))], at(2)), 2);
        assert_eq!(ids(&revoked, 2), ["b", "a"]);
        revoked.add_ids([("c", at(3)), ("d", at(4))], at(4));
        assert_eq!(ids(&revoked, 4), ["a", "c", "d"]);
        assert!(revoked.contains(&headers("a", &[]), at(3602)) && !revoked.contains(&headers("a", &[]), at(3603)));
        assert!(!revoked.contains(&headers("b", &[]), at(4)));
        assert_eq!(ids(&revoked, 3604), ["d"]);
        revoked.add_ids([("e", at(9000))], at(9000));
        assert_eq!(ids(&revoked, 9000), ["e"]);
    }

    #[test]
    fn a_million_ids_are_bounded() {
        let revoked = RevokedTasks::new(50_000, HOUR);
        let many = (0..1_000_000).map(|n| (n.to_string(), at(0)));
        assert_eq!(revoked.add_ids(many, at(0)), 1_000_000);
        let sets = revoked.lock();
        assert_eq!(sets.ids.numbers.len(), 50_000);
        assert!(sets.ids.order.len() <= 100_064 && sets.ids.order.capacity() < 300_000 && sets.is_full_told);
        drop(sets);
        assert!(revoked.contains(&headers("999999", &[]), at(0)) && revoked.contains(&headers("950000", &[]), at(0)));
        assert!(!revoked.contains(&headers("949999", &[]), at(0)));
        for n in 0..1_000_000 {
            revoked.add_ids([("same", at(n))], at(n));
        }
        assert!(revoked.lock().ids.order.len() <= 100_064);
    }

    #[test]
    fn a_revoke_can_be_taken_back_and_made_again() {
        let revoked = RevokedTasks::new(3, HOUR);
        revoked.add_ids([("a", at(0)), ("b", at(1))], at(1));
        revoked.add_stamps([("n=7", at(1))], at(1));
        revoked.remove_ids(["a", "unknown"], at(2));
        assert_eq!(ids(&revoked, 2), ["b"]);
        assert!(!revoked.contains(&headers("a", &[]), at(2)));
        revoked.add_ids([("a", at(3))], at(3));
        assert_eq!(ids(&revoked, 3), ["b", "a"]);
        assert!(revoked.contains(&headers("x", &[("n", "7")]), at(3)));
        revoked.remove_stamps(["n=7"], at(4));
        assert!(!revoked.contains(&headers("x", &[("n", "7")]), at(4)));
        revoked.remove_ids(["a", "b"], at(5));
        assert!(!revoked.any.load(Ordering::Relaxed), "a run looks nowhere again");
    }

    #[test]
    fn a_stamp_revokes_every_task_that_has_it() {
        let revoked = RevokedTasks::new(9, HOUR);
        let keys = stamp_keys("batch", &Json::from_text(r#"["b1", {"x": 1}]"#).unwrap());
        revoked.add_stamps(
            keys.into_iter().chain(stamp_keys("n", &Json::from_text("7").unwrap())).map(|key| (key, at(0))),
            at(0),
        );
        for (stamps, wanted) in [
            (&[("batch", "\"b1\"")][..], true),
            (&[("batch", "[\"b0\",\"b1\"]")], true),
            (&[("batch", "{\"x\":1}")], true),
            (&[("batch", "\"b2\"")], false),
            (&[("other", "\"b1\"")], false),
            (&[("n", "7")], true),
            (&[("n", "\"7\"")], false),
            (&[], false),
        ] {
            assert_eq!(revoked.contains(&headers("id", stamps), at(0)), wanted, "{stamps:?}");
        }
    }
}
