//! What was taken in and not yet accepted by a slot: in order, by rate limit, or waiting for an eta.
//!
//! A late-ack run is noted at the broker before it begins (P4: a run whose worker dies counts a crash). One note per run would
//! cost a round trip per task, so that a slot that finds none noted notes several at once: as many as slots wait, or as many as
//! were taken since the last note, or twice as many when runs are short. A redelivered message is never noted before its own turn: it may be the
//! one that kills workers, and its neighbours must not be counted with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use apium_transport::broker::settlement::{Receipt, lost_receipts};
use apium_transport::clock::Clock;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::limits::delayed_runs::DelayedRuns;
use crate::limits::prefetch_window::Load;
use crate::limits::rate_limit::{Bucket, RateLimited};
use crate::pipeline::log;
use crate::pipeline::task_run::TaskRun;

/// At most so many runs are noted ahead.
const LONGEST_NOTE: usize = 64;

/// Runs are short when all that one note named have begun within this time.
const SHORT: Duration = Duration::from_millis(20);

/// What was taken in and not yet accepted by a slot.
pub(crate) struct RunQueue {
    state: Mutex<State>,
    wake: Notify,
    /// Wakes who waits for the next due time.
    due: Notify,
    /// Wakes the loop that waits for room.
    low: Notify,
    clock: Clock,
    /// Whether runs are noted (`worker_max_crashes` above 0).
    notes: bool,
    /// Whether some may be noted ahead of their turn: not where one wrong count would matter.
    ahead: bool,
    /// Whether rate limits are kept (`worker_disable_rate_limits`).
    limits: bool,
}

#[derive(Default)]
struct State {
    fresh: VecDeque<TaskRun>,
    noted: VecDeque<TaskRun>,
    limited: RateLimited<TaskRun>,
    waiting: DelayedRuns<TaskRun>,
    noting: bool,
    /// Handed out since the last note.
    taken: usize,
    /// When that was.
    last_note: Option<Instant>,
    /// Handed out in all.
    handed_out: u64,
    /// Handed out and not done.
    running: usize,
    /// How many of them are acked before their run.
    early: usize,
    /// Lined up or running; not what waits for an eta.
    here: usize,
    /// The loop that fetches waits until no more than this is here.
    low_mark: Option<usize>,
    /// Slots that wait.
    idle: usize,
    closed: bool,
}

enum Next {
    Run(TaskRun),
    /// To be noted, then run.
    MarkStarted(Vec<TaskRun>),
    Wait,
    Closed,
}

impl RunQueue {
    pub(crate) fn new(clock: Clock, max_crashes: u32, limits: bool) -> Self {
        let (wake, due, low) = (Notify::new(), Notify::new(), Notify::new());
        Self { state: Mutex::default(), wake, due, low, clock, notes: max_crashes > 0, ahead: max_crashes > 2, limits }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes works in, in order. Gives them back when no more are accepted.
    pub(crate) fn push(&self, task_runs: Vec<TaskRun>) -> Vec<TaskRun> {
        let mut state = self.lock();
        if state.closed {
            return task_runs;
        }
        let count = task_runs.len();
        let limited = state.limited.len();
        for task_run in task_runs {
            self.place_run(&mut state, task_run);
        }
        let (idle, more_limited) = (state.idle, state.limited.len() > limited);
        drop(state);
        self.wake_slots(count.min(idle));
        if more_limited {
            self.due.notify_one();
        }
        Vec::new()
    }

    fn place_run(&self, state: &mut State, task_run: TaskRun) {
        state.here += 1;
        match task_run.task.effective.rate_limit.filter(|_| self.limits) {
            Some(limit) => state.limited.push(&task_run.task.name.clone(), limit, task_run),
            None => state.fresh.push_back(task_run),
        }
    }

    /// Takes in a work that waits here for its eta.
    pub(crate) fn push_delayed(&self, due: Timestamp, task_run: TaskRun) -> Option<TaskRun> {
        let mut state = self.lock();
        if state.closed {
            return Some(task_run);
        }
        state.waiting.push(due, task_run);
        drop(state);
        self.due.notify_one();
        None
    }

    /// How many wait for an eta; each raises the prefetch by one, as Celery does.
    pub(crate) fn delayed_len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// What is here, without what waits for an eta; `ends` are on their way to the broker.
    pub(crate) fn load(&self, ends: usize) -> Load {
        let state = self.lock();
        Load { local: state.here, unacked: state.here - state.early, completing: ends }
    }

    /// Waits until at most `mark` works are here. One loop at a time waits. Cancel-safe.
    pub(crate) async fn wait_below(&self, mark: usize) {
        loop {
            {
                let mut state = self.lock();
                let is_low = state.here <= mark;
                state.low_mark = (!is_low).then_some(mark);
                if is_low {
                    return;
                }
            }
            self.low.notified().await;
        }
    }

    fn leave(&self, state: &mut State, count: usize) {
        state.here -= count;
        if state.low_mark.take_if(|mark| state.here <= *mark).is_some() {
            self.low.notify_one();
        }
    }

    /// How many wait for a later time, by eta or rate limit, at `now`.
    pub(crate) fn not_due(&self, now: Timestamp) -> usize {
        let state = self.lock();
        let limited = if state.limited.next_start().is_some_and(|next| next > now) { state.limited.len() } else { 0 };
        let waiting = if state.waiting.next_due().is_some_and(|due| due > now) { state.waiting.len() } else { 0 };
        limited + waiting
    }

    /// The next instant at which something that waits may start.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let state = self.lock();
        [state.limited.next_start(), state.waiting.next_due()].into_iter().flatten().min()
    }

    fn wake_slots(&self, count: usize) {
        for _ in 0..count {
            self.wake.notify_one();
        }
    }

    /// The next work for a slot, which says [`done`](Self::done) after it; `None` once nothing more is accepted.
    pub(crate) async fn next(&self) -> Option<TaskRun> {
        loop {
            let next = match self.take() {
                Next::Wait => self.wait().await,
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

    /// Waits to be woken, unless there is something to take.
    async fn wait(&self) -> Next {
        let woken = self.wake.notified();
        tokio::pin!(woken);
        // From here on a wake is this slot's; what came before is found by the second look.
        woken.as_mut().enable();
        self.lock().idle += 1;
        let next = self.take();
        if matches!(next, Next::Wait) {
            woken.await;
        }
        self.lock().idle -= 1;
        next
    }

    /// A slot is done with a work that it got, acked `late` or before its run.
    pub(crate) fn done(&self, late: bool) {
        let mut state = self.lock();
        state.running -= 1;
        state.early -= usize::from(!late);
        self.leave(&mut state, 1);
    }

    /// How many works were handed out in all, when none runs and none is due; `None` while there is something to do.
    pub(crate) fn handed_out_if_idle(&self) -> Option<u64> {
        let now = self.clock.now();
        let state = self.lock();
        let due = |next: Option<Timestamp>| next.is_some_and(|next| next <= now);
        let waits = state.running == 0 && state.fresh.is_empty() && state.noted.is_empty() && !state.noting;
        let quiet = waits && !due(state.limited.next_start()) && !due(state.waiting.next_due());
        quiet.then_some(state.handed_out)
    }

    fn take(&self) -> Next {
        let mut state = self.lock();
        if state.closed {
            return Next::Closed;
        }
        if let Some(task_run) = state.noted.pop_front() {
            return state.hand_out(task_run);
        }
        if state.limited.len() > 0
            && !state.noting
            && let Some(task_run) = state.limited.pop(self.clock.now())
        {
            // The next one of its task waits from now on.
            self.due.notify_one();
            return match self.notes && task_run.acks_late() {
                true => {
                    state.noting = true;
                    Next::MarkStarted(vec![task_run])
                }
                false => state.hand_out(task_run),
            };
        }
        let Some(first) = state.fresh.front() else { return Next::Wait };
        if !self.notes || !first.acks_late() {
            return match state.fresh.pop_front() {
                Some(task_run) => state.hand_out(task_run),
                None => Next::Wait,
            };
        }
        if state.noting {
            return Next::Wait;
        }
        Next::MarkStarted(state.batch_to_mark(self.ahead))
    }

    /// Notes at the broker that these runs begin, then lets the slots have them. What another worker has meanwhile is left to
    /// it: it would run twice (P2).
    async fn mark_started(&self, mut task_runs: Vec<TaskRun>) {
        let mut lost: Vec<Receipt> = Vec::new();
        for group in task_runs.chunk_by(|a, b| Arc::ptr_eq(&a.source, &b.source)) {
            let receipts: Vec<Receipt> = group.iter().map(|task_run| task_run.receipt.clone()).collect();
            let Some(first) = group.first() else { continue };
            if let Err(error) = first.source.acker.mark_started(&receipts).await {
                // The others run: at worst a crash is not counted.
                tracing::debug!(%error, "could not note that runs begin");
                lost.extend_from_slice(lost_receipts(&error));
            }
        }
        let noted = task_runs.len();
        task_runs.retain(|task_run| {
            let mine = !lost.contains(&task_run.receipt);
            if !mine {
                log::lost(task_run);
            }
            mine
        });
        let mut state = self.lock();
        state.noting = false;
        self.leave(&mut state, noted - task_runs.len());
        let count = task_runs.len().min(state.idle);
        state.noted.extend(task_runs);
        drop(state);
        self.wake_slots(count);
    }

    /// Puts what is due where the slots find it. The part that waits for times calls it.
    fn promote_due(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        while let Some(task_run) = state.waiting.pop(now) {
            self.place_run(&mut state, task_run);
        }
        let idle = state.idle;
        drop(state);
        self.wake_slots(idle);
    }

    /// The rate limits' state, for a worker after this one.
    pub(crate) fn buckets(&self) -> HashMap<Arc<str>, Bucket> {
        self.lock().limited.buckets()
    }

    /// Takes over the rate limits' state of a worker before this one.
    pub(crate) fn restore_buckets(&self, buckets: HashMap<Arc<str>, Bucket>) {
        self.lock().limited.restore_buckets(buckets);
    }

    /// Waits for times, one after the other. Runs as a part; ends never.
    pub(crate) async fn run_timer(&self) {
        loop {
            let changed = self.due.notified();
            match self.next_due() {
                None => changed.await,
                Some(due) => {
                    if due > self.clock.now() {
                        tokio::select! {
                            () = self.clock.sleep_until(due) => self.promote_due(),
                            () = changed => {}
                        }
                    } else {
                        self.promote_due();
                        // What is due and still here waits for a slot, not for a time.
                        changed.await;
                    }
                }
            }
        }
    }

    /// Accepts and hands out nothing any more, and gives back everything that no slot has.
    pub(crate) fn close(&self) -> Vec<TaskRun> {
        let mut state = self.lock();
        state.closed = true;
        let mut left: Vec<TaskRun> = state.noted.drain(..).collect();
        left.extend(state.fresh.drain(..));
        left.extend(state.limited.drain());
        left.extend(state.waiting.drain());
        let idle = state.idle;
        drop(state);
        self.wake_slots(idle);
        left
    }
}

impl State {
    fn hand_out(&mut self, task_run: TaskRun) -> Next {
        self.taken += 1;
        self.handed_out += 1;
        self.running += 1;
        self.early += usize::from(!task_run.acks_late());
        Next::Run(task_run)
    }

    fn batch_to_mark(&mut self, ahead: bool) -> Vec<TaskRun> {
        self.noting = true;
        // The slot that asks, those that wait, and as many as the slots took while the last note was under way.
        let turns = self.idle + 1;
        // Short runs take more of them with each note, since a note holds the slots up.
        let now = Instant::now();
        let short = self.last_note.is_some_and(|last| now.duration_since(last) < SHORT);
        let growth = if short { 2 } else { 1 };
        let wanted = if ahead { turns.max((self.taken * growth).min(LONGEST_NOTE)) } else { turns };
        self.taken = 0;
        self.last_note = Some(now);
        let fits = |(place, task_run): &(usize, &TaskRun)| {
            let in_turn = *place < turns || !task_run.request.delivery_info.redelivered;
            *place < wanted && task_run.acks_late() && in_turn
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

    /// An acker to which every odd receipt is somebody else's.
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
            Box::pin(async move { Err(lease_lost("begin", &lost, receipts.len())) })
        }

        fn atomic(&self) -> Option<&dyn AtomicSettle> {
            None
        }
    }

    #[tokio::test]
    async fn a_work_whose_lease_is_lost_does_not_begin() {
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
        let ready = RunQueue::new(Clock::manual(Timestamp::UNIX_EPOCH), 3, true);
        assert!(ready.push((1..=6).map(task_run).collect()).is_empty());
        for number in [2, 4, 6] {
            assert_eq!(ready.next().await.unwrap().receipt.tag, Tag::Number(number));
            ready.done(true);
        }
        assert_eq!(ready.handed_out_if_idle(), Some(3), "nothing else is left");
        assert_eq!(ready.load(0).local, 0, "what was lost is not here any more");
    }
}
