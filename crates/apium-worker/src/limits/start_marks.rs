//! Start marks: before a late-ack run begins, the worker marks it as started at the broker. This file decides how many
//! runs are marked in one batch.
//!
//! The broker counts a crash for each marked run whose worker dies (the guarantee `crash-loop`). One mark for each run
//! would cost a round trip for each task, so several runs are marked in one batch.

use std::time::{Duration, Instant};

/// The most runs that are marked before their turn.
const MAX_AHEAD: usize = 64;

/// Runs are short when all those of one batch have begun within this time.
const SHORT: Duration = Duration::from_millis(20);

/// Decides how many runs are marked at a time.
#[derive(Debug, Default)]
pub(crate) struct StartMarks {
    max_crashes: u32,
    /// Whether a batch is being marked. There is one at a time.
    pub(crate) is_marking: bool,
    /// Runs that slots got since the last batch was taken.
    handed_out: usize,
    /// When the last batch was taken.
    last_batch: Option<Instant>,
}

impl StartMarks {
    /// Marks for a worker with this `worker_max_crashes`.
    pub(crate) fn new(max_crashes: u32) -> Self {
        Self { max_crashes, ..Self::default() }
    }

    /// Whether runs are marked at all: not where crashes are not counted.
    pub(crate) fn are_needed(&self) -> bool {
        self.max_crashes > 0
    }

    /// Whether a run may be marked that does not begin after all, or whose worker dies before. Such a message counts
    /// one crash too much, once: it is redelivered then. Where at most two crashes lead to the dead set, that is too
    /// many.
    pub(crate) fn may_be_early(&self) -> bool {
        self.max_crashes > 2
    }

    /// A slot got a run.
    pub(crate) fn add_handed_out(&mut self) {
        self.handed_out += 1;
    }

    /// Begins a batch of one run whose turn it is.
    pub(crate) fn begin_single(&mut self) {
        self.is_marking = true;
    }

    /// Begins a batch, and returns how many runs it may have. `turns` slots want a run now. Beyond these as many runs
    /// are marked as the slots got while the last batch was marked, or twice as many when runs are short, since a batch
    /// holds the slots up. None is marked before its turn where [that counts too much](Self::may_be_early).
    pub(crate) fn begin_batch(&mut self, turns: usize) -> usize {
        let now = Instant::now();
        let are_short = self.last_batch.is_some_and(|last| now.duration_since(last) < SHORT);
        let ahead = (self.handed_out * if are_short { 2 } else { 1 }).min(MAX_AHEAD);
        (self.is_marking, self.handed_out, self.last_batch) = (true, 0, Some(now));
        if self.may_be_early() { turns.max(ahead) } else { turns }
    }
}
