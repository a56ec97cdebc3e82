//! Rate limits: a token bucket of capacity 1 per task and worker. The first start is immediate, the next ones keep their
//! distance (Celery: `rate_limit`, `task_default_rate_limit`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use apium_app::options::rate_limit::RateLimit;
use jiff::Timestamp;

/// When a task may start next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    spacing: Duration,
    next: Option<Timestamp>,
}

impl Bucket {
    pub(crate) fn new(limit: RateLimit) -> Self {
        // A limit above a billion starts per second has no spacing that a clock could show.
        let spacing = Duration::try_from_secs_f64(1.0 / limit.per_second).unwrap_or(Duration::MAX);
        Self { spacing, next: None }
    }

    /// The earliest instant of the next start; `None` before the first.
    pub(crate) fn next_start(&self) -> Option<Timestamp> {
        self.next
    }

    /// Takes the token when there is one at `now`.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = Some(now.saturating_add(self.spacing).unwrap_or(Timestamp::MAX));
        true
    }
}

/// The tasks with a rate limit and what waits for its turn, first come, first served per task.
#[derive(Debug)]
pub(crate) struct RateLimited<W> {
    tasks: HashMap<Arc<str>, TaskLine<W>>,
    waiting: usize,
}

#[derive(Debug)]
struct TaskLine<W> {
    bucket: Bucket,
    line: VecDeque<W>,
}

impl<W> Default for RateLimited<W> {
    fn default() -> Self {
        Self { tasks: HashMap::new(), waiting: 0 }
    }
}

impl<W> RateLimited<W> {
    /// Lines up `work` of the task `name`.
    pub(crate) fn push(&mut self, name: &Arc<str>, limit: RateLimit, task_run: W) {
        let fresh = || TaskLine { bucket: Bucket::new(limit), line: VecDeque::new() };
        self.tasks.entry(name.clone()).or_insert_with(fresh).line.push_back(task_run);
        self.waiting += 1;
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// A work that may start now; its task's token is taken.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<W> {
        if self.waiting == 0 {
            return None;
        }
        let lines = self.tasks.values_mut().filter(|task| !task.line.is_empty());
        let first = lines.min_by_key(|task| task.bucket.next_start())?;
        let task_run = if first.bucket.take(now) { first.line.pop_front() } else { None };
        self.waiting -= usize::from(task_run.is_some());
        task_run
    }

    /// The earliest instant at which one of those that wait may start.
    pub(crate) fn next_start(&self) -> Option<Timestamp> {
        let waiting = self.tasks.values().filter(|task| !task.line.is_empty());
        waiting.map(|task| task.bucket.next_start().unwrap_or(Timestamp::MIN)).min()
    }

    /// The state of every limit.
    pub(crate) fn buckets(&self) -> HashMap<Arc<str>, Bucket> {
        self.tasks.iter().map(|(name, task)| (name.clone(), task.bucket)).collect()
    }

    /// Takes over the state of limits.
    pub(crate) fn restore_buckets(&mut self, buckets: HashMap<Arc<str>, Bucket>) {
        let line = |(name, bucket)| (name, TaskLine { bucket, line: VecDeque::new() });
        self.tasks.extend(buckets.into_iter().map(line));
    }

    /// Takes everything that waits.
    pub(crate) fn drain(&mut self) -> Vec<W> {
        self.waiting = 0;
        self.tasks.values_mut().flat_map(|task| task.line.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn the_first_start_is_at_once_and_the_others_keep_their_distance() {
        let mut bucket = Bucket::new(RateLimit { per_second: 2.0 });
        assert!(bucket.take(at(0)));
        assert!(!bucket.take(at(499)));
        assert!(bucket.take(at(500)));
        assert!(!bucket.take(at(999)));
        assert!(bucket.take(at(5_000)), "an idle time gives one token only");
        assert!(!bucket.take(at(5_001)));
    }

    #[test]
    fn a_hundred_a_minute_are_600_ms_apart() {
        let mut bucket = Bucket::new(RateLimit { per_second: 100.0 / 60.0 });
        assert!(bucket.take(at(0)));
        assert!(!bucket.take(at(599)));
        assert!(bucket.take(at(600)));
    }

    #[test]
    fn each_task_has_its_own_line() {
        let (slow, quick): (Arc<str>, Arc<str>) = ("slow".into(), "quick".into());
        let mut limited = RateLimited::default();
        for n in 0..2 {
            limited.push(&slow, RateLimit { per_second: 1.0 }, ("slow", n));
            limited.push(&quick, RateLimit { per_second: 10.0 }, ("quick", n));
        }
        let mut first = [limited.pop(at(0)).unwrap(), limited.pop(at(0)).unwrap()];
        first.sort_unstable();
        assert_eq!(first, [("quick", 0), ("slow", 0)]);
        assert_eq!(limited.pop(at(0)), None);
        assert_eq!(limited.next_start(), Some(at(100)));
        assert_eq!(limited.pop(at(100)), Some(("quick", 1)));
        assert_eq!(limited.next_start(), Some(at(1_000)));
        assert_eq!(limited.drain(), [("slow", 1)]);
        assert_eq!(limited.len(), 0);
    }
}
