//! A worker's health: whether it can reach its broker and its result backends, whether it works itself, and whether it
//! fetches.

use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::clock::Clock;
use apium_transport::error::Error;
use apium_transport::health::Health;
use tokio::sync::watch;

use crate::shutdown::faults::Faults;

/// How often a backend that cannot be reached is tried.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// What a worker's health is computed from.
pub(crate) struct WorkerHealth {
    broker: SharedBroker,
    /// The app's backend, and those of tasks that have one of their own.
    backends: Vec<SharedBackend>,
    clock: Clock,
    faults: Faults,
    fetching: watch::Sender<Health>,
    /// What is to be known beside it, such as paused queues.
    notes: Notes,
}

/// Says what is to be known beside the health; `None` where there is nothing.
pub(crate) type Notes = Box<dyn Fn() -> Option<String> + Send + Sync>;

impl WorkerHealth {
    pub(crate) fn new(
        broker: SharedBroker,
        backends: Vec<SharedBackend>,
        clock: Clock,
        faults: Faults,
        notes: Notes,
    ) -> Self {
        let reason = "the worker has not started to fetch yet".to_owned();
        let fetching = watch::Sender::new(Health::Red { since: clock.now(), reason });
        Self { broker, backends, clock, faults, fetching, notes }
    }

    /// Says that the fetching loop has a consumer and fetches.
    pub(crate) fn set_fetching(&self) {
        self.fetching.send_if_modified(|now| !std::mem::replace(now, Health::Green).is_green());
    }

    /// Says that the fetching loop does not fetch, and why.
    pub(crate) fn set_stopped_fetching(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.fetching.send_if_modified(|now| {
            // A new reason does not change since when it is red.
            let since = match now {
                Health::Red { since, .. } => *since,
                Health::Green => self.clock.now(),
            };
            let red = Health::Red { since, reason };
            std::mem::replace(now, red.clone()) != red
        });
    }

    /// What is to be known beside the health.
    pub(crate) fn notes(&self) -> Option<String> {
        (self.notes)()
    }

    /// Whether the fetching loop has said that it fetches.
    pub(crate) fn is_fetching(&self) -> bool {
        self.fetching.borrow().is_green()
    }

    /// The health of the worker. The first of these that is red is shown: the broker, the result backends, the faults
    /// of the worker itself, the fetching loop.
    pub(crate) fn health(&self) -> Health {
        let address = self.broker.address();
        let broker = self.broker.health().of(&format!("the broker {address}"));
        let backends = self.backends.iter().map(|backend| {
            let address = backend.address();
            backend.health().of(&format!("the result backend {address}"))
        });
        let fetching = self.fetching.borrow().clone();
        std::iter::once(broker)
            .chain(backends)
            .chain([self.faults.health(), fetching])
            .find(|health| !health.is_green())
            .unwrap_or(Health::Green)
    }

    /// Tries backends that cannot be reached, until it is dropped. A worker that has no tasks to run would not use
    /// them, and would stay red. The broker needs nothing of the kind, since the fetching loop uses it all the time.
    pub(crate) async fn retry_backends(&self) {
        loop {
            self.clock.sleep(RETRY_INTERVAL).await;
            for backend in self.backends.iter().filter(|backend| !backend.health().is_green()) {
                // One that only delivers results connects again by itself, as a broker does.
                let Some(stored) = backend.stored() else { continue };
                if let Err(error) = stored.fetch(&[TaskId::random()]).await {
                    tracing::debug!(error = %with_causes(&error), backend = %backend.address(), "the result backend cannot be reached yet");
                    if error.is_final() {
                        self.set_unusable(&error);
                    }
                }
            }
        }
    }

    /// A broker or a result backend cannot be used any more by this process, because it closed itself for good: the
    /// worker stops.
    pub(crate) fn set_unusable(&self, error: &Error) {
        self.faults.set_fatal("store", format!("a store closed itself for good: could not {error:#}"));
    }

    /// Changes when the loop begins or ceases to fetch. The health of broker and backends makes no such signal: it must
    /// be read from time to time.
    pub(crate) fn changes(&self) -> watch::Receiver<Health> {
        self.fetching.subscribe()
    }
}
