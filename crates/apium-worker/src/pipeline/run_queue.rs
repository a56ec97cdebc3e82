//! The run queue: runs that were accepted and have no slot yet. They wait for a slot, for a rate limit, or for their
//! eta. What comes next is decided by [`ReadyRuns`]; this file locks, marks runs as started, and wakes slots.
//!
//! A wake-up is passed on: a slot that was woken and got something wakes the next one while there is more to do. So
//! whoever adds something need not know what the other slots will find.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use apium_protocol::error::with_causes;
use apium_transport::broker::settlement::{Receipt, lost_receipts};
use apium_transport::clock::{Clock, Moment};
use apium_transport::error::Result;
use jiff::Timestamp;

use crate::limits::load::{Load, Queued};
use crate::limits::rate_limit::Bucket;
use crate::limits::ready_runs::{NextStep, QueuedRun as _, ReadyRuns};
use crate::limits::sync::{Mutex, MutexGuard, Notify};
use crate::limits::waiting_runs::{NextDue, Present};
use crate::pipeline::log;
use crate::pipeline::task_run::TaskRun;

/// Runs that were accepted and have no slot yet.
pub(crate) struct RunQueue {
    runs: Mutex<ReadyRuns<TaskRun>>,
    /// Wakes slots.
    wake: Notify,
    /// Wakes the timer, when another time may be the next that is due.
    pub(crate) due: Notify,
    /// Wakes the fetching loop, when few enough runs are left.
    refill: Notify,
    pub(crate) clock: Clock,
    /// Slots that are about to be [done](Self::done) with their run.
    pub(crate) ending: AtomicUsize,
    /// Whether a rate limit was set while the worker runs.
    pub(crate) has_set_rates: AtomicBool,
}

impl RunQueue {
    pub(crate) fn new(clock: Clock, max_crashes: u32, has_rate_limits: bool) -> Self {
        let runs = Mutex::new(ReadyRuns::new(max_crashes, has_rate_limits));
        Self {
            runs,
            wake: Notify::new(),
            due: Notify::new(),
            refill: Notify::new(),
            clock,
            ending: AtomicUsize::new(0),
            has_set_rates: AtomicBool::new(false),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ReadyRuns<TaskRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out the runs whose turn by their rate limit is far away, each with the time of day of its turn if nobody
    /// sets the clock. The others are to be [pushed](Self::push).
    pub(crate) fn take_far(&self, task_runs: Vec<TaskRun>) -> (Vec<TaskRun>, Vec<(Timestamp, TaskRun)>) {
        if !self.has_set_rates.load(Ordering::Relaxed) && !task_runs.iter().any(|run| run.rate_limit().is_some()) {
            return (task_runs, Vec::new());
        }
        let Present { now, moment } = Present::of(&self.clock);
        let (near, far) = self.lock().take_far(task_runs, moment);
        let eta = |turn: Moment| now.saturating_add(turn.saturating_since(moment)).unwrap_or(Timestamp::MAX);
        (near, far.into_iter().map(|(turn, task_run)| (eta(turn), task_run)).collect())
    }

    /// Adds runs, in order. Returns them when the queue is closed.
    pub(crate) fn push(&self, task_runs: Vec<TaskRun>) -> Vec<TaskRun> {
        let mut runs = self.lock();
        if runs.is_closed() {
            return task_runs;
        }
        let (count, present) = (task_runs.len(), Present::of(&self.clock));
        let due = runs.next_due(present);
        for task_run in task_runs {
            runs.add_claimed(task_run, present.moment, self.ending.load(Ordering::Relaxed));
        }
        let (idle, is_due_changed) = (runs.idle_slots, runs.next_due(present) != due);
        drop(runs);
        self.wake_slots(count.min(idle));
        if is_due_changed {
            self.due.notify_one();
        }
        Vec::new()
    }

    /// Adds a run that does not begin, and that a slot is to end. Returns it when the queue is closed.
    pub(crate) fn push_without_run(&self, task_run: TaskRun) -> Option<TaskRun> {
        let mut runs = self.lock();
        if runs.is_closed() {
            return Some(task_run);
        }
        runs.add_without_run(task_run);
        let idle = runs.idle_slots;
        drop(runs);
        self.wake_slots(idle.min(1));
        None
    }

    /// Adds a run that waits until its eta. Returns it when the queue is closed.
    pub(crate) fn push_delayed(&self, due: Timestamp, mut task_run: TaskRun) -> Option<TaskRun> {
        task_run.unmark();
        let mut runs = self.lock();
        if runs.is_closed() {
            return Some(task_run);
        }
        runs.waiting.delayed.push(due, task_run);
        drop(runs);
        self.due.notify_one();
        None
    }

    /// The load of the worker. `completing` is what the caller knows of the completer.
    pub(crate) fn load(&self, completing: usize) -> Load {
        self.lock().load(completing)
    }

    /// Waits until at most `count` runs are local. Only one caller may wait at a time. Cancel-safe.
    pub(crate) async fn wait_below(&self, count: usize) {
        while !self.lock().counts.is_below(count) {
            self.refill.notified().await;
        }
    }

    /// What waits for a slot.
    pub(crate) fn queued(&self) -> Queued {
        self.lock().queued(self.clock.moment())
    }

    /// Takes out the runs that wait for a slot, and says how many are left.
    pub(crate) fn take_queued(&self) -> (Vec<TaskRun>, usize) {
        self.lock().take_queued()
    }

    /// How many runs wait for a later time than the present, by eta or rate limit.
    pub(crate) fn not_due(&self) -> usize {
        self.lock().waiting.not_due(&self.clock)
    }

    /// When the next run may start that waits for a time.
    pub(crate) fn next_due(&self) -> Option<NextDue> {
        self.lock().next_due(Present::of(&self.clock))
    }

    pub(crate) fn wake_slots(&self, count: usize) {
        for _ in 0..count {
            self.wake.notify_one();
        }
    }

    /// The next run for a slot, which calls [`done`](Self::done) after it; `None` when the slot is to end.
    pub(crate) async fn next(&self) -> Option<TaskRun> {
        loop {
            let next = match self.next_now() {
                NextStep::Wait => self.wait_for_next().await,
                next => next,
            };
            match next {
                NextStep::Run(task_run) => return Some(task_run),
                NextStep::MarkStarted(task_runs) => self.mark_started(task_runs).await,
                NextStep::MarkSuspect(task_run) => self.mark_suspect(task_run).await,
                NextStep::Closed | NextStep::Retire => return None,
                NextStep::Wait => {}
            }
        }
    }

    /// Waits until the slot is woken, unless there is something for it.
    async fn wait_for_next(&self) -> NextStep<TaskRun> {
        let woken = self.wake.notified();
        tokio::pin!(woken);
        // From here on this slot gets its wake-ups. What was added before is found by the call below.
        woken.as_mut().enable();
        self.lock().idle_slots += 1;
        let next = self.next_now();
        if matches!(next, NextStep::Wait) {
            woken.await;
        }
        self.lock().idle_slots -= 1;
        next
    }

    /// A slot is done with a run of a task with late ack or with early ack, perhaps with that of a suspect.
    pub(crate) fn done(&self, acks_late: bool, is_suspect: bool) {
        let mut runs = self.lock();
        let present = Present::where_it_matters(&self.clock, is_suspect || runs.waits_for_a_time());
        let (due, needs_refill) = (runs.next_due(present), runs.end(acks_late, is_suspect, present.moment));
        let is_due_changed = runs.next_due(present) != due;
        drop(runs);
        if needs_refill {
            self.refill.notify_one();
        }
        if is_due_changed {
            self.due.notify_one();
        }
    }

    /// How many runs the slots got since the worker started; `None` while a run is in a slot or is due.
    pub(crate) fn handed_out_if_idle(&self) -> Option<u64> {
        self.lock().handed_out_if_idle(&self.clock)
    }

    /// How many runs are in slots, and how many slots got since the worker started.
    pub(crate) fn running(&self) -> (usize, u64) {
        let runs = self.lock();
        (runs.counts.running(), runs.counts.handed_out())
    }

    /// What a slot is to do now. If it gets something and there is more, the next slot is woken.
    fn next_now(&self) -> NextStep<TaskRun> {
        let mut runs = self.lock();
        let present = Present::where_it_matters(&self.clock, runs.waits_for_a_time());
        let (due, next) = (runs.next_due(present), runs.next(present.moment));
        let (is_due_changed, needs_slot) = (runs.next_due(present) != due, runs.needs_slot(present.moment));
        drop(runs);
        if is_due_changed {
            self.due.notify_one();
        }
        if needs_slot && !matches!(next, NextStep::Wait) {
            self.wake.notify_one();
        }
        next
    }

    /// Marks runs as started at the broker, and then lets the slots have them. A run whose message another worker has
    /// is dropped, since it would run twice.
    async fn mark_started(&self, task_runs: Vec<TaskRun>) {
        let mut lost: Vec<Receipt> = Vec::new();
        for group in task_runs.chunk_by(|a, b| Arc::ptr_eq(&a.source, &b.source)) {
            let receipts: Vec<Receipt> = group.iter().map(|task_run| task_run.receipt.clone()).collect();
            let Some(first) = group.first() else { continue };
            lost.extend(lost_when_marked(first.source.acker.mark_started(&receipts).await));
        }
        self.release_marked(task_runs, &lost);
    }

    /// As [`mark_started`](Self::mark_started), for a suspect.
    async fn mark_suspect(&self, task_run: TaskRun) {
        let lost = lost_when_marked(task_run.source.acker.mark_suspect(&task_run.receipt).await);
        self.release_marked(vec![task_run], &lost);
    }

    /// Lets the slots have runs that were marked, without those that are lost.
    fn release_marked(&self, task_runs: Vec<TaskRun>, lost: &[Receipt]) {
        let (lost, task_runs): (Vec<_>, Vec<_>) =
            task_runs.into_iter().partition(|task_run| lost.contains(&task_run.receipt));
        lost.iter().for_each(log::lease_lost);
        let (marked, now) = (task_runs.len(), self.clock.moment());
        let mut runs = self.lock();
        let needs_refill = runs.marked(task_runs, &lost, now);
        // What was not taken while the batch was marked may be for other slots.
        let to_wake = marked.max(usize::from(runs.has_next(now))).min(runs.idle_slots);
        drop(runs);
        if needs_refill {
            self.refill.notify_one();
        }
        self.wake_slots(to_wake);
    }

    /// Moves runs whose eta has come to where slots find them, and wakes a slot if there is something for it. Returns
    /// when to look again.
    fn promote_due(&self) -> Option<NextDue> {
        let present = Present::of(&self.clock);
        let mut runs = self.lock();
        runs.promote_due(present);
        let (next_due, needs_slot) = (runs.next_due(present), runs.needs_slot(present.moment));
        drop(runs);
        if needs_slot {
            self.wake.notify_one();
        }
        next_due
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
            match self.promote_due() {
                None => changed.await,
                Some(due) => {
                    tokio::select! {
                        () = due.wait(&self.clock) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    /// Closes the queue: it accepts and hands out no more runs. Returns those that no slot has.
    pub(crate) fn close(&self) -> Vec<TaskRun> {
        let mut runs = self.lock();
        let mut waiting = runs.close();
        let idle = runs.idle_slots;
        drop(runs);
        self.wake_slots(idle);
        waiting.iter_mut().for_each(TaskRun::unmark);
        waiting
    }
}

/// The receipts of runs that another worker has. After any other error the runs begin all the same.
fn lost_when_marked(marked: Result<()>) -> Vec<Receipt> {
    let Err(error) = marked else { return Vec::new() };
    tracing::debug!(error = %with_causes(&error), "could not mark runs as started; a crash of them may not be counted");
    lost_receipts(&error).to_vec()
}

#[cfg(test)]
mod tests {
    use apium_app::context::request::Request;
    use apium_app::options::effective_options::TaskDefaults;
    use apium_app::options::task_options::TaskOptions;
    use apium_app::task::arguments::ParameterList;
    use apium_app::task::definition::{Hooks, TaskDef, TaskFn};
    use apium_app::task::registered::RegisteredTask;
    use apium_app::task::registry::RegistryBuilder;
    use apium_protocol::json::text::Json;
    use apium_transport::broker::settlement::{Acker, AtomicSettle, Disposition, Tag, lease_lost};
    use futures_util::future::BoxFuture;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::limits::sync::model;
    use crate::pipeline::task_run::DeliverySource;

    const fn def(name: &'static str, options: fn() -> TaskOptions) -> TaskDef {
        TaskDef {
            name,
            aliases: &[],
            parameters: ParameterList { function: "t", named: &[], var_args: true, var_kwargs: true },
            options,
            hooks: Hooks::NONE,
            needs: &[],
            takes_ctx: true,
            run: TaskFn::Blocking(|_| Ok(Json::NULL)),
            location: "here",
        }
    }

    static LATE: TaskDef = def("late", || {
        let mut options = TaskOptions::NEW;
        options.acks_late = Some(true);
        options
    });
    static EARLY: TaskDef = def("early", || TaskOptions::NEW);

    /// An acker of which only `mark_started` is called: it does what the closure says.
    struct Marks<F>(F);

    impl<F> Acker for Marks<F>
    where
        F: Fn(&[Receipt]) -> BoxFuture<'static, Result<()>> + Send + Sync + 'static,
    {
        fn ack(&self, _: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn reject(&self, _: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
            (self.0)(receipts)
        }

        fn atomic(&self) -> Option<&dyn AtomicSettle> {
            None
        }
    }

    /// Makes runs whose deliveries are marked by the closure.
    struct Maker {
        late: Arc<RegisteredTask>,
        early: Arc<RegisteredTask>,
        source: Arc<DeliverySource>,
    }

    impl Maker {
        fn new<F>(mark_started: F) -> Self
        where
            F: Fn(&[Receipt]) -> BoxFuture<'static, Result<()>> + Send + Sync + 'static,
        {
            let mut builder = RegistryBuilder::new();
            builder.def(&LATE);
            builder.def(&EARLY);
            let registry = builder.build(&TaskDefaults::default(), |_| TaskOptions::NEW).unwrap();
            let task = |name| registry.get(name).unwrap().clone();
            let source = Arc::new(DeliverySource { acker: Arc::new(Marks(mark_started)), is_atomic: false });
            Self { late: task("late"), early: task("early"), source }
        }

        fn run(&self, task: &Arc<RegisteredTask>, number: u64) -> TaskRun {
            TaskRun {
                request: Arc::new(Request::direct()),
                task: task.clone(),
                receipt: Receipt::new(Tag::Number(number), 1),
                source: self.source.clone(),
                crashes: 0,
                started: false,
                expires: None,
                links: None,
            }
        }

        /// One run for each letter: `l` has late ack, `e` early ack, and `s` is a suspect.
        fn runs(&self, letters: &str) -> Vec<TaskRun> {
            let run = |letter| TaskRun {
                crashes: u32::from(letter == 's'),
                ..self.run(if letter == 'e' { &self.early } else { &self.late }, 0)
            };
            letters.chars().map(run).collect()
        }
    }

    fn queue() -> RunQueue {
        RunQueue::new(Clock::manual(Timestamp::UNIX_EPOCH), 3, true)
    }

    #[tokio::test]
    async fn a_run_whose_lease_is_lost_does_not_begin() {
        // Another consumer has every odd receipt.
        let maker = Maker::new(|receipts| {
            let odd = |receipt: &&Receipt| matches!(receipt.tag, Tag::Number(number) if number % 2 == 1);
            let error = lease_lost("start", &receipts.iter().filter(odd).cloned().collect::<Vec<_>>(), receipts.len());
            Box::pin(async move { Err(error) })
        });
        let run_queue = queue();
        assert!(run_queue.push((1..=6).map(|number| maker.run(&maker.late, number)).collect()).is_empty());
        for number in [2, 4, 6] {
            assert_eq!(run_queue.next().await.unwrap().receipt.tag, Tag::Number(number));
            run_queue.done(true, false);
        }
        assert_eq!(run_queue.handed_out_if_idle(), Some(3), "there is no other run");
        assert_eq!(run_queue.load(0).local, 0, "lost runs do not count into the load");
    }

    /// Lets all other tasks of the runtime go on until they wait. There are few of them and none waits for a time.
    async fn settled() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn runs_behind_a_batch_that_is_being_marked_all_begin_when_slots_are_free() {
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let maker = {
            let (asked, answer) = (asked.clone(), answer.clone());
            Maker::new(move |_| {
                asked.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                Box::pin(async move {
                    answer.acquire().await.unwrap().forget();
                    Ok(())
                })
            })
        };
        let (run_queue, begun) = (Arc::new(queue()), Arc::new(AtomicUsize::new(0)));
        let mut slots = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (run_queue, begun) = (run_queue.clone(), begun.clone());
            slots.spawn(async move {
                if run_queue.next().await.is_some() {
                    begun.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<()>().await;
                }
            });
        }
        settled().await;
        run_queue.push(maker.runs("l"));
        settled().await;
        assert_eq!(asked.load(Ordering::SeqCst), 1, "the first is being marked, and three slots wait");
        run_queue.push(maker.runs("lee"));
        settled().await;
        assert_eq!(begun.load(Ordering::SeqCst), 0);
        answer.add_permits(1);
        settled().await;
        assert_eq!(asked.load(Ordering::SeqCst), 2, "the second is being marked");
        assert_eq!(begun.load(Ordering::SeqCst), 3, "nothing is in front of the early ones any more");
        answer.add_permits(1);
        settled().await;
        assert_eq!(begun.load(Ordering::SeqCst), 4);
    }

    /// Every slot keeps its run until all runs have begun, so a wake-up that is lost is a deadlock.
    fn all_begin_at_once(pushes: &'static [&'static str]) {
        let maker = Arc::new(Maker::new(|_| {
            Box::pin(async {
                shuttle::future::yield_now().await;
                Ok(())
            })
        }));
        let (run_queue, begun) = (Arc::new(queue()), Arc::new(Semaphore::new(0)));
        let count: usize = pushes.iter().map(|letters| letters.len()).sum();
        let mut slots = Vec::new();
        for _ in 0..count {
            let (run_queue, begun) = (run_queue.clone(), begun.clone());
            slots.push(shuttle::future::spawn(async move {
                let task_run = run_queue.next().await.unwrap();
                begun.add_permits(1);
                drop(begun.acquire_many(u32::try_from(count).unwrap()).await.unwrap());
                run_queue.done(task_run.acks_late(), false);
                assert!(run_queue.next().await.is_none(), "there are no more runs");
            }));
        }
        let mut pushing = Vec::new();
        for letters in pushes {
            let (run_queue, maker) = (run_queue.clone(), maker.clone());
            pushing.push(shuttle::future::spawn(async move {
                assert!(run_queue.push(maker.runs(letters)).is_empty());
            }));
        }
        shuttle::future::block_on(async {
            for pushed in pushing {
                pushed.await.unwrap();
            }
            drop(begun.acquire_many(u32::try_from(count).unwrap()).await.unwrap());
            assert!(run_queue.close().is_empty());
            for slot in slots {
                slot.await.unwrap();
            }
        });
    }

    #[test]
    fn no_wake_up_is_lost_in_any_interleaving_of_late_and_early_acks() {
        model::check(1_500, || all_begin_at_once(&["l", "lee"]));
        model::check(1_500, || all_begin_at_once(&["el", "le", "e"]));
        model::check(1_500, || all_begin_at_once(&["ll", "ee"]));
    }

    /// Fewer slots than runs: each slot works on, and what is left when nobody pushes any more is run by somebody.
    /// While a suspect runs, nothing else does.
    #[test]
    fn few_slots_run_everything_and_suspects_alone_in_any_interleaving() {
        model::check(1_500, || {
            let maker = Arc::new(Maker::new(|_| Box::pin(async { Ok(()) })));
            let (run_queue, ended) = (Arc::new(queue()), Arc::new(Semaphore::new(0)));
            let running = Arc::new(AtomicUsize::new(0));
            let slots: Vec<_> = (0..3)
                .map(|_| {
                    let (run_queue, ended, running) = (run_queue.clone(), ended.clone(), running.clone());
                    shuttle::future::spawn(async move {
                        while let Some(task_run) = run_queue.next().await {
                            let is_suspect = task_run.is_suspect();
                            // A suspect counts for ten: any other number above three is one that is not alone.
                            let weight = if is_suspect { 10 } else { 1 };
                            let before = running.fetch_add(weight, Ordering::SeqCst);
                            assert!(before + weight <= 3 || before == 0, "{before} are running beside a suspect");
                            shuttle::future::yield_now().await;
                            running.fetch_sub(weight, Ordering::SeqCst);
                            run_queue.done(task_run.acks_late(), is_suspect);
                            ended.add_permits(1);
                        }
                    })
                })
                .collect();
            let pushing = {
                let (run_queue, maker) = (run_queue.clone(), maker.clone());
                shuttle::thread::spawn(move || {
                    for letters in ["lse", "es"] {
                        assert!(run_queue.push(maker.runs(letters)).is_empty());
                    }
                })
            };
            shuttle::future::block_on(async {
                drop(ended.acquire_many(5).await.unwrap());
                run_queue.wait_below(0).await;
                assert!(run_queue.close().is_empty());
                for slot in slots {
                    slot.await.unwrap();
                }
            });
            pushing.join().unwrap();
        });
    }
}
