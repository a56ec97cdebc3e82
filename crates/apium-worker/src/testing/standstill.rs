//! Notices that a test waits for a result that cannot come: nothing runs, and the clock stands still. A wait then
//! panics and says what would help, instead of waiting for ever.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use apium_protocol::message::task_id::TaskId;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::queue_admin::QueueStats;
use apium_transport::clock::Clock;
use jiff::Timestamp;

use crate::limits::waiting_runs::NextDue;
use crate::pipeline::process::Process;
use crate::testing::recorder::Recorder;

/// How often a wait looks whether something moves.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long nothing moves, on the machine's clock, before a wait gives up. A test may do something else meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a wait of a test looks at. Clones look at the same.
#[derive(Clone)]
pub(crate) struct Standstill(Arc<Shared>);

struct Shared {
    clock: Clock,
    recorder: Arc<Recorder>,
    broker: OnceLock<SharedBroker>,
    workers: Mutex<Vec<Weak<Process>>>,
    /// When what a drain has left becomes due.
    kept_due: Mutex<Option<NextDue>>,
}

/// Everything that would change if something moved.
#[derive(PartialEq)]
struct Look {
    now: Timestamp,
    /// How many runs each worker has handed out.
    handed_out: Vec<u64>,
    /// How many runs wait in workers for an instant, and the earliest.
    waiting: usize,
    due: Option<Timestamp>,
    /// Ready, in flight and delayed messages, by queue.
    queues: Vec<(String, u64, u64, u64)>,
}

impl Standstill {
    pub(crate) fn new(clock: Clock, recorder: Arc<Recorder>) -> Self {
        let (workers, kept_due) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { clock, recorder, broker: OnceLock::new(), workers, kept_due }))
    }

    /// The broker whose messages are looked at: the first one.
    pub(crate) fn set_broker(&self, broker: &SharedBroker) {
        // An app has one.
        let _ = self.0.broker.set(broker.clone());
    }

    /// A worker of the app has started.
    pub(crate) fn add_worker(&self, process: &Arc<Process>) {
        let mut workers = self.0.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|worker| worker.strong_count() > 0);
        workers.push(Arc::downgrade(process));
    }

    /// A drain has ended, and what it left is due then.
    pub(crate) fn set_kept_due(&self, due: Option<NextDue>) {
        *self.0.kept_due.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }

    /// Waits until nothing has moved for a while, and says what would help. `ids` are the tasks that are waited for.
    pub(crate) async fn noticed(&self, ids: &[TaskId]) -> String {
        let mut last: Option<(Look, Instant)> = None;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(look) = self.look().await else {
                last = None;
                continue;
            };
            match &last {
                Some((same, since)) if *same == look => {
                    if since.elapsed() >= PATIENCE {
                        return self.text(ids, &look);
                    }
                }
                _ => last = Some((look, Instant::now())),
            }
        }
    }

    /// What there is to see; `None` while something runs, or where this cannot be told.
    async fn look(&self) -> Option<Look> {
        let now = self.0.clock.now();
        let workers = self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let workers: Vec<Arc<Process>> = workers.iter().filter_map(Weak::upgrade).collect();
        let mut handed_out = Vec::with_capacity(workers.len());
        for process in &workers {
            handed_out.push(process.run_queue.handed_out_if_idle().filter(|_| process.completer.pending() == 0)?);
        }
        let waiting = workers.iter().map(|process| process.run_queue.not_due()).sum();
        let kept_due = *self.0.kept_due.lock().unwrap_or_else(PoisonError::into_inner);
        let dues = workers.iter().filter_map(|process| process.run_queue.next_due());
        let dues = dues.chain(kept_due).map(|due| now + due.remaining(&self.0.clock));
        let due = dues.chain(self.0.recorder.next_due(now)).filter(|due| *due > now).min();
        let stats = self.0.broker.get()?.queues()?.counts()?.stats().await.ok()?;
        let of_queue = |QueueStats { queue, ready, unacked, delayed, .. }| (queue, ready, unacked, delayed);
        Some(Look { now, handed_out, waiting, due, queues: stats.into_iter().map(of_queue).collect() })
    }

    fn text(&self, ids: &[TaskId], look: &Look) -> String {
        let runs_worker = !look.handed_out.is_empty();
        let wanted = match ids {
            [one] => format!("task {one}"),
            [first, ..] => format!("{} tasks, the first of which is {first}", ids.len()),
            [] => "no task".to_owned(),
        };
        let mut holds: Vec<String> = Vec::new();
        for (queue, ready, _, delayed) in &look.queues {
            if *ready > 0 {
                let why = if runs_worker { "which no running worker takes" } else { "and no worker runs" };
                holds.push(format!("messages that are ready in queue {queue}, {why}: {ready}"));
            }
            if *delayed > 0 {
                holds.push(format!("messages of queue {queue} that wait for their eta: {delayed}"));
            }
        }
        if look.waiting > 0 {
            holds.push(format!("tasks that wait in a worker for their rate limit or their eta: {}", look.waiting));
        }
        if holds.is_empty() {
            holds.push(
                "no message is left, so the task was never sent, has ended without a result, or went elsewhere".into(),
            );
        }
        let is_ready = look.queues.iter().any(|(_, ready, _, _)| *ready > 0);
        let help = match look.due {
            _ if is_ready && !runs_worker => "call `app.drain().await` before".to_owned(),
            Some(due) => {
                let span = Duration::try_from(due.duration_since(look.now)).unwrap_or_default();
                // Rounded up: an advance that is too short by a fraction of it helps nobody.
                let millis = span.as_nanos().div_ceil(1_000_000);
                let clock = if runs_worker { "app.clock().advance" } else { "app.advance" };
                let wait = if runs_worker { "" } else { ".await" };
                format!("the next becomes due at {due}: `{clock}(Duration::from_millis({millis})){wait}` makes it so")
            }
            None => "no `advance` helps".to_owned(),
        };
        format!(
            "the test waits for the result of {wanted}, and nothing can move: the clock stands at {}. {}; {help}",
            look.now,
            holds.join("; ")
        )
    }
}
