//! What is to be sent as events, and the switch that says whether events of tasks are.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_app::observe::backlog::Backlog;
use apium_app::observe::custom_event::{CustomEvent, EventSink};
use apium_app::observe::event_sender::{EventBatch, EventSender};
use apium_app::observe::lamport_clock::LamportClock;
use apium_protocol::message::outgoing_event::OutgoingEvent;
use tokio::sync::Notify;

use crate::observe::event_fields;
use crate::observe::fact::{RefusedFact, TaskFact};

/// What is to be sent, and the time of the logical clock at which it came.
#[derive(Debug)]
pub(crate) enum QueuedEvent {
    Task(TaskFact),
    Refused(RefusedFact),
    Custom(CustomEvent),
    /// An event with all its fields.
    Ready(OutgoingEvent),
}

impl QueuedEvent {
    fn bytes(&self) -> usize {
        match self {
            Self::Task(fact) => fact.bytes(),
            Self::Refused(fact) => 512 + fact.reason.text.len(),
            Self::Custom(event) => 256 + event.fields.iter().map(|(_, value)| value.as_bytes().len()).sum::<usize>(),
            Self::Ready(event) => 128 + event.size(),
        }
    }

    /// How many events it is made into, at most.
    fn most_events(&self) -> u64 {
        match self {
            Self::Task(fact) => event_fields::most_events(fact),
            _ => 1,
        }
    }

    /// Adds its events to a batch, the first of them at this time of the logical clock.
    pub(crate) fn add_to(self, batch: &mut EventBatch<'_>, sender: &EventSender, clock: u64) {
        match self {
            Self::Task(fact) => event_fields::of_task(batch, &fact, clock),
            Self::Refused(fact) => event_fields::of_refused(batch, &fact, clock),
            Self::Custom(custom) => batch.add(&custom.into_text(sender, clock)),
            Self::Ready(event) => batch.add(&event),
        }
    }
}

/// The events that wait to be sent. When the broker is away for long, the oldest go.
#[derive(Debug)]
pub(crate) struct EventQueue {
    backlog: Mutex<Backlog<(u64, QueuedEvent)>>,
    pub(crate) wake: Notify,
    lamport: LamportClock,
    /// Whether the broker can send to all who listen.
    can_send: bool,
    /// Whether events of tasks are sent.
    of_tasks: AtomicBool,
    /// Whether somebody asked for events, so that he listens.
    wanted: AtomicBool,
    /// Whether somebody asked for a heartbeat.
    asked: AtomicBool,
    /// Wakes the service of heartbeats.
    pub(crate) pace_changed: Notify,
    /// How many listeners the last heartbeat reached; [`UNKNOWN`] where the broker cannot tell.
    listeners: AtomicUsize,
    pub(crate) sent: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// The broker cannot tell how many listeners there are.
const UNKNOWN: usize = usize::MAX;

impl EventQueue {
    pub(crate) fn new(sender: &EventSender, of_tasks: bool) -> Self {
        Self {
            backlog: Mutex::default(),
            wake: Notify::new(),
            lamport: sender.lamport().clone(),
            can_send: sender.can_send(),
            of_tasks: AtomicBool::new(of_tasks),
            wanted: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            pace_changed: Notify::new(),
            listeners: AtomicUsize::new(UNKNOWN),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Backlog<(u64, QueuedEvent)>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether events of tasks are to be pushed.
    pub(crate) fn wants_tasks(&self) -> bool {
        self.can_send && self.of_tasks.load(Ordering::Relaxed)
    }

    /// Adds an event. Never waits.
    pub(crate) fn push(&self, event: QueuedEvent) {
        if !self.can_send {
            return;
        }
        let (bytes, count) = (event.bytes(), event.most_events());
        let mut backlog = self.lock();
        // Inside the lock, so that the order is that of the clock.
        backlog.push((self.lamport.forward_by(count), event), bytes);
        drop(backlog);
        self.wake.notify_one();
    }

    /// Adds an event that is made with its time of the logical clock.
    pub(crate) fn push_ready(&self, make: impl FnOnce(u64) -> OutgoingEvent) {
        if !self.can_send {
            return;
        }
        let mut backlog = self.lock();
        let clock = self.lamport.forward();
        let event = QueuedEvent::Ready(make(clock));
        let bytes = event.bytes();
        backlog.push((clock, event), bytes);
        drop(backlog);
        self.wake.notify_one();
    }

    /// Takes at most `most` events, and says how many were dropped before them.
    pub(crate) fn take(&self, most: usize) -> (Vec<(u64, QueuedEvent)>, u64) {
        let mut backlog = self.lock();
        (backlog.take(most), backlog.take_dropped())
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Notes how many listeners a heartbeat reached.
    pub(crate) fn set_listeners(&self, count: Option<usize>) {
        let before = self.listeners.swap(count.unwrap_or(UNKNOWN), Ordering::Relaxed);
        if matches!(before, 0 | UNKNOWN) && count.is_some_and(|count| count > 0) {
            self.pace_changed.notify_one();
        }
    }

    /// How many listeners the last heartbeat reached, where the broker can tell.
    pub(crate) fn listeners(&self) -> Option<usize> {
        Some(self.listeners.load(Ordering::Relaxed)).filter(|count| *count != UNKNOWN)
    }

    /// Whether somebody has asked for events since this was called last, and whether for a heartbeat.
    pub(crate) fn take_asked(&self) -> (bool, bool) {
        (self.wanted.swap(false, Ordering::Relaxed), self.asked.swap(false, Ordering::Relaxed))
    }
}

impl EventSink for EventQueue {
    fn take(&self, event: CustomEvent) {
        self.push(QueuedEvent::Custom(event));
    }
}

/// Switches events of tasks on and off while the worker runs, and asks for a heartbeat. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct EventsSwitch(pub(crate) Arc<EventQueue>);

impl EventsSwitch {
    /// Sends events of tasks from now on (Celery: `enable_events`). Whoever asks for them listens, so heartbeats come
    /// often. Returns whether they were off.
    pub(crate) fn enable(&self) -> bool {
        let was_off = !self.0.of_tasks.swap(true, Ordering::Relaxed);
        self.0.wanted.store(true, Ordering::Relaxed);
        self.0.pace_changed.notify_one();
        was_off
    }

    /// Sends no more events of tasks (Celery: `disable_events`), also in a worker that was started with `-E`, where
    /// Celery changes nothing. Returns whether they were on.
    pub(crate) fn disable(&self) -> bool {
        self.0.of_tasks.swap(false, Ordering::Relaxed)
    }

    /// Sends a heartbeat now (Celery: `heartbeat`), and often for a while: somebody listens.
    pub(crate) fn heartbeat(&self) {
        self.0.wanted.store(true, Ordering::Relaxed);
        self.0.asked.store(true, Ordering::Relaxed);
        self.0.pace_changed.notify_one();
    }
}
