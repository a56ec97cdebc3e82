//! Rate limits (Celery: `rate_limit`, `task_default_rate_limit`): a token bucket of capacity 1 for each task, in each
//! worker. The first run starts at once, and the next ones keep their distance, by the monotonic side of the clock:
//! the time of day may be set.
//!
//! A run whose turn is more than [`LONGEST_WAIT`] away does not wait here, where it would take the place of runs that
//! could start: it goes back to the broker as delayed until its turn. Each of them gets the turn after the one before
//! it, so they come again in their order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use apium_app::options::rate_limit::RateLimit;
use apium_protocol::message::task_id::TaskId;
use apium_transport::clock::Moment;

/// The longest that a run waits in the worker for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How many runs of a task that went back to the broker are remembered, so that their turn is not given to another one.
const MOST_REMEMBERED: usize = 20_000;

/// The token bucket of a task: when its next run may start. And the turns of the runs that went back to the broker.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    spacing: Duration,
    /// The last start.
    last: Option<Moment>,
    /// The turn of the next run that goes back; `None` before the first one.
    next_turn: Option<Moment>,
    /// As `next_turn`, for a run that came again and found that another one had its turn: it goes before all runs that
    /// were never here.
    next_second_turn: Option<Moment>,
    /// The turns of the runs that went back.
    delayed: HashMap<TaskId, Moment>,
}

impl Bucket {
    pub(crate) fn new(limit: RateLimit) -> Self {
        let (last, next_turn, next_second_turn, delayed) = (None, None, None, HashMap::new());
        Self { spacing: spacing(limit), last, next_turn, next_second_turn, delayed }
    }

    /// Changes the limit. The next start keeps the new distance to the last one. What went back to the broker has no
    /// turn any more.
    fn set_limit(&mut self, limit: RateLimit) {
        *self = Self { last: self.last, ..Self::new(limit) };
    }

    /// The earliest moment of the next start; `None` before the first start.
    pub(crate) fn next_start(&self) -> Option<Moment> {
        self.last.map(|last| last.saturating_add(self.spacing))
    }

    /// Takes the token, if there is one at `now`. Returns whether there was.
    pub(crate) fn take_token(&mut self, now: Moment) -> bool {
        if self.next_start().is_some_and(|next| now < next) {
            return false;
        }
        self.last = Some(now);
        true
    }

    /// Until when the run of the task `id` is to be delayed, if its turn comes after that of `ahead` others and is far
    /// away.
    fn delay(&mut self, id: Option<&TaskId>, ahead: usize, now: Moment) -> Option<Moment> {
        let was_here = id.is_some_and(|id| self.delayed.remove(id).is_some());
        let distance = u32::try_from(ahead).ok().and_then(|ahead| self.spacing.checked_mul(ahead));
        let next = self.next_start().map_or(now, |next| next.max(now));
        let start = next.saturating_add(distance.unwrap_or(Duration::MAX));
        if start <= now.saturating_add(LONGEST_WAIT) {
            return None;
        }
        let spacing = self.spacing;
        let next_turn = if was_here { &mut self.next_second_turn } else { &mut self.next_turn };
        let turn = next_turn.map_or(start, |next| next.max(start));
        *next_turn = Some(turn.saturating_add(spacing));
        if self.delayed.len() >= MOST_REMEMBERED {
            // Those that did not come back in time were run by other workers.
            self.delayed.retain(|_, turn| now < *turn);
        }
        if let Some(id) = id.filter(|_| self.delayed.len() < MOST_REMEMBERED) {
            self.delayed.insert(id.clone(), turn);
        }
        Some(turn)
    }
}

/// The distance of two starts.
fn spacing(limit: RateLimit) -> Duration {
    // A rate of almost 0 gives one that is too long for a `Duration`; it counts as endless.
    Duration::try_from_secs_f64(1.0 / limit.per_second).unwrap_or(Duration::MAX)
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
    /// Runs that were told to wait here, and have not been added yet.
    expected: usize,
}

impl<R> TaskLine<R> {
    fn new(bucket: Bucket) -> Self {
        Self { bucket, runs: VecDeque::new(), expected: 0 }
    }
}

impl<R> Default for RateLimited<R> {
    fn default() -> Self {
        Self { lines: HashMap::new(), waiting: 0 }
    }
}

impl<R> RateLimited<R> {
    /// Adds a run of the task `name`.
    pub(crate) fn push(&mut self, name: &Arc<str>, limit: RateLimit, task_run: R) {
        let line = self.line(name, limit);
        line.expected = line.expected.saturating_sub(1);
        line.runs.push_back(task_run);
        self.waiting += 1;
    }

    fn line(&mut self, name: &Arc<str>, limit: RateLimit) -> &mut TaskLine<R> {
        self.lines.entry(name.clone()).or_insert_with(|| TaskLine::new(Bucket::new(limit)))
    }

    /// Changes the limit of the task `name`, also for the runs that wait.
    pub(crate) fn set_limit(&mut self, name: &Arc<str>, limit: RateLimit) {
        self.line(name, limit).bucket.set_limit(limit);
    }

    /// Removes the limit of the task `name`, and takes out the runs that wait for it.
    pub(crate) fn remove_limit(&mut self, name: &str) -> VecDeque<R> {
        let runs = self.lines.remove(name).map(|line| line.runs).unwrap_or_default();
        self.waiting -= runs.len();
        runs
    }

    /// The runs that wait, those of one task in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &R> {
        self.lines.values().flat_map(|line| &line.runs)
    }

    /// Until when a run of the task `name` is to be delayed at the broker; `None` if it is to be added here.
    pub(crate) fn delay(
        &mut self,
        name: &Arc<str>,
        limit: RateLimit,
        id: Option<&TaskId>,
        now: Moment,
    ) -> Option<Moment> {
        let line = self.line(name, limit);
        let turn = line.bucket.delay(id, line.runs.len() + line.expected, now);
        line.expected += usize::from(turn.is_none());
        turn
    }

    /// How many runs wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// Takes a run that may start at `now`, and the token of its task.
    pub(crate) fn pop(&mut self, now: Moment) -> Option<R> {
        if self.waiting == 0 {
            return None;
        }
        let lines = self.lines.values_mut().filter(|line| !line.runs.is_empty());
        let first = lines.min_by_key(|line| line.bucket.next_start())?;
        let task_run = if first.bucket.take_token(now) { first.runs.pop_front() } else { None };
        self.waiting -= usize::from(task_run.is_some());
        task_run
    }

    /// The earliest moment at which one of the runs may start.
    pub(crate) fn next_start(&self) -> Option<Moment> {
        if self.waiting == 0 {
            return None;
        }
        let lines = self.lines.values().filter(|line| !line.runs.is_empty());
        lines.map(|line| line.bucket.next_start().unwrap_or(Moment::FIRST)).min()
    }

    /// The earliest moment after `now` at which one of the runs may start that may not yet.
    pub(crate) fn next_start_after(&self, now: Moment) -> Option<Moment> {
        if self.waiting == 0 {
            return None;
        }
        let lines = self.lines.values().filter(|line| !line.runs.is_empty());
        lines.filter_map(|line| line.bucket.next_start()).filter(|start| *start > now).min()
    }

    /// The buckets of all tasks.
    pub(crate) fn buckets(&self) -> HashMap<Arc<str>, Bucket> {
        self.lines.iter().map(|(name, line)| (name.clone(), line.bucket.clone())).collect()
    }

    /// Takes over buckets of another worker.
    pub(crate) fn restore_buckets(&mut self, buckets: HashMap<Arc<str>, Bucket>) {
        self.lines.extend(buckets.into_iter().map(|(name, bucket)| (name, TaskLine::new(bucket))));
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

    fn at(millis: u64) -> Moment {
        Moment::FIRST.saturating_add(Duration::from_millis(millis))
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

    /// The turns of runs by their ids, in seconds; `None` for one that waits in the worker.
    fn turns(limited: &mut RateLimited<&'static str>, ids: &[&'static str], now: u64) -> Vec<Option<u64>> {
        let name: Arc<str> = "slow".into();
        let delay = |id: &&'static str| {
            let turn = limited.delay(&name, limit("2/m"), Some(&TaskId::from(*id)), at(now));
            if turn.is_none() {
                limited.push(&name, limit("2/m"), id);
            }
            turn.map(|turn| turn.saturating_since(Moment::FIRST).as_secs())
        };
        ids.iter().map(delay).collect()
    }

    #[test]
    fn runs_whose_turn_is_far_away_are_delayed_until_it_in_their_order() {
        let mut limited = RateLimited::default();
        assert_eq!(turns(&mut limited, &["a", "b", "c"], 0), [None, Some(30), Some(60)]);
        assert_eq!(limited.pop(at(0)), Some("a"));
        assert_eq!(turns(&mut limited, &["d"], 5_000), [Some(90)], "behind those that are delayed");
        assert_eq!(turns(&mut limited, &["b"], 29_500), [None], "it waits here for a moment");
        assert_eq!(limited.pop(at(29_999)), None);
        assert_eq!(limited.pop(at(30_000)), Some("b"));
        // One that comes when there is a token starts. The one whose turn it was goes before those that were never
        // here.
        assert_eq!(turns(&mut limited, &["e"], 60_000), [None]);
        assert_eq!(limited.pop(at(60_000)), Some("e"));
        assert_eq!(turns(&mut limited, &["c", "f"], 60_001), [Some(90), Some(120)]);
    }

    #[test]
    fn quick_limits_wait_in_the_worker() {
        let mut limited = RateLimited::<()>::default();
        let name: Arc<str> = "quick".into();
        for n in 0..11 {
            assert_eq!(limited.delay(&name, limit("10/s"), None, at(0)), None, "run {n}");
        }
        assert_eq!(limited.delay(&name, limit("10/s"), None, at(0)), Some(at(1_100)));
        assert_eq!(limited.delay(&name, limit("10/s"), None, at(0)), Some(at(1_200)));
    }

    #[test]
    fn a_run_that_another_worker_took_does_not_leave_a_gap_for_ever() {
        let mut limited = RateLimited::default();
        assert_eq!(turns(&mut limited, &["a", "b", "c"], 0), [None, Some(30), Some(60)]);
        assert_eq!(limited.pop(at(0)), Some("a"));
        // Neither comes back. Whoever comes when there is a token starts.
        assert_eq!(turns(&mut limited, &["d"], 45_000), [None]);
        assert_eq!(limited.pop(at(45_000)), Some("d"));
    }

    #[test]
    fn a_changed_limit_counts_from_the_last_start() {
        let name: Arc<str> = "task".into();
        let mut limited = RateLimited::default();
        for n in 0..4 {
            limited.push(&name, limit("10/s"), n);
        }
        assert_eq!(limited.pop(at(0)), Some(0));
        limited.set_limit(&name, limit("1/s"));
        assert_eq!((limited.pop(at(999)), limited.pop(at(1_000))), (None, Some(1)));
        limited.set_limit(&name, limit("100/s"));
        assert_eq!((limited.pop(at(1_009)), limited.pop(at(1_010))), (None, Some(2)));
        assert_eq!(limited.remove_limit(&name), [3]);
        assert_eq!((limited.len(), limited.next_start()), (0, None));
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
