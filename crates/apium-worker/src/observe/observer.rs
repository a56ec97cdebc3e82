//! The observer: whatever happens to a task or to the worker is reported here, and nowhere else. Log lines, events,
//! metrics and observers of the program are told by it. Where nobody listens, a report costs a look at a flag.

use std::sync::Arc;
use std::time::Duration;

use apium_app::observe::app_observer::PublishCounter as _;
use apium_app::observe::event_sender::EventSender;
use apium_app::publish::publisher::Publisher;
use apium_transport::broker::settlement::Settlement;
use apium_transport::clock::Clock;
use jiff::Timestamp;

use crate::observe::event_queue::{EventQueue, EventsSwitch, QueuedEvent};
use crate::observe::fact::{RefusedFact, RunChange, TaskFact, WorkerChange};
use crate::observe::metrics::Metrics;
use crate::observe::worker_observer::{Observed, WorkerObservers};
use crate::pipeline::completion::RefusedDelivery;
use crate::pipeline::log;
use crate::pipeline::task_run::{TaskLabel, TaskRun};
use crate::pipeline::verdict::Verdict;
use crate::pool::guard::Panicked;
use crate::shutdown::kind::StopKind;

/// Reports facts to all who listen.
pub(crate) struct Observer {
    pub(crate) events: Arc<EventQueue>,
    pub(crate) sender: EventSender,
    pub(crate) observers: Option<WorkerObservers>,
    /// Where the worker has a page of metrics.
    pub(crate) metrics: Option<Arc<Metrics>>,
    /// Makes events of the messages to which runs lead, where `task_send_sent_event` is on.
    pub(crate) publisher: Publisher,
    pub(crate) clock: Clock,
}

impl Observer {
    /// A run was accepted by the intake.
    pub(crate) fn received(&self, task_run: &TaskRun) {
        log::received(task_run);
        self.count(|metrics| metrics.received(task_run));
        self.tell(task_run, None, || RunChange::Received);
    }

    /// The intake refused a delivery.
    pub(crate) fn refused(&self, refused: &RefusedDelivery, queue: &str) {
        log::refused(refused);
        if !self.events.wants_tasks() && self.observers.is_none() && self.metrics.is_none() {
            return;
        }
        let Some(fact) = RefusedFact::of(self.clock.now(), refused) else { return };
        self.count(|metrics| metrics.refused(&fact, queue));
        if let Some(observers) = &self.observers {
            observers.push(Observed::Refused(fact.clone()));
        }
        if self.events.wants_tasks() {
            self.events.push(QueuedEvent::Refused(fact));
        }
    }

    /// The body of a run begins.
    pub(crate) fn started(&self, task_run: &TaskRun) {
        self.count(|metrics| metrics.started(task_run));
        self.tell(task_run, None, || RunChange::Started);
    }

    /// A run ended, or does not begin.
    pub(crate) fn end_of_run(&self, task_run: &TaskRun, verdict: &Verdict, took: Duration, now: Timestamp) {
        log::ended(&task_run.task, &task_run.request, verdict, took, now);
        self.count(|metrics| metrics.end_of_run(task_run, verdict, took));
        self.tell(task_run, Some(now), || RunChange::of_end(verdict, took));
    }

    /// A run panicked outside of the code of the app that is guarded.
    pub(crate) fn panicked(&self, task_run: &TaskRun, panicked: &Panicked) {
        log::panicked(task_run, panicked);
        self.count(|metrics| metrics.panicked(task_run));
        self.tell(task_run, None, || RunChange::Panicked(panicked.to_string().into()));
    }

    /// The end of a run leads to these messages, which are published with it.
    pub(crate) fn leads_to(&self, settlement: &Settlement) {
        let sends_events = self.publisher.config().task_send_sent_event;
        if !sends_events && self.metrics.is_none() {
            return;
        }
        let follow_ups = settlement.follow_ups.as_deref().map(|follow_ups| &*follow_ups.publish);
        for batch in [&*settlement.publish, follow_ups.unwrap_or_default()] {
            self.count(|metrics| metrics.published(batch));
            if sends_events {
                let events = self.publisher.sent_events(batch);
                events.into_iter().for_each(|event| self.events.push(QueuedEvent::Ready(event)));
            }
        }
    }

    /// A run ended after its lease: another worker has its message.
    pub(crate) fn lease_lost(&self, label: &TaskLabel) {
        log::lease_lost_at_end(label);
        self.count(Metrics::lease_lost);
    }

    /// A batch of completions was stored, published and settled, which took so long.
    pub(crate) fn settled(&self, count: usize, took: Duration) {
        self.count(|metrics| metrics.settled(count, took));
    }

    fn count(&self, count: impl FnOnce(&Metrics)) {
        if let Some(metrics) = &self.metrics {
            count(metrics);
        }
    }

    fn tell(&self, task_run: &TaskRun, at: Option<Timestamp>, change: impl FnOnce() -> RunChange) {
        let wants_event = self.events.wants_tasks() && task_run.task.effective.send_events;
        if !wants_event && self.observers.is_none() {
            return;
        }
        let fact = TaskFact::new(at.unwrap_or_else(|| self.clock.now()), task_run, change());
        match &self.observers {
            Some(observers) if wants_event => {
                observers.push(Observed::Task(fact.clone()));
                self.events.push(QueuedEvent::Task(fact));
            }
            Some(observers) => observers.push(Observed::Task(fact)),
            None => self.events.push(QueuedEvent::Task(fact)),
        }
    }

    /// Switches events of tasks on and off.
    pub(crate) fn events_switch(&self) -> EventsSwitch {
        EventsSwitch(self.events.clone())
    }

    /// The worker starts.
    pub(crate) fn worker_init(&self) {
        self.tell_of_worker(WorkerChange::Init);
    }

    /// The worker consumes.
    pub(crate) fn worker_ready(&self) {
        self.tell_of_worker(WorkerChange::Ready);
    }

    /// A heartbeat for monitors was made.
    pub(crate) fn heartbeat_sent(&self) {
        self.tell_of_worker(WorkerChange::HeartbeatSent);
    }

    /// The worker begins to stop.
    pub(crate) fn shutting_down(&self, how: StopKind) {
        self.tell_of_worker(WorkerChange::ShuttingDown(how));
    }

    /// The worker has stopped. Waits for the observers, at most for `limit`.
    pub(crate) async fn shutdown(&self, limit: Duration) {
        self.tell_of_worker(WorkerChange::Shutdown);
        if let Some(observers) = &self.observers {
            observers.close(limit).await;
        }
    }

    fn tell_of_worker(&self, change: WorkerChange) {
        if let Some(observers) = &self.observers {
            observers.push(Observed::Worker(self.clock.now(), change));
        }
    }
}
