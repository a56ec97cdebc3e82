//! The run queue: runs that were accepted and have no slot yet. They wait for a slot, for a rate limit, or for their
//! eta.
//!
//! A late-ack run is marked as started at the broker before it begins, in a batch with others ([`StartMarks`]). A
//! redelivered message is never marked before its turn: it may be the one that kills workers, and its crash must not
//! count for its neighbours.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_protocol::error::with_causes;
use apium_transport::broker::settlement::{Receipt, lost_receipts};
use apium_transport::clock::Clock;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::limits::load::{Load, RunCounts};
use crate::limits::rate_limit::Bucket;
use crate::limits::start_marks::StartMarks;
use crate::limits::waiting_runs::{NextDue, WaitingRuns};
use crate::pipeline::log;
use crate::pipeline::task_run::TaskRun;

/// Runs that were accepted and have no slot yet.
pub(crate) struct RunQueue {
    state: Mutex<State>,
    /// Wakes slots.
    wake: Notify,
    /// Wakes the timer, when another time may be the next that is due.
    due: Notify,
    /// Wakes the fetching loop, when few enough runs are left.
    refill: Notify,
    clock: Clock,
    /// Whether rate limits are kept (not with `worker_disable_rate_limits`).
    has_rate_limits: bool,
}

#[derive(Default)]
struct State {
    /// Runs for the slots, in order. Those with late ack are not marked.
    fresh: VecDeque<TaskRun>,
    /// Runs that are marked as started, and go to the next slots.
    marked: VecDeque<TaskRun>,
    waiting: WaitingRuns<TaskRun>,
    marks: StartMarks,
    counts: RunCounts,
    idle_slots: usize,
    closed: bool,
}

enum Next {
    Run(TaskRun),
    /// These runs are to be marked as started first.
    MarkStarted(Vec<TaskRun>),
    Wait,
    Closed,
}

impl RunQueue {
    pub(crate) fn new(clock: Clock, max_crashes: u32, has_rate_limits: bool) -> Self {
        let state = Mutex::new(State { marks: StartMarks::new(max_crashes), ..State::default() });
        let (wake, due, refill) = (Notify::new(), Notify::new(), Notify::new());
        Self { state, wake, due, refill, clock, has_rate_limits }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds runs, in order. Returns them when the queue is closed.
    pub(crate) fn push(&self, task_runs: Vec<TaskRun>) -> Vec<TaskRun> {
        let mut state = self.lock();
        if state.closed {
            return task_runs;
        }
        let count = task_runs.len();
        let limited = state.waiting.limited.len();
        for task_run in task_runs {
            self.add(&mut state, task_run);
        }
        let (idle, has_more_limited) = (state.idle_slots, state.waiting.limited.len() > limited);
        drop(state);
        self.wake_slots(count.min(idle));
        if has_more_limited {
            self.due.notify_one();
        }
        Vec::new()
    }

    fn add(&self, state: &mut State, task_run: TaskRun) {
        state.counts.add();
        match task_run.task.effective.rate_limit.filter(|_| self.has_rate_limits) {
            Some(limit) => state.waiting.limited.push(&task_run.task.name.clone(), limit, task_run),
            None => state.fresh.push_back(task_run),
        }
    }

    /// Adds a run that waits until its eta. Returns it when the queue is closed.
    pub(crate) fn push_delayed(&self, due: Timestamp, task_run: TaskRun) -> Option<TaskRun> {
        let mut state = self.lock();
        if state.closed {
            return Some(task_run);
        }
        state.waiting.delayed.push(due, task_run);
        drop(state);
        self.due.notify_one();
        None
    }

    /// How many runs wait for their eta.
    pub(crate) fn delayed_len(&self) -> usize {
        self.lock().waiting.delayed.len()
    }

    /// The load of the worker, without runs that wait for an eta. `completing` is what the caller knows of the
    /// completer.
    pub(crate) fn load(&self, completing: usize) -> Load {
        self.lock().counts.load(completing)
    }

    /// Waits until at most `count` runs are local. Only one caller may wait at a time. Cancel-safe.
    pub(crate) async fn wait_below(&self, count: usize) {
        while !self.lock().counts.is_below(count) {
            self.refill.notified().await;
        }
    }

    /// How many runs wait for a later time than the present, by eta or rate limit.
    pub(crate) fn not_due(&self) -> usize {
        self.lock().waiting.not_due(&self.clock)
    }

    /// When the first run that waits by eta or rate limit may start.
    pub(crate) fn next_due(&self) -> Option<NextDue> {
        self.lock().waiting.next_due()
    }

    fn wake_slots(&self, count: usize) {
        for _ in 0..count {
            self.wake.notify_one();
        }
    }

    /// The next run for a slot, which calls [`done`](Self::done) after it; `None` when the queue is closed.
    pub(crate) async fn next(&self) -> Option<TaskRun> {
        loop {
            let next = match self.next_now() {
                Next::Wait => self.wait_for_next().await,
                next => next,
            };
            match next {
                Next::Run(task_run) => return Some(task_run),
                Next::MarkStarted(task_runs) => self.mark_started(task_runs).await,
                Next::Closed => return None,
                Next::Wait => {}
            }
        }
    }

    /// Waits until the slot is woken, unless there is something for it.
    async fn wait_for_next(&self) -> Next {
        let woken = self.wake.notified();
        tokio::pin!(woken);
        // From here on this slot gets its wake-ups. What was added before is found by the call below.
        woken.as_mut().enable();
        self.lock().idle_slots += 1;
        let next = self.next_now();
        if matches!(next, Next::Wait) {
            woken.await;
        }
        self.lock().idle_slots -= 1;
        next
    }

    /// A slot is done with a run of a task with late ack, or with early ack.
    pub(crate) fn done(&self, acks_late: bool) {
        if self.lock().counts.end(acks_late) {
            self.refill.notify_one();
        }
    }

    /// How many runs the slots got since the worker started; `None` while a run is in a slot or is due.
    pub(crate) fn handed_out_if_idle(&self) -> Option<u64> {
        let state = self.lock();
        let has_no_run = state.counts.running() == 0 && state.fresh.is_empty() && state.marked.is_empty();
        let is_due = state.waiting.next_due().is_some_and(|due| due.has_come(&self.clock));
        (has_no_run && !state.marks.is_marking && !is_due).then_some(state.counts.handed_out())
    }

    /// What a slot is to do now.
    fn next_now(&self) -> Next {
        let mut state = self.lock();
        if state.closed {
            return Next::Closed;
        }
        if let Some(task_run) = state.marked.pop_front() {
            return state.hand_out(task_run);
        }
        let (needs_marks, is_marking) = (state.marks.are_needed(), state.marks.is_marking);
        if state.waiting.limited.len() > 0
            && !is_marking
            && let Some(task_run) = state.waiting.limited.pop(self.clock.moment())
        {
            // The next run of this task has another due time now.
            self.due.notify_one();
            return match needs_marks && task_run.acks_late() {
                true => {
                    state.marks.is_marking = true;
                    Next::MarkStarted(vec![task_run])
                }
                false => state.hand_out(task_run),
            };
        }
        let Some(first) = state.fresh.front() else { return Next::Wait };
        if !needs_marks || !first.acks_late() {
            return match state.fresh.pop_front() {
                Some(task_run) => state.hand_out(task_run),
                None => Next::Wait,
            };
        }
        match is_marking {
            true => Next::Wait,
            false => Next::MarkStarted(state.batch_to_mark()),
        }
    }

    /// Marks runs as started at the broker, and then lets the slots have them. A run whose message another worker has
    /// is dropped, since it would run twice.
    async fn mark_started(&self, mut task_runs: Vec<TaskRun>) {
        let mut lost: Vec<Receipt> = Vec::new();
        for group in task_runs.chunk_by(|a, b| Arc::ptr_eq(&a.source, &b.source)) {
            let receipts: Vec<Receipt> = group.iter().map(|task_run| task_run.receipt.clone()).collect();
            let Some(first) = group.first() else { continue };
            if let Err(error) = first.source.acker.mark_started(&receipts).await {
                tracing::debug!(error = %with_causes(&error), "could not mark runs as started; a crash of them may not be counted");
                lost.extend_from_slice(lost_receipts(&error));
            }
        }
        let count = task_runs.len();
        task_runs.retain(|task_run| {
            let is_ours = !lost.contains(&task_run.receipt);
            if !is_ours {
                log::lease_lost(task_run);
            }
            is_ours
        });
        let mut state = self.lock();
        state.marks.is_marking = false;
        if state.counts.remove(count - task_runs.len()) {
            self.refill.notify_one();
        }
        let to_wake = task_runs.len().min(state.idle_slots);
        state.marked.extend(task_runs);
        drop(state);
        self.wake_slots(to_wake);
    }

    /// Moves runs whose eta has come to where slots find them. Rate-limited runs are found there anyway, so slots are
    /// woken for them.
    fn promote_due(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        while let Some(task_run) = state.waiting.delayed.pop(now) {
            self.add(&mut state, task_run);
        }
        let idle = state.idle_slots;
        drop(state);
        self.wake_slots(idle);
    }

    /// The state of the rate limits, for a worker after this one.
    pub(crate) fn buckets(&self) -> HashMap<Arc<str>, Bucket> {
        self.lock().waiting.limited.buckets()
    }

    /// Takes over the state of the rate limits from a worker before this one.
    pub(crate) fn restore_buckets(&self, buckets: HashMap<Arc<str>, Bucket>) {
        self.lock().waiting.limited.restore_buckets(buckets);
    }

    /// Promotes what is due, again and again, until it is dropped.
    pub(crate) async fn run_timer(&self) {
        loop {
            let changed = self.due.notified();
            match self.next_due() {
                None => changed.await,
                Some(due) if !due.has_come(&self.clock) => {
                    tokio::select! {
                        () = due.wait(&self.clock) => self.promote_due(),
                        () = changed => {}
                    }
                }
                Some(_) => {
                    self.promote_due();
                    // What is still due waits for a slot, and not for a time.
                    changed.await;
                }
            }
        }
    }

    /// Closes the queue: it accepts and hands out no more runs. Returns those that no slot has.
    pub(crate) fn close(&self) -> Vec<TaskRun> {
        let mut state = self.lock();
        state.closed = true;
        let mut waiting: Vec<TaskRun> = state.marked.drain(..).collect();
        waiting.extend(state.fresh.drain(..));
        waiting.extend(state.waiting.drain());
        let idle = state.idle_slots;
        drop(state);
        self.wake_slots(idle);
        waiting
    }
}

impl State {
    fn hand_out(&mut self, task_run: TaskRun) -> Next {
        self.marks.add_handed_out();
        self.counts.start(task_run.acks_late());
        Next::Run(task_run)
    }

    /// Takes the runs that are marked as one batch: for the slot that asks, for those that wait, and some for later.
    fn batch_to_mark(&mut self) -> Vec<TaskRun> {
        let turns = self.idle_slots + 1;
        let max = self.marks.begin_batch(turns);
        let fits = |(index, task_run): &(usize, &TaskRun)| {
            let is_in_turn = *index < turns || !task_run.request.delivery_info.redelivered;
            *index < max && task_run.acks_late() && is_in_turn
        };
        let count = self.fresh.iter().enumerate().take_while(fits).count();
        self.fresh.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use apium_app::context::request::Request;
    use apium_app::options::effective_options::TaskDefaults;
    use apium_app::options::task_options::TaskOptions;
    use apium_app::task::arguments::ParameterList;
    use apium_app::task::definition::{Hooks, TaskDef, TaskFn};
    use apium_app::task::registry::RegistryBuilder;
    use apium_protocol::json::text::Json;
    use apium_transport::broker::settlement::{Acker, AtomicSettle, Disposition, Tag, lease_lost};
    use apium_transport::error::Result;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::pipeline::task_run::DeliverySource;

    static DEF: TaskDef = TaskDef {
        name: "t",
        aliases: &[],
        parameters: ParameterList { function: "t", named: &[], var_args: true, var_kwargs: true },
        options: || {
            let mut options = TaskOptions::NEW;
            options.acks_late = Some(true);
            options
        },
        hooks: Hooks::NONE,
        needs: &[],
        takes_ctx: true,
        run: TaskFn::Blocking(|_| Ok(Json::NULL)),
        location: "here",
    };

    /// An acker for which another consumer has every odd receipt.
    struct Odd;

    impl Acker for Odd {
        fn ack(&self, _: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn reject(&self, _: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
            let odd = |receipt: &&Receipt| matches!(receipt.tag, Tag::Number(number) if number % 2 == 1);
            let lost: Vec<Receipt> = receipts.iter().filter(odd).cloned().collect();
            Box::pin(async move { Err(lease_lost("start", &lost, receipts.len())) })
        }

        fn atomic(&self) -> Option<&dyn AtomicSettle> {
            None
        }
    }

    #[tokio::test]
    async fn a_run_whose_lease_is_lost_does_not_begin() {
        let mut builder = RegistryBuilder::new();
        builder.def(&DEF);
        let registry = builder.build(&TaskDefaults::default(), |_| TaskOptions::NEW).unwrap();
        let source = Arc::new(DeliverySource { acker: Arc::new(Odd), is_atomic: false });
        let task_run = |number| TaskRun {
            request: Arc::new(Request::direct()),
            task: registry.get("t").unwrap().clone(),
            receipt: Receipt::new(Tag::Number(number), 1),
            source: source.clone(),
            expires: None,
            links: None,
        };
        let run_queue = RunQueue::new(Clock::manual(Timestamp::UNIX_EPOCH), 3, true);
        assert!(run_queue.push((1..=6).map(task_run).collect()).is_empty());
        for number in [2, 4, 6] {
            assert_eq!(run_queue.next().await.unwrap().receipt.tag, Tag::Number(number));
            run_queue.done(true);
        }
        assert_eq!(run_queue.handed_out_if_idle(), Some(3), "there is no other run");
        assert_eq!(run_queue.load(0).local, 0, "lost runs do not count into the load");
    }
}
