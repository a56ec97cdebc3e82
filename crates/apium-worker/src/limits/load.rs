//! The load of a worker: how many runs it has, and how many of these the broker counts into the prefetch.

/// The runs that a worker has at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Runs in a slot, or waiting for one. Those that wait for an eta or for their turn do not count.
    pub(crate) local: usize,
    /// How many of these are not acked, and so count into the prefetch: all but early-ack runs that have begun.
    pub(crate) unacked: usize,
    /// Completions that are under way. They count into the prefetch until the broker has them.
    pub(crate) completing: usize,
    /// Runs that wait for their turn by a rate limit. They are not acked either.
    pub(crate) limited: usize,
    /// Runs that wait for their eta.
    pub(crate) delayed: usize,
}

/// The runs that wait for a slot at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Queued {
    /// Runs that slots got since the worker started.
    pub(crate) handed_out: u64,
    /// How many runs wait since the slots are busy.
    pub(crate) waiting: u64,
    /// Whether any run waits, be it for a slot, for its turn or to be marked.
    pub(crate) any: bool,
}

/// The most runs that wait for their turn and do not count.
const MAX_LIMITED: usize = 4096;

/// Counts the runs of a worker.
#[derive(Debug)]
pub(crate) struct RunCounts {
    /// How many slots there are.
    pub(crate) slots: usize,
    /// How many runs are to be local at most. The prefetch of the consumer is a limit beside this one.
    pub(crate) window: usize,
    /// Runs in a slot, or waiting for one, or for their turn by a rate limit.
    local: usize,
    /// How many of these wait for their turn.
    limited: usize,
    /// Runs in a slot.
    running: usize,
    /// How many of the running ones are acked already.
    running_acked: usize,
    /// Runs that slots got since the worker started.
    handed_out: u64,
    /// The fetching loop waits until no more runs than this are local.
    refill_at: Option<usize>,
}

impl Default for RunCounts {
    fn default() -> Self {
        let (slots, window) = (0, usize::MAX);
        Self { slots, window, local: 0, limited: 0, running: 0, running_acked: 0, handed_out: 0, refill_at: None }
    }
}

impl RunCounts {
    /// How many slots nothing is there for. `ending` of them have a run that is over but for a moment.
    pub(crate) fn free_slots(&self, ending: usize) -> usize {
        self.slots.saturating_sub(self.counted().saturating_sub(ending))
    }

    /// How many more runs may become local.
    pub(crate) fn free_window(&self, ending: usize) -> usize {
        self.window.saturating_sub(self.counted().saturating_sub(ending))
    }

    /// A run was accepted.
    pub(crate) fn add(&mut self) {
        self.local += 1;
    }

    /// A run that was accepted waits for its turn.
    pub(crate) fn limit(&mut self) {
        self.limited += 1;
    }

    /// The turn of a run has come.
    pub(crate) fn unlimit(&mut self) {
        self.limited -= 1;
    }

    /// Runs in a slot, or waiting for one. A run that waits for its turn must not hold up others, so it does not count;
    /// but there is a bound, for brokers that cannot take back what waits for long.
    fn counted(&self) -> usize {
        self.local - self.limited.min(MAX_LIMITED)
    }

    /// A slot got a run.
    pub(crate) fn start(&mut self, acks_late: bool) {
        self.handed_out += 1;
        self.running += 1;
        self.running_acked += usize::from(!acks_late);
    }

    /// A run is over. Returns whether the fetching loop is to be woken.
    #[must_use]
    pub(crate) fn end(&mut self, acks_late: bool) -> bool {
        self.running -= 1;
        self.running_acked -= usize::from(!acks_late);
        self.remove(1)
    }

    /// Runs will get no slot. Returns whether the fetching loop is to be woken.
    #[must_use]
    pub(crate) fn remove(&mut self, count: usize) -> bool {
        self.local -= count;
        let counted = self.counted();
        self.refill_at.take_if(|refill_at| counted <= *refill_at).is_some()
    }

    /// Runs are taken out before a slot got them. So many of them waited for their turn.
    pub(crate) fn take(&mut self, count: usize, limited: usize) {
        self.local -= count;
        self.limited -= limited;
    }

    /// Whether at most `count` runs are local. If not, the fetching loop is to be woken when they are.
    pub(crate) fn is_below(&mut self, count: usize) -> bool {
        let is_below = self.counted() <= count;
        self.refill_at = (!is_below).then_some(count);
        is_below
    }

    pub(crate) fn load(&self, completing: usize) -> Load {
        let (local, limited) = (self.counted(), self.limited.min(MAX_LIMITED));
        Load { local, unacked: local - self.running_acked, completing, limited, delayed: 0 }
    }

    /// How many runs are in slots.
    pub(crate) fn running(&self) -> usize {
        self.running
    }

    /// How many runs slots got since the worker started.
    pub(crate) fn handed_out(&self) -> u64 {
        self.handed_out
    }
}
