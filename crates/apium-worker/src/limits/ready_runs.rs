//! What a slot is to do next: which of the waiting runs it gets, or which of them are to be marked as started first.
//! Only decisions: the caller locks, marks and wakes.
//!
//! A late-ack run is marked as started at the broker before it begins, in a batch with others ([`StartMarks`]). A
//! redelivered message is never marked before its turn: it may be the one that kills workers, and its crash must not
//! count for its neighbours. One during whose run a worker died already runs alone ([`Suspects`]).
//!
//! A driver may claim as many marked runs as would begin at once ([`ReadyRuns::wanted`]). Those that find no slot all
//! the same lose their marks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use apium_app::options::rate_limit::RateLimit;
use apium_protocol::message::task_id::TaskId;
use apium_transport::broker::demand::Wanted;
use apium_transport::clock::{Clock, Moment};

use crate::limits::load::{Load, Queued, RunCounts};
use crate::limits::start_marks::StartMarks;
use crate::limits::suspects::Suspects;
use crate::limits::waiting_runs::{NextDue, Present, WaitingRuns};

/// What the order of runs depends on.
pub(crate) trait QueuedRun {
    /// The name of its task.
    fn task(&self) -> &Arc<str>;

    /// The id of its task.
    fn id(&self) -> Option<&TaskId>;

    /// The rate limit of its task.
    fn rate_limit(&self) -> Option<RateLimit>;

    /// Whether its delivery is acked after the run.
    fn acks_late(&self) -> bool;

    /// Whether its message was delivered before.
    fn is_redelivered(&self) -> bool;

    /// Whether a worker died during a run of its message.
    fn is_suspect(&self) -> bool;

    /// Whether it was marked as started when it was claimed.
    fn is_started(&self) -> bool;

    /// Takes that mark back.
    fn unmark(&mut self);
}

/// What a slot is to do.
#[derive(Debug)]
pub(crate) enum NextStep<R> {
    /// Run this.
    Run(R),
    /// Mark these as started, and tell [`ReadyRuns::marked`].
    MarkStarted(Vec<R>),
    /// Mark this one as a suspect that starts, and tell [`ReadyRuns::marked`].
    MarkSuspect(R),
    /// Wait until it is woken.
    Wait,
    /// End: the queue is closed.
    Closed,
    /// End: there are too many slots.
    Retire,
}

/// Runs that were accepted and have no slot yet.
#[derive(Debug)]
pub(crate) struct ReadyRuns<R> {
    /// Runs for the slots, in order. Those with late ack are not marked.
    fresh: VecDeque<R>,
    /// Runs that are marked as started, and go to the next slots.
    marked: VecDeque<R>,
    suspects: Suspects<R>,
    pub(crate) waiting: WaitingRuns<R>,
    marks: StartMarks,
    pub(crate) counts: RunCounts,
    /// Slots that wait, or were woken and have not looked yet.
    pub(crate) idle_slots: usize,
    /// How many slots are too many, and end when they ask for a run.
    pub(crate) retiring: usize,
    /// The rate limits that were set while the worker runs, by the name of the task.
    rates: HashMap<Arc<str>, Option<RateLimit>>,
    /// Whether rate limits are kept (not with `worker_disable_rate_limits`).
    has_rate_limits: bool,
    /// Whether a run had a rate limit. Such runs wait, so from then on nothing is to be marked when it is claimed.
    has_limited: bool,
    closed: bool,
}

impl<R: QueuedRun> ReadyRuns<R> {
    pub(crate) fn new(max_crashes: u32, has_rate_limits: bool) -> Self {
        Self {
            fresh: VecDeque::new(),
            marked: VecDeque::new(),
            suspects: Suspects::default(),
            waiting: WaitingRuns::default(),
            marks: StartMarks::new(max_crashes),
            counts: RunCounts::default(),
            idle_slots: 0,
            retiring: 0,
            rates: HashMap::new(),
            has_rate_limits,
            has_limited: false,
            closed: false,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The rate limit that holds for a run: the one that was set while the worker runs, else its task's.
    fn rate_of(&self, run: &R) -> Option<RateLimit> {
        if !self.has_rate_limits {
            return None;
        }
        match self.rates.is_empty() {
            true => run.rate_limit(),
            false => self.rates.get(run.task()).copied().unwrap_or_else(|| run.rate_limit()),
        }
    }

    /// Sets the rate limit of a task: for what waits for its turn or for a slot, and for what comes.
    pub(crate) fn set_rate_limit(&mut self, task: &Arc<str>, limit: Option<RateLimit>, now: Moment) {
        self.rates.insert(task.clone(), limit);
        match limit.filter(|_| self.has_rate_limits) {
            Some(limit) => {
                self.has_limited = true;
                self.waiting.limited.set_limit(task, limit);
                let (of_task, others) = self.fresh.drain(..).partition(|run| run.task() == task);
                self.fresh = others;
                let of_task: VecDeque<R> = of_task;
                for run in of_task {
                    self.counts.limit();
                    self.waiting.limited.push(task, limit, run);
                }
            }
            None => {
                for run in self.waiting.limited.remove_limit(task) {
                    self.counts.unlimit();
                    match self.is_suspect(&run) {
                        true => self.suspects.push(run, now),
                        false => self.fresh.push_back(run),
                    }
                }
            }
        }
    }

    /// Whether rate limits are kept.
    pub(crate) fn keeps_rate_limits(&self) -> bool {
        self.has_rate_limits
    }

    /// What waits for a slot or for its turn, in about the order in which it runs.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = &R> {
        self.marked.iter().chain(self.suspects.iter()).chain(&self.fresh).chain(self.waiting.limited.iter())
    }

    /// Adds a run.
    pub(crate) fn add(&mut self, run: R, now: Moment) {
        self.counts.add();
        match self.rate_of(&run) {
            Some(limit) => {
                self.counts.limit();
                self.has_limited = true;
                self.waiting.limited.push(&run.task().clone(), limit, run);
            }
            None if self.is_suspect(&run) => self.suspects.push(run, now),
            None => self.fresh.push_back(run),
        }
    }

    /// Adds a run as it was claimed. One that is marked as started goes to the next slot, or loses its mark if none is
    /// free. One that is acked early keeps it: the ack removes it.
    pub(crate) fn add_claimed(&mut self, mut run: R, now: Moment, ending: usize) {
        let is_limited = self.rate_of(&run).is_some();
        if !run.is_started() || (!run.acks_late() && !is_limited) {
            self.add(run, now);
        } else if is_limited || self.is_suspect(&run) || self.free_slots(now, ending) == 0 {
            run.unmark();
            self.add(run, now);
        } else {
            self.counts.add();
            self.marked.push_back(run);
        }
    }

    /// How many more runs would begin at once. `ending` slots are about to be free.
    fn free_slots(&self, now: Moment, ending: usize) -> usize {
        if self.closed || self.suspects.hold_back(now) { 0 } else { self.counts.free_slots(ending) }
    }

    /// What a driver may claim now. `ending` slots are about to be free.
    pub(crate) fn wanted(&self, now: Moment, ending: usize) -> Wanted {
        let begin = self.free_slots(now, ending);
        let fetch = if self.closed { 0 } else { self.counts.free_window(ending) };
        let mut wanted = Wanted::fetching(begin, fetch);
        wanted.marked = if self.marks.may_be_early() && !self.has_limited { begin } else { 0 };
        wanted
    }

    /// Adds a run that does not begin: a slot only ends it. So it is not marked, waits for nothing and is no suspect.
    pub(crate) fn add_without_run(&mut self, run: R) {
        self.counts.add();
        self.marked.push_back(run);
    }

    /// Takes out the runs whose turn by their rate limit is far away, each with its turn. The others are to be added.
    pub(crate) fn take_far(&mut self, runs: Vec<R>, now: Moment) -> (Vec<R>, Vec<(Moment, R)>) {
        let (mut near, mut far) = (Vec::with_capacity(runs.len()), Vec::new());
        for run in runs {
            let limit = self.rate_of(&run);
            match limit.and_then(|limit| self.waiting.limited.delay(run.task(), limit, run.id(), now)) {
                Some(turn) => far.push((turn, run)),
                None => near.push(run),
            }
        }
        (near, far)
    }

    /// Adds the runs whose eta has come.
    pub(crate) fn promote_due(&mut self, present: Present) {
        while let Some(run) = self.waiting.delayed.pop(present.now) {
            self.add(run, present.moment);
        }
    }

    /// What a slot is to do now.
    pub(crate) fn next(&mut self, now: Moment) -> NextStep<R> {
        if self.closed {
            return NextStep::Closed;
        }
        if self.retiring > 0 {
            self.retiring -= 1;
            return NextStep::Retire;
        }
        if let Some(run) = self.marked.pop_front() {
            return self.hand_out(run);
        }
        if self.marks.is_marking {
            // Only what need not be marked can begin, and only in its turn.
            let is_next = self.fresh.front().is_some_and(|first| !self.is_marked_first(first));
            return match is_next && !self.suspects.hold_back(now) {
                true => self.fresh.pop_front().map_or(NextStep::Wait, |run| self.hand_out(run)),
                false => NextStep::Wait,
            };
        }
        if let Some(run) = self.suspects.begin(self.counts.running() == 0, now) {
            self.marks.begin_single();
            return NextStep::MarkSuspect(run);
        }
        if self.suspects.hold_back(now) {
            return NextStep::Wait;
        }
        if let Some(run) = self.waiting.limited.pop(now) {
            self.counts.unlimit();
            if self.is_suspect(&run) {
                self.suspects.push(run, now);
                return self.next(now);
            }
            if self.is_marked_first(&run) {
                self.marks.begin_single();
                return NextStep::MarkStarted(vec![run]);
            }
            return self.hand_out(run);
        }
        match self.fresh.front() {
            Some(first) if self.is_marked_first(first) => NextStep::MarkStarted(self.batch_to_mark()),
            _ => self.fresh.pop_front().map_or(NextStep::Wait, |run| self.hand_out(run)),
        }
    }

    /// Whether [`next`](Self::next) has something for a slot.
    pub(crate) fn has_next(&self, now: Moment) -> bool {
        if !self.marked.is_empty() {
            return true;
        }
        let (is_marking, is_held) = (self.marks.is_marking, self.suspects.hold_back(now));
        let is_due = || self.waiting.limited.next_start().is_some_and(|start| start <= now);
        let has_fresh = self.fresh.front().is_some_and(|first| !is_marking || !self.is_marked_first(first));
        let may_begin = || self.suspects.may_begin(self.counts.running() == 0, now);
        (has_fresh && !is_held) || (!is_marking && (may_begin() || (!is_held && is_due())))
    }

    /// Whether an idle slot has something to do. Whoever changed the runs, or got one of them, then wakes a slot. So as
    /// long as there is something to do, one slot is awake or about to be.
    pub(crate) fn needs_slot(&self, now: Moment) -> bool {
        self.idle_slots > 0 && (self.closed || self.retiring > 0 || self.has_next(now))
    }

    /// Whether it runs alone. Where crashes have no limit, nothing is convicted, and so nothing is suspected. A run
    /// that is acked early has no message that could count another crash.
    fn is_suspect(&self, run: &R) -> bool {
        run.is_suspect() && self.is_marked_first(run)
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

    /// A batch is marked: `runs` go to the next slots, and `lost` ones will get none. Returns whether the fetching loop
    /// is to be woken.
    #[must_use]
    pub(crate) fn marked(&mut self, runs: Vec<R>, lost: &[R], now: Moment) -> bool {
        self.marks.is_marking = false;
        self.marked.extend(runs);
        if lost.iter().any(R::is_suspect) {
            self.suspects.end(now);
        }
        self.counts.remove(lost.len())
    }

    /// A run of a task with late ack or with early ack is over, perhaps that of a suspect. Returns whether the fetching
    /// loop is to be woken.
    #[must_use]
    pub(crate) fn end(&mut self, acks_late: bool, is_suspect: bool, now: Moment) -> bool {
        if is_suspect && acks_late && self.marks.are_needed() {
            self.suspects.end(now);
        }
        self.counts.end(acks_late)
    }

    /// Whether the present decides about anything: a run waits for its eta or its turn, or runs are held back for a
    /// suspect. If not, the clock need not be read.
    pub(crate) fn waits_for_a_time(&self) -> bool {
        self.waiting.len() > 0 || self.suspects.len() > 0 || self.suspects.hold_end().is_some()
    }

    /// When a run may begin next that may not now: its eta comes, its turn by its rate limit, or the end of a hold.
    /// What is due already waits for a slot, and not for a time.
    pub(crate) fn next_due(&self, Present { now, moment }: Present) -> Option<NextDue> {
        if !self.waits_for_a_time() {
            return None;
        }
        let turn = self.waiting.limited.next_start_after(moment);
        let hold_end = self.suspects.hold_end().filter(|end| *end > moment);
        let eta = self.waiting.delayed.next_due().filter(|eta| *eta > now);
        NextDue::of([turn, hold_end].into_iter().flatten().min(), eta)
    }

    /// How many runs the slots got since the worker started; `None` while a run is in a slot or is due.
    pub(crate) fn handed_out_if_idle(&self, clock: &Clock) -> Option<u64> {
        let has_ready = !self.fresh.is_empty() || !self.marked.is_empty() || self.suspects.len() > 0;
        let has_no_run = self.counts.running() == 0 && !has_ready;
        let is_due = self.waiting.next_due().is_some_and(|due| due.has_come(clock));
        (has_no_run && !self.marks.is_marking && !is_due).then_some(self.counts.handed_out())
    }

    /// The load of the worker. `completing` is what the caller knows of the completer.
    pub(crate) fn load(&self, completing: usize) -> Load {
        Load { delayed: self.waiting.delayed.len(), ..self.counts.load(completing) }
    }

    /// What waits, and for how many runs only a busy slot is missing.
    pub(crate) fn queued(&self, now: Moment) -> Queued {
        let ready = self.fresh.len() + self.marked.len();
        let has_turn = || self.waiting.limited.next_start().is_some_and(|start| start <= now);
        // Where no run is in a slot, or a batch is being marked, something else is missing.
        let waiting = match self.counts.running() > 0 && !self.marks.is_marking {
            true => ready + usize::from(has_turn()),
            false => 0,
        };
        let any = ready + self.waiting.limited.len() > 0;
        Queued { handed_out: self.counts.handed_out(), waiting: waiting as u64, any }
    }

    /// Takes out what waits for a slot, or for its turn before that. Suspects stay: they wait for an empty worker, and
    /// would at any other one. Says how many runs are left.
    pub(crate) fn take_queued(&mut self) -> (Vec<R>, usize) {
        let mut runs: Vec<R> = self.marked.drain(..).collect();
        runs.extend(self.fresh.drain(..));
        let limited = self.waiting.limited.len();
        runs.extend(self.waiting.limited.drain());
        runs.iter_mut().for_each(R::unmark);
        self.counts.take(runs.len(), limited);
        (runs, self.counts.load(0).local)
    }

    /// Accepts and hands out no more runs. Returns those that no slot has.
    pub(crate) fn close(&mut self) -> Vec<R> {
        self.closed = true;
        let mut runs: Vec<R> = self.marked.drain(..).collect();
        runs.extend(self.suspects.drain());
        runs.extend(self.fresh.drain(..));
        runs.extend(self.waiting.drain());
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::FIRST;

    /// A run by its letter: `e` has early ack, `s` is a suspect, `r` has a rate limit, and the others have late ack.
    /// Capitals were marked when they were claimed.
    #[derive(Debug, Clone, Copy)]
    struct FakeRun(char, Option<RateLimit>);

    impl QueuedRun for FakeRun {
        fn task(&self) -> &Arc<str> {
            static TASK: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "task".into());
            &TASK
        }

        fn id(&self) -> Option<&TaskId> {
            None
        }

        fn rate_limit(&self) -> Option<RateLimit> {
            self.1
        }

        fn acks_late(&self) -> bool {
            !self.0.eq_ignore_ascii_case(&'e')
        }

        fn is_redelivered(&self) -> bool {
            self.is_suspect()
        }

        fn is_suspect(&self) -> bool {
            self.0 == 's'
        }

        fn is_started(&self) -> bool {
            self.0.is_ascii_uppercase()
        }

        fn unmark(&mut self) {
            self.0 = self.0.to_ascii_lowercase();
        }
    }

    /// Runs that were claimed, for a worker of so many slots.
    fn claimed(slots: usize, max_crashes: u32, letters: &str) -> ReadyRuns<FakeRun> {
        let mut runs = ReadyRuns::new(max_crashes, true);
        runs.counts.slots = slots;
        for letter in letters.chars() {
            let limit = RateLimit::parse("1/m").unwrap().filter(|_| letter.eq_ignore_ascii_case(&'r'));
            runs.add_claimed(FakeRun(letter, limit), NOW, 0);
        }
        runs
    }

    /// What the next slots do, until they wait.
    fn steps(runs: &mut ReadyRuns<FakeRun>) -> Vec<String> {
        let mut steps = Vec::new();
        loop {
            let (step, marked) = match runs.next(NOW) {
                NextStep::Run(run) => (format!("run {}", run.0), Vec::new()),
                NextStep::MarkStarted(batch) => {
                    (format!("mark {}", batch.iter().map(|run| run.0).collect::<String>()), batch)
                }
                NextStep::MarkSuspect(run) => (format!("suspect {}", run.0), vec![run]),
                NextStep::Wait | NextStep::Closed | NextStep::Retire => return steps,
            };
            steps.push(step);
            if !marked.is_empty() {
                let _ = runs.marked(marked, &[], NOW);
            }
        }
    }

    #[test]
    fn what_came_marked_begins_at_once_or_loses_its_mark() {
        for (slots, letters, wanted) in [
            (2, "LL", &["run L", "run L"][..]),
            (2, "LLL", &["run L", "run L", "mark l", "run l"]),
            (2, "lL", &["run L", "mark l", "run l"]),
            (0, "L", &["mark l", "run l"]),
            // The ack of these removes the mark.
            (1, "EE", &["run E", "run E"]),
            (3, "RL", &["run L", "mark r", "run r"]),
            // The suspect comes first and alone, and takes back the marks of the others.
            (3, "sL", &["suspect s", "run s"]),
        ] {
            assert_eq!(steps(&mut claimed(slots, 3, letters)), wanted, "{slots} slots, {letters}");
        }
    }

    #[test]
    fn a_rate_limit_that_is_set_holds_for_what_waits_and_for_what_comes() {
        let (task, minute) = ("task".into(), RateLimit::parse("1/m").unwrap());
        let mut runs = claimed(9, 0, "lll");
        runs.set_rate_limit(&task, minute, NOW);
        assert_eq!(steps(&mut runs), ["run l"]);
        runs.add_claimed(FakeRun('l', None), NOW, 0);
        assert_eq!((steps(&mut runs).len(), runs.reserved().count(), runs.load(0).limited), (0, 3, 3));
        runs.set_rate_limit(&task, None, NOW);
        assert_eq!(steps(&mut runs), ["run l", "run l", "run l"]);
        runs.add_claimed(FakeRun('r', minute), NOW, 0);
        runs.add_claimed(FakeRun('r', minute), NOW, 0);
        assert_eq!(steps(&mut runs), ["run r", "run r"], "the limit of the task does not hold any more");
        assert_eq!((runs.load(0).limited, runs.counts.running()), (0, 6));
    }

    #[test]
    fn slots_that_are_too_many_end_when_they_ask_for_a_run() {
        let mut runs = claimed(2, 0, "ll");
        (runs.retiring, runs.idle_slots) = (1, 1);
        assert!(runs.needs_slot(NOW));
        assert!(matches!(runs.next(NOW), NextStep::Retire));
        assert_eq!(steps(&mut runs), ["run l", "run l"]);
    }

    #[test]
    fn a_slot_that_is_about_to_be_free_is_free_for_what_comes_next() {
        let mut runs = claimed(1, 3, "L");
        runs.counts.window = 1;
        assert_eq!(steps(&mut runs), ["run L"]);
        assert_eq!(runs.wanted(NOW, 0), Wanted::default());
        assert_eq!(runs.wanted(NOW, 1), Wanted::beginning(1));
        runs.close();
        assert_eq!(runs.wanted(NOW, 1), Wanted::default(), "after a stop");
    }

    #[test]
    fn nothing_is_to_begin_beside_a_suspect_and_nothing_is_marked_early_where_that_counts_too_much() {
        let wanted = |max_crashes, letters| {
            let Wanted { begin, marked, .. } = claimed(4, max_crashes, letters).wanted(NOW, 0);
            (begin, marked)
        };
        assert_eq!((wanted(3, ""), wanted(3, "L"), wanted(3, "s")), ((4, 4), (3, 3), (0, 0)));
        assert_eq!((wanted(2, ""), wanted(1, ""), wanted(0, "")), ((4, 0), (4, 0), (4, 0)));
        assert_eq!(
            wanted(3, "r"),
            (4, 0),
            "a run with a rate limit may have to wait: it takes no slot before its turn"
        );
    }
}
