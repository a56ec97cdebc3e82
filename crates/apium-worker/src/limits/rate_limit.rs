//! Rate limits (Celery: `rate_limit`, `task_default_rate_limit`): a token bucket of capacity 1 for each task, in each
//! worker. The first run starts at once, and the next ones keep their distance.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use apium_app::options::rate_limit::RateLimit;
use jiff::Timestamp;

/// The token bucket of a task: when its next run may start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    spacing: Duration,
    next: Option<Timestamp>,
}

impl Bucket {
    pub(crate) fn new(limit: RateLimit) -> Self {
        // A rate of almost 0 gives a spacing that is too long for a `Duration`; it counts as endless.
        let spacing = Duration::try_from_secs_f64(1.0 / limit.per_second).unwrap_or(Duration::MAX);
        Self { spacing, next: None }
    }

    /// The earliest instant of the next start; `None` before the first start.
    pub(crate) fn next_start(&self) -> Option<Timestamp> {
        self.next
    }

    /// Takes the token, if there is one at `now`. Returns whether there was.
    pub(crate) fn take_token(&mut self, now: Timestamp) -> bool {
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = Some(now.saturating_add(self.spacing).unwrap_or(Timestamp::MAX));
        true
    }
}

/// The runs of tasks with a rate limit. The runs of one task start in the order in which they came.
#[derive(Debug)]
pub(crate) struct RateLimited<R> {
    lines: HashMap<Arc<str>, TaskLine<R>>,
    waiting: usize,
}

#[derive(Debug)]
struct TaskLine<R> {
    bucket: Bucket,
    runs: VecDeque<R>,
}

impl<R> Default for RateLimited<R> {
    fn default() -> Self {
        Self { lines: HashMap::new(), waiting: 0 }
    }
}

impl<R> RateLimited<R> {
    /// Adds a run of the task `name`.
    pub(crate) fn push(&mut self, name: &Arc<str>, limit: RateLimit, task_run: R) {
        let new_line = || TaskLine { bucket: Bucket::new(limit), runs: VecDeque::new() };
        self.lines.entry(name.clone()).or_insert_with(new_line).runs.push_back(task_run);
        self.waiting += 1;
    }

    /// How many runs wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// Takes a run that may start at `now`, and the token of its task.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<R> {
        if self.waiting == 0 {
            return None;
        }
        let lines = self.lines.values_mut().filter(|line| !line.runs.is_empty());
        let first = lines.min_by_key(|line| line.bucket.next_start())?;
        let task_run = if first.bucket.take_token(now) { first.runs.pop_front() } else { None };
        self.waiting -= usize::from(task_run.is_some());
        task_run
    }

    /// The earliest instant at which one of the runs may start.
    pub(crate) fn next_start(&self) -> Option<Timestamp> {
        if self.waiting == 0 {
            return None;
        }
        let lines = self.lines.values().filter(|line| !line.runs.is_empty());
        lines.map(|line| line.bucket.next_start().unwrap_or(Timestamp::MIN)).min()
    }

    /// The buckets of all tasks.
    pub(crate) fn buckets(&self) -> HashMap<Arc<str>, Bucket> {
        self.lines.iter().map(|(name, line)| (name.clone(), line.bucket)).collect()
    }

    /// Takes over buckets of another worker.
    pub(crate) fn restore_buckets(&mut self, buckets: HashMap<Arc<str>, Bucket>) {
        let line = |(name, bucket)| (name, TaskLine { bucket, runs: VecDeque::new() });
        self.lines.extend(buckets.into_iter().map(line));
    }

    /// Takes all runs.
    pub(crate) fn drain(&mut self) -> Vec<R> {
        self.waiting = 0;
        self.lines.values_mut().flat_map(|line| line.runs.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> RateLimit {
        RateLimit::parse(text).unwrap().unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn the_first_start_is_immediate_and_the_others_keep_their_distance() {
        let mut bucket = Bucket::new(limit("2/s"));
        assert!(bucket.take_token(at(0)));
        assert!(!bucket.take_token(at(499)));
        assert!(bucket.take_token(at(500)));
        assert!(!bucket.take_token(at(999)));
        assert!(bucket.take_token(at(5_000)), "an idle time gives one token only");
        assert!(!bucket.take_token(at(5_001)));
    }

    #[test]
    fn a_hundred_a_minute_are_600_ms_apart() {
        let mut bucket = Bucket::new(limit("100/m"));
        assert!(bucket.take_token(at(0)));
        assert!(!bucket.take_token(at(599)));
        assert!(bucket.take_token(at(600)));
    }

    #[test]
    fn each_task_has_a_bucket_of_its_own() {
        let (slow, quick): (Arc<str>, Arc<str>) = ("slow".into(), "quick".into());
        let mut limited = RateLimited::default();
        for n in 0..2 {
            limited.push(&slow, limit("1/s"), ("slow", n));
            limited.push(&quick, limit("10/s"), ("quick", n));
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
