//! `GET /metrics`: what a worker counts, what it does now, and how full its queues are.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::queue_admin::QueueStats;

use crate::observe::metrics::Metrics;
use crate::observe::prometheus::Page;
use crate::pipeline::process::Process;

/// How long the broker may take to count its messages. The page is without these counts then.
const BROKER_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes the page of a worker.
pub(crate) struct MetricsPage {
    pub(crate) node: Arc<str>,
    pub(crate) queues: Vec<String>,
    pub(crate) slots: usize,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) process: Arc<Process>,
    pub(crate) broker: SharedBroker,
}

/// What the broker says of its queues.
#[derive(Default)]
struct BrokerFigures {
    queues: Vec<QueueStats>,
    /// Whether the broker counts more than what is ready.
    counts_all: bool,
    dead: Option<u64>,
}

impl MetricsPage {
    /// The page now. `is_healthy` is what `/ready` says.
    pub(crate) async fn text(&self, is_healthy: bool) -> String {
        let figures = tokio::time::timeout(BROKER_TIMEOUT, self.broker_figures()).await.unwrap_or_default();
        let mut page = Page::default();
        // As celery-exporter has it.
        let hostname = self.node.split_once('@').map_or(&*self.node, |(_, host)| host);
        self.metrics.write(&mut page, hostname, &self.node);
        self.write_worker(&mut page, hostname, is_healthy);
        self.write_queues(&mut page, &figures);
        page.into_text()
    }

    fn write_worker(&self, page: &mut Page, hostname: &str, is_healthy: bool) {
        let (running, handed_out) = self.process.run_queue.running();
        let (host, node) = ([("hostname", hostname)], [("node", &*self.node)]);
        page.gauge("celery_worker_up", "1: the worker answers.", &host, 1.0);
        let help = "Tasks that the worker runs now.";
        page.gauge("celery_worker_tasks_active", help, &host, running as f64);
        let help = "Whether the worker reaches its broker and its stores, and fetches: what /ready says.";
        page.gauge("apium_worker_healthy", help, &node, f64::from(u8::from(is_healthy)));
        page.gauge("apium_worker_slots", "How many tasks may run at once.", &node, self.slots as f64);
        let help = "Runs that got a slot since the worker started.";
        page.counter("apium_worker_runs_total", help, &node, handed_out);
        let load = self.process.run_queue.load(self.process.completer.pending());
        let waiting = load.local.saturating_sub(running);
        page.gauge("apium_worker_runs_waiting", "Runs that wait for a slot.", &node, waiting as f64);
        let help = "Runs that wait in the worker for their eta.";
        page.gauge("apium_worker_runs_delayed", help, &node, load.delayed as f64);
        let help = "Runs that wait in the worker for their rate limit.";
        page.gauge("apium_worker_runs_limited", help, &node, load.limited as f64);
        let help = "Ends of runs that are not stored and settled yet.";
        page.gauge("apium_worker_settling", help, &node, load.completing as f64);
        let leaked = self.process.executor.pools.leaked();
        let help = "Threads that execute a function whose run is over.";
        page.gauge("apium_worker_threads_leaked", help, &node, leaked as f64);
        let (counts, events) = (&self.process.counts, &self.process.observer.events);
        let help = "Messages that were fetched and went back to their queue before they ran.";
        page.counter("apium_requeued_total", help, &node, counts.requeued());
        page.counter("apium_cancelled_total", "Runs that a cold stop cancelled.", &node, counts.cancelled());
        let help = "Events that were sent to monitors.";
        page.counter("apium_events_sent_total", help, &node, events.sent.load(Ordering::Relaxed));
        let help = "Events that were dropped, since the broker was away or refused them.";
        page.counter("apium_events_dropped_total", help, &node, events.dropped.load(Ordering::Relaxed));
        page.gauge("apium_events_waiting", "Events that are not sent yet.", &node, events.len() as f64);
    }

    fn write_queues(&self, page: &mut Page, figures: &BrokerFigures) {
        let mut family = |name: &str, help: &str, value: fn(&QueueStats) -> u64| {
            page.family(name, "gauge", help);
            for queue in &figures.queues {
                page.sample(name, &[("queue_name", &queue.queue)], value(queue) as f64);
            }
        };
        family("celery_queue_length", "Messages that can be delivered now.", |queue| queue.ready);
        if figures.counts_all {
            family("celery_active_consumer_count", "Live consumers.", |queue| queue.consumers);
            family("apium_queue_in_flight", "Messages that are delivered and not settled.", |queue| queue.unacked);
            family("apium_queue_delayed", "Messages that wait for their eta.", |queue| queue.delayed);
        }
        if let Some(dead) = figures.dead {
            page.gauge("apium_dead_letters", "Messages in the dead set.", &[], dead as f64);
        }
    }

    /// Asks the broker for the counts of the queues that this worker consumes. What it cannot say is left out.
    async fn broker_figures(&self) -> BrokerFigures {
        let mut figures = BrokerFigures::default();
        let Some(admin) = self.broker.queues() else { return figures };
        match admin.counts() {
            Some(counts) => match counts.stats().await {
                Ok(stats) => {
                    figures.counts_all = true;
                    figures.queues = stats.into_iter().filter(|stats| self.queues.contains(&stats.queue)).collect();
                }
                Err(error) => tracing::debug!(error = %with_causes(&error), "could not count messages for the metrics"),
            },
            None => {
                for queue in &self.queues {
                    let Ok(ready) = admin.depth(queue).await else { continue };
                    let mut stats = QueueStats::new(queue.clone());
                    stats.ready = ready;
                    figures.queues.push(stats);
                }
            }
        }
        if let Some(dead) = self.broker.dead() {
            figures.dead = dead.count().await.ok();
        }
        figures
    }
}
