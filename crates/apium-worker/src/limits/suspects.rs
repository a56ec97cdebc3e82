//! Suspects: runs whose message was in a run when its worker died. Any of them may be what kills workers. So they begin
//! one at a time, each in an empty worker, and nothing begins beside it: if its worker dies again, no other message
//! counts a crash for it.
//!
//! Nothing waits for ever because of that. Other runs are held back for [`HOLD`] at most before a suspect begins, and
//! for as long after it has begun. What kills a worker mostly does so at once, and a task that takes hours must not
//! stop its worker for hours. A suspect that begins beside others takes the blame alone: their marks are taken back.

use std::collections::VecDeque;
use std::time::Duration;

use apium_transport::clock::Moment;

/// How long other runs are held back for a suspect: before it begins, and after that.
const HOLD: Duration = Duration::from_secs(30);

/// The suspects of a worker.
#[derive(Debug)]
pub(crate) struct Suspects<R> {
    waiting: VecDeque<R>,
    /// How many are in a slot, or are being marked for one.
    running: usize,
    /// Until when other runs are held back.
    hold_until: Option<Moment>,
}

impl<R> Default for Suspects<R> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), running: 0, hold_until: None }
    }
}

impl<R> Suspects<R> {
    /// Adds a suspect.
    pub(crate) fn push(&mut self, run: R, now: Moment) {
        if self.waiting.is_empty() && !self.hold_back(now) {
            self.hold_until = Some(after_hold(now));
        }
        self.waiting.push_back(run);
    }

    /// Whether other runs are held back.
    pub(crate) fn hold_back(&self, now: Moment) -> bool {
        self.hold_until.is_some_and(|until| now < until)
    }

    /// Whether a suspect may begin.
    pub(crate) fn may_begin(&self, worker_is_empty: bool, now: Moment) -> bool {
        !self.waiting.is_empty() && (worker_is_empty || !self.hold_back(now))
    }

    /// Takes the suspect that begins now, if one may.
    pub(crate) fn begin(&mut self, worker_is_empty: bool, now: Moment) -> Option<R> {
        let run = if self.may_begin(worker_is_empty, now) { self.waiting.pop_front()? } else { return None };
        self.running += 1;
        self.hold_until = Some(after_hold(now));
        Some(run)
    }

    /// A suspect that had begun is over. After the last of them the next one waits until the worker is empty again.
    pub(crate) fn end(&mut self, now: Moment) {
        self.running = self.running.saturating_sub(1);
        if self.running == 0 {
            self.hold_until = (!self.waiting.is_empty()).then(|| after_hold(now));
        }
    }

    /// When what is held back now need not wait any more.
    pub(crate) fn hold_end(&self) -> Option<Moment> {
        self.hold_until
    }

    /// How many suspects wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Those that wait.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &R> {
        self.waiting.iter()
    }

    /// Takes all that wait.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = R> {
        self.waiting.drain(..)
    }
}

fn after_hold(now: Moment) -> Moment {
    now.saturating_add(HOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment::FIRST.saturating_add(Duration::from_secs(second))
    }

    #[test]
    fn each_suspect_begins_in_an_empty_worker_and_runs_alone() {
        let mut suspects = Suspects::default();
        suspects.push("a", at(0));
        suspects.push("b", at(1));
        assert!(suspects.hold_back(at(1)));
        assert_eq!(suspects.begin(false, at(1)), None);
        assert_eq!(suspects.begin(true, at(2)), Some("a"));
        assert_eq!(suspects.begin(false, at(31)), None);
        assert!(suspects.hold_back(at(31)));
        suspects.end(at(31));
        assert!(suspects.hold_back(at(32)), "for the next one");
        assert_eq!(suspects.begin(true, at(32)), Some("b"));
        suspects.end(at(33));
        assert!(!suspects.hold_back(at(33)));
        assert_eq!((suspects.len(), suspects.hold_end()), (0, None));
    }

    #[test]
    fn nothing_waits_for_a_suspect_or_for_an_empty_worker_for_ever() {
        let mut suspects = Suspects::default();
        for run in ["a", "b", "c"] {
            suspects.push(run, at(0));
        }
        assert_eq!(suspects.begin(false, at(29)), None);
        assert_eq!(suspects.hold_end(), Some(at(30)));
        assert_eq!(suspects.begin(false, at(30)), Some("a"));
        assert_eq!(suspects.begin(false, at(59)), None);
        assert_eq!(suspects.begin(false, at(60)), Some("b"), "beside the first one, which takes long");
        suspects.end(at(61));
        assert!(suspects.hold_back(at(89)), "one of the two is over, the other may be in its first 30 s");
        assert_eq!(suspects.begin(false, at(90)), Some("c"));
        assert!(!suspects.hold_back(at(120)));
    }
}
