//! What a slot is to do next: which of the waiting runs it gets, or which of them are to be marked as started first.
//! Only decisions: the caller locks, marks and wakes.
//!
//! A late-ack run is marked as started at the broker before it begins, in a batch with others ([`StartMarks`]). A
//! redelivered message is never marked before its turn: it may be the one that kills workers, and its crash must not
//! count for its neighbours.

use std::collections::VecDeque;
use std::sync::Arc;

use apium_app::options::rate_limit::RateLimit;
use jiff::Timestamp;

use crate::limits::load::RunCounts;
use crate::limits::start_marks::StartMarks;
use crate::limits::waiting_runs::WaitingRuns;

/// What the order of runs depends on.
pub(crate) trait QueuedRun {
    /// The name of its task.
    fn task(&self) -> &Arc<str>;

    /// The rate limit of its task.
    fn rate_limit(&self) -> Option<RateLimit>;

    /// Whether its delivery is acked after the run.
    fn acks_late(&self) -> bool;

    /// Whether its message was delivered before.
    fn is_redelivered(&self) -> bool;
}

/// What a slot is to do.
#[derive(Debug)]
pub(crate) enum NextStep<R> {
    /// Run this.
    Run(R),
    /// Mark these as started, and tell [`ReadyRuns::marked`].
    MarkStarted(Vec<R>),
    /// Wait until it is woken.
    Wait,
    /// End.
    Closed,
}

/// Runs that were accepted and have no slot yet.
#[derive(Debug)]
pub(crate) struct ReadyRuns<R> {
    /// Runs for the slots, in order. Those with late ack are not marked.
    fresh: VecDeque<R>,
    /// Runs that are marked as started, and go to the next slots.
    marked: VecDeque<R>,
    pub(crate) waiting: WaitingRuns<R>,
    marks: StartMarks,
    pub(crate) counts: RunCounts,
    /// Slots that wait, or were woken and have not looked yet.
    pub(crate) idle_slots: usize,
    /// Whether rate limits are kept (not with `worker_disable_rate_limits`).
    has_rate_limits: bool,
    closed: bool,
}

impl<R: QueuedRun> ReadyRuns<R> {
    pub(crate) fn new(max_crashes: u32, has_rate_limits: bool) -> Self {
        Self {
            fresh: VecDeque::new(),
            marked: VecDeque::new(),
            waiting: WaitingRuns::default(),
            marks: StartMarks::new(max_crashes),
            counts: RunCounts::default(),
            idle_slots: 0,
            has_rate_limits,
            closed: false,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Adds a run.
    pub(crate) fn add(&mut self, run: R) {
        self.counts.add();
        match run.rate_limit().filter(|_| self.has_rate_limits) {
            Some(limit) => self.waiting.limited.push(&run.task().clone(), limit, run),
            None => self.fresh.push_back(run),
        }
    }

    /// Adds the runs whose eta has come.
    pub(crate) fn promote_due(&mut self, now: Timestamp) {
        while let Some(run) = self.waiting.delayed.pop(now) {
            self.add(run);
        }
    }

    /// What a slot is to do now.
    pub(crate) fn next(&mut self, now: Timestamp) -> NextStep<R> {
        if self.closed {
            return NextStep::Closed;
        }
        if let Some(run) = self.marked.pop_front() {
            return self.hand_out(run);
        }
        if !self.marks.is_marking
            && let Some(run) = self.waiting.limited.pop(now)
        {
            return match self.is_marked_first(&run) {
                true => {
                    self.marks.begin_single();
                    NextStep::MarkStarted(vec![run])
                }
                false => self.hand_out(run),
            };
        }
        match self.fresh.front() {
            Some(first) if self.is_marked_first(first) => match self.marks.is_marking {
                true => NextStep::Wait,
                false => NextStep::MarkStarted(self.batch_to_mark()),
            },
            _ => self.fresh.pop_front().map_or(NextStep::Wait, |run| self.hand_out(run)),
        }
    }

    /// Whether [`next`](Self::next) has something for a slot.
    pub(crate) fn has_next(&self, now: Timestamp) -> bool {
        let is_due = || self.waiting.limited.next_start().is_some_and(|start| start <= now);
        let (is_marking, fresh) = (self.marks.is_marking, self.fresh.front());
        !self.marked.is_empty()
            || (!is_marking && is_due())
            || fresh.is_some_and(|first| !is_marking || !self.is_marked_first(first))
    }

    /// Whether an idle slot has something to do. Whoever changed the runs, or got one of them, then wakes a slot. So as
    /// long as there is something to do, one slot is awake or about to be.
    pub(crate) fn needs_slot(&self, now: Timestamp) -> bool {
        self.idle_slots > 0 && (self.closed || self.has_next(now))
    }

    fn is_marked_first(&self, run: &R) -> bool {
        self.marks.are_needed() && run.acks_late()
    }

    fn hand_out(&mut self, run: R) -> NextStep<R> {
        self.marks.add_handed_out();
        self.counts.start(run.acks_late());
        NextStep::Run(run)
    }

    /// Takes the runs that are marked as one batch: for the slot that asks, for those that wait, and some for later.
    fn batch_to_mark(&mut self) -> Vec<R> {
        let turns = self.idle_slots + 1;
        let max = self.marks.begin_batch(turns);
        let fits =
            |(index, run): &(usize, &R)| *index < max && run.acks_late() && (*index < turns || !run.is_redelivered());
        let count = self.fresh.iter().enumerate().take_while(fits).count();
        self.fresh.drain(..count).collect()
    }

    /// A batch is marked: `runs` go to the next slots, and `lost` others will get none. Returns whether the fetching
    /// loop is to be woken.
    #[must_use]
    pub(crate) fn marked(&mut self, runs: Vec<R>, lost: usize) -> bool {
        self.marks.is_marking = false;
        self.marked.extend(runs);
        self.counts.remove(lost)
    }

    /// How many runs the slots got since the worker started; `None` while a run is in a slot or is due.
    pub(crate) fn handed_out_if_idle(&self, now: Timestamp) -> Option<u64> {
        let has_no_run = self.counts.running() == 0 && self.fresh.is_empty() && self.marked.is_empty();
        let is_due = self.waiting.next_due().is_some_and(|due| due <= now);
        (has_no_run && !self.marks.is_marking && !is_due).then_some(self.counts.handed_out())
    }

    /// Accepts and hands out no more runs. Returns those that no slot has.
    pub(crate) fn close(&mut self) -> Vec<R> {
        self.closed = true;
        let mut runs: Vec<R> = self.marked.drain(..).collect();
        runs.extend(self.fresh.drain(..));
        runs.extend(self.waiting.drain());
        runs
    }
}
