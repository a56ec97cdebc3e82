//! The counters of the metrics page. They exist only where a worker has the page.
//!
//! Labels are bounded: tasks are those of the registry, and what belongs to none is counted under one name; queues and
//! exceptions are so many at most, and others are counted together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use apium_app::observe::app_observer::PublishCounter;
use apium_app::task::registry::Registry;
use apium_transport::broker::outgoing::Outgoing;

use crate::observe::fact::RefusedFact;
use crate::observe::prometheus::{Histogram, Labels, Page};
use crate::pipeline::task_run::TaskRun;
use crate::pipeline::verdict::Verdict;

/// The name under which tasks are counted that the registry does not know.
const UNREGISTERED: &str = "unregistered";
/// The label of what is beyond the most queues and exceptions.
const OTHER: &str = "other";
/// How many queues a task is counted by, and how many exceptions by task and queue.
const MOST_LABELS: usize = 64;
/// The buckets of the runtime: those of Prometheus' Python client, which celery-exporter uses.
const RUNTIME: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// The buckets of what a store takes.
const STORE: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What is counted of tasks: the name of the family, and what it means.
const COUNTERS: [(&str, &str); 8] = [
    ("celery_task_sent_total", "Messages of tasks that this process published."),
    ("celery_task_received_total", "Messages that the worker accepted."),
    ("celery_task_started_total", "Bodies that began."),
    ("celery_task_succeeded_total", "Runs that succeeded."),
    ("celery_task_failed_total", "Runs that failed, and messages whose task is not registered."),
    ("celery_task_rejected_total", "Runs whose message was rejected, to its queue or to the dead set."),
    ("celery_task_revoked_total", "Tasks that were revoked, had expired or were aborted."),
    ("celery_task_retried_total", "Runs that are followed by a retry."),
];

/// The counter of a family, by its place in [`COUNTERS`].
#[derive(Debug, Clone, Copy)]
enum Counter {
    Sent,
    Received,
    Started,
    Succeeded,
    Failed,
    Rejected,
    Revoked,
    Retried,
}

/// The counters of a worker.
#[derive(Debug)]
pub(crate) struct Metrics {
    tasks: HashMap<Arc<str>, TaskSeries>,
    unregistered: TaskSeries,
    store: Histogram<12>,
    settled: AtomicU64,
    lease_lost: AtomicU64,
    dead_lettered: AtomicU64,
}

/// What is counted of one task.
#[derive(Debug, Default)]
struct TaskSeries {
    queues: RwLock<Vec<Arc<QueueSeries>>>,
}

/// What is counted of one task in one queue.
#[derive(Debug)]
struct QueueSeries {
    queue: Arc<str>,
    counts: [AtomicU64; COUNTERS.len()],
    failed: Mutex<Vec<(String, u64)>>,
    runtime: Histogram<14>,
}

impl TaskSeries {
    fn of_queue(&self, queue: &str) -> Arc<QueueSeries> {
        let find = |queues: &[Arc<QueueSeries>]| queues.iter().find(|series| *series.queue == *queue).cloned();
        let found = find(&self.queues.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(series) = found {
            return series;
        }
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = find(&queues) {
            return series;
        }
        if queues.len() >= MOST_LABELS && queue != OTHER {
            drop(queues);
            return self.of_queue(OTHER);
        }
        let series = Arc::new(QueueSeries {
            queue: queue.into(),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            failed: Mutex::default(),
            runtime: Histogram::new(RUNTIME),
        });
        queues.push(series.clone());
        series
    }
}

impl QueueSeries {
    fn count(&self, counter: Counter) {
        if let Some(count) = self.counts.get(counter as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count_failed(&self, exception: &str) {
        self.count(Counter::Failed);
        // As celery-exporter names it: the class without what it is nested in.
        let class = exception.rsplit('.').next().unwrap_or_default();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = failed.iter().any(|(name, _)| name == class);
        let class = if known || failed.len() < MOST_LABELS { class } else { OTHER };
        match failed.iter_mut().find(|(name, _)| name == class) {
            Some((_, count)) => *count += 1,
            None => failed.push((class.to_owned(), 1)),
        }
    }
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            tasks: registry.iter().map(|task| (task.name.clone(), TaskSeries::default())).collect(),
            unregistered: TaskSeries::default(),
            store: Histogram::new(STORE),
            settled: AtomicU64::new(0),
            lease_lost: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
        }
    }

    fn series(&self, task: Option<&str>, queue: &str) -> Arc<QueueSeries> {
        let series = task.and_then(|task| self.tasks.get(task)).unwrap_or(&self.unregistered);
        series.of_queue(queue)
    }

    fn of_run(&self, task_run: &TaskRun) -> Arc<QueueSeries> {
        self.series(Some(&task_run.task.name), &task_run.request.delivery_info.queue)
    }

    pub(crate) fn received(&self, task_run: &TaskRun) {
        self.of_run(task_run).count(Counter::Received);
    }

    pub(crate) fn started(&self, task_run: &TaskRun) {
        self.of_run(task_run).count(Counter::Started);
    }

    pub(crate) fn end_of_run(&self, task_run: &TaskRun, verdict: &Verdict, took: Duration) {
        let series = self.of_run(task_run);
        match verdict {
            Verdict::Succeeded(_) => {
                series.count(Counter::Succeeded);
                series.runtime.observe(took);
            }
            Verdict::Failed { failure, .. } => series.count_failed(&failure.exception().exc_type),
            Verdict::Retry(_) | Verdict::Retried { .. } => series.count(Counter::Retried),
            Verdict::Rejected { .. } | Verdict::Unavailable(_) => series.count(Counter::Rejected),
            Verdict::Revoked(_) | Verdict::Aborted => series.count(Counter::Revoked),
            Verdict::Ignored | Verdict::Replaced(_) | Verdict::Cancelled { .. } => {}
        }
    }

    pub(crate) fn panicked(&self, task_run: &TaskRun) {
        self.of_run(task_run).count_failed("Panic");
    }

    /// A delivery was not accepted.
    pub(crate) fn refused(&self, refused: &RefusedFact, queue: &str) {
        self.dead_lettered.fetch_add(1, Ordering::Relaxed);
        if let Some(exception) = refused.exception() {
            self.series(refused.label.task.as_deref(), queue).count_failed(&exception.exc_type);
        }
    }

    /// A batch of completions was stored, published and settled, which took so long.
    pub(crate) fn settled(&self, count: usize, took: Duration) {
        self.store.observe(took);
        self.settled.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// A run ended after its lease.
    pub(crate) fn lease_lost(&self) {
        self.lease_lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes everything that is counted. `hostname` is the part of the node name behind the `@`, as celery-exporter
    /// has it.
    pub(crate) fn write(&self, page: &mut Page, hostname: &str, node: &str) {
        let unregistered = (UNREGISTERED, &self.unregistered);
        let mut tasks: Vec<(&str, &TaskSeries)> = self.tasks.iter().map(|(name, series)| (&**name, series)).collect();
        tasks.sort_by_key(|(name, _)| *name);
        let mut rows = Vec::new();
        for (name, series) in tasks.into_iter().chain([unregistered]) {
            let queues = series.queues.read().unwrap_or_else(PoisonError::into_inner).clone();
            rows.extend(queues.into_iter().map(|series| (name, series)));
        }
        for (at, (family, help)) in COUNTERS.iter().enumerate() {
            page.family(family, "counter", help);
            for (name, series) in &rows {
                let labels = [("name", *name), ("hostname", hostname), ("queue_name", &*series.queue)];
                if at == Counter::Failed as usize {
                    write_failed(page, family, &labels, series);
                } else if let Some(count) = series.counts.get(at) {
                    page.sample(family, &labels, count.load(Ordering::Relaxed) as f64);
                }
            }
        }
        page.family("celery_task_runtime", "histogram", "How long runs took that succeeded, in seconds.");
        for (name, series) in &rows {
            let labels = [("name", *name), ("hostname", hostname), ("queue_name", &*series.queue)];
            page.histogram("celery_task_runtime", &labels, &series.runtime);
        }
        let node = [("node", node)];
        let help =
            "How long storing results, publishing what follows and settling a batch of messages took, in seconds.";
        page.family("apium_settle_seconds", "histogram", help);
        page.histogram("apium_settle_seconds", &node, &self.store);
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let help = "Runs and other ends of messages that were stored and settled.";
        page.counter("apium_settled_total", help, &node, load(&self.settled));
        let help = "Runs that ended after their lease had expired: another worker has their message.";
        page.counter("apium_leases_lost_total", help, &node, load(&self.lease_lost));
        let help = "Messages that this worker did not accept and put into the dead set.";
        page.counter("apium_refused_total", help, &node, load(&self.dead_lettered));
    }
}

/// The counter of failures, by exception; with an empty exception where there were none, as celery-exporter writes it.
fn write_failed(page: &mut Page, family: &str, labels: Labels<'_>, series: &QueueSeries) {
    let failed = series.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if failed.is_empty() {
        page.sample(family, &[labels, &[("exception", "")]].concat(), 0.0);
    }
    for (exception, count) in failed {
        page.sample(family, &[labels, &[("exception", exception.as_str())]].concat(), count as f64);
    }
}

impl PublishCounter for Metrics {
    fn published(&self, batch: &[Outgoing]) {
        for outgoing in batch {
            let Some(task) = outgoing.message.headers.task.as_deref() else { continue };
            self.series(Some(task), &outgoing.routing_key).count(Counter::Sent);
        }
    }
}
