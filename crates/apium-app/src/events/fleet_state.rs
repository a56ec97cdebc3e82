//! The state of workers and tasks that follows from their events (Celery: `app.events.State`). It is bounded.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::events::bounded::Bounded;
use crate::events::monitored_task::MonitoredTask;
use crate::events::monitored_worker::MonitoredWorker;
use crate::events::receiver::ReceivedEvent;

/// How many workers are remembered, as in Celery.
const MOST_WORKERS: usize = 5_000;
/// How many tasks are remembered, as in Celery.
const MOST_TASKS: usize = 10_000;
/// How many names of tasks are remembered.
const MOST_NAMES: usize = 10_000;

/// Workers and tasks, as far as events have told of them. Of more than it may keep, those go that it has known longest.
///
/// ```no_run
/// # async fn example(app: apium_app::app::app::App) -> apium_app::error::Result<()> {
/// use apium_app::events::fleet_state::FleetState;
///
/// let mut state = FleetState::new();
/// let mut events = app.events().listen().await?;
/// loop {
///     state.event(&events.next().await?);
///     println!("{} workers are alive", state.alive_workers(app.clock().now()).count());
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FleetState {
    workers: Bounded<MonitoredWorker>,
    tasks: Bounded<MonitoredTask>,
    names: BTreeSet<Arc<str>>,
    event_count: u64,
    task_count: u64,
}

impl Default for FleetState {
    fn default() -> Self {
        Self::new()
    }
}

impl FleetState {
    /// Of 5,000 workers and 10,000 tasks at most.
    pub fn new() -> Self {
        Self::bounded(MOST_WORKERS, MOST_TASKS)
    }

    /// Of so many workers and tasks at most (Celery: `max_workers_in_memory`, `max_tasks_in_memory`).
    pub fn bounded(workers: usize, tasks: usize) -> Self {
        Self {
            workers: Bounded::new(workers),
            tasks: Bounded::new(tasks),
            names: BTreeSet::new(),
            event_count: 0,
            task_count: 0,
        }
    }

    /// Takes an event. Events of other groups than workers and tasks are only counted, and so is an event of a task
    /// without an id.
    pub fn event(&mut self, received: &ReceivedEvent) {
        self.event_count += 1;
        let event = &received.event;
        match event.kind.split_once('-') {
            Some(("worker", _)) if !event.hostname.is_empty() => {
                self.workers.entry(&event.hostname, |name| MonitoredWorker::new(name.clone())).worker_event(received);
            }
            Some(("task", subject)) => self.task_event(subject, received),
            _ => {}
        }
    }

    fn task_event(&mut self, subject: &str, received: &ReceivedEvent) {
        let event = &received.event;
        let id = event.field("uuid").and_then(|uuid| uuid.decode::<String>().ok());
        let Some(id) = id.filter(|id| !id.is_empty()) else { return };
        let task = self.tasks.entry(&id, |id| MonitoredTask::new(id.clone()));
        if subject == "sent" {
            task.client = Some(event.hostname.clone());
        } else if !event.hostname.is_empty() {
            let worker = self.workers.entry(&event.hostname, |name| MonitoredWorker::new(name.clone()));
            worker.sign_of_life(received.at);
            task.worker = Some(worker.hostname.clone());
        }
        if subject == "received" {
            self.task_count += 1;
        }
        task.event(subject, event);
        if let Some(name) = &task.name
            && self.names.len() < MOST_NAMES
            && !self.names.contains(name)
        {
            self.names.insert(name.clone());
        }
    }

    /// How many events there were.
    pub fn event_count(&self) -> u64 {
        self.event_count
    }

    /// How many tasks were received by workers.
    pub fn task_count(&self) -> u64 {
        self.task_count
    }

    /// A worker by the name of its node.
    pub fn worker(&self, hostname: &str) -> Option<&MonitoredWorker> {
        self.workers.get(hostname)
    }

    /// The workers, the one that is known longest first.
    pub fn workers(&self) -> impl DoubleEndedIterator<Item = &MonitoredWorker> {
        self.workers.iter()
    }

    /// The workers that are alive at this time.
    pub fn alive_workers(&self, now: Timestamp) -> impl Iterator<Item = &MonitoredWorker> {
        self.workers.iter().filter(move |worker| worker.is_alive(now))
    }

    /// Forgets a worker.
    pub fn forget_worker(&mut self, hostname: &str) -> Option<MonitoredWorker> {
        self.workers.remove(hostname)
    }

    /// A task by its id.
    pub fn task(&self, id: &str) -> Option<&MonitoredTask> {
        self.tasks.get(id)
    }

    /// The tasks, the one that is known longest first.
    pub fn tasks(&self) -> impl DoubleEndedIterator<Item = &MonitoredTask> {
        self.tasks.iter()
    }

    /// How many tasks are remembered.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no task is remembered.
    pub fn is_empty(&self) -> bool {
        self.tasks.len() == 0
    }

    /// The tasks by the time of their last event, the last one first: by logical clocks, and by times where those are
    /// equal.
    pub fn tasks_by_time(&self) -> Vec<&MonitoredTask> {
        let mut tasks: Vec<&MonitoredTask> = self.tasks.iter().collect();
        tasks.sort_by(|one, other| by_time(other, one));
        tasks
    }

    /// The tasks that a task has sent, as far as they are known.
    pub fn children<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a MonitoredTask> {
        self.tasks.iter().filter(move |task| task.parent_id.as_deref() == Some(id))
    }

    /// The names of tasks that were seen, sorted.
    pub fn task_types(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Forgets tasks: those that are ready, or all.
    pub fn clear_tasks(&mut self, ready_only: bool) {
        self.tasks.retain(|task| ready_only && !task.is_ready());
    }
}

fn by_time(one: &MonitoredTask, other: &MonitoredTask) -> Ordering {
    let times = || one.timestamp.unwrap_or_default().total_cmp(&other.timestamp.unwrap_or_default());
    one.clock.cmp(&other.clock).then_with(times)
}
